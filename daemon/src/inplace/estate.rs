//! What one process of this node leaves to the next.

use fulcrum_config::Protocol;
use fulcrum_lifecycle::Finishing;
use rustix::process::{Pid, Signal, kill_process};
use std::collections::BTreeMap;
use std::io;
use std::net::SocketAddr;
use std::os::fd::OwnedFd;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Mutex, MutexGuard, PoisonError};
use tokio::sync::Notify;
use tokio::task::AbortHandle;

/// What a file is of, but for those of services and of the link.
pub(crate) const LOCK: &str = "lock";
pub(crate) const NAMESPACE: &str = "namespace";

/// What is open in this process and may go on in another, and what did so before in another.
#[derive(Debug, Default)]
pub(crate) struct Estate {
    /// Of services.
    pub(crate) lb: fulcrum_lb::Sockets,
    /// Of the link to the peers.
    pub(crate) peer: fulcrum_peer::Sockets,
    open: Mutex<BTreeMap<String, OwnedFd>>,
    inherited: Mutex<BTreeMap<String, OwnedFd>>,
    tasks: Mutex<Vec<AbortHandle>>,
    left: AtomicBool,
    over: Notify,
    finishing: Mutex<Option<Finishing>>,
    heir: Mutex<NewProcess>,
}

/// The process that takes over, before it has.
#[derive(Debug, Default)]
struct NewProcess {
    pid: Option<Pid>,
    /// This process is to end as if there were none.
    called_off: bool,
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

impl Estate {
    /// This is open as long as the process has not left it to another.
    pub(crate) fn keep(&self, name: &str, file: impl Into<OwnedFd>) {
        lock(&self.open).insert(name.to_owned(), file.into());
    }

    /// What another process had open by that name.
    pub(crate) fn inherit(&self, name: &str) -> Option<OwnedFd> {
        lock(&self.inherited).remove(name)
    }

    /// Runs a task for as long as this process is the node.
    pub(crate) fn spawn(&self, task: impl Future<Output = ()> + Send + 'static) {
        self.ends_with_it(tokio::spawn(task).abort_handle());
    }

    /// Ends with what is left to another process.
    pub(crate) fn ends_with_it(&self, task: AbortHandle) {
        lock(&self.tasks).push(task);
    }

    /// Second descriptors of everything but what belongs to the link to the peers, with their names.
    pub(super) fn lend(&self) -> io::Result<Vec<(String, OwnedFd)>> {
        let of_services = self.lb.take_all().into_iter().map(|(protocol, address, file)| {
            let kind = match protocol {
                Protocol::Tcp => "tcp",
                Protocol::Udp => "udp",
            };
            Ok((format!("{kind} {address}"), file))
        });
        let open = lock(&self.open);
        let others = open.iter().map(|(name, file)| Ok((name.clone(), file.try_clone()?)));
        of_services.chain(others).collect()
    }

    /// Those of the link, which has ended.
    pub(super) fn lend_link(&self) -> Vec<(String, OwnedFd)> {
        let sockets = self.peer.take_all().into_iter();
        sockets.map(|(address, socket)| (format!("peer {address}"), socket.into())).collect()
    }

    /// Takes what another process lends. What nobody knows is closed.
    pub(super) fn receive(&self, name: &str, file: OwnedFd) {
        let (kind, address) = name.split_once(' ').unwrap_or((name, ""));
        match (kind, address.parse::<SocketAddr>()) {
            ("tcp", Ok(address)) => self.lb.put(Protocol::Tcp, address, file),
            ("udp", Ok(address)) => self.lb.put(Protocol::Udp, address, file),
            ("peer", Ok(address)) => self.peer.inherit([(address, file.into())]),
            _ => drop(lock(&self.inherited).insert(name.to_owned(), file)),
        }
    }

    /// Everything is another process's: what served it here ends, and is closed.
    pub(super) fn leave(&self) {
        self.left.store(true, Ordering::Release);
        lock(&self.tasks).drain(..).for_each(|task| task.abort());
        lock(&self.open).clear();
    }

    /// Whether it is.
    pub(crate) fn is_left(&self) -> bool {
        self.left.load(Ordering::Acquire)
    }

    /// There is one that is to take over. Whether it may.
    pub(super) fn begin(&self, pid: u32) -> bool {
        let mut heir = lock(&self.heir);
        heir.pid = i32::try_from(pid).ok().and_then(Pid::from_raw);
        !heir.called_off
    }

    /// It is ended, or is the node from now on. Whether it may be.
    pub(super) fn decide(&self) -> bool {
        let mut heir = lock(&self.heir);
        heir.pid = None;
        !heir.called_off
    }

    /// Nobody takes over any more: whoever was about to is ended.
    pub(crate) fn call_off(&self) {
        let mut heir = lock(&self.heir);
        heir.called_off = true;
        if let Some(pid) = heir.pid {
            // It may have ended by itself.
            let _ = kill_process(pid, Signal::KILL);
        }
    }

    /// The last connection has ended, or was given up.
    pub(crate) fn end(&self) {
        self.over.notify_one();
    }

    /// Waits for that.
    pub(crate) async fn over(&self) {
        self.over.notified().await;
    }

    /// The process before this one, if it finishes connections still.
    pub(crate) fn finishing(&self) -> Option<Finishing> {
        lock(&self.finishing).clone()
    }

    pub(super) fn set_finishing(&self, finishing: Option<Finishing>) {
        *lock(&self.finishing) = finishing;
    }
}
