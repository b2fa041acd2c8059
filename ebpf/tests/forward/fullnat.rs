//! Mode fullnat: backends see an address and port of this node's.

use crate::errors::{MTU, quotations, quoted, router, too_big};
use crate::fragments::{pieces, whole_of};
use crate::packets::{ACK, FIN, Packet, RST, SYN, tcp, udp};
use crate::scene::{BACKEND_PORT, Family, Scene, families, in_a_scene, nth, run};
use fulcrum_ebpf::layout::State;
use fulcrum_ebpf::plane::layout::{
    Backend, Ended, FIRST_SOURCE_PORT, Flow, MAX_OPENING, Pin, ServiceMode, Transport,
};
use std::collections::{BTreeMap, BTreeSet};
use std::net::{SocketAddr, UdpSocket};
use std::time::Duration;

pub fn serve(scene: &mut Scene, family: &Family, count: u16) {
    scene.serve(ServiceMode::Fullnat, family.vip, family.backend, count);
}

pub fn backend(family: &Family) -> SocketAddr {
    SocketAddr::new(family.backend, BACKEND_PORT)
}

/// Where a client's packet is sent on from.
pub fn source(scene: &mut Scene, family: &Family, client: SocketAddr, flags: u8) -> SocketAddr {
    let out = Packet::read(&scene.outside(&tcp(client, family.vip, flags, &[]).frame()).forwarded());
    assert_eq!((out.from.ip(), out.to.port(), out.ttl), (family.vip.ip(), BACKEND_PORT, 63));
    assert!(out.from.port() >= FIRST_SOURCE_PORT);
    out.from
}

/// A connection whose handshake is over: where it is sent on from.
pub fn connect(scene: &mut Scene, family: &Family, client: SocketAddr) -> SocketAddr {
    let source = source(scene, family, client, SYN);
    let reply = scene.inside(&tcp(backend(family), source, SYN | ACK, &[]).frame()).forwarded();
    assert_eq!((Packet::read(&reply).from, Packet::read(&reply).to), (family.vip, client));
    assert_eq!(self::source(scene, family, client, ACK), source);
    source
}

pub fn with_port(client: SocketAddr, port: u16) -> SocketAddr {
    SocketAddr::new(client.ip(), port)
}

#[test]
fn packets_go_there_and_back_between_others() {
    in_a_scene(|scene| {
        for family in families() {
            serve(scene, &family, 1);
            let source = connect(scene, &family, family.client);
            for payload in [0, 1, 7, 46, 200, 1246, 1400] {
                let payload = vec![0xa5; payload];
                let there = tcp(family.client, family.vip, ACK, &payload);
                let out = Packet::read(&scene.outside(&there.frame()).forwarded());
                assert_eq!((out.from, out.to, out.ttl), (source, backend(&family), 63));
                let back = tcp(backend(&family), source, ACK, &payload);
                let out = Packet::read(&scene.inside(&back.frame()).forwarded());
                assert_eq!((out.from, out.to, out.ttl), (family.vip, family.client, 63));
                assert_eq!(out.segment[20..], payload);
            }
            let there = udp(family.client, family.vip, b"ping");
            let from = Packet::read(&scene.outside(&there.frame()).forwarded()).from;
            let back = udp(backend(&family), from, b"pong");
            let out = Packet::read(&scene.inside(&back.frame()).forwarded());
            assert_eq!((out.from, out.to), (family.vip, family.client));
        }
    });
}

#[test]
fn a_flow_is_kept_and_told_of_once_both_have_spoken() {
    in_a_scene(|scene| {
        for family in families() {
            serve(scene, &family, 1);
            let flow = Flow::new(family.client, family.vip, Transport::Tcp);
            let from = source(scene, &family, family.client, SYN);
            assert_eq!((scene.plane.flow(&flow), scene.plane.next_event()), (None, None));
            scene.inside(&tcp(backend(&family), from, SYN | ACK, &[]).frame()).forwarded();
            source(scene, &family, family.client, ACK);
            let told = scene.plane.next_event().expect("told");
            assert_eq!((told.flow, told.pin.source(), told.pin.ended()), (flow, Some(from), Ended::No));
            assert_eq!(scene.plane.flow(&flow).expect("kept").source(), Some(from));
            assert_eq!((scene.plane.opening_flows().count(), scene.plane.next_event()), (0, None));
            // Each side says that it ends.
            scene.outside(&tcp(family.client, family.vip, FIN | ACK, &[]).frame()).forwarded();
            assert_eq!(scene.plane.next_event().expect("told").pin.ended(), Ended::Half);
            scene.inside(&tcp(backend(&family), from, FIN | ACK, &[]).frame()).forwarded();
            assert_eq!(scene.plane.next_event().expect("told").pin.ended(), Ended::Whole);
            // What is said again is no news.
            scene.inside(&tcp(backend(&family), from, FIN | ACK, &[]).frame()).forwarded();
            assert_eq!(scene.plane.next_event(), None);
        }
    });
}

