//! Packets in pieces.

use crate::packets::{Packet, udp};
use crate::scene::{BACKEND_PORT, Family, families, in_a_scene};
use fulcrum_ebpf::plane::layout::ServiceMode;
use std::net::SocketAddr;

/// The pieces of a datagram, the first with 808 bytes.
pub fn pieces(whole: &Packet, identification: u16) -> [Packet; 2] {
    let (first, rest) = whole.segment.split_at(808);
    let piece = |bytes: &[u8], offset: u16, more: bool| {
        let mut piece = whole.clone();
        piece.segment = bytes.to_vec();
        piece.identification = identification;
        if piece.from.is_ipv4() {
            piece.fragment = (offset / 8) | if more { 0x2000 } else { 0 };
        } else {
            let field = (offset | u16::from(more)).to_be_bytes();
            let name = u32::from(identification).to_be_bytes();
            piece.extensions = vec![(44, [&[0][..], &field, &name].concat())];
        }
        piece
    };
    [piece(first, 0, true), piece(rest, 808, false)]
}

/// Puts them together again: the checksum holds for the whole.
pub fn whole_of(family: &Family, frames: [&[u8]; 2]) -> Packet {
    let header = if family.vip.is_ipv4() { 14 + 20 } else { 14 + 40 + 8 };
    let [first, rest] = frames;
    let mut packet = [first, &rest[header..]].concat();
    if family.vip.is_ipv4() {
        packet[20..22].fill(0);
        let length = u16::try_from(packet.len() - 14).unwrap().to_be_bytes();
        packet[16..18].copy_from_slice(&length);
        packet[24..26].fill(0);
        let checksum = !crate::packets::sum(&packet[14..34]);
        packet[24..26].copy_from_slice(&checksum.to_be_bytes());
    } else {
        packet.drain(54..62);
        packet[20] = 17;
    }
    Packet::read(&packet)
}

#[test]
fn pieces_follow_the_first() {
    in_a_scene(|scene| {
        for family in families() {
            scene.serve(ServiceMode::Nat, family.vip, family.backend, 1);
            let backend = SocketAddr::new(family.backend, BACKEND_PORT);
            let there = udp(family.client, family.vip, &[0x5a; 1500]);
            let [first, rest] = pieces(&there, 21);
            let first = scene.outside(&first.frame()).forwarded();
            let rest = scene.outside(&rest.frame()).forwarded();
            let whole = whole_of(&family, [&first, &rest]);
            assert_eq!((whole.from, whole.to), (family.client, backend));
            let back = udp(backend, family.client, &[0xa5; 1500]);
            let [first, rest] = pieces(&back, 22);
            let first = scene.inside(&first.frame()).forwarded();
            let rest = scene.inside(&rest.frame()).forwarded();
            let whole = whole_of(&family, [&first, &rest]);
            assert_eq!((whole.from, whole.to), (family.vip, family.client));
        }
    });
}

#[test]
fn a_piece_before_the_first_is_dropped() {
    in_a_scene(|scene| {
        for family in families() {
            scene.serve(ServiceMode::Nat, family.vip, family.backend, 1);
            let [first, rest] = pieces(&udp(family.client, family.vip, &[0; 1500]), 31);
            scene.outside(&rest.frame()).dropped("fragment_without_first");
            scene.outside(&first.frame()).forwarded();
            scene.outside(&rest.frame()).forwarded();
            // Of another packet of the same addresses.
            let [_, rest] = pieces(&udp(family.client, family.vip, &[0; 1500]), 32);
            scene.outside(&rest.frame()).dropped("fragment_without_first");
            let backend = SocketAddr::new(family.backend, BACKEND_PORT);
            let [_, rest] = pieces(&udp(backend, family.client, &[0; 1500]), 33);
            scene.inside(&rest.frame()).dropped("fragment_without_first");
        }
    });
}

#[test]
fn pieces_of_others_pass() {
    in_a_scene(|scene| {
        for family in families() {
            scene.serve(ServiceMode::Nat, family.vip, family.backend, 1);
            // Of another service of the VIP, which the kernel serves.
            let elsewhere = SocketAddr::new(family.vip.ip(), 81);
            for piece in pieces(&udp(family.client, elsewhere, &[0; 1500]), 41) {
                scene.outside(&piece.frame()).passed();
            }
            let nobody = SocketAddr::new(family.own, 9);
            for piece in pieces(&udp(family.client, nobody, &[0; 1500]), 42) {
                scene.outside(&piece.frame()).passed();
            }
        }
    });
}

#[test]
fn later_pieces_are_never_answered() {
    in_a_scene(|scene| {
        for family in families() {
            scene.serve(ServiceMode::Nat, family.vip, family.backend, 1);
            let [first, rest] = pieces(&udp(family.client, family.vip, &[0; 1500]), 51);
            scene.outside(&first.frame()).forwarded();
            scene.outside(&rest.clone().with_ttl(1).frame()).dropped("time_exceeded");
            scene.empty();
            scene.outside(&rest.frame()).dropped("no_backend_dropped");
        }
    });
}
