//! Frames, and the checksums within them, computed anew.

use std::net::{IpAddr, SocketAddr};

pub const OURS: [u8; 6] = [2, 0, 0, 0, 0, 1];
pub const THEIRS: [u8; 6] = [2, 0, 0, 0, 0, 9];
pub const FIN: u8 = 1;
pub const SYN: u8 = 2;
pub const RST: u8 = 4;
pub const ACK: u8 = 16;

/// A packet as its sender means it.
#[derive(Clone)]
pub struct Packet {
    pub from: SocketAddr,
    pub to: SocketAddr,
    /// 6, 17, 1 or 58.
    pub protocol: u8,
    /// The transport's header and what follows, with a checksum if it has one.
    pub segment: Vec<u8>,
    pub ttl: u8,
    /// IPv4: flags and offset. IPv6: none.
    pub fragment: u16,
    pub identification: u16,
    /// Options of IPv4, a multiple of 4.
    pub options: Vec<u8>,
    /// IPv6: headers between, each with its own number, without the number of the next.
    pub extensions: Vec<(u8, Vec<u8>)>,
}

fn plain(from: SocketAddr, to: SocketAddr, protocol: u8, segment: Vec<u8>) -> Packet {
    Packet {
        from,
        to,
        protocol,
        segment,
        ttl: 64,
        fragment: 0x4000,
        identification: 7,
        options: Vec::new(),
        extensions: Vec::new(),
    }
}

pub fn tcp(from: SocketAddr, to: SocketAddr, flags: u8, payload: &[u8]) -> Packet {
    let ports = [from.port().to_be_bytes(), to.port().to_be_bytes()].concat();
    let numbers = [1_000_u32.to_be_bytes(), 2_000_u32.to_be_bytes()].concat();
    let segment = [&ports[..], &numbers, &[0x50, flags, 0x20, 0, 0, 0, 0, 0], payload].concat();
    let mut packet = plain(from, to, 6, segment);
    packet.fill_checksum();
    packet
}

pub fn udp(from: SocketAddr, to: SocketAddr, payload: &[u8]) -> Packet {
    let length = u16::try_from(payload.len() + 8).unwrap().to_be_bytes();
    let ports = [from.port().to_be_bytes(), to.port().to_be_bytes()].concat();
    let mut packet = plain(from, to, 17, [&ports[..], &length, &[0, 0], payload].concat());
    packet.fill_checksum();
    packet
}

/// An ICMP error about `quoted`, an IP packet or its beginning.
pub fn icmp(from: IpAddr, to: IpAddr, kind: u8, code: u8, rest: u32, quoted: &[u8]) -> Packet {
    let protocol = if from.is_ipv4() { 1 } else { 58 };
    let segment = [&[kind, code, 0, 0][..], &rest.to_be_bytes(), quoted].concat();
    let mut packet = plain(SocketAddr::new(from, 0), SocketAddr::new(to, 0), protocol, segment);
    packet.fill_checksum();
    packet
}

impl Packet {
    fn checksum_offset(&self) -> usize {
        match self.protocol {
            6 => 16,
            17 => 6,
            _ => 2,
        }
    }

    fn transport_sum(&self) -> u16 {
        let length = u32::try_from(self.segment.len()).unwrap().to_be_bytes();
        let mut bytes = match (self.from.ip(), self.to.ip()) {
            (IpAddr::V4(_), IpAddr::V4(_)) if self.protocol == 1 => Vec::new(),
            (IpAddr::V4(from), IpAddr::V4(to)) => {
                [&from.octets()[..], &to.octets(), &[0, self.protocol], &length[2..]].concat()
            }
            (IpAddr::V6(from), IpAddr::V6(to)) => {
                [&from.octets()[..], &to.octets(), &length, &[0, 0, 0, self.protocol]].concat()
            }
            _ => panic!("one family"),
        };
        bytes.extend(&self.segment);
        sum(&bytes)
    }

    pub fn fill_checksum(&mut self) {
        let at = self.checksum_offset();
        self.segment[at..at + 2].fill(0);
        let checksum = match !self.transport_sum() {
            0 if self.protocol == 17 => 0xffff,
            checksum => checksum,
        };
        self.segment[at..at + 2].copy_from_slice(&checksum.to_be_bytes());
    }

