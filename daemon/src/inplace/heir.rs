//! The new process: it takes over.
#![allow(clippy::disallowed_methods, reason = "a driver: it waits for the other process")]
#![allow(clippy::wildcard_enum_match_arm, reason = "whatever else is said is not what comes now")]

use super::Estate;
use super::channel::Channel;
use super::message::{PROTOCOL, Word};
use crate::error::Failure;
use fulcrum_config::{GroupName, ServiceName};
use fulcrum_lifecycle::Finishing;
use rustix::net::sockopt::socket_peercred;
use std::collections::BTreeMap;
use std::fs::File;
use std::io;
use std::os::fd::AsFd;
use std::sync::Arc;
use std::time::{Duration, Instant};

/// How long the old process may take to let go of what it has, once this one has everything else.
const GONE: Duration = Duration::from_secs(5);

/// The new process's hold on the old one.
#[derive(Debug)]
pub(crate) struct Heir {
    channel: Channel,
    led: BTreeMap<GroupName, u64>,
    up: Vec<ServiceName>,
    gone: bool,
}

impl Heir {
    /// The channel is this process's standard input.
    pub(crate) fn begin() -> Result<Self, Failure> {
        let channel = io::stdin().as_fd().try_clone_to_owned().and_then(Channel::of).and_then(|channel| {
            let nothing = File::open("/dev/null")?;
            rustix::stdio::dup2_stdin(&nothing)?;
            let version = env!("CARGO_PKG_VERSION").to_owned();
            channel.send(&Word::Hello { protocol: PROTOCOL, version }, &[])?;
            Ok(channel)
        });
        let channel = channel.map_err(|error| Failure::Io {
            what: "there is no process to take over from: --take-over is for 'fulcrum upgrade-binary --in-place' alone".to_owned(),
            error,
        })?;
        Ok(Self { channel, led: BTreeMap::new(), up: Vec::new(), gone: false })
    }

    /// Everything is ready that needs nothing of the old process: gets what that one has.
    pub(crate) fn prepared(&mut self, serial: u64, estate: &Estate) -> Result<(), Failure> {
        self.say(&Word::Prepared { serial })?;
        loop {
            let (word, files) = self.hear(None)?;
            match word {
                Word::Led { groups } => {
                    self.led.extend(groups.into_iter().map(|(name, epoch)| (GroupName::new(&name), epoch)));
                }
                Word::Up { services } => {
                    self.up.extend(services.iter().map(|name| ServiceName::new(name)));
                }
                Word::Files { names } => {
                    names.iter().zip(files).for_each(|(name, file)| estate.receive(name, file));
                }
                Word::All => return Ok(()),
                other => return Err(unexpected(&other)),
            }
        }
    }

    /// What the old process serves. A check that fails once, as on a machine that starts a process, is no reason to refuse clients.
    pub(crate) fn up(&self) -> &[ServiceName] {
        &self.up
    }

    /// What the old process leads.
    pub(crate) fn led(&self) -> &BTreeMap<GroupName, u64> {
        &self.led
    }

    /// Everything stands: waits until clients are this process's.
    pub(crate) fn stands(&self) -> Result<(), Failure> {
        self.say(&Word::Stands)?;
        match self.hear(None)? {
            (Word::Go, _) => Ok(()),
            (other, _) => Err(unexpected(&other)),
        }
    }

    /// Waits until the old process has let go of everything but its connections. From "go" on this process is the node, even if
    /// the other one does not say so any more.
    pub(crate) fn follow(&mut self, estate: &Estate) {
        let deadline = Instant::now().checked_add(GONE);
        loop {
            match self.hear(deadline) {
                Ok((Word::Files { names }, files)) => {
                    names.iter().zip(files).for_each(|(name, file)| estate.receive(name, file));
                }
                Ok((Word::Gone, _)) => return,
                Ok((other, _)) => tracing::warn!("the process before said {other:?}"),
                Err(failure) => {
                    self.gone = true;
                    return tracing::warn!(
                        "the process before did not say that it has let go of everything: {failure}"
                    );
                }
            }
        }
    }

    /// Operators are answered: shows what the old process finishes.
    pub(crate) fn serves(self, estate: Arc<Estate>) {
        let said = self.say(&Word::Serves);
        if self.gone || said.is_err() {
            return;
        }
        let pid = socket_peercred(&self.channel).map_or(0, |it| it.pid.as_raw_nonzero().get());
        let watch = move || {
            while let Ok((Word::Finishing { connections, seconds }, _)) = self.hear(None) {
                estate.set_finishing(Some(Finishing { pid, connections, seconds }));
            }
            estate.set_finishing(None);
            tracing::info!(pid, "the process before has ended");
        };
        if let Err(error) = std::thread::Builder::new().name("before".to_owned()).spawn(watch) {
            tracing::warn!(%error, "no thread is left: what the process before finishes is not shown");
        }
    }

    /// It can't.
    pub(crate) fn fail(&self, why: &str) {
        // Nobody may listen any more.
        let _ = self.say(&Word::Failed { why: why.to_owned() });
    }

    fn say(&self, word: &Word) -> Result<(), Failure> {
        self.channel.send(word, &[]).map_err(lost)
    }

    fn hear(&self, deadline: Option<Instant>) -> Result<(Word, Vec<std::os::fd::OwnedFd>), Failure> {
        self.channel
            .receive(deadline)
            .and_then(|heard| heard.ok_or_else(|| io::Error::other("it ended")))
            .map_err(lost)
    }
}

fn lost(error: io::Error) -> Failure {
    Failure::Io { what: "the process to take over from".to_owned(), error }
}

fn unexpected(word: &Word) -> Failure {
    Failure::Refused(format!("the process to take over from said {word:?}, which is not what comes now"))
}
