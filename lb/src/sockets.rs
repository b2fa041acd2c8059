//! Listening sockets on their way from one process of this node to the next: the same open sockets, so that no client notices,
//! not even one whose connection waits to be accepted.

use fulcrum_config::Protocol;
use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::os::fd::OwnedFd;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

/// Those that another process has handed over, or that are to be handed over; clones are the same.
#[derive(Debug, Clone, Default)]
pub struct Sockets(Arc<Mutex<Shelf>>);

type Shelf = BTreeMap<(Protocol, SocketAddr), Vec<OwnedFd>>;

impl Sockets {
    /// One more of an address.
    pub fn put(&self, protocol: Protocol, address: SocketAddr, socket: OwnedFd) {
        self.shelf().entry((protocol, address)).or_default().push(socket);
    }

    /// All that nobody has taken, each with what it is.
    #[must_use]
    pub fn take_all(&self) -> Vec<(Protocol, SocketAddr, OwnedFd)> {
        let all = std::mem::take(&mut *self.shelf());
        let each = all.into_iter().flat_map(|((protocol, address), sockets)| {
            sockets.into_iter().map(move |socket| (protocol, address, socket))
        });
        each.collect()
    }

    /// Those of an address.
    pub(crate) fn take(&self, protocol: Protocol, address: SocketAddr) -> Vec<OwnedFd> {
        self.shelf().remove(&(protocol, address)).unwrap_or_default()
    }

    fn shelf(&self) -> MutexGuard<'_, Shelf> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
