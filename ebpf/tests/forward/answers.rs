//! What the plane says itself.

use crate::packets::{ACK, FIN, OURS, Packet, RST, SYN, THEIRS, tcp, udp};
use crate::scene::{BACKEND_PORT, Family, families, in_a_scene, run};
use fulcrum_ebpf::plane::layout::{Backend, ServiceMode};
use std::net::SocketAddr;

fn numbers(packet: &Packet) -> (u32, u32) {
    let number = |at: usize| u32::from_be_bytes(packet.segment[at..at + 4].try_into().unwrap());
    (number(4), number(8))
}

/// The answer goes back to where the packet came from.
fn read_answer(frame: &[u8]) -> Packet {
    assert_eq!((&frame[..6], &frame[6..12]), (&THEIRS[..], &OURS[..]));
    let answer = Packet::read(frame);
    assert_eq!(answer.ttl, 64);
    answer
}

#[test]
fn a_segment_for_nobody_is_answered_with_rst() {
    in_a_scene(|scene| {
        for family in families() {
            for mode in [ServiceMode::Nat, ServiceMode::Dsr] {
                scene.serve(mode, family.vip, family.backend, 1);
                scene.empty();
                // (segment, its payload) to (sequence, acknowledgment, flags): RFC 9293 section 3.10.7.1.
                for (flags, payload, expected) in [
                    (SYN, 0, (0, 1001, RST | ACK)),
                    (SYN, 10, (0, 1011, RST | ACK)),
                    (FIN, 500, (0, 1501, RST | ACK)),
                    (ACK, 0, (2000, 0, RST)),
                    (ACK | FIN, 1000, (2000, 0, RST)),
                    (SYN | ACK, 0, (2000, 0, RST)),
                ] {
                    let packet = tcp(family.client, family.vip, flags, &vec![7; payload]);
                    let answer = read_answer(&scene.outside(&packet.frame()).answered("no_backend_rst"));
                    assert_eq!((answer.from, answer.to), (family.vip, family.client));
                    let (sequence, acknowledgment) = numbers(&answer);
                    assert_eq!((sequence, acknowledgment, answer.flags()), expected);
                    assert_eq!(answer.segment.len(), 20);
                }
                let rst = tcp(family.client, family.vip, RST, &[]);
                scene.outside(&rst.frame()).dropped("no_backend_dropped");
            }
        }
    });
}

fn unreachable_port(family: &Family) -> (u8, u8) {
    if family.vip.is_ipv4() { (3, 3) } else { (1, 4) }
}

#[test]
fn a_datagram_for_nobody_is_answered_with_unreachable() {
    in_a_scene(|scene| {
        for family in families() {
            scene.serve(ServiceMode::Nat, family.vip, family.backend, 1);
            scene.empty();
            for payload in [0, 10, 1400] {
                let packet = udp(family.client, family.vip, &vec![7; payload]);
                let answer = read_answer(&scene.outside(&packet.frame()).answered("no_backend_unreachable"));
                assert_eq!((answer.from.ip(), answer.to.ip()), (family.vip.ip(), family.client.ip()));
                assert_eq!((answer.segment[0], answer.segment[1]), unreachable_port(&family));
                let quoted = &answer.segment[8..];
                assert_eq!(quoted, &packet.packet()[..quoted.len()]);
                assert_eq!(quoted.len(), if family.vip.is_ipv4() { 28 } else { 48 });
            }
        }
    });
}

#[test]
fn a_backend_that_is_down_is_as_none() {
    in_a_scene(|scene| {
        for family in families() {
            scene.serve(ServiceMode::Nat, family.vip, family.backend, 1);
            let down = Backend::new(family.backend, BACKEND_PORT, false, Some(scene.hop(family.backend)));
            scene.plane.set_backend(1, down).unwrap();
            let before = scene.plane.service_counters(0).refused;
            scene.outside(&tcp(family.client, family.vip, SYN, &[]).frame()).answered("no_backend_rst");
            assert_eq!(scene.plane.service_counters(0).refused, before + 1);
            // One without a route is not gone: its clients try again.
            let cut_off = Backend::new(family.backend, BACKEND_PORT, true, None);
            scene.plane.set_backend(1, cut_off).unwrap();
            scene.outside(&tcp(family.client, family.vip, SYN, &[]).frame()).dropped("no_route_to_backend");
        }
    });
}

