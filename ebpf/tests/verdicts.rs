//! A frame in, a verdict out, for each branch of the programs. As root.
#![allow(clippy::expect_used, clippy::arithmetic_side_effects, reason = "a test")]

use fulcrum_ebpf::layout::{Group, State};
use fulcrum_ebpf::{Direction, Fence, Mode, Verdict};
use rustix::time::{ClockId, clock_gettime};
use std::net::IpAddr;

const VIP: [u8; 4] = [10, 0, 0, 100];
const OTHER: [u8; 4] = [10, 0, 0, 7];
const VIP6: [u8; 16] = [0xfd, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 1, 0];
const OTHER6: [u8; 16] = [0xfd, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 7];
const NOBODY6: [u8; 16] = [0; 16];
const MAC: [u8; 6] = [2, 0, 0, 0, 0, 1];
/// Of the VIPs in these tests; 0 is another one's.
const GROUP: u32 = 5;

fn ethernet(ether_type: u16, payload: &[u8]) -> Vec<u8> {
    [&[0xff; 6], &MAC[..], &ether_type.to_be_bytes(), payload].concat()
}

fn ipv4(source: [u8; 4], destination: [u8; 4]) -> Vec<u8> {
    let header = [0x45, 0, 0, 40, 0, 0, 0x40, 0, 64, 6, 0, 0];
    ethernet(0x0800, &[&header[..], &source, &destination, &[0; 20]].concat())
}

fn ipv6(next_header: u8, source: [u8; 16], destination: [u8; 16], payload: &[u8]) -> Vec<u8> {
    let length = u16::try_from(payload.len()).expect("short").to_be_bytes();
    let header = [0x60, 0, 0, 0, length[0], length[1], next_header, 255];
    ethernet(0x86dd, &[&header[..], &source, &destination, payload].concat())
}

fn tcp6(source: [u8; 16], destination: [u8; 16]) -> Vec<u8> {
    ipv6(6, source, destination, &[0; 20])
}

fn nd(kind: u8, source: [u8; 16], target: [u8; 16]) -> Vec<u8> {
    let all_nodes = [0xff, 2, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 1];
    ipv6(58, source, all_nodes, &[&[kind, 0, 0, 0, 0, 0, 0, 0], &target[..]].concat())
}

fn arp(operation: u8, sender: [u8; 4], target: [u8; 4]) -> Vec<u8> {
    let header = [0, 1, 8, 0, 6, 4, 0, operation];
    ethernet(0x0806, &[&header[..], &MAC, &sender, &[0; 6], &target].concat())
}

fn now() -> u64 {
    let now = clock_gettime(ClockId::Monotonic);
    u64::try_from(now.tv_sec).expect("positive") * 1_000_000_000
        + u64::try_from(now.tv_nsec).expect("positive")
}

fn fence() -> Fence {
    let mut fence = Fence::load(Mode::Auto).expect("the kernel takes the fence; as root");
    fence.set_vip(IpAddr::from(VIP), GROUP).expect("room");
    fence.set_vip(IpAddr::from(VIP6), GROUP).expect("room");
    fence
}

fn fresh(state: State) -> Group {
    Group::new(state, 1, now() + 3_600_000_000_000)
}

fn stale(state: State) -> Group {
    Group::new(state, 1, now() - 1)
}

/// Tries the frame in each state; gives what was dropped, by the counters.
fn tried(fence: &mut Fence, direction: Direction, frame: &[u8]) -> [Option<&'static str>; 5] {
    let states = [
        fresh(State::Leading),
        fresh(State::Draining),
        Group::SILENT,
        stale(State::Leading),
        stale(State::Draining),
    ];
    states.map(|state| {
        fence.set_group(GROUP, state).expect("set");
        let before = fence.dropped();
        let (verdict, _) = fence.try_frame(direction, frame, 1).expect("runs");
        let after = fence.dropped();
        let mut changed = before.iter().zip(&after).filter(|(before, after)| before.1 != after.1);
        let counted = changed.next().map(|(_, after)| after.0);
        assert!(changed.next().is_none(), "one frame, one counter");
        assert_eq!(verdict == Verdict::Drop, counted.is_some(), "every drop is counted, and nothing else");
        counted
    })
}

const PASSES: [Option<&str>; 5] = [None; 5];

#[test]
fn packets_from_a_vip_leave_a_leader_and_one_that_drains() {
    let (silent, stale) = (Some("fenced_packet_out_silent"), Some("fenced_packet_out_stale"));
    let mut fence = fence();
    for frame in [
        ipv4(VIP, OTHER),
        tcp6(VIP6, OTHER6),
        // ICMPv6 that is no ND: an echo, and one cut short.
        nd(129, VIP6, OTHER6),
        ipv6(58, VIP6, OTHER6, &[129, 0]),
    ] {
        assert_eq!(
            tried(&mut fence, Direction::Egress, &frame),
            [None, None, silent, stale, stale],
            "{frame:x?}"
        );
    }
}

#[test]
fn only_a_leader_says_that_a_vip_is_here() {
    let (silent, draining) = (Some("fenced_neighbour_out_silent"), Some("fenced_neighbour_out_draining"));
    let stale = Some("fenced_neighbour_out_stale");
    let mut fence = fence();
    for frame in [
        arp(1, VIP, OTHER),
        arp(1, VIP, VIP),
        arp(2, VIP, OTHER),
        nd(135, VIP6, OTHER6),
        nd(136, VIP6, VIP6),
        // Sent from this node's own address: what counts is the target.
        nd(136, OTHER6, VIP6),
        nd(136, VIP6, OTHER6),
    ] {
        let expected = [None, draining, silent, stale, draining];
        assert_eq!(tried(&mut fence, Direction::Egress, &frame), expected, "{frame:x?}");
    }
}

