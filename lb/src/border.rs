//! What this room is told and what it tells.

use fulcrum_config::{Backend, BackendName, InterfaceName, NodeName, Service, ServiceName, ServiceTables};
use serde::Serialize;
use std::collections::{BTreeMap, BTreeSet};
use std::net::IpAddr;
use std::sync::Arc;
use tokio::sync::{mpsc, watch};

/// The whole table: a snapshot, latest wins.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Desired {
    /// Each service by name. An unchanged service is the same `Arc`.
    pub services: BTreeMap<ServiceName, Arc<ServiceDesired>>,
    /// The interfaces that clients, and the forwarding plane's backends, may be behind: those of all VIPs.
    pub interfaces: BTreeSet<InterfaceName>,
    /// What stands in the tables of the node that leads, of services that this one only stands by for: where the
    /// current tables are alike, the older one is taken over.
    pub follow: BTreeMap<ServiceName, Arc<ServiceTables>>,
    /// Told back as [`Observed::applied`]; grows whenever what is asked of the node changes.
    pub revision: u64,
    /// Whether another process of this node takes part in it.
    pub stage: Stage,
}

/// What this process is to another of the same node, while one takes over from the other.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Stage {
    /// There is no other.
    #[default]
    Whole,
    /// It has all that it needs, its listeners among it, and leaves clients to the other still.
    Heir,
    /// It takes clients, its listeners are with [`crate::Sockets`], and the forwarding plane is the other's.
    Lends,
    /// It takes no new client, and finishes what it has.
    Left,
}

/// One service, and what its backends may be used for now.
#[derive(Debug, Clone, PartialEq)]
pub struct ServiceDesired {
    /// As configured.
    pub service: Arc<Service>,
    /// Whether it accepts at all; if not, it refuses at once.
    pub up: bool,
    /// Whether it is of the control plane: a part of the connections is kept for such services.
    pub protected: bool,
    /// Each backend.
    pub backends: Vec<BackendState>,
    /// The addresses of its group with the interface of each, if its packets are sent on from one of them.
    pub sources: Vec<(InterfaceName, IpAddr)>,
}

/// One backend and what it may be used for.
#[derive(Debug, Clone, PartialEq)]
pub struct BackendState {
    /// As configured.
    pub backend: Arc<Backend>,
    /// What for.
    pub usage: BackendUse,
    /// Its weight now, in hundredths of its configured weight's unit (slow start lowers it).
    pub weight: u32,
}

/// What a backend may be used for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum BackendUse {
    /// New connections.
    Live,
    /// Only those it has.
    Draining,
    /// Nothing; its connections are treated as the service's `on_down` says.
    Down,
}

/// What is served, at most a few times a second: a whole snapshot, latest wins.
#[derive(Debug, Clone, Default, PartialEq, Serialize)]
pub struct Observed {
    /// Each service by name.
    pub services: BTreeMap<ServiceName, ServiceObserved>,
    /// Whether every desired service's listeners stand (the last `Desired` is applied).
    pub ready: bool,
    /// Threads that move bytes and have not run for seconds: their share of the clients waits.
    pub stuck: Vec<String>,
    /// Grows while the engine's own thread runs, at least twice a second. Nobody is woken for it.
    pub beat: u64,
    /// The revision of the last table that every worker has: with it come the errors of its listeners.
    pub applied: u64,
    /// As it is asked for, once it is so.
    pub stage: Stage,
    /// Connections of the whole process, and the limit it keeps (from the limit on open files).
    pub connections: u64,
    /// The limit.
    pub connections_limit: u64,
    /// Times that a connection was refused because the limit was reached.
    pub refused_at_limit: u64,
    /// The forwarding plane, if a service asks for it and the kernel has it.
    pub plane: Option<PlaneObserved>,
}

/// The forwarding plane.
#[derive(Debug, Clone, Default, PartialEq, Serialize)]
pub struct PlaneObserved {
    /// Each interface that it works at, with how it is attached there.
    pub interfaces: BTreeMap<String, String>,
    /// Of those where it does not work in the driver: why not.
    pub without_xdp: BTreeMap<String, String>,
    /// Packets of its services that it did not forward, by the reason.
    pub not_forwarded: BTreeMap<&'static str, u64>,
    /// Packets of checks that go to a VIP, and of the answers.
    pub checks: BTreeMap<&'static str, u64>,
    /// Flows that are known one by one: those of mode fullnat, and those whose slot changed hands.
    pub noted_flows: u64,
    /// No more are noted.
    pub noted_flows_limit: u64,
    /// Packets of flows that should have been noted, and for which there was no room: they went by the older table.
    pub not_noted: u64,
    /// What the nodes have told each other of those.
    pub flows: FlowsObserved,
    /// What stands in the tables of each service.
    #[serde(skip)]
    pub tables: Arc<BTreeMap<ServiceName, Arc<ServiceTables>>>,
}

