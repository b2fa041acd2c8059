//! The PROXY protocol, versions 1 and 2: who the client of a proxied connection is.
//!
//! Source: "The PROXY protocol", haproxy.org/download/2.9/doc/proxy-protocol.txt. What is complete is decided
//! here, from the length that the bytes themselves state; the `ppp` crate then reads the fields of a whole
//! header. A sender is either listed and must send a header, or is not and must not: nothing is guessed.

mod encode;
#[cfg(test)]
#[allow(clippy::arithmetic_side_effects)] // Times and counts of tests are small.
mod tests;

pub use encode::encode;

use ppp::{v1, v2};
use std::net::SocketAddr;
use thiserror::Error;

/// The longest header that is accepted, version 2 with its TLVs: what one segment carries on any path
/// (the spec's section 2.2; 576 bytes less the headers of TCP/IP).
pub const MAX_HEADER: usize = 536;
/// The longest header of version 1, with its CR LF (section 2.1).
const MAX_V1: usize = 107;
const V1_PREFIX: &[u8] = b"PROXY ";
const V2_SIGNATURE: &[u8; 12] = b"\r\n\r\n\0\r\nQUIT\n";
/// Signature, version and command, family and transport, length.
const V2_FIXED: usize = 16;

/// What kind of socket a header is for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Transport {
    /// TCP.
    Stream,
    /// UDP.
    Datagram,
}

/// Both ends of the client's own connection.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct Endpoints {
    /// The client.
    pub source: SocketAddr,
    /// What the client connected to.
    pub destination: SocketAddr,
}

/// What the bytes so far are.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Decoded {
    /// The beginning of a header.
    Incomplete,
    /// A header.
    Complete {
        /// Its length in bytes; what follows is the client's.
        length: usize,
        /// Whom it speaks for; nobody if the sender speaks for itself (LOCAL, UNKNOWN, or a family other than
        /// IPv4 and IPv6): then the connection's own addresses count.
        endpoints: Option<Endpoints>,
    },
}

/// Why bytes are no header that may be accepted. The connection is then to be reset, never served.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Error)]
pub enum HeaderError {
    /// They begin like neither version.
    #[error("the bytes are no PROXY header")]
    NoHeader,
    /// It is longer than allowed.
    #[error("the PROXY header is longer than {MAX_HEADER} bytes (version 1: {MAX_V1})")]
    TooLong,
    /// Its fields are wrong.
    #[error("the PROXY header is malformed")]
    Malformed,
    /// It speaks of TCP on a UDP service, or the other way round.
    #[error("the PROXY header is for another transport than the service's")]
    Transport,
    /// It did not come whole before its connection or its datagram ended.
    #[error("the PROXY header is cut off")]
    CutOff,
}

/// Reads the header at the beginning of `bytes`.
///
/// # Errors
/// No further bytes could make an acceptable header of them.
pub fn decode(bytes: &[u8], transport: Transport) -> Result<Decoded, HeaderError> {
    if begins(bytes, V2_SIGNATURE) {
        decode_v2(bytes, transport)
    } else if begins(bytes, V1_PREFIX) {
        decode_v1(bytes, transport)
    } else {
        Err(HeaderError::NoHeader)
    }
}

/// Reads the header at the beginning of a datagram, which must hold it whole.
///
/// # Errors
/// It does not begin with an acceptable header.
pub fn decode_datagram(datagram: &[u8]) -> Result<(usize, Option<Endpoints>), HeaderError> {
    match decode(datagram, Transport::Datagram)? {
        Decoded::Complete { length, endpoints } => Ok((length, endpoints)),
        Decoded::Incomplete => Err(HeaderError::CutOff),
    }
}

/// Whether `bytes` begin with `prefix`, as far as they go.
fn begins(bytes: &[u8], prefix: &[u8]) -> bool {
    bytes.iter().zip(prefix).all(|(byte, expected)| byte == expected)
}