#[test]
fn a_node_that_was_never_told_of_a_flow_sends_it_on_from_the_same_port() {
    in_a_scene(|scene| {
        for family in families() {
            serve(scene, &family, 3);
            let clients: Vec<_> = (40_000..40_020).map(|port| with_port(family.client, port)).collect();
            let before: Vec<_> = clients.iter().map(|client| source(scene, &family, *client, SYN)).collect();
            let opened: Vec<_> =
                scene.plane.opening_flows().filter(|(flow, _)| flow.ends().1 == family.vip).collect();
            assert_eq!(opened.len(), clients.len());
            opened.iter().for_each(|(flow, pin)| scene.plane.remove_flow(flow, pin));
            let after: Vec<_> = clients.iter().map(|client| source(scene, &family, *client, ACK)).collect();
            assert_eq!(before, after);
        }
    });
}

#[test]
fn a_flow_that_another_node_told_of_goes_on() {
    in_a_scene(|scene| {
        for family in families() {
            serve(scene, &family, 2);
            let source = SocketAddr::new(family.vip.ip(), 20_000);
            let flow = Flow::new(family.client, family.vip, Transport::Tcp);
            for index in [1, 2] {
                let backend = SocketAddr::new(nth(family.backend, index - 1), BACKEND_PORT);
                let pin = Pin::heard_of(index, Some(source), Ended::No, scene.now());
                scene.plane.set_flow(&flow, &pin, 0).unwrap();
                // The backend is the first to speak.
                let out = scene.inside(&tcp(backend, source, ACK, b"push").frame()).forwarded();
                assert_eq!((Packet::read(&out).from, Packet::read(&out).to), (family.vip, family.client));
                let out = scene.outside(&tcp(family.client, family.vip, ACK, &[]).frame()).forwarded();
                assert_eq!((Packet::read(&out).from, Packet::read(&out).to), (source, backend));
                scene.plane.remove_flow(&flow, &pin);
                scene.inside(&tcp(backend, source, ACK, b"push").frame()).dropped("unknown_flow");
            }
        }
    });
}

#[test]
fn no_two_flows_to_a_backend_have_the_same_port() {
    in_a_scene(|scene| {
        for family in families() {
            serve(scene, &family, 1);
            let mut seen = BTreeSet::new();
            for port in 30_000..33_000 {
                assert!(seen.insert(connect(scene, &family, with_port(family.client, port))));
            }
            assert_eq!(scene.plane.flows().filter(|(flow, _)| flow.ends().1 == family.vip).count(), 3_000);
            // Their replies are still told apart.
            let source = source(scene, &family, with_port(family.client, 31_000), ACK);
            let out = scene.inside(&tcp(backend(&family), source, ACK, &[]).frame()).forwarded();
            assert_eq!(Packet::read(&out).to, with_port(family.client, 31_000));
        }
    });
}

#[test]
fn a_flood_of_attempts_takes_no_room_from_those_that_were_answered() {
    in_a_scene(|scene| {
        let [family, _] = families();
        serve(scene, &family, 1);
        let source = connect(scene, &family, family.client);
        let from = u32::from_be_bytes([198, 18, 0, 0]);
        for number in 0..MAX_OPENING + 5_000 {
            let client = SocketAddr::from(((from + number).to_be_bytes(), 1_000));
            let frame = tcp(client, family.vip, SYN, &[]).frame();
            scene.try_frame(scene.outside, &frame);
        }
        assert!(scene.plane.opening_flows().count() <= MAX_OPENING as usize);
        assert_eq!(scene.plane.flows().count(), 1);
        assert_eq!(self::source(scene, &family, family.client, ACK), source);
        // And a new one finds its way through.
        connect(scene, &family, with_port(family.client, 40_001));
    });
}

