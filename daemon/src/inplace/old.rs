//! The old process: it starts the new one, gives it what it has, and finishes its connections.
#![allow(clippy::disallowed_methods, reason = "a driver: it waits for the other process")]
#![allow(clippy::wildcard_enum_match_arm, reason = "whatever else is said is not what comes now")]

use super::channel::Channel;
use super::message::{AT_A_TIME, PROTOCOL, Word};
use crate::node::Node;
use crate::systemd;
use fulcrum_config::GroupName;
use fulcrum_lb::Stage;
use fulcrum_vip_manager::Role;
use std::collections::BTreeMap;
use std::io;
use std::os::fd::{AsFd, OwnedFd};
use std::path::Path;
use std::process::{Child, Command, ExitStatus, Stdio};
use std::sync::Arc;
use std::time::{Duration, Instant};

/// How long this process's own parts may take to do what they are told.
const OWN: Duration = Duration::from_secs(5);
/// How long the new process may take to answer operators, once it is the node.
const SERVES: Duration = Duration::from_secs(10);
/// How often it is told what is left.
const TELL: Duration = Duration::from_millis(250);
/// One that was accepted in the last moment is counted by then.
const SETTLED: Duration = Duration::from_secs(1);
/// One that has closed its end of the channel is about to end.
const ENDS: Duration = Duration::from_secs(1);
/// Between two looks.
const LOOK: Duration = Duration::from_millis(1);

/// The new process is the node.
#[derive(Debug)]
pub(crate) struct Given {
    /// It.
    pub(crate) pid: u32,
    /// Its version.
    pub(crate) version: String,
    /// What is left to do here.
    pub(crate) finisher: Finisher,
}

/// Starts `program` with the configuration at `file`, and leaves everything to it; it may take until `ready` to have all that
/// it needs. If it doesn't, it is ended, and this process has all that it had.
///
/// # Errors
/// Why, for people.
pub(crate) fn hand_over(
    node: &Arc<Node>,
    program: &Path,
    file: &Path,
    ready: Duration,
    deadline: Duration,
) -> Result<Given, String> {
    let (channel, theirs) = Channel::pair().map_err(|error| format!("no files are left: {error}"))?;
    let child = Command::new(program)
        .arg("run")
        .arg("--take-over")
        .arg(file)
        .stdin(Stdio::from(theirs))
        .env_remove("WATCHDOG_PID")
        .spawn()
        .map_err(|error| format!("{} can't be run: {error}", program.display()))?;
    let until = Instant::now().checked_add(ready);
    let mut heir = NewProcess { child, channel, until, node };
    match heir.give() {
        Ok(version) => {
            let NewProcess { child, channel, .. } = heir;
            let until = Instant::now().checked_add(deadline);
            let finisher = Finisher { channel, until, node: Arc::clone(node) };
            Ok(Given { pid: child.id(), version, finisher })
        }
        Err(why) => Err(heir.give_up(&why)),
    }
}

struct NewProcess<'a> {
    child: Child,
    channel: Channel,
    until: Option<Instant>,
    node: &'a Arc<Node>,
}

