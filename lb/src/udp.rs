//! The UDP proxy.
//!
//! Each worker is a thread with a socket of its own on each address (SO_REUSEPORT), so that the kernel gives
//! all datagrams of one client to one worker and sessions need no lock. A session is a client's address and
//! port together with the address and port it sends to; it has one socket, connected to its backend.
//!
//! - A service without a live backend has no socket: the kernel then answers ICMP "port unreachable" for it,
//!   which an open socket can't. Sessions that may go on (`on_down: drain`, or draining backends) keep their
//!   worker's socket until the last has ended; meanwhile new clients of that worker get no answer.
//! - A session whose backend goes down, or says that its port is closed, gets another one with the client's
//!   next datagram.
//! - A PROXY header (version 2) stands in front of each datagram, not only of the first one: datagrams are
//!   lost and backends restart, and whoever keeps no state (DNS) must understand each by itself. The same is
//!   expected from listed sources.
//! - The limit on sessions is divided among the workers; the session idle longest in a worker makes room.

mod forward;
mod service;
mod sessions;
mod sockets;
mod sys;
#[cfg(test)]
#[allow(clippy::arithmetic_side_effects)] // Counts of tests are small.
mod tests;
mod token;
mod worker;

use crate::connection_log::LogQueue;
use crate::pulse::{Pulse, Pulses};
use crate::shared::Shared;
use crate::sockets::Sockets;
use crate::table::ServiceCell;
use fulcrum_config::{Protocol, ServiceName};
use rustix::event::{EventfdFlags, eventfd};
use std::collections::{BTreeMap, BTreeSet};
use std::io;
use std::net::SocketAddr;
use std::os::fd::OwnedFd;
use std::sync::mpsc::{Sender, channel};
use std::sync::{Arc, Weak};
use worker::{Command, Worker};

/// With more addresses than this, each has one socket in place of one for each worker, and so one worker: a
/// socket costs a descriptor.
const SPREAD_UP_TO: usize = 512;

/// The threads that serve UDP, and what they serve. They end when this is dropped.
#[derive(Debug)]
pub(crate) struct UdpWorkers {
    shared: Arc<Shared>,
    workers: Vec<Handle>,
    log: Option<LogQueue>,
    services: BTreeMap<ServiceName, BTreeMap<SocketAddr, Held>>,
    /// Addresses that were served and that a worker may still hold open for the sessions it has.
    released: BTreeMap<SocketAddr, Weak<()>>,
    addresses: usize,
    sockets: usize,
    /// Sockets there may be.
    limit: usize,
    /// Of another process, or for it.
    shelf: Sockets,
    /// What the workers are to be told once clients are no longer another process's.
    held: Option<Vec<(usize, Command)>>,
    /// Another process has all of them.
    left: bool,
}

/// An address that is served.
#[derive(Debug)]
struct Held {
    /// Each worker's listener has a clone: as long as one is left, the address is in use by ourselves.
    mark: Weak<()>,
    /// The workers'.
    sockets: Vec<Weak<OwnedFd>>,
}

/// One thread. Commands are not bounded by number, but there are only as many as addresses to serve.
#[derive(Debug)]
struct Handle {
    commands: Option<Sender<Command>>,
    wake: Arc<OwnedFd>,
    pulse: Arc<Pulse>,
}

impl UdpWorkers {
    /// As many workers as `shared` has; their threads start with the first service. `files` is the limit on
    /// open files, of which listeners may use a quarter.
    pub(crate) fn new(shared: Arc<Shared>, files: u64, log: Option<LogQueue>, shelf: Sockets) -> Self {
        let limit = usize::try_from(files / 4).unwrap_or(usize::MAX);
        Self {
            shared,
            workers: Vec::new(),
            log,
            services: BTreeMap::new(),
            released: BTreeMap::new(),
            addresses: 0,
            sockets: 0,
            limit,
            shelf,
            held: None,
            left: false,
        }
    }

    /// Sockets that take datagrams from clients now.
    pub(crate) fn len(&self) -> usize {
        self.sockets
    }

    /// Has the threads watched that were started since the first `known`. Gives how many there are now.
    pub(crate) fn watch(&self, known: usize, pulses: &mut Pulses) -> usize {
        for (index, worker) in self.workers.iter().enumerate().skip(known) {
            pulses.watch(format!("udp-{index}"), Arc::clone(&worker.pulse), Arc::clone(&worker.wake));
        }
        self.workers.len()
    }

    /// Serves a service as its table says now. Returns why some of its addresses are not served, a message for
    /// each; calling it again tries those again.
    pub(crate) fn apply(&mut self, cell: &Arc<ServiceCell>) -> Vec<String> {
        if self.left {
            return Vec::new();
        }
        if let Err(error) = self.start() {
            return vec![format!(
                "UDP workers can't start: {error}; free memory or raise the limit on threads"
            )];
        }
        let table = cell.table();
        let wanted: BTreeSet<SocketAddr> =
            if table.can_serve() { table.addresses().collect() } else { BTreeSet::new() };
        drop(table);
        let known = self.services.contains_key(&cell.name);
        let mut held = self.services.remove(&cell.name).unwrap_or_default();
        let gone: Vec<SocketAddr> =
            held.keys().filter(|address| !wanted.contains(address)).copied().collect();
        for address in gone {
            self.tell_all(|| Command::Unlisten { service: cell.name.clone(), address });
            if let Some(held) = held.remove(&address) {
                self.release(address, held);
            }
        }
        if known {
            self.tell_all(|| Command::Refresh { service: cell.name.clone() });
        }
        let mut errors = Vec::new();
        for address in wanted {
            if held.contains_key(&address) {
                continue;
            }
            match self.listen(cell, address) {
                Ok(new) => {
                    held.insert(address, new);
                }
                Err(error) => errors.push(sockets::explain(address, &error)),
            }
        }
        self.services.insert(cell.name.clone(), held);
        errors
    }

