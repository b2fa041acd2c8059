//! The listeners of all TCP services.

use crate::listener::{self, Listener};
use crate::shared::{Message, Shared};
use crate::table::ServiceCell;
use fulcrum_config::ServiceName;
use rustix::io::Errno;
use slab::Slab;
use std::collections::{BTreeMap, BTreeSet};
use std::net::SocketAddr;
use std::sync::Arc;

/// With more addresses than this, each has one listener in place of one for each worker: a listener costs a
/// descriptor. Workers pass on what they accept, so the load is spread all the same.
const SPREAD_UP_TO: usize = 512;

/// What is bound for whom.
#[derive(Debug)]
pub(crate) struct TcpListeners {
    shared: Arc<Shared>,
    services: BTreeMap<ServiceName, Bound>,
    /// Where each listener is, as workers know it.
    places: Slab<usize>,
    addresses: usize,
    /// Listeners there may be.
    limit: usize,
}

#[derive(Debug, Default)]
struct Bound {
    serve: bool,
    unacknowledged: std::time::Duration,
    addresses: BTreeMap<SocketAddr, Vec<usize>>,
}

impl TcpListeners {
    /// `files` is the limit on open files, of which listeners may use half.
    pub(crate) fn new(shared: Arc<Shared>, files: u64) -> Self {
        let limit = usize::try_from(files / 2).unwrap_or(usize::MAX);
        Self { shared, services: BTreeMap::new(), places: Slab::new(), addresses: 0, limit }
    }

    /// Sockets now.
    pub(crate) fn len(&self) -> usize {
        self.places.len()
    }

    /// Has a service served as its table says now. Returns why some addresses are not, a message for each.
    pub(crate) fn apply(&mut self, cell: &Arc<ServiceCell>) -> Vec<String> {
        let table = cell.table();
        let serve = table.can_serve();
        let unacknowledged = table.service().timeouts.unacknowledged;
        let wanted: BTreeSet<SocketAddr> = table.addresses().collect();
        let mut bound = self.services.remove(&cell.name).unwrap_or_default();
        let keep = bound.unacknowledged == unacknowledged;
        bound.addresses.retain(|address, ids| {
            let keep = keep && wanted.contains(address);
            if !keep {
                self.addresses = self.addresses.saturating_sub(1);
                self.close(ids);
            }
            keep
        });
        if bound.serve != serve {
            for id in bound.addresses.values().flatten() {
                self.tell(*id, Message::Serve { id: *id, serve });
            }
        }
        bound.serve = serve;
        bound.unacknowledged = unacknowledged;
        let mut errors = Vec::new();
        for address in wanted {
            if bound.addresses.contains_key(&address) {
                continue;
            }
            match self.open(cell, address, serve) {
                Ok(ids) => {
                    bound.addresses.insert(address, ids);
                }
                Err(error) => errors.push(explain(address, error)),
            }
        }
        self.services.insert(cell.name.clone(), bound);
        errors
    }

    /// Serves a service no longer. Connections that it has go on.
    pub(crate) fn remove(&mut self, service: &ServiceName) {
        if let Some(bound) = self.services.remove(service) {
            for ids in bound.addresses.values() {
                self.addresses = self.addresses.saturating_sub(1);
                self.close(ids);
            }
        }
    }

    fn open(
        &mut self,
        cell: &Arc<ServiceCell>,
        address: SocketAddr,
        serve: bool,
    ) -> Result<Vec<usize>, Errno> {
        let workers = self.shared.workers.len();
        let count = if self.addresses < SPREAD_UP_TO { workers } else { 1 };
        if self.places.len().saturating_add(count) > self.limit {
            return Err(Errno::MFILE);
        }
        let sockets = listener::bind(address, count, &cell.table().service().timeouts)?;
        let listeners: Vec<Arc<Listener>> = sockets
            .into_iter()
            .map(|socket| Arc::new(Listener { socket, address, service: Arc::clone(cell) }))
            .collect();
        if serve {
            // Here already, so that an error is known and no SYN is refused from now on.
            listeners.iter().try_for_each(|listener| listener.listen())?;
        }
        let mut ids = Vec::with_capacity(count);
        for (offset, listener) in listeners.into_iter().enumerate() {
            let worker = self.addresses.wrapping_add(offset).checked_rem(workers).unwrap_or(0);
            let id = self.places.insert(worker);
            self.tell(id, Message::Listen { id, listener, serve });
            ids.push(id);
        }
        self.addresses = self.addresses.saturating_add(1);
        Ok(ids)
    }

    fn close(&mut self, ids: &[usize]) {
        for id in ids {
            self.tell(*id, Message::Close { id: *id });
            self.places.try_remove(*id);
        }
    }

    fn tell(&self, id: usize, message: Message) {
        if let Some(worker) = self.places.get(id).and_then(|worker| self.shared.workers.get(*worker)) {
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
