//! Where services listen already, for those of fragments, which come one after the other.

use super::Listeners;
use crate::document::NodeId;
use crate::model::{PortRange, Protocol, ServiceName};
use crate::reader::Reader;
use std::collections::{BTreeMap, HashMap};
use std::net::{IpAddr, SocketAddr};

/// Ports by their first: the last, whose, and where they stand.
type Ports = BTreeMap<u16, (u16, ServiceName, NodeId)>;

/// By address and protocol.
#[derive(Debug, Default)]
pub(super) struct Taken(HashMap<(IpAddr, Protocol), Ports>);

impl Taken {
    pub(super) fn of(listeners: Listeners) -> Self {
        let mut taken = Self::default();
        for (place, ports) in listeners {
            for (range, name, node) in ports {
                taken.0.entry(place).or_default().insert(range.first, (range.last, name, node));
            }
        }
        taken
    }

    /// Adds a service, unless another one listens on one of its ports.
    pub(super) fn add(&mut self, reader: &mut Reader<'_>, listeners: Listeners) {
        let asked =
            listeners.into_iter().flat_map(|(place, ports)| ports.into_iter().map(move |it| (place, it)));
        let mut asked: Vec<_> = asked.collect();
        asked.sort_by_key(|((address, protocol), (range, _, _))| {
            (*address, *protocol == Protocol::Udp, *range)
        });
        for ((address, protocol), (range, _, node)) in &asked {
            let Some((other, other_node)) = self.having(*address, *protocol, *range) else { continue };
            let words = if *protocol == Protocol::Tcp { "TCP" } else { "UDP" };
            let place = SocketAddr::new(*address, range.first);
            let message = format!("service `{other}` listens on {place} ({words}) already");
            reader.conflict(
                *node,
                message,
                "give one of them another port or address",
                other_node,
                "the other one",
            );
            return;
        }
        for (place, (range, name, node)) in asked {
            self.0.entry(place).or_default().insert(range.first, (range.last, name, node));
        }
    }

    fn having(&self, address: IpAddr, protocol: Protocol, range: PortRange) -> Option<(ServiceName, NodeId)> {
        let ports = self.0.get(&(address, protocol))?;
        let (_, (last, name, node)) = ports.range(..=range.last).next_back()?;
        (*last >= range.first).then(|| (name.clone(), *node))
    }
}
