//! Whether the largest packets get to the other nodes: by echoes that must not be fragmented.
#![allow(clippy::disallowed_methods, reason = "a driver: it asks and waits")]

use super::view;
use crate::netlink::View;
use crate::sys::set_int_option;
use fulcrum_config::preflight::{Line, others};
use fulcrum_config::{Config, Family};
use pnet::util::checksum;
use rustix::net::RecvFlags;
use socket2::{Domain, Protocol, Socket, Type};
use std::collections::BTreeSet;
use std::io;
use std::net::{IpAddr, SocketAddr};
use std::os::fd::AsFd;
use std::time::{Duration, Instant};

const CHECK: &str = "mtu";
/// What IPv6 needs (RFC 8200 section 5).
const LEAST_IPV6: u32 = 1280;
const USUAL: u32 = 1500;
const ECHO: usize = 8;
/// Small ones tell whether anybody answers at all.
const SMALL: usize = 64;
const WAIT: Duration = Duration::from_millis(400);
const ATTEMPTS: u32 = 3;
const LOOK: Duration = Duration::from_millis(2);

/// The MTU of each interface with VIPs behind it, and whether packets of that size get to the other nodes.
#[must_use]
pub fn mtu(config: &Config) -> Vec<Line> {
    // That links can't be listed is told elsewhere.
    let Ok(view) = view() else { return Vec::new() };
    let mut lines: Vec<Line> =
        config.interfaces.values().filter_map(|it| of_interface(config, &view, it.name.as_str())).collect();
    let pairs: BTreeSet<(IpAddr, u32)> = [Family::Ipv4, Family::Ipv6]
        .into_iter()
        .flat_map(|family| others(config, family))
        .filter_map(|(_, address)| Some((address, mtu_towards(config, &view, address)?)))
        .collect();
    let asked: Vec<Line> = std::thread::scope(|scope| {
        let threads: Vec<_> =
            pairs.iter().map(|(address, mtu)| scope.spawn(|| towards(*address, *mtu))).collect();
        threads.into_iter().filter_map(|thread| thread.join().ok().flatten()).collect()
    });
    lines.extend(asked);
    lines
}

fn of_interface(config: &Config, view: &View, name: &str) -> Option<Line> {
    let mtu = view.named(name)?.mtu?;
    let has_ipv6 = config
        .groups
        .values()
        .flat_map(|group| &group.vips)
        .any(|vip| vip.address.is_ipv6() && vip.interface.as_str() == name);
    Some(if has_ipv6 && mtu < LEAST_IPV6 {
        let remedy = format!("ip link set {name} mtu {USUAL}, and what sets it at boot");
        Line::failed(CHECK, name, format!("it is {mtu}, and IPv6 needs {LEAST_IPV6}"), remedy)
    } else if mtu < USUAL {
        let remedy =
            "if nothing on the way needs it so small (a tunnel does), set it to 1500, as on the backends";
        Line::warning(
            CHECK,
            name,
            format!("it is {mtu}, less than the usual {USUAL}: large packets are fragmented or refused"),
            remedy,
        )
    } else {
        Line::ok(CHECK, name, format!("it is {mtu}"))
    })
}

/// The MTU of the interface that has a network in common with `address`.
fn mtu_towards(config: &Config, view: &View, address: IpAddr) -> Option<u32> {
    let near =
        config.interfaces.values().find(|it| it.networks.iter().any(|network| network.contains(&address)))?;
    view.named(near.name.as_str())?.mtu
}

