//! A packet in a line, for people.

use super::Names;
use fulcrum_lb::capture::Packet;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::time::Duration;

#[cfg(test)]
mod tests;

const TCP: u8 = 6;
const UDP: u8 = 17;

/// `since` is when the capture began.
pub(crate) fn line(packet: &Packet, names: &Names, since: Duration) -> String {
    let what = describe(&packet.bytes).unwrap_or_else(|| "cut short".to_owned());
    let (at, length) = (names.interface(packet.interface), packet.length);
    if packet.leaves {
        return format!("{:>12}  {at} {what}, {length} bytes\n", "left as");
    }
    let time = packet.time.saturating_sub(since).as_secs_f64();
    format!("{time:>12.6}  {at} {what}, {length} bytes: {}\n", names.fate(packet))
}

/// From whom to whom, by which protocol; nothing if it is cut short.
fn describe(frame: &[u8]) -> Option<String> {
    let (kind, packet) = (frame.get(12..14)?, frame.get(14..)?);
    let (source, destination, protocol, transport, is_later) = match kind {
        [8, 0] => {
            let header = usize::from(*packet.first()? & 15).checked_mul(4)?;
            let address = |at: std::ops::Range<usize>| {
                Some(IpAddr::from(Ipv4Addr::from(<[u8; 4]>::try_from(packet.get(at)?).ok()?)))
            };
            let offset = u16::from_be_bytes([*packet.get(6)?, *packet.get(7)?]) & 0x1fff;
            (address(12..16)?, address(16..20)?, *packet.get(9)?, packet.get(header..)?, offset != 0)
        }
        [0x86, 0xdd] => {
            let address = |at: std::ops::Range<usize>| {
                Some(IpAddr::from(Ipv6Addr::from(<[u8; 16]>::try_from(packet.get(at)?).ok()?)))
            };
            (address(8..24)?, address(24..40)?, *packet.get(6)?, packet.get(40..)?, false)
        }
        _ => return Some("not IP".to_owned()),
    };
    let ports = match transport {
        [a, b, c, d, ..] if matches!(protocol, TCP | UDP) && !is_later => {
            Some((u16::from_be_bytes([*a, *b]), u16::from_be_bytes([*c, *d])))
        }
        _ => None,
    };
    let name = match protocol {
        TCP if is_later => "tcp, a later piece".to_owned(),
        TCP => format!("tcp{}", flags(transport.get(13).copied().unwrap_or(0))),
        UDP if is_later => "udp, a later piece".to_owned(),
        UDP => "udp".to_owned(),
        1 | 58 => "icmp".to_owned(),
        other => format!("protocol {other}"),
    };
    Some(match ports {
        Some((from, to)) => {
            format!("{} > {} {name}", SocketAddr::new(source, from), SocketAddr::new(destination, to))
        }
        None => format!("{source} > {destination} {name}"),
    })
}

fn flags(flags: u8) -> String {
    let names = [(2, " SYN"), (16, " ACK"), (1, " FIN"), (4, " RST")];
    names.into_iter().filter(|(bit, _)| flags & bit != 0).map(|(_, name)| name).collect()
}
