//! Echo messages of ICMP (RFC 792) and ICMPv6 (RFC 4443 section 4).
//!
//! ```text
//!  0                   1                   2                   3
//!  0 1 2 3 4 5 6 7 8 9 0 1 2 3 4 5 6 7 8 9 0 1 2 3 4 5 6 7 8 9 0 1
//! +---------------+---------------+-------------------------------+
//! |     type      |    code 0     |           checksum            |
//! +---------------+---------------+-------------------------------+
//! |          identifier           |        sequence number        |
//! +-------------------------------+-------------------------------+
//! |                     token, 8 bytes of ours                    |
//! +---------------------------------------------------------------+
//! ```

#[cfg(test)]
mod tests;

/// Bytes of a message of ours.
pub(super) const LENGTH: usize = 16;

/// Which ICMP.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Family {
    V4,
    V6,
}

/// A question of ours, and its answer: the token names the probe.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Echo {
    pub(super) identifier: u16,
    pub(super) sequence: u16,
    pub(super) token: u64,
}

impl Family {
    fn request_type(self) -> u8 {
        match self {
            Self::V4 => 8,
            Self::V6 => 128,
        }
    }

    /// The type of an answer.
    pub(super) fn reply_type(self) -> u8 {
        match self {
            Self::V4 => 0,
            Self::V6 => 129,
        }
    }
}

impl Echo {
    /// The request. The kernel fills in the checksum of ICMPv6.
    pub(super) fn request(self, family: Family) -> [u8; LENGTH] {
        let [id0, id1] = self.identifier.to_be_bytes();
        let [seq0, seq1] = self.sequence.to_be_bytes();
        let [t0, t1, t2, t3, t4, t5, t6, t7] = self.token.to_be_bytes();
        let kind = family.request_type();
        let bytes = |sum: [u8; 2]| {
            let [s0, s1] = sum;
            [kind, 0, s0, s1, id0, id1, seq0, seq1, t0, t1, t2, t3, t4, t5, t6, t7]
        };
        match family {
            Family::V4 => bytes(checksum(&bytes([0, 0])).to_be_bytes()),
            Family::V6 => bytes([0, 0]),
        }
    }

    /// An answer to us, if `bytes` are one. The kernel has verified the checksum.
    pub(super) fn parse_reply(family: Family, bytes: &[u8]) -> Option<Self> {
        let (header, token) = bytes.split_first_chunk::<8>()?;
        let [kind, code, _, _, id0, id1, seq0, seq1] = *header;
        if kind != family.reply_type() || code != 0 {
            return None;
        }
        Some(Self {
            identifier: u16::from_be_bytes([id0, id1]),
            sequence: u16::from_be_bytes([seq0, seq1]),
            token: u64::from_be_bytes(token.try_into().ok()?),
        })
    }
}

/// The Internet checksum (RFC 1071).
fn checksum(bytes: &[u8; LENGTH]) -> u16 {
    let words = bytes.chunks_exact(2).filter_map(|word| Some(u16::from_be_bytes(word.try_into().ok()?)));
    let sum = words.fold(0u32, |sum, word| sum.saturating_add(u32::from(word)));
    let folded = (sum & 0xffff).saturating_add(sum >> 16);
    let folded = (folded & 0xffff).saturating_add(folded >> 16);
    !u16::try_from(folded & 0xffff).unwrap_or(u16::MAX)
}
