//! The guard: a small process of its own that outlives a crash of the daemon by just long enough to resign
//! for it and to remove its addresses.
//!
//! The daemon tells it beforehand, ready-made, what to do for each group it leads, and beats. The guard acts
//! for all groups when the daemon is gone (its end of the channel is closed), and for a group when there was no
//! beat for the group's down interval: then peers have taken over.

mod child;
mod message;
mod process;

pub use child::guard_main;
pub(crate) use message::{Fired, Orders, Resignation};

use message::ToGuard;
use process::Process;
use std::collections::BTreeMap;
use std::ffi::OsString;
use std::io;
use std::os::fd::{BorrowedFd, OwnedFd};
use std::path::PathBuf;
use std::time::{Duration, Instant};

/// Time before a guard that died is started again, doubled with each death up to [`MAX_BACKOFF`].
const MIN_BACKOFF: Duration = Duration::from_millis(10);
const MAX_BACKOFF: Duration = Duration::from_secs(10);
/// A guard that lived for this long is forgiven its earlier deaths.
const LIVED_LONG: Duration = Duration::from_secs(30);

/// A guard that leaves beats unread for so long, and so many of them, does not work. To start one takes more than a
/// second on a slow machine.
const DEAF: Duration = Duration::from_secs(3);
const DEAF_BEATS: u32 = 5;

/// Reads a message to the guard and writes it again; `None` if it is none. Only for fuzzing: messages go between a
/// process and its child.
#[doc(hidden)]
#[must_use]
pub fn reread_guard_message(bytes: &[u8]) -> Option<Vec<u8>> {
    ToGuard::decode(bytes)?.encode().ok()
}

/// How to start the guard: a program that calls [`guard_main`], usually this very program with a hidden
/// subcommand. It finds its channel as standard input.
#[derive(Debug, Clone)]
pub struct GuardCommand {
    /// The program.
    pub program: PathBuf,
    /// Its arguments.
    pub arguments: Vec<OsString>,
}

/// What reading from the guard gave.
pub(crate) enum FromGuard {
    /// It resigned for a group.
    Fired(Fired),
    /// It is gone; another one is started after a while.
    Gone,
    /// Nothing more now.
    Nothing,
}

/// The daemon's side.
pub(crate) struct Guard {
    command: GuardCommand,
    process: Option<Process>,
    senders: BTreeMap<u64, OwnedFd>,
    groups: BTreeMap<String, Orders>,
    backoff: Duration,
    started: Option<Instant>,
    start_at: Option<Instant>,
    /// Since when, and for how many beats, it has not read everything.
    deaf: Option<(Instant, u32)>,
    /// Why there is none now.
    pub(crate) error: Option<String>,
    /// Why it could not be started, as it was logged: once for each reason.
    told: Option<String>,
}

impl Guard {
    pub(crate) fn new(command: GuardCommand, now: Instant) -> Self {
        Self {
            command,
            process: None,
            senders: BTreeMap::new(),
            groups: BTreeMap::new(),
            backoff: MIN_BACKOFF,
            started: None,
            start_at: Some(now),
            deaf: None,
            error: None,
            told: None,
        }
    }

    /// Whether a guard lives and knows everything.
    pub(crate) fn alive(&self) -> bool {
        self.process.is_some()
    }

    /// When [`Guard::handle_timeout`] has something to do.
    pub(crate) fn poll_timeout(&self) -> Option<Instant> {
        self.start_at
    }

    /// Starts the process if it is time. Returns whether a new channel is to be watched.
    pub(crate) fn handle_timeout(&mut self, now: Instant) -> bool {
        if self.start_at.is_none_or(|at| now < at) {
            return false;
        }
        self.start_at = None;
        let started = Process::start(&self.command)
            .and_then(|process| self.tell_everything(&process).map(|()| process));
        match started {
            Ok(process) => {
                tracing::debug!(pid = process.id(), "guard started");
                self.process = Some(process);
                self.started = Some(now);
                self.error = None;
                self.told = None;
                true
            }
            Err(error) => {
                let program = self.command.program.display();
                let text = format!(
                    "the guard {program} could not be started: {error}; without it, peers notice a crash of \
                     this process only after their down interval; trying again"
                );
                if self.told.as_ref() != Some(&text) {
                    tracing::error!("{text}");
                    self.told = Some(text.clone());
                }
                self.error = Some(text);
                self.retry(now);
                false
            }
        }
    }