    /// Serves a service no longer: its sessions end.
    pub(crate) fn remove(&mut self, service: &ServiceName) {
        for (address, held) in self.services.remove(service).unwrap_or_default() {
            self.release(address, held);
        }
        self.tell_all(|| Command::Remove { service: service.clone() });
    }

    fn release(&mut self, address: SocketAddr, held: Held) {
        self.addresses = self.addresses.saturating_sub(1);
        self.sockets = self.sockets.saturating_sub(held.sockets.len());
        self.released.retain(|_, mark| mark.strong_count() > 0);
        self.released.insert(address, held.mark);
    }

    /// All sockets first, so that an address is served by each of its workers or by none.
    fn listen(&mut self, cell: &Arc<ServiceCell>, address: SocketAddr) -> io::Result<Held> {
        let spread = self.addresses < SPREAD_UP_TO;
        let count = if spread { self.workers.len() } else { 1 };
        if self.sockets.saturating_add(count) > self.limit {
            return Err(io::Error::from_raw_os_error(libc::EMFILE));
        }
        // Another service may have it still, and lose it with the same change.
        let ours = self.released.get(&address).is_some_and(|mark| mark.strong_count() > 0)
            || self.services.values().any(|held| held.contains_key(&address));
        let inherited = self.shelf.take(Protocol::Udp, address);
        let sockets =
            if inherited.is_empty() { sockets::listeners(address, count, ours)? } else { inherited };
        let mark = Arc::new(());
        let sockets: Vec<Arc<OwnedFd>> = sockets.into_iter().map(Arc::new).collect();
        for (offset, socket) in sockets.iter().enumerate() {
            let worker = self.addresses.wrapping_add(offset).checked_rem(self.workers.len()).unwrap_or(0);
            let (cell, socket, mark) = (Arc::clone(cell), Arc::clone(socket), Arc::clone(&mark));
            self.tell(worker, Command::Listen { cell, address, socket, mark });
        }
        self.released.remove(&address);
        self.addresses = self.addresses.saturating_add(1);
        self.sockets = self.sockets.saturating_add(sockets.len());
        Ok(Held { mark: Arc::downgrade(&mark), sockets: sockets.iter().map(Arc::downgrade).collect() })
    }

    fn tell(&mut self, worker: usize, command: Command) {
        if let Some(held) = &mut self.held {
            held.push((worker, command));
        } else if let Some(worker) = self.workers.get(worker) {
            worker.tell(command);
        }
    }

    fn tell_all(&mut self, command: impl Fn() -> Command) {
        for worker in 0..self.workers.len() {
            self.tell(worker, command());
        }
    }

    /// From now on clients are another process's: no worker is told anything.
    pub(crate) fn hold(&mut self) {
        self.held.get_or_insert_default();
    }

    /// Clients are this process's.
    pub(crate) fn release_held(&mut self) {
        for (worker, command) in self.held.take().into_iter().flatten() {
            self.tell(worker, command);
        }
    }

    /// Has all sockets ready for another process; this one goes on with them meanwhile.
    pub(crate) fn lend(&self) {
        for (address, held) in self.services.values().flatten() {
            let sockets = held.sockets.iter().filter_map(Weak::upgrade);
            for socket in sockets.filter_map(|socket| socket.try_clone().ok()) {
                self.shelf.put(Protocol::Udp, *address, socket);
            }
        }
    }

    /// Takes no more datagrams from clients: another process does. Replies of the sessions that there are go on.
    pub(crate) fn leave(&mut self) {
        self.left = true;
        self.tell_all(|| Command::Leave);
        self.services.clear();
        (self.addresses, self.sockets) = (0, 0);
    }

    fn start(&mut self) -> io::Result<()> {
        for index in self.workers.len()..self.shared.each() {
            let wake = Arc::new(eventfd(0, EventfdFlags::NONBLOCK | EventfdFlags::CLOEXEC)?);
            let (sender, commands) = channel();
            let shared = Arc::clone(&self.shared);
            let pulse = Arc::new(Pulse::default());
            let (woken, answers) = (Arc::clone(&wake), Arc::clone(&pulse));
            let worker = Worker::new(index, shared, woken, commands, answers, self.log.clone())?;
            self.shared.spawn(format!("udp-{index}"), move || worker.run())?;
            self.workers.push(Handle { commands: Some(sender), wake, pulse });
        }
        Ok(())
    }
}

impl Handle {
    fn tell(&self, command: Command) {
        // A worker that is gone has said so, and nobody can do anything about it here.
        let _ = self.commands.as_ref().map(|commands| commands.send(command));
        self.wake();
    }

    fn wake(&self) {
        let _ = rustix::io::write(&*self.wake, &1_u64.to_ne_bytes()); // Full means that it is awake.
    }
}

impl Drop for Handle {
    fn drop(&mut self) {
        self.commands = None; // Before the wake-up, so that the worker sees it.
        self.wake();
    }
}
