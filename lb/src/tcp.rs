//! The listeners of all TCP services.

use crate::listener::{self, Listener};
use crate::shared::{Message, Shared};
use crate::sockets::Sockets;
use crate::table::ServiceCell;
use fulcrum_config::{Protocol, ServiceName, Timeouts};
use rustix::io::Errno;
use slab::Slab;
use std::collections::{BTreeMap, BTreeSet};
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

/// With more addresses than this, each has one listener in place of one for each worker: a listener costs a
/// descriptor. Workers pass on what they accept, so the load is spread all the same.
const SPREAD_UP_TO: usize = 512;

/// What is bound for whom.
#[derive(Debug)]
pub(crate) struct TcpListeners {
    shared: Arc<Shared>,
    services: BTreeMap<ServiceName, Bound>,
    /// Given up by one service, and perhaps wanted by another in the same change: a service that is renamed
    /// loses no client.
    free: BTreeMap<SocketAddr, Vec<Placed>>,
    /// Names of listeners, as workers know them.
    ids: Slab<()>,
    addresses: usize,
    /// Listeners there may be.
    limit: usize,
    /// Of another process, or for it.
    sockets: Sockets,
    /// What the workers are to be told once clients are no longer another process's.
    held: Option<Vec<(usize, Message)>>,
    /// Another process has all of them.
    left: bool,
}

#[derive(Debug, Default)]
struct Bound {
    serve: bool,
    unacknowledged: Duration,
    addresses: BTreeMap<SocketAddr, Vec<Placed>>,
}

/// A listener and the worker that has it, which is one for its service's class.
#[derive(Debug)]
struct Placed {
    id: usize,
    worker: usize,
    listener: Arc<Listener>,
}

impl TcpListeners {
    /// `files` is the limit on open files, of which listeners may use half.
    pub(crate) fn new(shared: Arc<Shared>, files: u64, sockets: Sockets) -> Self {
        let limit = usize::try_from(files / 2).unwrap_or(usize::MAX);
        Self {
            shared,
            services: BTreeMap::new(),
            free: BTreeMap::new(),
            ids: Slab::new(),
            addresses: 0,
            limit,
            sockets,
            held: None,
            left: false,
        }
    }

    /// Sockets now.
    pub(crate) fn len(&self) -> usize {
        self.ids.len()
    }

    /// Gives up the addresses that a service no longer has. Comes before [`Self::apply`] for any service.
    pub(crate) fn release(&mut self, cell: &ServiceCell) {
        let wanted: BTreeSet<SocketAddr> = cell.table().addresses().collect();
        if let Some(bound) = self.services.get_mut(&cell.name) {
            let addresses = std::mem::take(&mut bound.addresses);
            let (kept, given_up): (BTreeMap<_, _>, BTreeMap<_, _>) =
                addresses.into_iter().partition(|(address, _)| wanted.contains(address));
            bound.addresses = kept;
            self.free.extend(given_up);
        }
    }

    /// Gives up all addresses of a service. Connections that it has go on.
    pub(crate) fn remove(&mut self, service: &ServiceName) {
        if let Some(bound) = self.services.remove(service) {
            self.free.extend(bound.addresses);
        }
    }

    /// Has a service served as its table says now. Returns why some addresses are not, a message for each.
    pub(crate) fn apply(&mut self, cell: &Arc<ServiceCell>) -> Vec<String> {
        if self.left {
            return Vec::new();
        }
        let table = cell.table();
        let serve = table.can_serve();
        let timeouts = table.service().timeouts;
        let protected = table.desired.protected;
        let mut bound = self.services.remove(&cell.name).unwrap_or_default();
        bound.addresses.values_mut().for_each(|placed| self.move_to_class(placed, protected, bound.serve));
        for placed in bound.addresses.values().flatten() {
            if bound.unacknowledged != timeouts.unacknowledged {
                placed.listener.set_options(&timeouts);
            }
            if bound.serve != serve {
                self.tell(placed, Message::Serve { id: placed.id, serve });
            }
        }
        bound.serve = serve;
        bound.unacknowledged = timeouts.unacknowledged;
        let mut errors = Vec::new();
        for address in table.addresses() {
            if bound.addresses.contains_key(&address) {
                continue;
            }
            let opened = match self.free.remove(&address) {
                Some(free) => Ok(self.take_over(free, cell, &timeouts, serve)),
                None => self.open(cell, address, &timeouts, serve),
            };
            match opened {
                Ok(placed) => {
                    bound.addresses.insert(address, placed);
                }
                Err(error) => errors.push(explain(address, error)),
            }
        }
        self.services.insert(cell.name.clone(), bound);
        errors
    }

    /// From now on clients are another process's: no worker is told anything.
    pub(crate) fn hold(&mut self) {
        self.held.get_or_insert_default();
    }

    /// Clients are this process's.
    pub(crate) fn release_held(&mut self) {
        for (worker, message) in self.held.take().into_iter().flatten() {
            if let Some(worker) = self.shared.workers.get(worker) {
                worker.send(message);
            }
        }
    }

