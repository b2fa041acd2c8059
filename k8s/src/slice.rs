//! Slices of endpoints, as far as anybody reads them: of tens of thousands of endpoints every byte counts.

use fulcrum_config::Protocol;
use k8s_openapi::api::discovery::v1::{Endpoint, EndpointPort, EndpointSlice};
use std::net::IpAddr;

#[cfg(test)]
mod tests;

/// A slice of a Service's endpoints.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Slice {
    /// What its endpoints' addresses are: `IPv4`, `IPv6`, `FQDN`.
    pub(crate) address_type: Box<str>,
    pub(crate) ports: Box<[SlicePort]>,
    /// Those that take connections.
    pub(crate) pods: Box<[Pod]>,
}

/// A port that the endpoints of a slice have.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct SlicePort {
    /// As the Service's port is called; empty, if it has no name.
    pub(crate) name: Box<str>,
    pub(crate) protocol: Protocol,
    pub(crate) number: u16,
}

/// An endpoint that takes connections.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Pod {
    /// The first of its addresses; those of one endpoint mean the same (discovery/v1).
    pub(crate) address: Option<IpAddr>,
    /// The node that it runs on.
    pub(crate) node: Option<Box<str>>,
    /// It keeps its connections, and is about to end.
    pub(crate) terminates: bool,
}

impl Slice {
    pub(crate) fn of(slice: &EndpointSlice) -> Self {
        Self {
            address_type: slice.address_type.as_str().into(),
            ports: slice.ports.iter().flatten().filter_map(SlicePort::of).collect(),
            pods: slice.endpoints.iter().filter_map(Pod::of).collect(),
        }
    }

    /// The number of a port there.
    pub(crate) fn number(&self, name: &str, protocol: Protocol) -> Option<u16> {
        let port = self.ports.iter().find(|port| *port.name == *name && port.protocol == protocol)?;
        Some(port.number)
    }
}

impl SlicePort {
    fn of(port: &EndpointPort) -> Option<Self> {
        Some(Self {
            name: port.name.as_deref().unwrap_or_default().into(),
            protocol: protocol_of(port.protocol.as_deref())?,
            number: u16::try_from(port.port?).ok().filter(|number| *number > 0)?,
        })
    }
}

impl Pod {
    /// What is not said counts as ready (discovery/v1). Of Services with `publishNotReadyAddresses` all are said to be.
    fn of(endpoint: &Endpoint) -> Option<Self> {
        let conditions = endpoint.conditions.as_ref();
        let ready = conditions.and_then(|it| it.ready).unwrap_or(true);
        let says = |said: Option<bool>| said.unwrap_or(false);
        let terminates = conditions.is_some_and(|it| says(it.serving) && says(it.terminating));
        (ready || terminates).then(|| Self {
            address: endpoint.addresses.first().and_then(|text| text.parse().ok()),
            node: endpoint.node_name.as_deref().map(Box::from),
            terminates: !ready,
        })
    }
}

/// What is not said is TCP.
pub(crate) fn protocol_of(protocol: Option<&str>) -> Option<Protocol> {
    match protocol.unwrap_or("TCP") {
        "TCP" => Some(Protocol::Tcp),
        "UDP" => Some(Protocol::Udp),
        _ => None,
    }
}
