//! Flows as nodes tell each other of them: in terms that hold on every node, not by the indexes of one kernel.
//!
//! A message is its version and its kind (one byte each), then, of flows, one record after the other: a byte of marks, the
//! addresses and ports of the client, the VIP, the backend and, in mode fullnat, the source, and the milliseconds since
//! the last packet. All numbers are big endian. What was told before may be told again.

use fulcrum_config::Protocol;
use fulcrum_ebpf::plane::layout::Ended;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::sync::Arc;
use std::time::Duration;

#[cfg(test)]
mod tests;

const VERSION: u8 = 1;
const FLOWS: u8 = 1;
const WHOLE: u8 = 2;
const HELD: u8 = 3;
const AGAIN: u8 = 4;

const IPV6: u8 = 1;
const TCP: u8 = 2;
const SOURCE: u8 = 4;
const HALF_ENDED: u8 = 8;
const ENDED: u8 = 16;

/// The most flows in a message: with IPv6 and a source 77 bytes each.
pub(crate) const FLOWS_IN_MESSAGE: usize = 800;
/// The longest message.
pub(crate) const MESSAGE_BYTES: usize = 64 << 10;

/// One flow.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Told {
    pub(crate) protocol: Protocol,
    pub(crate) client: SocketAddr,
    pub(crate) vip: SocketAddr,
    /// Port 0 is the one that the client connected to.
    pub(crate) backend: SocketAddr,
    /// Mode fullnat: where it is sent on from.
    pub(crate) source: Option<SocketAddr>,
    pub(crate) ended: Ended,
    /// Since its last packet.
    pub(crate) silent: Duration,
}

/// A message.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Message {
    /// The sender knows these.
    Flows(Vec<Told>),
    /// It has told of all that it knows. The number is that of its life.
    Whole(u64),
    /// It has all that the life of this number has told of.
    Held(u64),
    /// It has missed something: whoever hears this tells it all again.
    Again,
}

impl Message {
    pub(crate) fn encode(&self) -> Arc<[u8]> {
        let mut bytes = vec![VERSION];
        match self {
            Self::Flows(flows) => {
                bytes.push(FLOWS);
                flows.iter().for_each(|flow| flow.write(&mut bytes));
            }
            Self::Whole(life) => {
                bytes.push(WHOLE);
                bytes.extend(life.to_be_bytes());
            }
            Self::Again => bytes.push(AGAIN),
            Self::Held(life) => {
                bytes.push(HELD);
                bytes.extend(life.to_be_bytes());
            }
        }
        bytes.into()
    }

    /// `None` if it makes no sense here: of a newer version, presumably.
    pub(crate) fn decode(bytes: &[u8]) -> Option<Self> {
        let (&[version, kind], mut rest) = bytes.split_first_chunk::<2>()?;
        if version != VERSION || bytes.len() > MESSAGE_BYTES {
            return None;
        }
        match kind {
            FLOWS => {
                let mut flows = Vec::new();
                while !rest.is_empty() {
                    flows.push(Told::read(&mut rest)?);
                }
                Some(Self::Flows(flows))
            }
            WHOLE => Some(Self::Whole(u64::from_be_bytes(take(&mut rest)?))),
            HELD => Some(Self::Held(u64::from_be_bytes(take(&mut rest)?))),
            AGAIN => Some(Self::Again),
            _ => None,
        }
    }
}

impl Told {
    fn write(&self, bytes: &mut Vec<u8>) {
        let mark = |is: bool, mark: u8| if is { mark } else { 0 };
        bytes.push(
            mark(self.client.is_ipv6(), IPV6)
                | mark(self.protocol == Protocol::Tcp, TCP)
                | mark(self.source.is_some(), SOURCE)
                | mark(self.ended == Ended::Half, HALF_ENDED)
                | mark(self.ended == Ended::Whole, ENDED),
        );
        for at in [self.client, self.vip, self.backend].into_iter().chain(self.source) {
            match at.ip() {
                IpAddr::V4(ip) => bytes.extend(ip.octets()),
                IpAddr::V6(ip) => bytes.extend(ip.octets()),
            }
            bytes.extend(at.port().to_be_bytes());
        }
        bytes.extend(u32::try_from(self.silent.as_millis()).unwrap_or(u32::MAX).to_be_bytes());
    }

    fn read(rest: &mut &[u8]) -> Option<Self> {
        let [marks] = take(rest)?;
        let has = |mark: u8| marks & mark != 0;
        let at = |rest: &mut &[u8]| {
            let ip = if has(IPV6) {
                IpAddr::V6(Ipv6Addr::from(take::<16>(rest)?))
            } else {
                IpAddr::V4(Ipv4Addr::from(take::<4>(rest)?))
            };
            Some(SocketAddr::new(ip, u16::from_be_bytes(take(rest)?)))
        };
        let (client, vip, backend) = (at(rest)?, at(rest)?, at(rest)?);
        let source = if has(SOURCE) { Some(at(rest)?) } else { None };
        let ended = match (has(HALF_ENDED), has(ENDED)) {
            (_, true) => Ended::Whole,
            (true, false) => Ended::Half,
            (false, false) => Ended::No,
        };
        let silent = Duration::from_millis(u32::from_be_bytes(take(rest)?).into());
        let protocol = if has(TCP) { Protocol::Tcp } else { Protocol::Udp };
        Some(Self { protocol, client, vip, backend, source, ended, silent })
    }
}

/// What is understood reads the same once it is written again.
#[cfg(any(test, feature = "fuzzing"))]
pub(crate) fn read_and_write(bytes: &[u8]) {
    if let Some(message) = Message::decode(bytes) {
        assert_eq!(Message::decode(&message.encode()), Some(message));
    }
}

fn take<const N: usize>(rest: &mut &[u8]) -> Option<[u8; N]> {
    let (bytes, after) = rest.split_first_chunk()?;
    *rest = after;
    Some(*bytes)
}
