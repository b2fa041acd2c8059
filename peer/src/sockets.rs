//! The link's sockets on their way from one process of this node to the next: what peers send meanwhile waits in them.

use std::collections::BTreeMap;
use std::net::{SocketAddr, UdpSocket};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

/// Those that another process has handed over, or that are to be handed over; clones are the same.
#[derive(Debug, Clone, Default)]
pub struct Sockets(Arc<Mutex<Shelf>>);

#[derive(Debug, Default)]
struct Shelf {
    sockets: BTreeMap<SocketAddr, UdpSocket>,
    /// Another process is to have them.
    wanted: bool,
    /// Another process had them.
    inherited: bool,
}

impl Sockets {
    /// Those of another process.
    pub fn inherit(&self, sockets: impl IntoIterator<Item = (SocketAddr, UdpSocket)>) {
        let mut shelf = self.shelf();
        shelf.inherited = true;
        shelf.sockets.extend(sockets);
    }

    /// As the engine ends, it is to leave them here, and to say nothing to the peers.
    pub fn want(&self) {
        self.shelf().wanted = true;
    }

    /// What the engine left.
    #[must_use]
    pub fn take_all(&self) -> BTreeMap<SocketAddr, UdpSocket> {
        std::mem::take(&mut self.shelf().sockets)
    }

    pub(crate) fn is_wanted(&self) -> bool {
        self.shelf().wanted
    }

    pub(crate) fn are_inherited(&self) -> bool {
        self.shelf().inherited
    }

    pub(crate) fn put(&self, address: SocketAddr, socket: UdpSocket) {
        self.shelf().sockets.insert(address, socket);
    }

    pub(crate) fn take(&self, address: SocketAddr) -> Option<UdpSocket> {
        self.shelf().sockets.remove(&address)
    }

    fn shelf(&self) -> MutexGuard<'_, Shelf> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