    /// The IP packet.
    pub fn packet(&self) -> Vec<u8> {
        match (self.from.ip(), self.to.ip()) {
            (IpAddr::V4(from), IpAddr::V4(to)) => {
                let words = u8::try_from(5 + self.options.len() / 4).unwrap();
                let length = u16::try_from(usize::from(words) * 4 + self.segment.len()).unwrap();
                let [i, d] = self.identification.to_be_bytes();
                let [f, g] = self.fragment.to_be_bytes();
                let [l, m] = length.to_be_bytes();
                let head = [0x40 | words, 0, l, m, i, d, f, g, self.ttl, self.protocol, 0, 0];
                let mut header = [&head[..], &from.octets(), &to.octets(), &self.options].concat();
                let checksum = !sum(&header);
                header[10..12].copy_from_slice(&checksum.to_be_bytes());
                [header, self.segment.clone()].concat()
            }
            (IpAddr::V6(from), IpAddr::V6(to)) => {
                let mut next = self.protocol;
                let mut payload = self.segment.clone();
                for (number, bytes) in self.extensions.iter().rev() {
                    payload = [&[next][..], bytes, &payload].concat();
                    next = *number;
                }
                let [l, m] = u16::try_from(payload.len()).unwrap().to_be_bytes();
                let head = [0x60, 0, 0, 0, l, m, next, self.ttl];
                [&head[..], &from.octets(), &to.octets(), &payload].concat()
            }
            _ => panic!("one family"),
        }
    }

    pub fn frame(&self) -> Vec<u8> {
        let kind: [u8; 2] = if self.from.is_ipv4() { [8, 0] } else { [0x86, 0xdd] };
        [&OURS[..], &THEIRS, &kind, &self.packet()].concat()
    }

    /// What is in a frame without options or extension headers; each checksum must be right, but that of a datagram may be 0.
    pub fn read(frame: &[u8]) -> Self {
        let packet = Self::read_quoted(&frame[14..]);
        let unchecked = packet.protocol == 17 && packet.from.is_ipv4() && packet.segment[6..8] == [0, 0];
        if packet.fragment & 0x3fff == 0 && !unchecked {
            assert_eq!(packet.transport_sum(), 0xffff, "the checksum of the transport in {frame:x?}");
        }
        packet
    }

    /// The same of a bare packet, which may be cut short.
    pub fn read_quoted(bytes: &[u8]) -> Self {
        let v4 = bytes[0] >> 4 == 4;
        let header = if v4 { usize::from(bytes[0] & 15) * 4 } else { 40 };
        let (protocol, ttl) = if v4 { (bytes[9], bytes[8]) } else { (bytes[6], bytes[7]) };
        let address = |at: usize| {
            if v4 {
                IpAddr::from(<[u8; 4]>::try_from(&bytes[at..at + 4]).unwrap())
            } else {
                IpAddr::from(<[u8; 16]>::try_from(&bytes[at..at + 16]).unwrap())
            }
        };
        let (from, to) = if v4 { (address(12), address(16)) } else { (address(8), address(24)) };
        if v4 {
            assert_eq!(sum(&bytes[..header]), 0xffff, "the checksum of the header in {bytes:x?}");
        }
        let segment = bytes[header..].to_vec();
        let word = |at: usize| u16::from_be_bytes([bytes[at], bytes[at + 1]]);
        let fragment = if v4 { word(6) } else { 0 };
        let ports = matches!(protocol, 6 | 17) && fragment & 0x1fff == 0;
        let port = |at: usize| if ports { u16::from_be_bytes([segment[at], segment[at + 1]]) } else { 0 };
        Self {
            from: SocketAddr::new(from, port(0)),
            to: SocketAddr::new(to, port(2)),
            protocol,
            ttl,
            fragment,
            identification: if v4 { word(4) } else { 0 },
            options: if v4 { bytes[20..header].to_vec() } else { Vec::new() },
            extensions: Vec::new(),
            segment,
        }
    }

    pub fn flags(&self) -> u8 {
        self.segment[13]
    }

    pub fn with_ttl(mut self, ttl: u8) -> Self {
        self.ttl = ttl;
        self
    }
}

/// The one's complement sum (RFC 1071), folded.
pub fn sum(bytes: &[u8]) -> u16 {
    let mut sum: u64 =
        bytes.chunks(2).map(|pair| u64::from(pair[0]) << 8 | u64::from(*pair.get(1).unwrap_or(&0))).sum();
    while sum > 0xffff {
        sum = (sum & 0xffff) + (sum >> 16);
    }
    u16::try_from(sum).unwrap()
}
