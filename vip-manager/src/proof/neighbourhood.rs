//! The other machines on a link: whether they hear this node at all, and which MAC is whose.

use crate::frame::Mac;
use fulcrum_config::NodeName;
use std::collections::BTreeMap;
use std::net::IpAddr;
use std::time::{Duration, Instant};

/// Time between questions while something is in doubt.
const IN_DOUBT: Duration = Duration::from_secs(1);
/// Time between questions for the nodes' MACs otherwise.
const OTHERWISE: Duration = Duration::from_secs(60);
/// Neighbours that are no nodes: a few are enough to be answered by one.
const OTHERS: usize = 8;
/// MACs of one address: of a machine with several interfaces each may answer.
const MACS: usize = 4;

/// The MAC of a virtual router (RFC 9568 section 7.3), up to its family and VRID: whoever leads has it.
const VIRTUAL: [u8; 4] = [0, 0, 0x5e, 0];

/// The neighbours on one link.
#[derive(Debug, Default)]
pub struct Neighbourhood {
    nodes: BTreeMap<IpAddr, Neighbour>,
    /// Gateways and backends.
    others: Vec<IpAddr>,
    /// The last answer to a question of this node, whoever gave it.
    heard: Option<Instant>,
    asked: Option<Instant>,
}

#[derive(Debug)]
struct Neighbour {
    node: NodeName,
    /// Oldest first.
    macs: Vec<Mac>,
}

impl Neighbourhood {
    /// The addresses of the other nodes here, and those of further machines that answer if they hear this node, of which
    /// the first few are enough.
    pub fn handle_neighbours(
        &mut self,
        nodes: impl IntoIterator<Item = (IpAddr, NodeName)>,
        others: impl IntoIterator<Item = IpAddr>,
    ) {
        let mut before = std::mem::take(&mut self.nodes);
        for (address, node) in nodes {
            let known = before.remove(&address).filter(|known| known.node == node);
            let neighbour = known.unwrap_or_else(|| Neighbour { node, macs: Vec::new() });
            self.nodes.insert(address, neighbour);
        }
        self.others.clear();
        for address in others {
            if self.others.len() >= OTHERS {
                break;
            }
            if !self.nodes.contains_key(&address) && !self.others.contains(&address) {
                self.others.push(address);
            }
        }
    }

    /// The addresses whose answers matter here.
    pub fn addresses(&self) -> impl Iterator<Item = IpAddr> + '_ {
        self.nodes.keys().copied().chain(self.others.iter().copied())
    }

    /// `mac` answered a question of this node, about any address.
    pub fn handle_answer(&mut self, address: IpAddr, mac: Mac, now: Instant) {
        self.heard = Some(now);
        let Some(neighbour) = self.nodes.get_mut(&address) else { return };
        neighbour.macs.retain(|known| *known != mac);
        if neighbour.macs.len() >= MACS {
            neighbour.macs.remove(0);
        }
        neighbour.macs.push(mac);
    }

    /// The addresses to ask for now: all if something is in doubt, else from time to time those of nodes.
    pub fn poll_questions(&mut self, is_in_doubt: bool, now: Instant) -> Vec<IpAddr> {
        let wait = if is_in_doubt { IN_DOUBT } else { OTHERWISE };
        if self.asked.is_some_and(|asked| now.saturating_duration_since(asked) < wait) {
            return Vec::new();
        }
        self.asked = Some(now);
        let others = self.others.iter().copied().filter(|_| is_in_doubt);
        self.nodes.keys().copied().chain(others).collect()
    }

    /// Whether anybody has answered this node since then.
    #[must_use]
    pub fn is_heard_since(&self, moment: Instant) -> bool {
        self.heard.is_some_and(|heard| heard >= moment)
    }

    /// Whether `mac` may be that of `node`: as far as its MACs are known, or if it is a virtual one.
    #[must_use]
    pub fn may_be(&self, node: &NodeName, mac: Mac) -> bool {
        let of_node = self.nodes.values().filter(|neighbour| neighbour.node == *node);
        let mut macs = of_node.flat_map(|neighbour| &neighbour.macs).peekable();
        mac.octets().starts_with(&VIRTUAL) || macs.peek().is_none() || macs.any(|known| *known == mac)
    }

    /// The node that has this MAC, if one is known to.
    #[must_use]
    pub fn node_of(&self, mac: Mac) -> Option<&NodeName> {
        let mut nodes = self.nodes.values();
        nodes.find(|neighbour| neighbour.macs.contains(&mac)).map(|neighbour| &neighbour.node)
    }
}