#[test]
fn the_last_hop_says_that_time_is_exceeded() {
    in_a_scene(|scene| {
        for family in families() {
            scene.serve(ServiceMode::Nat, family.vip, family.backend, 1);
            let backend = SocketAddr::new(family.backend, BACKEND_PORT);
            let (there, back) =
                (tcp(family.client, family.vip, ACK, b"data"), tcp(backend, family.client, ACK, b"data"));
            for (packet, inside) in [(there, false), (back, true)] {
                for ttl in [0, 1] {
                    let packet = packet.clone().with_ttl(ttl);
                    let frame = packet.frame();
                    let outcome = if inside { scene.inside(&frame) } else { scene.outside(&frame) };
                    let answer = read_answer(&outcome.answered("time_exceeded"));
                    assert_eq!(answer.to.ip(), packet.from.ip());
                    let expected = if family.vip.is_ipv4() { [11, 0] } else { [3, 0] };
                    assert_eq!(answer.segment[..2], expected);
                }
            }
            scene.outside(&tcp(family.client, family.vip, ACK, &[]).with_ttl(2).frame()).forwarded();
        }
    });
}

/// What is left of a check that a backend without the VIP has sent back: another one must not answer it.
#[test]
fn in_dsr_the_last_hops_of_a_check_are_not_passed_on() {
    in_a_scene(|scene| {
        for family in families() {
            scene.serve(ServiceMode::Dsr, family.vip, family.backend, 1);
            let packet = tcp(family.client, family.vip, SYN, &[]);
            scene.outside(&packet.clone().with_ttl(7).frame()).answered("time_exceeded");
            scene.outside(&packet.with_ttl(8).frame()).forwarded();
        }
    });
}

#[test]
fn what_does_not_fit_is_said_with_the_size_that_does() {
    in_a_scene(|scene| {
        run("ip", "link set eth1 mtu 1400");
        for family in families() {
            let header = if family.vip.is_ipv4() { 20 } else { 40 };
            for mode in [ServiceMode::Nat, ServiceMode::Dsr] {
                scene.serve(mode, family.vip, family.backend, 1);
                let fits = tcp(family.client, family.vip, ACK, &vec![7; 1400 - header - 20]);
                scene.outside(&fits.frame()).forwarded();
                let mut packet = tcp(family.client, family.vip, ACK, &vec![7; 1401 - header - 20]);
                let answer = read_answer(&scene.outside(&packet.frame()).answered("too_big_answered"));
                let expected = if family.vip.is_ipv4() { [3, 4] } else { [2, 0] };
                assert_eq!(answer.segment[..2], expected);
                assert_eq!(answer.segment[4..8], 1400_u32.to_be_bytes());
                assert_eq!(answer.segment[8..], packet.packet()[..answer.segment.len() - 8]);
                if family.vip.is_ipv4() {
                    // It may be cut to pieces, but the plane does not do that.
                    packet.fragment = 0;
                    scene.outside(&packet.frame()).dropped("too_big_dropped");
                }
            }
        }
    });
}

#[test]
fn what_can_not_be_answered_is_dropped() {
    in_a_scene(|scene| {
        let [v4, v6] = families();
        scene.serve(ServiceMode::Nat, v4.vip, v4.backend, 1);
        scene.empty();
        for mut packet in [tcp(v4.client, v4.vip, SYN, &[]), udp(v4.client, v4.vip, &[])] {
            packet.options = vec![1; 4];
            scene.outside(&packet.frame()).dropped("not_answered");
        }
        scene.serve(ServiceMode::Nat, v6.vip, v6.backend, 1);
        scene.empty();
        let mut packet = tcp(v6.client, v6.vip, SYN, &[]);
        packet.extensions = vec![(60, vec![0, 1, 4, 0, 0, 0, 0])];
        scene.outside(&packet.frame()).dropped("not_answered");
    });
}

#[test]
fn without_forwarding_replies_are_the_kernels() {
    in_a_scene(|scene| {
        run("sysctl", "-qw net.ipv4.conf.eth1.forwarding=0");
        let [v4, _] = families();
        scene.serve(ServiceMode::Nat, v4.vip, v4.backend, 1);
        let back = tcp(SocketAddr::new(v4.backend, BACKEND_PORT), v4.client, ACK, &[]);
        let outcome = scene.inside(&back.frame());
        assert_eq!(outcome.counted, Some("forwarding_disabled"));
        assert!(outcome.untouched && outcome.verdict == fulcrum_ebpf::plane::Verdict::Pass);
        // Nor is there a way to everybody.
        run("sysctl", "-qw net.ipv4.conf.eth1.forwarding=1");
        run("ip", "route add unreachable 192.0.2.0/24");
        let back = tcp(SocketAddr::new(v4.backend, BACKEND_PORT), crate::scene::at("192.0.2.1:9"), ACK, &[]);
        scene.inside(&back.frame()).dropped("no_route_to_client");
    });
}
