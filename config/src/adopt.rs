//! Another node's file as this node's: with what is each node's own put in from its own file.

use crate::digest::{OWN, OWN_OF_PEER};
use crate::document::{Document, NodeId, Value};
use serde_json::{Map, Value as Json};

#[cfg(test)]
mod tests;

/// The text of `other`'s file with `node`, `admin` and `peer.key` of `own`, in JSON, which is YAML too.
///
/// # Errors
/// One of the two is no YAML, or no map: what is wrong, for people.
pub fn adopt(other: &str, own: &str) -> Result<String, String> {
    let (mut other, own) = (read(other)?, read(own).unwrap_or_default());
    for name in OWN {
        put(&mut other, name, own.get(name).cloned());
    }
    let own_key = own.get("peer").and_then(|peer| peer.get(OWN_OF_PEER)).cloned();
    match other.get_mut("peer") {
        Some(Json::Object(peer)) => put(peer, OWN_OF_PEER, own_key),
        Some(_) => {}
        None => {
            let peer = own_key.map(|key| Json::Object(Map::from_iter([(OWN_OF_PEER.to_owned(), key)])));
            put(&mut other, "peer", peer);
        }
    }
    serde_json::to_string_pretty(&Json::Object(other)).map_err(|error| error.to_string())
}

fn put(map: &mut Map<String, Json>, name: &str, value: Option<Json>) {
    match value {
        Some(value) => map.insert(name.to_owned(), value),
        None => map.remove(name),
    };
}

fn read(text: &str) -> Result<Map<String, Json>, String> {
    let (document, faults) = Document::read(text);
    if let Some(fault) = faults.first() {
        return Err(fault.message.clone());
    }
    match value(&document, document.root()) {
        Json::Object(map) => Ok(map),
        Json::Null | Json::Bool(_) | Json::Number(_) | Json::String(_) | Json::Array(_) => {
            Err("it is not a map".to_owned())
        }
    }
}

/// As deep as the document, which is bounded.
fn value(document: &Document, node: NodeId) -> Json {
    match document.value(node) {
        Value::Null => Json::Null,
        Value::Scalar(scalar) => Json::String(scalar.to_owned()),
        Value::List(items) => Json::Array(items.iter().map(|item| value(document, *item)).collect()),
        Value::Map(members) => {
            let member =
                |member: &NodeId| Some((document.key(*member)?.to_owned(), value(document, *member)));
            Json::Object(members.iter().filter_map(member).collect())
        }
    }
}