#[test]
fn what_comes_to_a_source_and_is_no_reply_is_the_kernels_or_nobodys() {
    in_a_scene(|scene| {
        for family in families() {
            serve(scene, &family, 1);
            let at = SocketAddr::new(family.vip.ip(), 20_001);
            // Another node may know it: an RST would end it.
            scene.inside(&tcp(backend(&family), at, ACK, &[]).frame()).dropped("unknown_flow");
            scene.inside(&udp(backend(&family), at, &[]).frame()).dropped("unknown_flow");
            scene.outside(&tcp(family.client, at, SYN, &[]).frame()).passed();
            scene.outside(&tcp(family.client, family.vip, RST, &[]).frame()).dropped("unknown_flow");
            // Below the ports that are used nothing of it concerns the plane.
            let low = SocketAddr::new(family.vip.ip(), 9_000);
            scene.inside(&tcp(backend(&family), low, ACK, &[]).frame()).passed();
            // A socket of this node.
            let own = SocketAddr::new(family.own, 20_002);
            scene.inside(&udp(backend(&family), own, &[]).frame()).passed();
            let nodad = if family.vip.is_ipv4() { "" } else { "nodad" };
            run("ip", &format!("address add {} dev lo {nodad}", family.vip.ip()));
            let _bound = UdpSocket::bind(at).unwrap();
            scene.inside(&udp(backend(&family), at, &[]).frame()).passed();
        }
    });
}

#[test]
fn a_new_connection_on_the_ports_of_one_that_ended_goes_where_new_ones_go() {
    in_a_scene(|scene| {
        for family in families() {
            serve(scene, &family, 2);
            scene.set_tables(|_| 1, |_| 1);
            connect(scene, &family, family.client);
            scene.set_tables(|_| 2, |_| 2);
            let to = |scene: &mut Scene, flags| {
                let frame = tcp(family.client, family.vip, flags, &[]).frame();
                Packet::read(&scene.outside(&frame).forwarded()).to.ip()
            };
            assert_eq!(to(scene, SYN), family.backend, "it may be a repetition");
            assert_eq!(to(scene, RST), family.backend);
            assert_eq!(to(scene, SYN), nth(family.backend, 1));
            assert_eq!(to(scene, ACK), nth(family.backend, 1));
        }
    });
}

#[test]
fn flows_of_a_dead_backend_move_and_without_another_are_refused() {
    in_a_scene(|scene| {
        for family in families() {
            serve(scene, &family, 2);
            scene.set_tables(|_| 1, |_| 1);
            connect(scene, &family, family.client);
            let (first, _) = (family.backend, nth(family.backend, 1));
            let down = Backend::new(first, BACKEND_PORT, false, Some(scene.hop(first)));
            scene.plane.set_backend(1, down.with_source(family.vip.ip())).unwrap();
            let ack = tcp(family.client, family.vip, ACK, &[]).frame();
            let rst = scene.outside(&ack).answered("no_backend_rst");
            assert_eq!(Packet::read(&rst).flags() & RST, RST);
            scene.set_tables(|_| 2, |_| 1);
            let out = Packet::read(&scene.outside(&ack).forwarded());
            assert_eq!(out.to.ip(), nth(family.backend, 1));
        }
    });
}

#[test]
fn without_forwarding_replies_leave_where_the_vip_is() {
    in_a_scene(|scene| {
        for family in families() {
            serve(scene, &family, 1);
            run("sysctl", "-qw net.ipv4.conf.eth1.forwarding=0");
            run("sysctl", "-qw net.ipv6.conf.eth1.forwarding=0");
            connect(scene, &family, family.client);
        }
    });
}

#[test]
fn a_group_that_may_not_speak_sends_nothing_on() {
    in_a_scene(|scene| {
        for family in families() {
            serve(scene, &family, 1);
            let source = connect(scene, &family, family.client);
            scene.set_state(State::Silent);
            scene.outside(&tcp(family.client, family.vip, ACK, &[]).frame()).dropped("group_silent");
            scene.inside(&tcp(backend(&family), source, ACK, &[]).frame()).dropped("group_silent");
            scene.set_state(State::Draining);
            scene.outside(&tcp(family.client, family.vip, ACK, &[]).frame()).forwarded();
            scene.inside(&tcp(backend(&family), source, ACK, &[]).frame()).forwarded();
            scene.set_state(State::Leading);
        }
    });
}