/// What the nodes have told each other of flows.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize)]
pub struct FlowsObserved {
    /// Peers that know all flows of this node.
    #[serde(skip)]
    pub held_by: BTreeSet<NodeName>,
    /// This node knows all flows of every peer that it has a link to.
    pub in_sync: bool,
    /// Counters since the start.
    pub counters: FlowCounters,
}

/// What was told and heard of flows.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize)]
pub struct FlowCounters {
    /// To peers.
    pub told: u64,
    /// From peers.
    pub heard: u64,
    /// Heard of services or backends that are not here, or not understood.
    pub misfits: u64,
    /// Times that something could not be told, so that all was told again.
    pub losses: u64,
}

/// How what nodes tell each other of flows travels. What the messages say only this room understands.
#[derive(Debug)]
pub struct FlowLink {
    /// The peers whose link is up: a number that is another each time that something may have been missed.
    pub peers: watch::Receiver<BTreeMap<NodeName, u64>>,
    /// To all of them.
    pub to_peers: mpsc::Sender<Arc<[u8]>>,
    /// From each; an empty one means that some could not be taken.
    pub from_peers: mpsc::Receiver<(NodeName, Arc<[u8]>)>,
}

/// How the checks of backends travel that answer for the VIP themselves (mode dsr).
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum ChecksObserved {
    /// As clients' packets do: to the VIP, at the backend's MAC.
    AtVip,
    /// Some go to the backend's own address: why. What they find says nothing of the VIP.
    AtBackend(String),
}

/// One service as served.
#[derive(Debug, Clone, Default, PartialEq, Serialize)]
pub struct ServiceObserved {
    /// Why its listeners do not stand: "10.0.0.100:443: address in use by another process; stop it or ...".
    pub errors: Vec<String>,
    /// Counters of the service.
    pub stats: ServiceStats,
    /// Counters of each backend.
    pub backends: BTreeMap<BackendName, BackendStats>,
    /// How checks of its backends travel, if they are for the VIP.
    pub checks: Option<ChecksObserved>,
}

/// Counters of a service since the process started; `connections` is a gauge. Of a forwarded service it is the flows that are
/// known one by one and that nobody has ended: all of them in mode fullnat, otherwise those that no hash tells the backend of.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize)]
pub struct ServiceStats {
    /// Connections (UDP: sessions) now.
    pub connections: u64,
    /// Accepted.
    pub accepted: u64,
    /// Refused for want of a live backend.
    pub refused_no_backend: u64,
    /// Refused because their source is not allowed.
    pub refused_source: u64,
    /// Refused by a limit on connections.
    pub refused_limit: u64,
    /// Refused by a limit on their rate.
    pub refused_rate: u64,
    /// Times that the table of clients was full: a connection was not counted for its client, or a client's
    /// rate was forgotten.
    pub client_table_full: u64,
    /// Refused because their PROXY header was wrong or late.
    pub refused_proxy_header: u64,
    /// No backend could be connected to.
    pub connect_failed: u64,
    /// Another backend was tried.
    pub retries: u64,
    /// Ended by a timeout.
    pub timed_out: u64,
    /// Ended by RST from either side.
    pub reset: u64,
    /// Closed because their backend went down.
    pub closed_backend_down: u64,
    /// Log lines left out because there were too many.
    pub log_dropped: u64,
    /// From clients to backends.
    pub bytes_in: u64,
    /// From backends to clients.
    pub bytes_out: u64,
    /// Forwarded by the kernel, from clients; none of a service that is proxied.
    pub packets_in: u64,
    /// The same to clients; those of mode dsr do not pass this node.
    pub packets_out: u64,
    /// UDP: datagrams from clients.
    pub datagrams_in: u64,
    /// UDP: datagrams to clients.
    pub datagrams_out: u64,
    /// UDP: datagrams either way that were refused, were too long for the path or found no room in a buffer.
    pub datagrams_dropped: u64,
    /// UDP: sessions that ended early to make room for another.
    pub sessions_evicted: u64,
}

/// Counters of a backend within a service; `connections` is a gauge.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize)]
pub struct BackendStats {
    /// Connections now.
    pub connections: u64,
    /// Connections made.
    pub connected: u64,
    /// Connections that could not be made.
    pub connect_failed: u64,
    /// From clients.
    pub bytes_in: u64,
    /// To clients.
    pub bytes_out: u64,
    /// Forwarded by the kernel, from clients.
    pub packets_in: u64,
    /// The same to clients.
    pub packets_out: u64,
}