impl NewProcess<'_> {
    fn give(&mut self) -> Result<String, String> {
        let called_off = || "this process is about to end".to_owned();
        if !self.node.estate().begin(self.child.id()) {
            return Err(called_off());
        }
        let version = match self.hear("say its version")? {
            Word::Hello { protocol: PROTOCOL, version } => version,
            Word::Hello { protocol, version } => {
                return Err(format!(
                    "version {version} hands over in another way ({protocol}, not {PROTOCOL}); upgrade by way of another node"
                ));
            }
            other => return Err(format!("it said {other:?}")),
        };
        let handle = self.node.handle();
        match self.hear("look at the backends")? {
            Word::Prepared { serial } if serial == handle.serial() => {}
            Word::Prepared { .. } => return Err("it runs another configuration".to_owned()),
            other => return Err(format!("it said {other:?}")),
        }
        let led = self.led();
        handle.lend();
        wait("the listeners", || handle.lb().borrow().stage == Stage::Lends)?;
        self.lend(&led).map_err(|error| format!("it could not be given everything: {error}"))?;
        match self.hear("have all that it needs")? {
            Word::Stands => {}
            other => return Err(format!("it said {other:?}")),
        }
        if self.led() != led {
            return Err("who leads changed meanwhile; try again".to_owned());
        }
        if !self.node.estate().decide() {
            return Err(called_off());
        }
        self.channel.send(&Word::Go, &[]).map_err(|error| format!("it is gone: {error}"))?;
        systemd::main_process(self.child.id());
        self.leave();
        Ok(version)
    }

    /// What this node leads.
    fn led(&self) -> BTreeMap<GroupName, u64> {
        let vip = self.node.handle().vip();
        let vip = vip.borrow();
        let led = vip.groups.iter().filter(|(_, group)| group.role == Role::Leader);
        led.map(|(name, group)| (name.clone(), group.epoch)).collect()
    }

    fn lend(&self, led: &BTreeMap<GroupName, u64>) -> io::Result<()> {
        let named: Vec<(String, u64)> = led.iter().map(|(name, epoch)| (name.to_string(), *epoch)).collect();
        for some in named.chunks(AT_A_TIME) {
            self.channel.send(&Word::Led { groups: some.iter().cloned().collect() }, &[])?;
        }
        let handle = self.node.handle();
        let up: Vec<String> = {
            let health = handle.health();
            let health = health.borrow();
            health.services.iter().filter(|(_, it)| it.up).map(|(name, _)| name.to_string()).collect()
        };
        for some in up.chunks(AT_A_TIME) {
            self.channel.send(&Word::Up { services: some.to_vec() }, &[])?;
        }
        self.send_files(&self.node.estate().lend()?)?;
        self.channel.send(&Word::All, &[])
    }

    fn send_files(&self, files: &[(String, OwnedFd)]) -> io::Result<()> {
        for some in files.chunks(AT_A_TIME) {
            let names = some.iter().map(|(name, _)| name.clone()).collect();
            let files: Vec<_> = some.iter().map(|(_, file)| file.as_fd()).collect();
            self.channel.send(&Word::Files { names }, &files)?;
        }
        Ok(())
    }

    /// The new process is the node: this one lets go of everything but its connections.
    fn leave(&self) {
        let (node, handle) = (self.node, self.node.handle());
        node.estate().leave();
        node.end_run();
        handle.leave_clients();
        let served = wait("the listeners", || handle.lb().borrow().stage == Stage::Left);
        // From here until the new process has its link the peers hear nothing over it: nothing else comes in between.
        node.estate().peer.want();
        handle.leave();
        let is_gone = || handle.vip().has_changed().is_err() && handle.peer().has_changed().is_err();
        let ended = wait("the link to the peers to be let go of", is_gone);
        for why in [served, ended].into_iter().filter_map(Result::err) {
            tracing::error!("{why}; the new process goes on all the same");
        }
        let said = self
            .send_files(&node.estate().lend_link())
            .and_then(|()| self.channel.send(&Word::Gone, &[]))
            .and_then(|()| self.channel.receive(Instant::now().checked_add(SERVES)));
        if let Err(error) = said {
            tracing::error!(%error, "the new process did not say that it answers operators");
        }
    }

    fn hear(&mut self, what: &str) -> Result<Word, String> {
        match self.channel.receive(self.until) {
            Ok(Some((Word::Failed { why }, _))) => Err(why),
            Ok(Some((word, _))) => Ok(word),
            Ok(None) => Err(match self.ended() {
                Ok(status) => format!("it ended ({status}) and did not {what}; the log says more"),
                Err(error) => format!("it is gone: {error}"),
            }),
            Err(error) if error.kind() == io::ErrorKind::TimedOut => {
                Err(format!("it did not {what} in time"))
            }
            Err(error) => Err(format!("it said what nobody understands: {error}")),
        }
    }

    fn ended(&mut self) -> io::Result<ExitStatus> {
        let begun = Instant::now();
        while begun.elapsed() < ENDS && self.child.try_wait()?.is_none() {
            std::thread::sleep(LOOK);
        }
        // From then on its number may be another's.
        self.node.estate().decide();
        let _ = self.child.kill();
        self.child.wait()
    }

    /// This process has all that it had.
    fn give_up(mut self, why: &str) -> String {
        // It may be gone already.
        let _ = self.child.kill();
        let _ = self.ended();
        drop(self.node.estate().lb.take_all());
        self.node.handle().take_back();
        why.to_owned()
    }
}

/// Waits until this process has done something.
fn wait(what: &str, done: impl Fn() -> bool) -> Result<(), String> {
    let begun = Instant::now();
    while !done() {
        if begun.elapsed() >= OWN {
            return Err(format!("waited {} s for {what}", OWN.as_secs()));
        }
        std::thread::sleep(LOOK);
    }
    Ok(())
}

/// What is left to do once the new process is the node.
#[derive(Debug)]
pub(crate) struct Finisher {
    channel: Channel,
    until: Option<Instant>,
    node: Arc<Node>,
}

impl Finisher {
    /// Waits until the last connection has ended, or the deadline is over.
    pub(crate) fn finish(self) {
        let lb = self.node.handle().lb();
        let mut last = Instant::now();
        loop {
            let connections = lb.borrow().connections;
            if connections > 0 {
                last = Instant::now();
            }
            let left = self.until.map(|until| until.saturating_duration_since(Instant::now()));
            let left = left.unwrap_or_default();
            // Who listens may be gone.
            let _ = self.channel.send(&Word::Finishing { connections, seconds: left.as_secs() }, &[]);
            if last.elapsed() >= SETTLED || left.is_zero() {
                if connections == 0 {
                    tracing::info!("every connection of this process has ended, and so does it");
                } else {
                    tracing::warn!(
                        connections,
                        "the deadline is over: connections are cut, and this process ends"
                    );
                }
                return self.node.estate().end();
            }
            std::thread::sleep(TELL);
        }
    }
}