    /// Has all listeners ready for another process; this one goes on with them meanwhile.
    pub(crate) fn lend(&self) {
        for (address, placed) in self.services.values().flat_map(|bound| &bound.addresses) {
            for socket in placed.iter().filter_map(|it| it.listener.socket.try_clone().ok()) {
                self.sockets.put(Protocol::Tcp, *address, socket);
            }
        }
    }

    /// Lets go of all listeners, which stay open in another process. Connections go on.
    pub(crate) fn leave(&mut self) {
        self.left = true;
        let services = std::mem::take(&mut self.services);
        for placed in services.into_values().flat_map(|bound| bound.addresses.into_values()).flatten() {
            self.tell(&placed, Message::Leave { id: placed.id });
        }
        self.ids.clear();
        self.addresses = 0;
    }

    /// Closes what was given up and nobody wanted. Comes after [`Self::apply`] for all services.
    pub(crate) fn close_free(&mut self) {
        for placed in std::mem::take(&mut self.free).into_values() {
            self.addresses = self.addresses.saturating_sub(1);
            for placed in placed {
                self.tell(&placed, Message::Close { id: placed.id });
                self.ids.try_remove(placed.id);
            }
        }
    }

    fn take_over(
        &mut self,
        mut free: Vec<Placed>,
        cell: &Arc<ServiceCell>,
        timeouts: &Timeouts,
        serve: bool,
    ) -> Vec<Placed> {
        for placed in &free {
            placed.listener.service.store(Arc::clone(cell));
            placed.listener.set_options(timeouts);
        }
        self.move_to_class(&mut free, cell.table().desired.protected, serve);
        for placed in &free {
            self.tell(placed, Message::Serve { id: placed.id, serve });
        }
        free
    }

    /// Gives listeners to workers for this class, if others have them. What waits to be accepted goes along.
    fn move_to_class(&mut self, placed: &mut [Placed], protected: bool, serve: bool) {
        for placed in placed.iter_mut() {
            if self.shared.is_protected(placed.worker) == protected {
                continue;
            }
            let (from, to) = (self.shared.of_class(!protected), self.shared.of_class(protected));
            self.tell(placed, Message::Leave { id: placed.id });
            placed.worker = placed.worker.saturating_sub(from.start).saturating_add(to.start);
            let listener = Arc::clone(&placed.listener);
            self.tell(placed, Message::Listen { id: placed.id, listener, serve });
        }
    }

    fn open(
        &mut self,
        cell: &Arc<ServiceCell>,
        address: SocketAddr,
        timeouts: &Timeouts,
        serve: bool,
    ) -> Result<Vec<Placed>, Errno> {
        let class = self.shared.of_class(cell.table().desired.protected);
        let workers = class.len();
        let count = if self.addresses < SPREAD_UP_TO { workers } else { 1 };
        if self.ids.len().saturating_add(count) > self.limit {
            return Err(Errno::MFILE);
        }
        let inherited = self.sockets.take(Protocol::Tcp, address);
        let is_new = inherited.is_empty();
        let sockets = if is_new { listener::bind(address, count, timeouts)? } else { inherited };
        let listeners: Vec<Arc<Listener>> =
            sockets.into_iter().map(|socket| Arc::new(Listener::new(socket, address, cell))).collect();
        if serve && is_new {
            // Here already, so that an error is known and no SYN is refused from now on.
            listeners.iter().try_for_each(|listener| listener.listen())?;
        }
        let place = |(offset, listener): (usize, Arc<Listener>)| {
            let worker = self.addresses.wrapping_add(offset).checked_rem(workers).unwrap_or(0);
            let worker = class.start.saturating_add(worker);
            Placed { id: self.ids.insert(()), worker, listener }
        };
        let placed: Vec<Placed> = listeners.into_iter().enumerate().map(place).collect();
        for one in &placed {
            self.tell(one, Message::Listen { id: one.id, listener: Arc::clone(&one.listener), serve });
        }
        self.addresses = self.addresses.saturating_add(1);
        Ok(placed)
    }

    fn tell(&mut self, placed: &Placed, message: Message) {
        if let Some(held) = &mut self.held {
            held.push((placed.worker, message));
        } else if let Some(worker) = self.shared.workers.get(placed.worker) {
            worker.send(message);
        }
    }
}

fn explain(address: SocketAddr, error: Errno) -> String {
    match error {
        Errno::ADDRINUSE => {
            format!(
                "{address}: another process listens there (`ss -ltnp` shows which); stop it, or use another port"
            )
        }
        Errno::MFILE | Errno::NFILE => {
            format!(
                "{address}: not served, too many open files; raise the limit (LimitNOFILE=) or serve fewer ports"
            )
        }
        Errno::ACCESS | Errno::PERM => {
            format!(
                "{address}: not allowed to bind; the process needs CAP_NET_BIND_SERVICE for ports below 1024"
            )
        }
        error => format!("{address}: cannot listen: {error}"),
    }
}
