//! Classic BPF programs for packet sockets: only what concerns our addresses wakes the loop.

use fulcrum_config::Family;
use socket2::SockFilter;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

// Instructions of classic BPF (linux/bpf_common.h).
const LOAD_WORD: u16 = 0x20;
const LOAD_BYTE: u16 = 0x30;
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
    pub(super) const IPV4_PROTOCOL: u32 = 23;
    pub(super) const ARP_SENDER: u32 = 28;
    pub(super) const ARP_TARGET: u32 = 38;
    pub(super) const IPV6_NEXT_HEADER: u32 = 20;
    pub(super) const IPV6_HOP_LIMIT: u32 = 21;
    pub(super) const ICMPV6_TYPE: u32 = 54;
    /// The last four bytes of the target address of a solicitation or an advertisement.
    pub(super) const ND_TARGET_END: u32 = 74;
}

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

/// Accepts ARP packets whose sender or target is one of `addresses`.
pub(super) fn arp(addresses: &[IpAddr]) -> Vec<SockFilter> {
    let addresses: Vec<u32> = addresses
        .iter()
        .filter_map(|address| match address {
            IpAddr::V4(address) => Some(Ipv4Addr::to_bits(*address)),
            IpAddr::V6(_) => None,
        })
        .collect();
    if addresses.len() > MAX_ADDRESSES {
        return vec![instruction(RETURN, 0, 0, ALL)];
    }
    let mut program = vec![];
    for field in [offset::ARP_TARGET, offset::ARP_SENDER] {
        program.push(instruction(LOAD_WORD, 0, 0, field));
        accept_any(&mut program, &addresses);
    }
    program.push(instruction(RETURN, 0, 0, 0));
    program
}

/// Accepts neighbour solicitations and advertisements whose target ends like one of `addresses`.
pub(super) fn neighbour_discovery(addresses: &[IpAddr]) -> Vec<SockFilter> {
    let endings: Vec<u32> = addresses
        .iter()
        .filter_map(|address| match address {
            IpAddr::V4(_) => None,
            IpAddr::V6(address) => Some(ending(*address)),
        })
        .collect();
    let mut program = vec![
        instruction(LOAD_BYTE, 0, 0, offset::IPV6_NEXT_HEADER),
        instruction(JUMP_EQUAL, 1, 0, 58),
        instruction(RETURN, 0, 0, 0),
        instruction(LOAD_BYTE, 0, 0, offset::IPV6_HOP_LIMIT),
        instruction(JUMP_EQUAL, 1, 0, 255),
        instruction(RETURN, 0, 0, 0),
        instruction(LOAD_BYTE, 0, 0, offset::ICMPV6_TYPE),
        instruction(JUMP_EQUAL, 2, 0, 135),
        instruction(JUMP_EQUAL, 1, 0, 136),
        instruction(RETURN, 0, 0, 0),
    ];
    if endings.len() > MAX_ADDRESSES {
        program.push(instruction(RETURN, 0, 0, ALL));
        return program;
    }
    program.push(instruction(LOAD_WORD, 0, 0, offset::ND_TARGET_END));
    accept_any(&mut program, &endings);
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
