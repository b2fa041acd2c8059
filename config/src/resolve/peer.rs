//! The link between the nodes: whose keys are whose.

use super::nodes::Nodes;
use crate::document::NodeId;
use crate::file::File;
use crate::model::{KeyPin, NodeKind, NodeName, PeerLink};
use crate::reader::{Field, Reader};
use std::collections::HashMap;

/// Two are needed to replace one; the rest is room for whoever forgot to remove some.
const KEYS_AT_MOST: usize = 8;

pub(super) fn resolve(reader: &mut Reader<'_>, file: &File, nodes: &Nodes) -> PeerLink {
    let mut link = PeerLink::default();
    if let Some(section) = file.peer.get() {
        link.port = section.port.get().and_then(|port| u16::try_from(port.0).ok()).unwrap_or(link.port);
        link.heartbeat = section.heartbeat.get().map_or(link.heartbeat, |heartbeat| heartbeat.0);
        if let Some(key) = section.key.get() {
            link.key.clone_from(&key.0);
        }
    }
    let Some(sections) = &file.nodes else { return link };
    let mut seen: HashMap<KeyPin, (NodeName, NodeId)> = HashMap::new();
    for (name, section) in &sections.value.0 {
        let Some(keys) = section.as_ref().and_then(|section| section.keys.as_ref()) else { continue };
        let name = NodeName::new(&name.value.0);
        if nodes.all.get(&name).is_some_and(|node| node.kind == NodeKind::Foreign) {
            let message = format!("`{name}` is foreign and has no peer link");
            reader.error(keys.node, message, "delete `keys`, or delete `foreign`");
        }
        if keys.value.0.len() > KEYS_AT_MOST {
            let message = format!("`{name}` has more than {KEYS_AT_MOST} keys");
            reader.error(keys.node, message, "delete those that are not used any more");
        }
        for key in &keys.value.0 {
            if let Some((other, place)) = seen.get(&key.value) {
                let message = format!("this is a key of node `{other}` already");
                let help = "give each node a key of its own: `fulcrum peer-key` makes one";
                reader.conflict(key.node, message, help, *place, "the first one");
            }
            seen.insert(key.value, (name.clone(), key.node));
        }
        if !keys.value.0.is_empty() {
            link.pins.insert(name, keys.value.0.iter().map(|key| key.value).collect());
        }
    }
    link_of_one(reader, nodes, &link, sections.node);
    link
}

/// A link needs the keys of both ends.
fn link_of_one(reader: &mut Reader<'_>, nodes: &Nodes, link: &PeerLink, place: NodeId) {
    if link.pins.is_empty() {
        return;
    }
    let fulcrum = nodes.all.iter().filter(|(_, node)| node.kind == NodeKind::Fulcrum);
    for (name, _) in fulcrum.filter(|(name, _)| !link.pins.contains_key(*name)) {
        let place = nodes.places.get(name).copied().unwrap_or(place);
        reader.warn(
            place,
            format!("`{name}` has no `keys`, and so no peer link, although another node has"),
            "run `fulcrum peer-key` there and write what it prints",
        );
    }
}
