//! The sockets of the link: one at each of this node's own addresses.

use super::connection::{Event, HANDSHAKE};
use crate::sockets::Sockets;
use fulcrum_config::{Config, NodeName};
use quinn::{Endpoint, EndpointConfig, Incoming, ServerConfig, TokioRuntime};
use socket2::{Domain, Protocol, Socket, Type};
use std::collections::{BTreeMap, BTreeSet};
use std::io;
use std::net::{IpAddr, SocketAddr, UdpSocket};
use std::sync::{Arc, RwLock};
use tokio::sync::{Semaphore, mpsc};
use tokio::task::AbortHandle;

/// With fewer handshakes left than this, whoever connects has to show first that it is where it says.
const CROWDED: usize = crate::tls::HANDSHAKES_AT_MOST / 2;

/// The sockets, and who may connect to them.
pub(super) struct Endpoints {
    open: BTreeMap<SocketAddr, Open>,
    known: Arc<RwLock<BTreeSet<IpAddr>>>,
    handshakes: Arc<Semaphore>,
    events: mpsc::Sender<Event>,
    sockets: Sockets,
}

struct Open {
    endpoint: Endpoint,
    /// For another process of this node.
    second: Option<UdpSocket>,
    accepting: AbortHandle,
}

impl Drop for Open {
    fn drop(&mut self) {
        self.accepting.abort();
        self.endpoint.close(quinn::VarInt::from_u32(0), b"");
    }
}

impl Endpoints {
    pub(super) fn new(events: mpsc::Sender<Event>, sockets: Sockets) -> Self {
        Self {
            open: BTreeMap::new(),
            known: Arc::default(),
            handshakes: Arc::new(Semaphore::new(crate::tls::HANDSHAKES_AT_MOST)),
            events,
            sockets,
        }
    }

    /// Opens and closes sockets so that they are those that `config` asks for. Gives what could not be opened.
    pub(super) fn keep(&mut self, config: &Config, server: &ServerConfig) -> Vec<String> {
        let own = config.nodes.get(&config.node).map_or(&[][..], |node| &node.addresses);
        let wanted: BTreeSet<SocketAddr> =
            own.iter().map(|ip| SocketAddr::new(*ip, config.peer.port)).collect();
        let peers = config.peer.pins.keys().filter(|name| **name != config.node);
        let known = peers.filter_map(|name| config.nodes.get(name)).flat_map(|node| node.addresses.clone());
        if let Ok(mut shared) = self.known.write() {
            *shared = known.collect();
        }
        self.open.retain(|address, _| wanted.contains(address));
        let mut errors = Vec::new();
        for address in wanted {
            if let Some(open) = self.open.get(&address) {
                open.endpoint.set_server_config(Some(server.clone()));
                continue;
            }
            match self.open_at(address, server) {
                Ok(open) => {
                    self.open.insert(address, open);
                }
                Err(error) => {
                    errors.push(format!("UDP {address} can't be opened for the peer link: {error}"))
                }
            }
        }
        errors
    }

    fn open_at(&self, address: SocketAddr, server: &ServerConfig) -> io::Result<Open> {
        let socket = self.sockets.take(address).map_or_else(|| bind(address), Ok)?;
        let second = socket.try_clone().ok();
        let endpoint =
            Endpoint::new(EndpointConfig::default(), Some(server.clone()), socket, Arc::new(TokioRuntime))?;
        let accepting = tokio::spawn(accept(
            endpoint.clone(),
            Arc::clone(&self.known),
            Arc::clone(&self.handshakes),
            self.events.clone(),
        ));
        Ok(Open { endpoint, second, accepting: accepting.abort_handle() })
    }

    /// Closes all.
    pub(super) fn close(&mut self) {
        self.open.clear();
    }

    /// Leaves the sockets to another process.
    pub(super) fn leave(&mut self) {
        for (address, open) in &mut self.open {
            if let Some(socket) = open.second.take() {
                self.sockets.put(*address, socket);
            }
        }
    }

    /// Waits until everybody was told that the connections are closed.
    pub(super) async fn end(&mut self) {
        for open in self.open.values() {
            open.endpoint.wait_idle().await;
        }
    }

    /// From where and to where to connect: the addresses of both nodes that lie in one network take turns.
    pub(super) fn towards(
        &self,
        config: &Config,
        peer: &NodeName,
        attempt: u32,
    ) -> Result<(Endpoint, SocketAddr), String> {
        let to = config.nodes.get(peer).map_or(&[][..], |node| &node.addresses);
        let pairs: Vec<(&SocketAddr, IpAddr)> = self
            .open
            .keys()
            .flat_map(|own| to.iter().map(move |to| (own, *to)))
            .filter(|(own, to)| own.is_ipv4() == to.is_ipv4())
            .collect();
        let networks: Vec<_> = config.interfaces.values().flat_map(|it| &it.networks).collect();
        let is_near = |(own, to): &(&SocketAddr, IpAddr)| {
            networks.iter().any(|network| network.contains(&own.ip()) && network.contains(to))
        };
        let near: Vec<_> = pairs.iter().copied().filter(is_near).collect();
        let pairs = if near.is_empty() { pairs } else { near };
        let index = usize::try_from(attempt).unwrap_or(0).checked_rem(pairs.len());
        let pair = index.and_then(|index| pairs.get(index));
        let open = pair.and_then(|(own, to)| Some((self.open.get(own)?, *to)));
        let (open, to) = open.ok_or_else(|| {
            if self.open.is_empty() {
                "no socket of the peer link is open on this node".to_owned()
            } else {
                "the two nodes have no addresses of one family".to_owned()
            }
        })?;
        Ok((open.endpoint.clone(), SocketAddr::new(to, config.peer.port)))
    }
}

/// The address may come later: at boot the link starts before the network does.
fn bind(address: SocketAddr) -> io::Result<UdpSocket> {
    let socket = Socket::new(Domain::for_address(address), Type::DGRAM, Some(Protocol::UDP))?;
    if address.is_ipv4() {
        socket.set_freebind_v4(true)?;
    } else {
        socket.set_freebind_v6(true)?;
        socket.set_only_v6(true)?;
    }
    socket.bind(&address.into())?;
    Ok(socket.into())
}

/// Takes connections of peers; anybody else is dropped without an answer.
async fn accept(
    endpoint: Endpoint,
    known: Arc<RwLock<BTreeSet<IpAddr>>>,
    handshakes: Arc<Semaphore>,
    events: mpsc::Sender<Event>,
) {
    while let Some(incoming) = endpoint.accept().await {
        let from = incoming.remote_address().ip();
        let event = if !known.read().is_ok_and(|known| known.contains(&from)) {
            incoming.ignore();
            Event::Stranger
        } else if handshakes.available_permits() < CROWDED && incoming.may_retry() {
            // Whoever writes another's address as the sender never sees the token that this asks to bring back.
            let _ = incoming.retry();
            continue;
        } else if let Ok(permit) = Arc::clone(&handshakes).try_acquire_owned() {
            let events = events.clone();
            tokio::spawn(async move {
                let event = shake_hands(incoming).await;
                drop(permit);
                let _ = events.send(event).await;
            });
            continue;
        } else {
            incoming.ignore();
            Event::TooMany
        };
        if events.send(event).await.is_err() {
            return;
        }
    }
}

async fn shake_hands(incoming: Incoming) -> Event {
    match tokio::time::timeout(HANDSHAKE, async { incoming.accept()?.await }).await {
        Ok(Ok(connection)) => Event::Connected { connection, dialed: None },
        Ok(Err(_)) | Err(_) => Event::HandshakeFailed,
    }
}
