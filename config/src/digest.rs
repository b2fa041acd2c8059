//! What stands for all that the nodes of a file share.

use crate::document::{Document, NodeId, Value};
use crate::model::{Allocations, Fragments, Overrides, SharedDigest};
use siphasher::sip128::{Hasher128, SipHasher24};
use std::hash::Hasher;

#[cfg(test)]
mod tests;

/// Sections that are each node's own.
pub(crate) const OWN: [&str; 2] = ["node", "admin"];
/// What is each node's own of `peer`.
pub(crate) const OWN_OF_PEER: &str = "key";

/// The digest of everything in `document` but what is each node's own; of what services have from pools, of what
/// operators asked for over it, and of what comes from outside it.
pub(crate) fn shared(
    document: &Document,
    allocations: &Allocations,
    overrides: &Overrides,
    fragments: &Fragments,
) -> SharedDigest {
    let mut hasher = SipHasher24::new();
    let Value::Map(sections) = document.value(document.root()) else { return SharedDigest::default() };
    for section in sorted(document, sections) {
        let name = document.key(section).unwrap_or_default();
        if OWN.contains(&name) {
            continue;
        }
        if name == "peer"
            && let Value::Map(members) = document.value(section)
        {
            for member in sorted(document, members) {
                let key = document.key(member).unwrap_or_default();
                if key != OWN_OF_PEER {
                    text(&mut hasher, "peer");
                    text(&mut hasher, key);
                    value(&mut hasher, document, member);
                }
            }
            continue;
        }
        text(&mut hasher, name);
        value(&mut hasher, document, section);
    }
    // Nothing at all without pools: versions that know of none agree on the rest.
    for (service, addresses) in allocations.iter() {
        text(&mut hasher, service.as_str());
        length(&mut hasher, addresses.len());
        addresses.keys().for_each(|address| text(&mut hasher, &address.to_string()));
    }
    // Likewise.
    if !overrides.is_empty() {
        text(&mut hasher, &serde_json::to_string(overrides).unwrap_or_default());
    }
    // Likewise.
    for (source, says) in fragments.iter() {
        text(&mut hasher, source.as_str());
        text(&mut hasher, &says.what);
    }
    SharedDigest(hasher.finish128().as_u128())
}

/// What stands for all that the nodes share of the text of a file, without what is in force besides. None of no YAML.
#[must_use]
pub fn digest_of_file(text: &str) -> Option<SharedDigest> {
    let (document, faults) = Document::read(text);
    let (allocations, overrides, fragments) =
        (Allocations::default(), Overrides::default(), Fragments::default());
    faults.is_empty().then(|| shared(&document, &allocations, &overrides, &fragments))
}

/// What stands for the text of a file, to see whether it was edited. It is no protection against anybody.
#[must_use]
pub fn digest_of_text(text: &str) -> String {
    let mut hasher = SipHasher24::new();
    hasher.write(text.as_bytes());
    format!("{:032x}", hasher.finish128().as_u128())
}

/// As deep as the document, which is bounded.
fn value(hasher: &mut SipHasher24, document: &Document, node: NodeId) {
    match document.value(node) {
        Value::Null => hasher.write_u8(0),
        Value::Scalar(scalar) => {
            hasher.write_u8(1);
            text(hasher, scalar);
        }
        Value::List(items) => {
            hasher.write_u8(2);
            length(hasher, items.len());
            for item in items {
                value(hasher, document, *item);
            }
        }
        Value::Map(members) => {
            hasher.write_u8(3);
            length(hasher, members.len());
            for member in sorted(document, members) {
                text(hasher, document.key(member).unwrap_or_default());
                value(hasher, document, member);
            }
        }
    }
}

/// Its length first, so that no two texts after each other look like two others.
fn text(hasher: &mut SipHasher24, text: &str) {
    length(hasher, text.len());
    hasher.write(text.as_bytes());
}

/// The same on every machine.
fn length(hasher: &mut SipHasher24, length: usize) {
    hasher.write(&u64::try_from(length).unwrap_or(u64::MAX).to_le_bytes());
}

fn sorted(document: &Document, members: &[NodeId]) -> Vec<NodeId> {
    let mut sorted = members.to_vec();
    sorted.sort_by(|a, b| document.key(*a).cmp(&document.key(*b)));
    sorted
}