fn decode_v1(bytes: &[u8], transport: Transport) -> Result<Decoded, HeaderError> {
    if transport == Transport::Datagram {
        return Err(HeaderError::Transport); // Version 1 knows TCP only.
    }
    let Some(end) = bytes.iter().take(MAX_V1).position(|byte| *byte == b'\n') else {
        return if bytes.len() < MAX_V1 { Ok(Decoded::Incomplete) } else { Err(HeaderError::TooLong) };
    };
    let length = end.saturating_add(1);
    let line = bytes.get(..length).ok_or(HeaderError::Malformed)?;
    let text = line.strip_suffix(b"\r\n").ok_or(HeaderError::Malformed)?;
    // The spec: whatever follows UNKNOWN is to be ignored.
    if text == b"PROXY UNKNOWN" || text.starts_with(b"PROXY UNKNOWN ") {
        return Ok(Decoded::Complete { length, endpoints: None });
    }
    let header = v1::Header::try_from(line).map_err(|_| HeaderError::Malformed)?;
    // A CR within the line ends it for the crate, and it takes "+1" for a port.
    if header.header.len() != length || text.contains(&b'+') {
        return Err(HeaderError::Malformed);
    }
    let endpoints = match header.addresses {
        v1::Addresses::Tcp4(ip) => Endpoints {
            source: (ip.source_address, ip.source_port).into(),
            destination: (ip.destination_address, ip.destination_port).into(),
        },
        v1::Addresses::Tcp6(ip) => Endpoints {
            source: (ip.source_address, ip.source_port).into(),
            destination: (ip.destination_address, ip.destination_port).into(),
        },
        v1::Addresses::Unknown => return Err(HeaderError::Malformed),
    };
    Ok(Decoded::Complete { length, endpoints: Some(endpoints) })
}

fn decode_v2(bytes: &[u8], transport: Transport) -> Result<Decoded, HeaderError> {
    let Some((fixed, _)) = bytes.split_first_chunk::<V2_FIXED>() else { return Ok(Decoded::Incomplete) };
    let [.., version_command, _, length_high, length_low] = *fixed;
    let length = V2_FIXED.saturating_add(usize::from(u16::from_be_bytes([length_high, length_low])));
    if length > MAX_HEADER {
        return Err(HeaderError::TooLong);
    }
    let Some(header) = bytes.get(..length) else { return Ok(Decoded::Incomplete) };
    if version_command == 0x20 {
        // LOCAL: the family and all that follows is to be ignored, right or wrong.
        return Ok(Decoded::Complete { length, endpoints: None });
    }
    let header = v2::Header::try_from(header).map_err(|_| HeaderError::Malformed)?;
    match (header.protocol, transport) {
        (v2::Protocol::Stream, Transport::Stream) | (v2::Protocol::Datagram, Transport::Datagram) => {}
        (v2::Protocol::Unspecified, _) => return Ok(Decoded::Complete { length, endpoints: None }),
        (v2::Protocol::Stream, Transport::Datagram) | (v2::Protocol::Datagram, Transport::Stream) => {
            return Err(HeaderError::Transport);
        }
    }
    let endpoints = match header.addresses {
        v2::Addresses::IPv4(ip) => Some(Endpoints {
            source: (ip.source_address, ip.source_port).into(),
            destination: (ip.destination_address, ip.destination_port).into(),
        }),
        v2::Addresses::IPv6(ip) => Some(Endpoints {
            source: (ip.source_address, ip.source_port).into(),
            destination: (ip.destination_address, ip.destination_port).into(),
        }),
        v2::Addresses::Unspecified | v2::Addresses::Unix(_) => None,
    };
    Ok(Decoded::Complete { length, endpoints })
}

/// A header as it arrives, in any number of pieces.
#[derive(Debug, Default)]
pub struct HeaderReader {
    /// The pieces so far; shorter than [`MAX_HEADER`].
    bytes: Vec<u8>,
}

/// A header that a [`HeaderReader`] has read.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Received {
    /// Whom it speaks for; see [`Decoded::Complete`].
    pub endpoints: Option<Endpoints>,
    /// How many bytes of the last piece belong to it; the rest is the client's.
    pub consumed: usize,
}

impl HeaderReader {
    /// Takes the next piece of a stream; nothing is returned while the header is incomplete.
    ///
    /// Not to be called again after it returned a header or an error.
    ///
    /// # Errors
    /// The stream begins with no acceptable header.
    pub fn handle_bytes(&mut self, piece: &[u8]) -> Result<Option<Received>, HeaderError> {
        let before = self.bytes.len();
        let decoded = if before == 0 {
            decode(piece, Transport::Stream)? // The usual case, without a copy.
        } else {
            let room = MAX_HEADER.saturating_sub(before);
            self.bytes.extend(piece.iter().take(room));
            decode(&self.bytes, Transport::Stream)?
        };
        match decoded {
            Decoded::Complete { length, endpoints } => {
                Ok(Some(Received { endpoints, consumed: length.saturating_sub(before) }))
            }
            Decoded::Incomplete => {
                if before == 0 {
                    self.bytes.extend_from_slice(piece);
                }
                Ok(None)
            }
        }
    }
}
