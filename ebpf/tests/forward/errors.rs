//! ICMP errors on their way: each reaches the side that is meant, about the packet as that side knows it.

use crate::packets::{ACK, Packet, icmp, tcp, udp};
use crate::scene::{BACKEND_PORT, Family, families, in_a_scene, ip};
use fulcrum_ebpf::plane::layout::ServiceMode;
use std::net::{IpAddr, SocketAddr};

pub const MTU: u32 = 1300;

/// Packet too big: type, code.
pub fn too_big(family: &Family) -> (u8, u8) {
    if family.vip.is_ipv4() { (3, 4) } else { (2, 0) }
}

pub fn router(family: &Family) -> IpAddr {
    if family.vip.is_ipv4() { ip("198.51.100.1") } else { ip("2001:db8::1") }
}

/// The quoted packet, with all of its checksums right if it is whole.
pub fn quoted(error: &Packet, whole: bool) -> Packet {
    let bytes = &error.segment[8..];
    if whole { Packet::read(&[&[0; 14][..], bytes].concat()) } else { Packet::read_quoted(bytes) }
}

/// Packets of both transports, and how much of each a router quotes.
pub fn quotations(packets: [Packet; 2]) -> Vec<(Vec<u8>, bool)> {
    let header = if packets[0].from.is_ipv4() { 20 } else { 40 };
    let mut quotations = Vec::new();
    for packet in packets {
        let bytes = packet.packet();
        quotations.push((bytes[..header + 8].to_vec(), false));
        quotations.push((bytes.clone(), true));
    }
    quotations
}

#[test]
fn an_error_about_a_reply_reaches_the_backend() {
    in_a_scene(|scene| {
        for family in families() {
            scene.serve(ServiceMode::Nat, family.vip, family.backend, 1);
            let backend = SocketAddr::new(family.backend, BACKEND_PORT);
            let sent =
                [tcp(family.vip, family.client, ACK, &[3; 99]), udp(family.vip, family.client, &[3; 99])];
            for (quotation, whole) in quotations(sent) {
                let (kind, code) = too_big(&family);
                let error = icmp(router(&family), family.vip.ip(), kind, code, MTU, &quotation);
                let out = Packet::read(&scene.outside(&error.frame()).forwarded());
                assert_eq!((out.from.ip(), out.to.ip(), out.ttl), (router(&family), family.backend, 63));
                assert_eq!(out.segment[4..8], MTU.to_be_bytes());
                let about = quoted(&out, whole);
                assert_eq!((about.from, about.to), (backend, family.client));
            }
        }
    });
}

#[test]
fn an_error_about_a_request_reaches_the_client() {
    in_a_scene(|scene| {
        for family in families() {
            scene.serve(ServiceMode::Nat, family.vip, family.backend, 1);
            let backend = SocketAddr::new(family.backend, BACKEND_PORT);
            let (kind, code) = too_big(&family);
            // From the backend itself, and from a router before it, whose address stays.
            for (source, seen) in [(family.backend, family.vip.ip()), (router(&family), router(&family))] {
                let sent =
                    [tcp(family.client, backend, ACK, &[3; 99]), udp(family.client, backend, &[3; 99])];
                for (quotation, whole) in quotations(sent) {
                    let error = icmp(source, family.client.ip(), kind, code, MTU, &quotation);
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
fn dsr_hands_an_error_on_as_it_is() {
    in_a_scene(|scene| {
        for family in families() {
            scene.serve(ServiceMode::Dsr, family.vip, family.backend, 1);
            let (kind, code) = too_big(&family);
            let sent = tcp(family.vip, family.client, ACK, &[]).packet();
            let error = icmp(router(&family), family.vip.ip(), kind, code, MTU, &sent).frame();
            assert_eq!(scene.outside(&error).forwarded(), error);
        }
    });
}

#[test]
fn every_kind_of_error_is_relayed_and_nothing_else() {
    in_a_scene(|scene| {
        for family in families() {
            scene.serve(ServiceMode::Nat, family.vip, family.backend, 1);
            let sent = tcp(family.vip, family.client, ACK, &[]).packet();
            let errors: &[u8] = if family.vip.is_ipv4() { &[3, 11, 12] } else { &[1, 2, 3, 4] };
            // Errors, questions, redirects, router and neighbour messages.
            for kind in [1, 2, 3, 4, 5, 8, 9, 11, 12, 13, 128, 129, 133, 134, 135, 136, 137] {
                let error = icmp(router(&family), family.vip.ip(), kind, 0, 0, &sent).frame();
                if errors.contains(&kind) {
                    scene.outside(&error).forwarded();
                } else {
                    scene.outside(&error).passed();
                }
            }
        }
    });
}

#[test]
fn an_error_about_somebody_elses_packet_passes() {
    in_a_scene(|scene| {
        for family in families() {
            scene.serve(ServiceMode::Nat, family.vip, family.backend, 1);
            let (kind, code) = too_big(&family);
            let other = SocketAddr::new(family.vip.ip(), 81);
            for sent in [
                tcp(other, family.client, ACK, &[]).packet(),
                // Not from whom the error is sent to.
                tcp(SocketAddr::new(family.own, 80), family.client, ACK, &[]).packet(),
                // Cut short of its ports.
                tcp(family.vip, family.client, ACK, &[]).packet()[..24].to_vec(),
                Vec::new(),
            ] {
                let error = icmp(router(&family), family.vip.ip(), kind, code, MTU, &sent);
                scene.outside(&error.frame()).passed();
            }
        }
    });
}

#[test]
fn an_error_is_never_answered_with_another() {
    in_a_scene(|scene| {
        for family in families() {
            scene.serve(ServiceMode::Nat, family.vip, family.backend, 1);
            let (kind, code) = too_big(&family);
            let sent = tcp(family.vip, family.client, ACK, &[]).packet();
            let error = icmp(router(&family), family.vip.ip(), kind, code, MTU, &sent);
            scene.outside(&error.clone().with_ttl(1).frame()).dropped("time_exceeded");
            scene.set_state(fulcrum_ebpf::layout::State::Silent);
            scene.outside(&error.frame()).dropped("group_silent");
            scene.set_state(fulcrum_ebpf::layout::State::Leading);
            scene.empty();
            scene.outside(&error.frame()).dropped("no_backend_dropped");
        }
    });
}
