//! Two connections that are made once and go on through everything: a download, and a terminal.
//!
//! Their services are in mode dsr, so the backends have the VIP on their loopback and answer the client by themselves.

mod download;
mod terminal;

use download::Download;
use fulcrum_tests::Result;
use fulcrum_tests::lab::Pair;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};
use terminal::{Shells, Terminal};

const DOWNLOAD_PORT: u16 = 8080;
const TERMINAL_PORT: u16 = 2222;

/// What was seen of one connection.
#[derive(Debug, Default)]
pub(crate) struct Seen {
    /// Times without progress that are worth noting: when each ended, and how long it was.
    stalls: Mutex<Vec<(Instant, Duration)>>,
    /// Since when it waits, if it does.
    waiting: Mutex<Option<Instant>>,
    /// Bytes that came, or commands that were answered.
    pub(crate) count: AtomicU64,
    /// Why it is over.
    broken: Mutex<Option<String>>,
}

/// Shorter ones are the machine's own.
const WORTH_NOTING: Duration = Duration::from_millis(1);

impl Seen {
    /// It waits for the other side from now on.
    fn wait(&self, now: Instant) {
        *self.waiting.lock().unwrap_or_else(PoisonError::into_inner) = Some(now);
    }

    /// So much came.
    fn progress(&self, amount: u64, now: Instant) {
        self.count.fetch_add(amount, Ordering::Relaxed);
        let since = self.waiting.lock().unwrap_or_else(PoisonError::into_inner).take();
        let Some(stall) = since.map(|since| now.saturating_duration_since(since)) else { return };
        if stall >= WORTH_NOTING {
            self.stalls.lock().unwrap_or_else(PoisonError::into_inner).push((now, stall));
        }
    }

    fn end(&self, why: String) {
        self.broken.lock().unwrap_or_else(PoisonError::into_inner).get_or_insert(why);
    }

    /// Why it is over, if it is.
    pub(crate) fn broken(&self) -> Option<String> {
        self.broken.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// The longest time without progress that ended between two moments, or goes on at the second.
    pub(crate) fn longest_stall(&self, from: Instant, to: Instant) -> Duration {
        let stalls = self.stalls.lock().unwrap_or_else(PoisonError::into_inner);
        let ended = stalls.iter().filter(|(end, _)| (from..=to).contains(end)).map(|(_, stall)| *stall).max();
        let waiting = *self.waiting.lock().unwrap_or_else(PoisonError::into_inner);
        let going_on = waiting.filter(|since| *since <= to).map(|since| to.saturating_duration_since(since));
        ended.into_iter().chain(going_on).max().unwrap_or_default()
    }
}

/// The servers, on each web server's machine.
#[derive(Debug)]
pub(crate) struct Servers {
    shells: Shells,
}

/// Both connections.
#[derive(Debug)]
pub(crate) struct Lasting {
    download: Download,
    terminal: Terminal,
}

/// How long both stalled.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Stalls {
    pub(crate) download: Duration,
    pub(crate) terminal: Duration,
}

impl Servers {
    /// Prepares the web servers' machines.
    pub(crate) fn start(pair: &Pair) -> Result<Self> {
        let whole = format!("{}/32", pair.service().ip());
        for web in &pair.web {
            web.machine.set("net/ipv4/conf/all/arp_ignore", "1")?;
            web.machine.set("net/ipv4/conf/all/arp_announce", "2")?;
            web.machine.run("ip", &["address", "add", &whole, "dev", "lo"])?;
            download::serve(&web.machine, DOWNLOAD_PORT)?;
        }
        let machines: Vec<_> = pair.web.iter().map(|web| web.machine.clone()).collect();
        Ok(Self { shells: Shells::start(&machines, TERMINAL_PORT)? })
    }

    /// Connects both.
    pub(crate) fn connect(&self, pair: &Pair) -> Result<Lasting> {
        let vip = pair.service().ip();
        Ok(Lasting {
            download: Download::start(&pair.client, (vip, DOWNLOAD_PORT).into())?,
            terminal: self.shells.connect(&pair.client, (vip, TERMINAL_PORT).into())?,
        })
    }
}

impl Lasting {
    /// How long each stalled between two moments.
    pub(crate) fn stalls(&self, from: Instant, to: Instant) -> Stalls {
        Stalls {
            download: self.download.seen().longest_stall(from, to),
            terminal: self.terminal.seen().longest_stall(from, to),
        }
    }

    /// What became of both, for the end; an error if one of them broke.
    pub(crate) fn account(&self) -> std::result::Result<String, String> {
        for (name, seen) in [("download", self.download.seen()), ("terminal", self.terminal.seen())] {
            if let Some(why) = seen.broken() {
                return Err(format!("the {name} broke: {why}"));
            }
        }
        let megabytes = self.download.seen().count.load(Ordering::Relaxed) / 1_000_000;
        let commands = self.terminal.seen().count.load(Ordering::Relaxed);
        Ok(format!(
            "One download went on through all of it: {megabytes} MB, each byte the one that was to come.\n\
             So did one terminal ({}): {commands} commands typed and answered.",
            self.terminal.kind()
        ))
    }
}
