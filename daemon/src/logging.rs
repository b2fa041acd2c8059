//! Log lines to standard error, as text or JSON.
//!
//! Whoever logs never waits for whoever reads: a journal that hangs must not stop an advert. Lines go through
//! a bounded queue to a thread of their own; what does not fit is counted and left out.

use fulcrum_config::LogFormat;
use std::ffi::OsStr;
use std::io::{self, IsTerminal, Write};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::sync::mpsc::{Receiver, SyncSender, sync_channel};
use std::time::Duration;
use tracing::Metadata;
use tracing_subscriber::EnvFilter;
use tracing_subscriber::filter::LevelFilter;
use tracing_subscriber::fmt::MakeWriter;

#[cfg(test)]
mod tests;

/// Lines that may wait.
const QUEUE: usize = 8192;
/// Further places, for lines that say who changed what.
const AUDIT_QUEUE: usize = 1024;
/// Where those lines come from.
const AUDIT: &str = "audit";
/// How long the end of the process waits for the lines before it.
const FLUSH: Duration = Duration::from_millis(500);

static LEFT_OUT: AtomicU64 = AtomicU64::new(0);

enum Item {
    Line(Vec<u8>),
    Flush(SyncSender<()>),
}

/// Writes what is queued before the process ends.
#[derive(Debug)]
pub(crate) struct Log {
    queue: SyncSender<Item>,
}

impl Log {
    /// Waits until what was logged so far is written, but not for long.
    pub(crate) fn flush(&self) {
        let (done, seen) = sync_channel(1);
        if self.queue.try_send(Item::Flush(done)).is_ok() {
            let _ = seen.recv_timeout(FLUSH);
        }
    }
}

impl Drop for Log {
    fn drop(&mut self) {
        self.flush();
    }
}

/// Log lines left out because nobody read the others.
pub(crate) fn left_out() -> u64 {
    LEFT_OUT.load(Ordering::Relaxed)
}

/// Starts logging. `FULCRUM_LOG` says what: `info` by default, `debug`, `warn,fulcrum_vip_manager=debug`, ...
/// Who changed what is logged always.
pub(crate) fn start(format: LogFormat) -> io::Result<Log> {
    let (queue, lines) = Queue::new(QUEUE, AUDIT_QUEUE);
    let waiting = Arc::clone(&queue.waiting);
    std::thread::Builder::new()
        .name("log".to_owned())
        .spawn(move || write(&lines, &waiting, &mut io::stderr()))?;
    let (filter, mistake) = filter(std::env::var_os("FULCRUM_LOG").as_deref());
    let log = Log { queue: queue.sender.clone() };
    let builder = tracing_subscriber::fmt().with_env_filter(filter).with_writer(queue);
    let colour = io::stderr().is_terminal() && std::env::var_os("NO_COLOR").is_none();
    let set = match format {
        LogFormat::Text => tracing::subscriber::set_global_default(builder.with_ansi(colour).finish()),
        LogFormat::Json => {
            tracing::subscriber::set_global_default(builder.json().flatten_event(true).finish())
        }
    };
    set.map_err(io::Error::other)?;
    if let Some(mistake) = mistake {
        tracing::warn!(target: "config", "{mistake}");
    }
    Ok(log)
}

/// What is logged, and what is wrong with `wanted`.
fn filter(wanted: Option<&OsStr>) -> (EnvFilter, Option<String>) {
    let wanted = wanted.map_or_else(|| "info".into(), OsStr::to_string_lossy);
    // An empty one means the default, too.
    let said = if wanted.trim().is_empty() { "info" } else { &*wanted };
    // A word that is no level would be taken for the name of a module.
    let is_level = |word: &str| {
        word.contains("=") || word.starts_with("fulcrum_") || word.parse::<LevelFilter>().is_ok()
    };
    let unknown = said.split(',').map(str::trim).find(|word| !word.contains('[') && !is_level(word));
    let parsed = match unknown {
        Some(word) => Err(format!("'{word}' is no level")),
        None => EnvFilter::try_new(said).map_err(|error| error.to_string()),
    };
    let (filter, mistake) = match parsed {
        Ok(filter) => (filter, None),
        Err(error) => {
            let mistake = format!(
                "FULCRUM_LOG={said} can't be understood ({error}): info is logged; write error, warn, info, debug \
                 or trace, or a level for each module: 'warn,fulcrum_vip_manager=debug'"
            );
            (EnvFilter::new("info"), Some(mistake))
        }
    };
    let filter = match format!("{AUDIT}=info").parse() {
        Ok(directive) => filter.add_directive(directive),
        Err(_) => filter,
    };
    (filter, mistake)
}

/// A panic anywhere ends the process at once: the guard then resigns for it. It must not limp on with one
/// engine less.
pub(crate) fn end_at_panic() {
    let report = std::panic::take_hook();
    std::panic::set_hook(Box::new(move |info| {
        report(info);
        std::process::abort();
    }));
}

fn write(lines: &Receiver<Item>, waiting: &AtomicUsize, to: &mut impl Write) {
    let mut told = 0;
    while let Ok(item) = lines.recv() {
        let left_out = left_out();
        if left_out > told {
            let _ = writeln!(
                to,
                "{} log lines were left out: they came faster than they were read",
                left_out.saturating_sub(told)
            );
            told = left_out;
        }
        match item {
            // An error of standard error can't be told to anyone.
            Item::Line(line) => {
                waiting.fetch_sub(1, Ordering::Relaxed);
                drop(to.write_all(&line));
            }
            Item::Flush(done) => drop(done.try_send(())),
        }
    }
}

/// Where lines wait; the last places are for those of [`AUDIT`].
struct Queue {
    sender: SyncSender<Item>,
    waiting: Arc<AtomicUsize>,
    ordinary: usize,
    all: usize,
}

impl Queue {
    fn new(ordinary: usize, audit: usize) -> (Self, Receiver<Item>) {
        let all = ordinary.saturating_add(audit);
        let (sender, lines) = sync_channel(all);
        (Self { sender, waiting: Arc::default(), ordinary, all }, lines)
    }

    fn line(&self, places: usize) -> Line<'_> {
        Line { queue: self, places, bytes: Vec::new() }
    }
}

impl<'a> MakeWriter<'a> for Queue {
    type Writer = Line<'a>;

    fn make_writer(&'a self) -> Line<'a> {
        self.line(self.ordinary)
    }

    fn make_writer_for(&'a self, meta: &Metadata<'_>) -> Line<'a> {
        self.line(if meta.target() == AUDIT { self.all } else { self.ordinary })
    }
}

/// One line in the making; it is queued when it is whole.
struct Line<'a> {
    queue: &'a Queue,
    /// It is left out if so many wait already.
    places: usize,
    bytes: Vec<u8>,
}

impl Write for Line<'_> {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.bytes.extend_from_slice(bytes);
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

impl Drop for Line<'_> {
    fn drop(&mut self) {
        let waiting = self.queue.waiting.fetch_add(1, Ordering::Relaxed);
        let line = Item::Line(std::mem::take(&mut self.bytes));
        if waiting >= self.places || self.queue.sender.try_send(line).is_err() {
            self.queue.waiting.fetch_sub(1, Ordering::Relaxed);
            LEFT_OUT.fetch_add(1, Ordering::Relaxed);
        }
    }
}
