//! One packet as the programs hand it out.

use crate::plane::layout::REASONS;
use std::time::Duration;

/// Of struct captured.
const HEADER: usize = 40;
const REDIRECTED: u32 = 7;

/// A packet, once as it came in, and once more as it left if it did.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Packet {
    /// When it came in, by the monotonic clock.
    pub time: Duration,
    /// The index of the interface where it came in, or leaves; 0 if that is not known.
    pub interface: u32,
    /// The index of its service, if it is of one.
    pub service: Option<u32>,
    /// The index of its backend, if it has one.
    pub backend: Option<u32>,
    /// From a backend to a client.
    pub is_reply: bool,
    /// As it leaves; its link-layer addresses are filled in after that.
    pub leaves: bool,
    /// What became of it.
    pub fate: Fate,
    /// Its length, of which there may be fewer bytes.
    pub length: u32,
    /// From its Ethernet header on.
    pub bytes: Vec<u8>,
}

/// What became of a packet.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Fate {
    /// It was sent on.
    Forwarded,
    /// Its sender was answered in its place: the reason.
    Answered(&'static str),
    /// The reason.
    Dropped(&'static str),
}

impl Packet {
    /// None if it is not as it should be.
    pub(super) fn read(item: &[u8]) -> Option<Self> {
        let word = |at: usize| {
            let bytes = item.get(at..at.checked_add(4)?)?;
            Some(u32::from_ne_bytes(bytes.try_into().ok()?))
        };
        let time = u64::from_ne_bytes(item.get(..8)?.try_into().ok()?);
        let captured = usize::try_from(word(12)?).ok()?;
        let reason = usize::try_from(word(28)?).ok().and_then(|reason| REASONS.get(reason)).copied();
        let fate = match (word(32)?, reason) {
            (REDIRECTED, None) => Fate::Forwarded,
            (REDIRECTED, Some(reason)) => Fate::Answered(reason),
            (_, reason) => Fate::Dropped(reason.unwrap_or("not_counted")),
        };
        Some(Self {
            time: Duration::from_nanos(time),
            length: word(8)?,
            interface: word(16)?,
            service: word(20)?.checked_sub(1),
            backend: Some(word(24)?).filter(|index| *index != 0),
            fate,
            leaves: *item.get(36)? != 0,
            is_reply: *item.get(37)? != 0,
            bytes: item.get(HEADER..)?.get(..captured)?.to_vec(),
        })
    }
}
