//! Packets on their way, and those that are none of the plane's business.

use crate::packets::{ACK, OURS, Packet, SYN, icmp, tcp, udp};
use crate::scene::{BACKEND_PORT, families, in_a_scene, nth};
use fulcrum_ebpf::layout::State;
use fulcrum_ebpf::plane::layout::{Backend, ServiceMode};
use std::net::SocketAddr;

#[test]
fn nat_gives_a_packet_the_backends_address_and_port() {
    in_a_scene(|scene| {
        for family in families() {
            scene.serve(ServiceMode::Nat, family.vip, family.backend, 1);
            let backend = SocketAddr::new(family.backend, BACKEND_PORT);
            for payload in [0, 1, 7, 46, 200, 1246, 1400] {
                let payload = vec![0xa5; payload];
                for packet in [
                    tcp(family.client, family.vip, SYN, &payload),
                    tcp(family.client, family.vip, ACK, &payload),
                    udp(family.client, family.vip, &payload),
                ] {
                    let out = Packet::read(&scene.outside(&packet.frame()).forwarded());
                    assert_eq!((out.from, out.to, out.ttl), (family.client, backend, 63));
                    // But for the port and the checksum, all is as it was.
                    assert_eq!(out.segment.len(), packet.segment.len());
                    assert_eq!(
                        out.segment[8..16.min(8 + payload.len())],
                        packet.segment[8..16.min(8 + payload.len())]
                    );
                }
            }
        }
    });
}

#[test]
fn a_backend_without_a_port_gets_the_clients() {
    in_a_scene(|scene| {
        for family in families() {
            scene.serve(ServiceMode::Nat, family.vip, family.backend, 1);
            let backend = Backend::new(family.backend, 0, true, Some(scene.hop(family.backend)));
            scene.plane.set_backend(1, backend).unwrap();
            let out = scene.outside(&tcp(family.client, family.vip, SYN, &[]).frame()).forwarded();
            assert_eq!(Packet::read(&out).to, SocketAddr::new(family.backend, family.vip.port()));
        }
    });
}

#[test]
fn nat_gives_a_reply_the_vip_back() {
    in_a_scene(|scene| {
        for family in families() {
            scene.serve(ServiceMode::Nat, family.vip, family.backend, 1);
            let backend = SocketAddr::new(family.backend, BACKEND_PORT);
            for packet in
                [tcp(backend, family.client, SYN | ACK, b"hello"), udp(backend, family.client, b"hello")]
            {
                let out = Packet::read(&scene.inside(&packet.frame()).forwarded());
                assert_eq!((out.from, out.to, out.ttl), (family.vip, family.client, 63));
                // What the node asks of a backend by itself, a health check above all, is its own.
                let own = SocketAddr::new(family.own, family.client.port());
                let to_us =
                    if packet.protocol == 6 { tcp(backend, own, ACK, &[]) } else { udp(backend, own, &[]) };
                scene.inside(&to_us.frame()).passed();
            }
            let other = SocketAddr::new(family.backend, BACKEND_PORT + 1);
            scene.inside(&tcp(other, family.client, ACK, &[]).frame()).passed();
        }
    });
}

#[test]
fn dsr_leaves_the_packet_as_it_is() {
    in_a_scene(|scene| {
        for family in families() {
            scene.serve(ServiceMode::Dsr, family.vip, family.backend, 1);
            for packet in [
                tcp(family.client, family.vip, SYN, &[]),
                tcp(family.client, family.vip, ACK, &[1; 999]),
                udp(family.client, family.vip, &[1; 99]),
                tcp(family.client, family.vip, SYN, &[]).with_ttl(8),
            ] {
                assert_eq!(scene.outside(&packet.frame()).forwarded(), packet.frame());
            }
        }
    });
}

