//! Classic BPF programs for packet sockets: only what concerns our addresses wakes the loop.

use fulcrum_config::Family;
use socket2::SockFilter;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

// Instructions of classic BPF (linux/bpf_common.h).
const LOAD_WORD: u16 = 0x20;
const LOAD_BYTE: u16 = 0x30;
const LOAD_HALF: u16 = 0x28;
const LOAD_HALF_BEHIND: u16 = 0x48;
const LOAD_BYTE_BEHIND: u16 = 0x50;
const LOAD_HEADER_LENGTH: u16 = 0xb1;
const JUMP_SET: u16 = 0x45;
const JUMP_AT_LEAST: u16 = 0x35;
const LOAD_INDEX: u16 = 0x01;
const JUMP_EQUAL: u16 = 0x15;
const RETURN: u16 = 0x06;

/// Everything of the packet.
const ALL: u32 = u32::MAX;

/// linux/filter.h, `SKF_AD_OFF + SKF_AD_PKTTYPE`: how the frame was addressed.
const PACKET_TYPE: u32 = 0xffff_f004;
/// linux/if_packet.h: to this device alone.
const PACKET_HOST: u32 = 0;

/// Where things stand in an Ethernet frame.
mod offset {
    pub(super) const IP: u32 = 14;
    pub(super) const IPV4_FRAGMENT: u32 = 20;
    pub(super) const IPV4_PROTOCOL: u32 = 23;
    pub(super) const IPV4_DESTINATION: u32 = 30;
    pub(super) const ARP_SENDER: u32 = 28;
    pub(super) const ARP_TARGET: u32 = 38;
    pub(super) const IPV6_NEXT_HEADER: u32 = 20;
    pub(super) const IPV6_HOP_LIMIT: u32 = 21;
    /// The last four bytes of the destination.
    pub(super) const IPV6_DESTINATION_END: u32 = 50;
    pub(super) const ICMPV6_TYPE: u32 = 54;
    /// Behind an IPv6 header, and behind the length of an IPv4 header that is added.
    pub(super) const TCP_DESTINATION: u32 = 2;
    pub(super) const TCP_FLAGS: u32 = 13;
    /// The last four bytes of the target address of a solicitation or an advertisement.
    pub(super) const ND_TARGET_END: u32 = 74;
}

const TCP: u32 = 6;
const FRAGMENT_OFFSET: u32 = 0x1fff;
const IPV6_HEADER: u32 = 40;
/// Flags of TCP (RFC 9293 section 3.1).
const ACK: u32 = 16;
const SYN_OR_RST: u32 = 2 | 4;
/// ICMPv6 types (RFC 4861 sections 4.3 and 4.4).
const SOLICITATION: u32 = 135;
const ADVERTISEMENT: u32 = 136;

/// The kernel takes 4096 instructions; above this many addresses the filter leaves addresses aside.
const MAX_ADDRESSES: usize = 800;

fn instruction(code: u16, jt: u8, jf: u8, k: u32) -> SockFilter {
    SockFilter::new(code, jt, jf, k)
}

/// Accepts nothing: for sockets that only send.
pub(super) fn nothing() -> Vec<SockFilter> {
    vec![instruction(RETURN, 0, 0, 0)]
}

/// Accepts VRRP packets.
pub(super) fn adverts(family: Family) -> Vec<SockFilter> {
    let protocol = match family {
        Family::Ipv4 => offset::IPV4_PROTOCOL,
        Family::Ipv6 => offset::IPV6_NEXT_HEADER,
    };
    vec![
        instruction(LOAD_BYTE, 0, 0, protocol),
        instruction(JUMP_EQUAL, 1, 0, u32::from(crate::advert::PROTOCOL)),
        instruction(RETURN, 0, 0, 0),
        instruction(RETURN, 0, 0, ALL),
    ]
}

/// Restricts `program` to frames that are sent to this device alone.
pub(super) fn to_us(program: Vec<SockFilter>) -> Vec<SockFilter> {
    let mut restricted = vec![
        instruction(LOAD_BYTE, 0, 0, PACKET_TYPE),
        instruction(JUMP_EQUAL, 1, 0, PACKET_HOST),
        instruction(RETURN, 0, 0, 0),
    ];
    restricted.extend(program);
    restricted
}

