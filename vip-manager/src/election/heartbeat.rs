//! What a node tells the others of the groups that it leads, or is unfit to lead.
//!
//! ```text
//! version (1 byte, 1), instance (8), sequence (8), then for each group 20 bytes:
//! group (8), state (1: 0 resigns, 1 leads, 2 unfit, 3 offers it), priority, or to which node (1), interval in
//! centiseconds (2), epoch (8)
//! ```
//!
//! All numbers are big endian. One datagram of the link has as many groups as fit, another has the next; one without
//! any says that the node lives. The link says who sent it.

use fulcrum_config::AdvertInterval;

#[cfg(test)]
mod tests;

const VERSION: u8 = 1;
const HEADER: usize = 17;
const ENTRY: usize = 20;
/// The most groups of one heartbeat: it must fit into a datagram of the link, whatever the path.
pub const GROUPS_AT_MOST: usize = 50;

/// One heartbeat.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Heartbeat {
    /// Which life of the sender's this is from; chosen at random.
    pub instance: u64,
    /// Grows with each heartbeat of a life.
    pub sequence: u64,
    /// At most [`GROUPS_AT_MOST`].
    pub groups: Vec<Said>,
}

/// What is said of one group.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Said {
    /// [`fulcrum_config::GroupName::number`].
    pub group: u64,
    /// What the sender is in it.
    pub state: State,
    /// Of the sender's lead, or of the last one it knows of.
    pub epoch: u64,
    /// How often the sender says so.
    pub interval: AdvertInterval,
}

/// What a node is in a group.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum State {
    /// It leads no more, or offers the group.
    Resigns,
    /// It leads, with this priority.
    Leads(u8),
    /// It leads only if nobody else does.
    Unfit,
    /// It leads until this one of all nodes takes the group: 1 for the first of them by name.
    Offers(u8),
}

/// Why a heartbeat is not understood.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Malformed;

impl Heartbeat {
    /// As it is sent.
    #[must_use]
    pub fn encode(&self) -> Vec<u8> {
        let mut bytes = Vec::with_capacity(HEADER.saturating_add(self.groups.len().saturating_mul(ENTRY)));
        bytes.push(VERSION);
        bytes.extend(self.instance.to_be_bytes());
        bytes.extend(self.sequence.to_be_bytes());
        for said in &self.groups {
            let (state, priority) = match said.state {
                State::Resigns => (0, 0),
                State::Leads(priority) => (1, priority),
                State::Unfit => (2, 0),
                State::Offers(node) => (3, node),
            };
            bytes.extend(said.group.to_be_bytes());
            bytes.extend([state, priority]);
            bytes.extend(said.interval.centiseconds().to_be_bytes());
            bytes.extend(said.epoch.to_be_bytes());
        }
        bytes
    }

    /// Reads one.
    ///
    /// # Errors
    /// It is none, or of another version.
    pub fn decode(bytes: &[u8]) -> Result<Self, Malformed> {
        let (version, rest) = bytes.split_first().ok_or(Malformed)?;
        let (instance, rest) = rest.split_first_chunk().ok_or(Malformed)?;
        let (sequence, rest) = rest.split_first_chunk().ok_or(Malformed)?;
        if *version != VERSION || rest.len() > ENTRY.saturating_mul(GROUPS_AT_MOST) {
            return Err(Malformed);
        }
        Ok(Self {
            instance: u64::from_be_bytes(*instance),
            sequence: u64::from_be_bytes(*sequence),
            groups: rest.chunks(ENTRY).map(entry).collect::<Result<_, _>>()?,
        })
    }
}

fn entry(bytes: &[u8]) -> Result<Said, Malformed> {
    let (group, rest) = bytes.split_first_chunk().ok_or(Malformed)?;
    let ([state, priority], rest) = rest.split_first_chunk().ok_or(Malformed)?;
    let (interval, rest) = rest.split_first_chunk().ok_or(Malformed)?;
    let epoch = rest.try_into().map_err(|_| Malformed)?;
    let state = match (*state, *priority) {
        (0, 0) => State::Resigns,
        (1, priority @ 1..=254) => State::Leads(priority),
        (2, 0) => State::Unfit,
        (3, node @ 1..) => State::Offers(node),
        _ => return Err(Malformed),
    };
    Ok(Said {
        group: u64::from_be_bytes(*group),
        state,
        epoch: u64::from_be_bytes(epoch),
        interval: AdvertInterval::from_centiseconds(u16::from_be_bytes(*interval)).map_err(|_| Malformed)?,
    })
}