    /// The channel, to wait on.
    pub(crate) fn channel(&self) -> Option<BorrowedFd<'_>> {
        self.process.as_ref().map(Process::channel)
    }

    /// Reads one message.
    pub(crate) fn receive(&mut self, now: Instant) -> FromGuard {
        let Some(process) = &self.process else { return FromGuard::Nothing };
        match process.receive() {
            Ok(Some(fired)) => FromGuard::Fired(fired),
            Ok(None) => FromGuard::Nothing,
            Err(error) => {
                self.lose(now, &error);
                FromGuard::Gone
            }
        }
    }

    /// The daemon runs. `nanoseconds` of the monotonic clock. A guard that does not take beats for long, because
    /// it is stopped or hangs, is as good as none: it is ended, and another one started.
    pub(crate) fn beat(&mut self, now: Instant, nanoseconds: u64) {
        let read_all = self.process.as_ref().is_none_or(Process::has_read_all);
        let (since, beats) = self.deaf.filter(|_| !read_all).unwrap_or((now, 0));
        self.deaf = Some((since, beats.saturating_add(1)));
        if beats >= DEAF_BEATS && now.saturating_duration_since(since) >= DEAF {
            return self.lose(now, &io::Error::other("it is alive and takes no beats"));
        }
        self.tell(now, &ToGuard::Beat { at_nanoseconds: nanoseconds }, None);
    }

    /// Hands over a socket that adverts leave by.
    pub(crate) fn set_sender(&mut self, now: Instant, number: u64, sender: OwnedFd) {
        self.senders.insert(number, sender);
        if let Some(sender) = self.senders.get(&number).and_then(|sender| sender.try_clone().ok()) {
            self.tell(now, &ToGuard::Sender { number }, Some(&sender));
        }
    }

    /// Takes one back.
    pub(crate) fn remove_sender(&mut self, now: Instant, number: u64) {
        if self.senders.remove(&number).is_some() {
            self.tell(now, &ToGuard::Sender { number }, None);
        }
    }

    /// What to do for a group; `None` when this node does not lead it. Only differences are sent.
    pub(crate) fn set_group(&mut self, now: Instant, name: &str, orders: Option<Orders>) {
        if self.groups.get(name) == orders.as_ref() {
            return;
        }
        match &orders {
            Some(orders) => drop(self.groups.insert(name.to_owned(), orders.clone())),
            None => drop(self.groups.remove(name)),
        }
        for message in ToGuard::group(name, orders.as_ref()) {
            self.tell(now, &message, None);
        }
    }

    /// The guard carried out its orders for a group: it has none now.
    pub(crate) fn forget_group(&mut self, name: &str) {
        self.groups.remove(name);
    }

    /// Lets the guard end; it has nothing left to do. Only after every group was taken from it.
    pub(crate) fn stop(&mut self) {
        self.groups.clear();
        self.start_at = None;
        if let Some(process) = self.process.take() {
            process.end();
        }
    }

    fn tell(&mut self, now: Instant, message: &ToGuard, socket: Option<&OwnedFd>) {
        let Some(process) = &self.process else { return };
        if let Err(error) = process.send(message, socket) {
            self.lose(now, &error);
        }
    }

    fn tell_everything(&self, process: &Process) -> io::Result<()> {
        for (number, sender) in &self.senders {
            process.send(&ToGuard::Sender { number: *number }, Some(sender))?;
        }
        for (name, orders) in &self.groups {
            for message in ToGuard::group(name, Some(orders)) {
                process.send(&message, None)?;
            }
        }
        Ok(())
    }

    fn lose(&mut self, now: Instant, error: &io::Error) {
        let milliseconds = self.backoff.as_millis();
        tracing::warn!("the guard is gone ({error}); another one is started in {milliseconds} ms");
        self.deaf = None;
        if let Some(process) = self.process.take() {
            process.end();
        }
        self.error = Some(format!("the guard is gone ({error}) and is started again"));
        if self.started.is_some_and(|started| now.saturating_duration_since(started) > LIVED_LONG) {
            self.backoff = MIN_BACKOFF;
        }
        self.retry(now);
    }

    fn retry(&mut self, now: Instant) {
        self.start_at = now.checked_add(self.backoff);
        self.backoff = self.backoff.saturating_mul(2).min(MAX_BACKOFF);
    }
}