fn towards(address: IpAddr, mtu: u32) -> Option<Line> {
    let header = if address.is_ipv4() { 20 } else { 40 };
    let largest = usize::try_from(mtu).ok()?.checked_sub(header)?;
    let answers = |size| echo(address, size);
    let about = address;
    match (answers(SMALL), answers(largest)) {
        (Ok(true), Ok(true)) => {
            Some(Line::ok(CHECK, about, format!("packets of {mtu} bytes get there and back")))
        }
        (Ok(true), Ok(false) | Err(_)) => Some(Line::failed(
            CHECK,
            about,
            format!(
                "packets of {mtu} bytes, the MTU here, get lost on the way to it or back; small ones do not"
            ),
            "give all nodes' interfaces, and the switches between them, the same MTU",
        )),
        // Others tell that the node is not there, or that nothing may be asked.
        (Ok(false), _) => {
            Some(Line::not_applicable(CHECK, about, "it answers no echoes (ICMP), so its MTU is not known"))
        }
        (Err(error), _) => Some(Line::not_applicable(CHECK, about, format!("it can't be asked: {error}"))),
    }
}

/// Whether an echo of so many bytes, its header included, comes back whole.
fn echo(address: IpAddr, size: usize) -> io::Result<bool> {
    let (domain, protocol) = match address {
        IpAddr::V4(_) => (Domain::IPV4, Protocol::ICMPV4),
        IpAddr::V6(_) => (Domain::IPV6, Protocol::ICMPV6),
    };
    let socket = Socket::new(domain, Type::RAW, Some(protocol))?;
    socket.set_nonblocking(true)?;
    socket.connect(&SocketAddr::new(address, 0).into())?;
    // Not fragmented, and as large as the interface takes, whatever was learned of the way before.
    match address {
        IpAddr::V4(_) => {
            set_int_option(socket.as_fd(), libc::IPPROTO_IP, libc::IP_MTU_DISCOVER, libc::IP_PMTUDISC_PROBE)?
        }
        IpAddr::V6(_) => set_int_option(
            socket.as_fd(),
            libc::IPPROTO_IPV6,
            libc::IPV6_MTU_DISCOVER,
            libc::IPV6_PMTUDISC_PROBE,
        )?,
    }
    let identifier = fastrand::u16(..);
    for sequence in 0..ATTEMPTS {
        socket.send(&request(address, identifier, u16::try_from(sequence).unwrap_or(0), size))?;
        let begun = Instant::now();
        while begun.elapsed() < WAIT {
            if heard(&socket, address, identifier, size) {
                return Ok(true);
            }
            std::thread::sleep(LOOK);
        }
    }
    Ok(false)
}

/// RFC 792, RFC 4443 section 4.1; the kernel fills in the checksum of the latter.
fn request(address: IpAddr, identifier: u16, sequence: u16, size: usize) -> Vec<u8> {
    let kind = if address.is_ipv4() { 8 } else { 128 };
    let ([a, b], [c, d]) = (identifier.to_be_bytes(), sequence.to_be_bytes());
    let mut message = vec![kind, 0, 0, 0, a, b, c, d];
    message.resize(size.max(ECHO), 0);
    if address.is_ipv4() {
        let sum = checksum(&message, 1).to_be_bytes();
        if let Some(field) = message.get_mut(2..4) {
            field.copy_from_slice(&sum);
        }
    }
    message
}

fn heard(socket: &Socket, address: IpAddr, identifier: u16, size: usize) -> bool {
    let mut buffer = vec![0; size.saturating_add(64)];
    while let Ok((length, _)) = rustix::net::recv(socket, buffer.as_mut_slice(), RecvFlags::DONTWAIT) {
        let packet = buffer.get(..length).unwrap_or_default();
        // A raw socket of IPv4 gives the header, too.
        let header = match (address, packet.first()) {
            (IpAddr::V4(_), Some(first)) => usize::from(first & 0x0f).saturating_mul(4),
            (IpAddr::V4(_), None) | (IpAddr::V6(_), _) => 0,
        };
        let message = packet.get(header..).unwrap_or_default();
        let reply = if address.is_ipv4() { 0 } else { 129 };
        let [high, low] = identifier.to_be_bytes();
        if matches!(message, [kind, 0, _, _, a, b, ..] if *kind == reply && *a == high && *b == low)
            && message.len() >= size
        {
            return true;
        }
    }
    false
}