#[test]
fn errors_reach_who_is_meant() {
    in_a_scene(|scene| {
        for family in families() {
            serve(scene, &family, 1);
            let source = connect(scene, &family, family.client);
            let there = udp(family.client, family.vip, b"ping");
            let udp_source = Packet::read(&scene.outside(&there.frame()).forwarded()).from;
            let (kind, code) = too_big(&family);
            let sent =
                [tcp(family.vip, family.client, ACK, &[3; 99]), udp(family.vip, family.client, &[3; 99])];
            for (number, (quotation, whole)) in quotations(sent).into_iter().enumerate() {
                let source = if number < 2 { source } else { udp_source };
                let error =
                    crate::packets::icmp(router(&family), family.vip.ip(), kind, code, MTU, &quotation);
                let out = Packet::read(&scene.outside(&error.frame()).forwarded());
                assert_eq!((out.from.ip(), out.to.ip(), out.ttl), (source.ip(), family.backend, 63));
                let about = quoted(&out, whole);
                assert_eq!((about.from, about.to), (backend(&family), source));
            }
            let sent =
                [tcp(source, backend(&family), ACK, &[3; 99]), udp(udp_source, backend(&family), &[3; 99])];
            for (quotation, whole) in quotations(sent) {
                for (from, seen) in [(family.backend, family.vip.ip()), (router(&family), router(&family))] {
                    let error = crate::packets::icmp(from, source.ip(), kind, code, MTU, &quotation);
                    let out = Packet::read(&scene.inside(&error.frame()).forwarded());
                    assert_eq!((out.from.ip(), out.to.ip(), out.ttl), (seen, family.client.ip(), 63));
                    assert_eq!(out.segment[4..8], MTU.to_be_bytes());
                    let about = quoted(&out, whole);
                    assert_eq!((about.from, about.to), (family.client, family.vip));
                }
            }
        }
    });
}

#[test]
fn pieces_follow_the_first_both_ways() {
    in_a_scene(|scene| {
        for family in families() {
            serve(scene, &family, 1);
            let [first, rest] = pieces(&udp(family.client, family.vip, &[5; 1500]), 31);
            let first = scene.outside(&first.frame()).forwarded();
            let rest = scene.outside(&rest.frame()).forwarded();
            let whole = whole_of(&family, [&first, &rest]);
            assert_eq!((whole.from.ip(), whole.to), (family.vip.ip(), backend(&family)));
            let [first, rest] = pieces(&udp(backend(&family), whole.from, &[6; 1500]), 32);
            let first = scene.inside(&first.frame()).forwarded();
            let rest = scene.inside(&rest.frame()).forwarded();
            let whole = whole_of(&family, [&first, &rest]);
            assert_eq!((whole.from, whole.to), (family.vip, family.client));
        }
    });
}

/// Where all ports are taken by attempts, a newcomer gets one of theirs; the attempt that comes again must not end it.
#[test]
fn an_attempt_that_lost_its_port_and_comes_again_ends_nobody() {
    in_a_scene(|scene| {
        for family in families() {
            serve(scene, &family, 1);
            // Of these some have the same ports as a later one's first choices.
            let attempts: Vec<_> = (1..=60_000_u16).map(|port| with_port(family.client, port)).collect();
            let mut first = BTreeMap::new();
            for client in &attempts {
                let out = scene.try_frame(scene.outside, &tcp(*client, family.vip, SYN, &[]).frame());
                first.entry(Packet::read(&out.frame).from.port()).or_insert(*client);
            }
            let live: Vec<_> = (60_001..60_200_u16)
                .map(|port| with_port(family.client, port))
                .map(|client| (client, connect(scene, &family, client)))
                .collect();
            let robbed: Vec<_> =
                live.iter().filter_map(|(_, source)| first.get(&source.port()).copied()).collect();
            assert!(robbed.len() > 20, "{}", robbed.len());
            // A SYN on the ports of one that has been silent for so long begins anew.
            std::thread::sleep(Duration::from_millis(2100));
            for client in robbed {
                source(scene, &family, client, SYN);
            }
            for (client, source) in live {
                let reply = tcp(backend(&family), source, ACK, &[]).frame();
                assert_eq!(Packet::read(&scene.inside(&reply).forwarded()).to, client);
            }
        }
    });
}