#[test]
fn questions_who_has_a_vip_leave_in_every_state() {
    let mut fence = fence();
    for frame in [arp(1, [0; 4], VIP), arp(1, OTHER, VIP), nd(135, NOBODY6, VIP6), nd(135, OTHER6, VIP6)] {
        assert_eq!(tried(&mut fence, Direction::Egress, &frame), PASSES, "{frame:x?}");
    }
}

#[test]
fn packets_to_a_vip_are_for_a_leader_and_one_that_drains() {
    let (silent, stale) = (Some("fenced_packet_in_silent"), Some("fenced_packet_in_stale"));
    let mut fence = fence();
    for frame in [ipv4(OTHER, VIP), tcp6(OTHER6, VIP6)] {
        assert_eq!(
            tried(&mut fence, Direction::Ingress, &frame),
            [None, None, silent, stale, stale],
            "{frame:x?}"
        );
    }
}

#[test]
fn what_others_say_of_a_vip_comes_in() {
    let mut fence = fence();
    for frame in
        [arp(1, OTHER, VIP), arp(2, VIP, OTHER), nd(135, OTHER6, VIP6), nd(136, VIP6, VIP6), ipv4(VIP, OTHER)]
    {
        assert_eq!(tried(&mut fence, Direction::Ingress, &frame), PASSES, "{frame:x?}");
    }
}

#[test]
fn what_is_no_vip_s_passes() {
    let mut fence = fence();
    let tag = [0x81, 0, 0, 5];
    let tagged = |frame: Vec<u8>| [&frame[..12], &tag, &frame[12..]].concat();
    for frame in [
        ipv4(OTHER, [10, 0, 0, 8]),
        tcp6(OTHER6, NOBODY6),
        arp(1, OTHER, [10, 0, 0, 8]),
        arp(2, OTHER, [10, 0, 0, 8]),
        nd(135, OTHER6, OTHER6),
        nd(136, OTHER6, OTHER6),
        // ::10.0.0.100 is not 10.0.0.100.
        tcp6([0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 10, 0, 0, 100], OTHER6),
        // Tagged frames are another interface's, and of these types the fence knows nothing.
        tagged(ipv4(VIP, VIP)),
        tagged(arp(2, VIP, VIP)),
        ethernet(0x88cc, &[0; 46]),
        ethernet(0x8847, &ipv4(VIP, VIP)),
        // ARP of other hardware.
        ethernet(0x0806, &[&[0, 32, 8, 0, 20, 4, 0, 2][..], &[10; 48]].concat()),
    ] {
        for direction in [Direction::Egress, Direction::Ingress] {
            assert_eq!(tried(&mut fence, direction, &frame), PASSES, "{direction:?} {frame:x?}");
        }
    }
}

#[test]
fn frames_cut_short_of_their_addresses_pass() {
    let mut fence = fence();
    for (frame, whole) in
        [(ipv4(VIP, VIP), 34), (arp(2, VIP, VIP), 42), (tcp6(VIP6, VIP6), 54), (nd(136, OTHER6, VIP6), 78)]
    {
        for length in 15..whole {
            for direction in [Direction::Egress, Direction::Ingress] {
                // The kernel itself refuses to build a packet shorter than its network header.
                fence.set_group(GROUP, Group::SILENT).expect("set");
                if let Ok((verdict, _)) = fence.try_frame(direction, &frame[..length], 1) {
                    assert_eq!(verdict, Verdict::Pass, "{direction:?} {length} bytes of {frame:x?}");
                }
            }
        }
        fence.set_group(GROUP, Group::SILENT).expect("set");
        let (verdict, _) = fence.try_frame(Direction::Egress, &frame[..whole], 1).expect("runs");
        assert_eq!(verdict, Verdict::Drop, "{whole} bytes of {frame:x?} are enough");
    }
}

#[test]
fn groups_are_apart_and_a_vip_may_go() {
    let mut fence = fence();
    fence.set_vip(IpAddr::from(OTHER), 0).expect("room");
    fence.set_group(0, fresh(State::Leading)).expect("set");
    fence.set_group(GROUP, Group::SILENT).expect("set");
    let verdict = |fence: &mut Fence, source| {
        fence.try_frame(Direction::Egress, &ipv4(source, [10, 0, 0, 8]), 1).expect("runs").0
    };
    assert_eq!(verdict(&mut fence, VIP), Verdict::Drop);
    assert_eq!(verdict(&mut fence, OTHER), Verdict::Pass);
    fence.remove_vip(IpAddr::from(VIP)).expect("known");
    assert_eq!(verdict(&mut fence, VIP), Verdict::Pass);
    assert!(fence.remove_vip(IpAddr::from(VIP)).is_err(), "it is gone already");
}

#[test]
fn no_more_than_the_tables_hold() {
    use fulcrum_ebpf::layout::{MAX_GROUPS, MAX_VIPS};
    let mut fence = Fence::load(Mode::Auto).expect("the kernel takes the fence; as root");
    let vip = |number: u32| IpAddr::from((u32::from_be_bytes([10, 0, 0, 0]) + number).to_be_bytes());
    for number in 0..MAX_VIPS {
        fence.set_vip(vip(number), 0).expect("room");
    }
    assert!(fence.set_vip(vip(MAX_VIPS), 0).is_err());
    assert!(fence.set_group(MAX_GROUPS - 1, Group::SILENT).is_ok());
    assert!(fence.set_group(MAX_GROUPS, Group::SILENT).is_err());
}
