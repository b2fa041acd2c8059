//! What a node tells the others of whom it hears, where groups ask for it (`on_split: one`).
//!
//! ```text
//! version (1 byte, 2), instance (8), sequence (8), then for each other node that it heard or gave up 20 bytes:
//! node (8), that node's instance (8), the low half of the last sequence heard of it (4); of one that is silent,
//! instance and sequence are 0
//! ```
//!
//! All numbers are big endian. The sequence counts on with that of the heartbeats, and either may be heard. A node that is
//! left out is heard again, but not yet long enough to vote for it.

use super::heartbeat::Malformed;

#[cfg(test)]
mod tests;

/// The version by which these are told from heartbeats.
pub const VERSION: u8 = 2;
const HEADER: usize = 17;
const ENTRY: usize = 20;
/// The most nodes of one datagram.
pub const NODES_AT_MOST: usize = 50;

/// Some of a node's votes, or all.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Votes {
    /// Which life of the sender's this is from.
    pub instance: u64,
    /// Grows with each datagram of a life.
    pub sequence: u64,
    /// At most [`NODES_AT_MOST`].
    pub of: Vec<Vote>,
}

/// What is said of one node.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Vote {
    /// [`fulcrum_config::NodeName::number`].
    pub node: u64,
    /// The last that was heard of it; none if it is silent.
    pub heard: Option<Receipt>,
}

/// A datagram that was heard.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Receipt {
    /// Its sender's; never 0.
    pub instance: u64,
    /// The low half of its sequence.
    pub sequence: u32,
}

impl Votes {
    /// As they are sent.
    #[must_use]
    pub fn encode(&self) -> Vec<u8> {
        let mut bytes = Vec::with_capacity(HEADER.saturating_add(self.of.len().saturating_mul(ENTRY)));
        bytes.push(VERSION);
        bytes.extend(self.instance.to_be_bytes());
        bytes.extend(self.sequence.to_be_bytes());
        for vote in &self.of {
            let Receipt { instance, sequence } = vote.heard.unwrap_or(Receipt { instance: 0, sequence: 0 });
            bytes.extend(vote.node.to_be_bytes());
            bytes.extend(instance.to_be_bytes());
            bytes.extend(sequence.to_be_bytes());
        }
        bytes
    }

    /// Reads some.
    ///
    /// # Errors
    /// It is something else.
    pub fn decode(bytes: &[u8]) -> Result<Self, Malformed> {
        let (version, rest) = bytes.split_first().ok_or(Malformed)?;
        let (instance, rest) = rest.split_first_chunk().ok_or(Malformed)?;
        let (sequence, rest) = rest.split_first_chunk().ok_or(Malformed)?;
        if *version != VERSION || rest.len() > ENTRY.saturating_mul(NODES_AT_MOST) {
            return Err(Malformed);
        }
        Ok(Self {
            instance: u64::from_be_bytes(*instance),
            sequence: u64::from_be_bytes(*sequence),
            of: rest.chunks(ENTRY).map(entry).collect::<Result<_, _>>()?,
        })
    }
}

fn entry(bytes: &[u8]) -> Result<Vote, Malformed> {
    let (node, rest) = bytes.split_first_chunk().ok_or(Malformed)?;
    let (instance, rest) = rest.split_first_chunk().ok_or(Malformed)?;
    let sequence = u32::from_be_bytes(rest.try_into().map_err(|_| Malformed)?);
    let heard = match (u64::from_be_bytes(*instance), sequence) {
        (0, 0) => None,
        (0, _) => return Err(Malformed),
        (instance, sequence) => Some(Receipt { instance, sequence }),
    };
    Ok(Vote { node: u64::from_be_bytes(*node), heard })
}