#[test]
fn a_datagram_without_a_checksum_keeps_none_but_has_one_in_ipv6() {
    in_a_scene(|scene| {
        let [v4, v6] = families();
        for (family, dropped) in [(v4, false), (v6, true)] {
            scene.serve(ServiceMode::Nat, family.vip, family.backend, 1);
            let backend = SocketAddr::new(family.backend, BACKEND_PORT);
            let mut there = udp(family.client, family.vip, b"ping");
            let mut back = udp(backend, family.client, b"pong");
            there.segment[6..8].fill(0);
            back.segment[6..8].fill(0);
            for outcome in [scene.outside(&there.frame()), scene.inside(&back.frame())] {
                if dropped {
                    outcome.dropped("udp_without_checksum");
                } else {
                    assert_eq!(Packet::read(&outcome.forwarded()).segment[6..8], [0, 0]);
                }
            }
        }
    });
}

#[test]
fn a_checksum_that_comes_out_as_0_is_written_as_ffff() {
    in_a_scene(|scene| {
        for family in families() {
            scene.serve(ServiceMode::Nat, family.vip, family.backend, 1);
            let to = SocketAddr::new(family.backend, BACKEND_PORT);
            // The payload that makes the sum of the rewritten datagram what is written as 0 in other protocols.
            let sum = u16::from_be_bytes(udp(family.client, to, &[0, 0]).segment[6..8].try_into().unwrap());
            let packet = udp(family.client, family.vip, &sum.to_be_bytes());
            let out = Packet::read(&scene.outside(&packet.frame()).forwarded());
            assert_eq!(out.segment[6..8], [0xff, 0xff]);
        }
    });
}

#[test]
fn a_group_that_may_not_speak_forwards_nothing() {
    in_a_scene(|scene| {
        for family in families() {
            for mode in [ServiceMode::Nat, ServiceMode::Dsr] {
                scene.serve(mode, family.vip, family.backend, 1);
                let there = tcp(family.client, family.vip, ACK, &[]).frame();
                let back =
                    tcp(SocketAddr::new(family.backend, BACKEND_PORT), family.client, ACK, &[]).frame();
                for (state, reason) in [(State::Leading, "group_stale"), (State::Draining, "group_stale")] {
                    scene.set_stale(state);
                    scene.outside(&there).dropped(reason);
                    scene.inside(&back).dropped(reason);
                }
                scene.set_state(State::Silent);
                scene.outside(&there).dropped("group_silent");
                scene.inside(&back).dropped("group_silent");
                for state in [State::Draining, State::Leading] {
                    scene.set_state(state);
                    scene.outside(&there).forwarded();
                    scene.inside(&back).forwarded();
                }
            }
        }
        // Nobody else's address: the node's own.
        let [v4, _] = families();
        scene.fence.remove_vip(v4.vip.ip()).unwrap();
        scene.outside(&tcp(v4.client, v4.vip, ACK, &[]).frame()).forwarded();
    });
}

#[test]
fn what_is_no_service_of_ours_passes() {
    in_a_scene(|scene| {
        for family in families() {
            scene.serve(ServiceMode::Nat, family.vip, family.backend, 1);
            let elsewhere = SocketAddr::new(family.vip.ip(), 81);
            let ours = tcp(family.client, family.vip, SYN, &[]).frame();
            scene.outside(&tcp(family.client, elsewhere, SYN, &[]).frame()).passed();
            scene.outside(&udp(family.client, family.client, &[]).frame()).passed();
            // To another machine, which a bridge has flooded.
            let flooded = [&[2, 0, 0, 0, 0, 5][..], &ours[6..]].concat();
            scene.outside(&flooded).passed();
            // To a virtual router's MAC it is ours.
            scene.outside(&[&[0, 0, 0x5e, 0, 1, 51][..], &ours[6..]].concat()).forwarded();
            let tagged = [&ours[..12], &[0x81, 0, 0, 5], &ours[12..]].concat();
            scene.outside(&tagged).passed();
            let mut other = tcp(family.client, family.vip, SYN, &[]);
            for protocol in [112, 47, 50] {
                other.protocol = protocol;
                scene.outside(&other.frame()).passed();
            }
            let (echo, reply) = if family.vip.is_ipv4() { (8, 0) } else { (128, 129) };
            for kind in [echo, reply] {
                scene
                    .outside(&icmp(family.client.ip(), family.vip.ip(), kind, 0, 1, &[0; 60]).frame())
                    .passed();
            }
        }
        scene.outside(&[&OURS[..], &[2; 6], &[8, 6], &[0; 46]].concat()).passed();
        scene.outside(&[&OURS[..], &[2; 6], &[0x88, 0xcc], &[0; 46]].concat()).passed();
    });
}