/// Accepts answers to SYNs that `own` sent from ports that are `first` or above.
pub(super) fn segments(own: IpAddr, first: u16) -> Vec<SockFilter> {
    let mut program = match own {
        IpAddr::V4(own) => vec![
            instruction(LOAD_BYTE, 0, 0, offset::IPV4_PROTOCOL),
            instruction(JUMP_EQUAL, 1, 0, TCP),
            instruction(RETURN, 0, 0, 0),
            instruction(LOAD_WORD, 0, 0, offset::IPV4_DESTINATION),
            instruction(JUMP_EQUAL, 1, 0, Ipv4Addr::to_bits(own)),
            instruction(RETURN, 0, 0, 0),
            instruction(LOAD_HALF, 0, 0, offset::IPV4_FRAGMENT),
            instruction(JUMP_SET, 0, 1, FRAGMENT_OFFSET),
            instruction(RETURN, 0, 0, 0),
            // X is the length of this header; of an IPv6 header it is 40.
            instruction(LOAD_HEADER_LENGTH, 0, 0, offset::IP),
        ],
        IpAddr::V6(own) => vec![
            instruction(LOAD_BYTE, 0, 0, offset::IPV6_NEXT_HEADER),
            instruction(JUMP_EQUAL, 1, 0, TCP),
            instruction(RETURN, 0, 0, 0),
            instruction(LOAD_WORD, 0, 0, offset::IPV6_DESTINATION_END),
            instruction(JUMP_EQUAL, 1, 0, ending(own)),
            instruction(RETURN, 0, 0, 0),
            instruction(LOAD_INDEX, 0, 0, IPV6_HEADER),
        ],
    };
    let behind = |field: u32| offset::IP.saturating_add(field);
    program.extend([
        instruction(LOAD_HALF_BEHIND, 0, 0, behind(offset::TCP_DESTINATION)),
        instruction(JUMP_AT_LEAST, 1, 0, u32::from(first)),
        instruction(RETURN, 0, 0, 0),
        instruction(LOAD_BYTE_BEHIND, 0, 0, behind(offset::TCP_FLAGS)),
        instruction(JUMP_SET, 1, 0, ACK),
        instruction(RETURN, 0, 0, 0),
        instruction(JUMP_SET, 1, 0, SYN_OR_RST),
        instruction(RETURN, 0, 0, 0),
        instruction(RETURN, 0, 0, ALL),
    ]);
    program
}

/// Accepts ARP packets whose sender or target is one of `addresses`, and those whose sender is one of `others`.
pub(super) fn arp(addresses: &[IpAddr], others: &[IpAddr]) -> Vec<SockFilter> {
    if addresses.len().saturating_add(others.len()) > MAX_ADDRESSES {
        return vec![instruction(RETURN, 0, 0, ALL)];
    }
    let words = |addresses: &[IpAddr]| -> Vec<u32> {
        let word = |address: &IpAddr| match address {
            IpAddr::V4(address) => Some(Ipv4Addr::to_bits(*address)),
            IpAddr::V6(_) => None,
        };
        addresses.iter().filter_map(word).collect()
    };
    let (addresses, others) = (words(addresses), words(others));
    let mut program = vec![instruction(LOAD_WORD, 0, 0, offset::ARP_TARGET)];
    accept_any(&mut program, &addresses);
    program.push(instruction(LOAD_WORD, 0, 0, offset::ARP_SENDER));
    accept_any(&mut program, &addresses);
    accept_any(&mut program, &others);
    program.push(instruction(RETURN, 0, 0, 0));
    program
}

/// Accepts neighbour solicitations and advertisements whose target ends like one of `addresses`, and advertisements whose
/// target ends like one of `others`.
pub(super) fn neighbour_discovery(addresses: &[IpAddr], others: &[IpAddr]) -> Vec<SockFilter> {
    let mut program = vec![
        instruction(LOAD_BYTE, 0, 0, offset::IPV6_NEXT_HEADER),
        instruction(JUMP_EQUAL, 1, 0, 58),
        instruction(RETURN, 0, 0, 0),
        instruction(LOAD_BYTE, 0, 0, offset::IPV6_HOP_LIMIT),
        instruction(JUMP_EQUAL, 1, 0, 255),
        instruction(RETURN, 0, 0, 0),
        instruction(LOAD_BYTE, 0, 0, offset::ICMPV6_TYPE),
        instruction(JUMP_EQUAL, 2, 0, SOLICITATION),
        instruction(JUMP_EQUAL, 1, 0, ADVERTISEMENT),
        instruction(RETURN, 0, 0, 0),
    ];
    if addresses.len().saturating_add(others.len()) > MAX_ADDRESSES {
        program.push(instruction(RETURN, 0, 0, ALL));
        return program;
    }
    let endings = |addresses: &[IpAddr]| -> Vec<u32> {
        let ending = |address: &IpAddr| match address {
            IpAddr::V4(_) => None,
            IpAddr::V6(address) => Some(ending(*address)),
        };
        addresses.iter().filter_map(ending).collect()
    };
    program.push(instruction(LOAD_WORD, 0, 0, offset::ND_TARGET_END));
    accept_any(&mut program, &endings(addresses));
    program.push(instruction(LOAD_BYTE, 0, 0, offset::ICMPV6_TYPE));
    program.push(instruction(JUMP_EQUAL, 1, 0, ADVERTISEMENT));
    program.push(instruction(RETURN, 0, 0, 0));
    program.push(instruction(LOAD_WORD, 0, 0, offset::ND_TARGET_END));
    accept_any(&mut program, &endings(others));
    program.push(instruction(RETURN, 0, 0, 0));
    program
}

fn accept_any(program: &mut Vec<SockFilter>, values: &[u32]) {
    for value in values {
        program.push(instruction(JUMP_EQUAL, 0, 1, *value));
        program.push(instruction(RETURN, 0, 0, ALL));
    }
}

fn ending(address: Ipv6Addr) -> u32 {
    let [.., a, b, c, d] = address.octets();
    u32::from_be_bytes([a, b, c, d])
}
