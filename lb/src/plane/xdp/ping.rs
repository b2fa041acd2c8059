//! ICMP echo (RFC 792): out by the kernel or as a frame of our own, back by the kernel.

use socket2::{Domain, Protocol, SockAddr, Socket, Type};
use std::io;
use std::mem::MaybeUninit;
use std::net::{IpAddr, Ipv4Addr, SocketAddr, UdpSocket};
use std::time::{Duration, Instant};

const REQUEST: u8 = 8;
const REPLY: u8 = 0;
const IPV4_HEADER: usize = 20;
const ICMP_HEADER: usize = 8;
/// Says whose echo it is, with the number.
const IDENTIFIER: u16 = 0xf01d;
/// The longest packet that is waited for.
const LONGEST: usize = 65_536;

/// An echo request of some length, and what its reply says.
pub(super) struct Echo {
    number: u16,
    payload: Vec<u8>,
}

impl Echo {
    /// With its IPv4 header it is `length` bytes long.
    pub(super) fn new(number: u16, length: usize) -> Self {
        let payload = length.saturating_sub(IPV4_HEADER.saturating_add(ICMP_HEADER));
        // At random: a frame that lost some bytes is another.
        Self { number, payload: std::iter::repeat_with(|| fastrand::u8(..)).take(payload).collect() }
    }

    fn message(&self, kind: u8) -> Vec<u8> {
        let mut message = vec![kind, 0, 0, 0];
        message.extend(IDENTIFIER.to_be_bytes());
        message.extend(self.number.to_be_bytes());
        message.extend(&self.payload);
        fill_checksum(&mut message, 2);
        message
    }

    /// The request as a frame, each end with its hardware address.
    pub(super) fn frame(&self, from: ([u8; 6], Ipv4Addr), to: ([u8; 6], Ipv4Addr)) -> Vec<u8> {
        let message = self.message(REQUEST);
        let length = u16::try_from(message.len().saturating_add(IPV4_HEADER)).unwrap_or(u16::MAX);
        let mut header = vec![0x45, 0];
        header.extend(length.to_be_bytes());
        header.extend([0, 0, 0x40, 0, 64, 1, 0, 0]);
        header.extend(from.1.octets());
        header.extend(to.1.octets());
        fill_checksum(&mut header, 10);
        [&to.0[..], &from.0, &[8, 0], &header, &message].concat()
    }

    /// Whether a packet is the reply, byte by byte.
    pub(super) fn is_answered_by(&self, packet: &[u8]) -> bool {
        let header = packet.first().map_or(0, |first| usize::from(first & 15).saturating_mul(4));
        packet.get(header..).is_some_and(|message| message == self.message(REPLY))
    }
}

/// The Internet checksum (RFC 1071) of `bytes`, into the two at `at`.
fn fill_checksum(bytes: &mut [u8], at: usize) {
    let mut sum: u32 = 0;
    for pair in bytes.chunks(2) {
        let word = [pair.first().copied().unwrap_or(0), pair.get(1).copied().unwrap_or(0)];
        sum = sum.saturating_add(u16::from_be_bytes(word).into());
    }
    while sum > 0xffff {
        sum = (sum & 0xffff).saturating_add(sum >> 16);
    }
    let checksum = !u16::try_from(sum).unwrap_or(0);
    if let Some(field) = bytes.get_mut(at..at.saturating_add(2)) {
        field.copy_from_slice(&checksum.to_be_bytes());
    }
}

/// A socket for them, at one interface.
pub(super) struct Pings {
    socket: Socket,
}

impl Pings {
    pub(super) fn open(interface: &str) -> io::Result<Self> {
        let socket = Socket::new(Domain::IPV4, Type::RAW, Some(Protocol::ICMPV4))?;
        socket.bind_device(Some(interface.as_bytes()))?;
        Ok(Self { socket })
    }

    /// Sends the request by the kernel.
    pub(super) fn send(&self, to: Ipv4Addr, echo: &Echo) -> io::Result<()> {
        let to: SockAddr = SocketAddr::new(IpAddr::V4(to), 0).into();
        self.socket.send_to(&echo.message(REQUEST), &to).map(|_| ())
    }

    /// Waits for the reply.
    #[allow(clippy::disallowed_methods)] // The driver: it waits for the network.
    pub(super) fn hears(&self, from: Ipv4Addr, echo: &Echo, patience: Duration) -> bool {
        let begun = Instant::now();
        let mut buffer = vec![MaybeUninit::uninit(); LONGEST];
        loop {
            let left = patience.saturating_sub(begun.elapsed());
            if left.is_zero() || self.socket.set_read_timeout(Some(left)).is_err() {
                return false;
            }
            let Ok((length, sender)) = self.socket.recv_from(&mut buffer) else { return false };
            let packet: Vec<u8> = crate::sys::received(&buffer, length).to_vec();
            let sender = sender.as_socket_ipv4().map(|sender| *sender.ip());
            if sender == Some(from) && echo.is_answered_by(&packet) {
                return true;
            }
        }
    }

    /// Which of this node's addresses it uses towards a neighbour.
    pub(super) fn address_towards(&self, neighbour: Ipv4Addr) -> io::Result<Ipv4Addr> {
        let socket = UdpSocket::bind((Ipv4Addr::UNSPECIFIED, 0))?;
        socket.connect((neighbour, 9))?;
        match socket.local_addr()?.ip() {
            IpAddr::V4(address) => Ok(address),
            IpAddr::V6(_) => Err(io::ErrorKind::AddrNotAvailable.into()),
        }
    }
}