#[test]
fn a_switched_off_service_is_the_kernels() {
    in_a_scene(|scene| {
        for family in families() {
            scene.serve(ServiceMode::Off, family.vip, family.backend, 1);
            scene.outside(&tcp(family.client, family.vip, SYN, &[]).frame()).passed();
        }
    });
}

#[test]
fn frames_cut_short_pass() {
    in_a_scene(|scene| {
        for family in families() {
            scene.serve(ServiceMode::Nat, family.vip, family.backend, 1);
            for whole in [
                tcp(family.client, family.vip, SYN, &[]).frame(),
                udp(family.client, family.vip, &[]).frame(),
            ] {
                for length in 15..whole.len() {
                    // The kernel itself refuses to build a packet shorter than its network header.
                    if let Ok(tried) = scene.plane.try_frame(scene.outside, &whole[..length], 1) {
                        assert_eq!(tried.frame, whole[..length], "{length} bytes");
                        assert_eq!(tried.verdict, fulcrum_ebpf::plane::Verdict::Pass, "{length} bytes");
                    }
                }
                scene.outside(&whole).forwarded();
            }
        }
    });
}

#[test]
fn options_of_ipv4_go_with_the_packet() {
    in_a_scene(|scene| {
        let [v4, _] = families();
        scene.serve(ServiceMode::Nat, v4.vip, v4.backend, 1);
        for words in 1..=10 {
            let mut packet = tcp(v4.client, v4.vip, SYN, b"data");
            packet.options = vec![1; words * 4];
            let out = Packet::read(&scene.outside(&packet.frame()).forwarded());
            assert_eq!((out.to, out.options), (SocketAddr::new(v4.backend, BACKEND_PORT), packet.options));
        }
    });
}

#[test]
fn extension_headers_of_ipv6_are_followed_four_deep() {
    in_a_scene(|scene| {
        let [_, v6] = families();
        scene.serve(ServiceMode::Nat, v6.vip, v6.backend, 1);
        let (hop_by_hop, routing, destination, authentication) = (0, 43, 60, 51);
        for (numbers, followed) in [
            (vec![hop_by_hop], true),
            (vec![destination], true),
            (vec![hop_by_hop, destination, routing, destination], true),
            (vec![hop_by_hop, destination, routing, destination, destination], false),
            (vec![authentication], false),
        ] {
            let mut packet = tcp(v6.client, v6.vip, SYN, b"data");
            // The first has 16 bytes, the others 8.
            let bytes = |at: usize| {
                if at == 0 { [&[1, 1, 12][..], &[0; 12]].concat() } else { vec![0, 1, 4, 0, 0, 0, 0] }
            };
            packet.extensions = numbers.iter().enumerate().map(|(at, number)| (*number, bytes(at))).collect();
            let outcome = scene.outside(&packet.frame());
            if !followed {
                outcome.dropped("extension_headers");
                continue;
            }
            let out = outcome.forwarded();
            let skipped: usize = (0..numbers.len()).map(|at| bytes(at).len() + 1).sum();
            let mut inner = [&out[..54], &out[54 + skipped..]].concat();
            inner[20] = 6;
            let out = Packet::read(&inner);
            assert_eq!(out.to, SocketAddr::new(v6.backend, BACKEND_PORT));
        }
        // Elsewhere they are none of ours.
        let mut packet = tcp(v6.client, SocketAddr::new(nth(v6.vip.ip(), 1), 80), SYN, &[]);
        packet.extensions = vec![(51, vec![0; 7])];
        scene.outside(&packet.frame()).passed();
    });
}
