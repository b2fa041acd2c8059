#![allow(clippy::arithmetic_side_effects, reason = "offsets in frames of the test's own")]

use super::*;
use pnet::packet::Packet;
use pnet::packet::tcp::{self, TcpFlags};

const OWN_MAC: Mac = Mac(2, 0, 0, 0, 0, 0x12);
const MAC: Mac = Mac(2, 0, 0, 0, 0, 0x11);

fn ends(own: &str, other: &str) -> Ends {
    let [own, other] = [own, other].map(|address| address.parse().expect("an address"));
    Ends { own_mac: OWN_MAC, own, mac: MAC, other }
}

fn both() -> [Ends; 2] {
    [ends("10.0.0.12:61000", "10.0.0.100:443"), ends("[fd00::12]:61000", "[fd00::100]:443")]
}

/// The frame in which the other end says this.
fn reply(ends: &Ends, flags: u8, acknowledged: u32) -> Vec<u8> {
    let Ends { own_mac, own, mac, other } = *ends;
    let back = Ends { own_mac: mac, own: other, mac: own_mac, other: own };
    let mut frame = back.frame(7, flags, &[]).expect("a frame");
    let at = if own.is_ipv4() { 34 } else { 54 };
    frame[at + 8..at + 12].copy_from_slice(&acknowledged.to_be_bytes());
    frame
}

#[test]
fn a_syn_is_as_an_ordinary_host_sends_it() {
    let frame = both()[0].syn(0x0102_0304).expect("a frame");
    assert_eq!(frame[..14], [2, 0, 0, 0, 0, 0x11, 2, 0, 0, 0, 0, 0x12, 8, 0]);
    let packet = Ipv4Packet::new(&frame[14..]).expect("a packet");
    assert_eq!(packet.get_checksum(), ipv4::checksum(&packet));
    assert_eq!((usize::from(packet.get_total_length()), packet.get_ttl()), (frame.len() - 14, 64));
    let segment = TcpPacket::new(packet.payload()).expect("a segment");
    let sum = tcp::ipv4_checksum(&segment, &packet.get_source(), &packet.get_destination());
    assert_eq!(segment.get_checksum(), sum);
    assert_eq!((segment.get_source(), segment.get_destination()), (61000, 443));
    assert_eq!((segment.get_sequence(), segment.get_acknowledgement()), (0x0102_0304, 0));
    assert_eq!((segment.get_flags(), segment.get_data_offset()), (TcpFlags::SYN, 6));
}

#[test]
fn over_ipv6_it_is_the_same() {
    let frame = both()[1].syn(1).expect("a frame");
    let packet = Ipv6Packet::new(&frame[14..]).expect("a packet");
    assert_eq!(usize::from(packet.get_payload_length()), frame.len() - 54);
    let segment = TcpPacket::new(packet.payload()).expect("a segment");
    let sum = tcp::ipv6_checksum(&segment, &packet.get_source(), &packet.get_destination());
    assert_eq!(segment.get_checksum(), sum);
}

#[test]
fn an_answer_is_read_and_what_was_accepted_is_reset() {
    for ends in both() {
        for (flags, accepts) in [(SYN | ACK, true), (RST | ACK, false)] {
            let answer = decode(&reply(&ends, flags, 5)).expect("an answer");
            assert_eq!(answer, Answer { ends, acknowledged: 5, accepts });
        }
        let reset = ends.reset(5).expect("a frame");
        let at = if ends.own.is_ipv4() { 34 } else { 54 };
        let segment = TcpPacket::new(&reset[at..]).expect("a segment");
        assert_eq!((segment.get_flags(), segment.get_sequence()), (TcpFlags::RST, 5));
    }
}

#[test]
fn what_is_no_answer_to_a_syn_is_none() {
    for ends in both() {
        for flags in [0, SYN, ACK, RST, FIN | ACK, SYN | ACK | RST] {
            assert_eq!(decode(&reply(&ends, flags, 5)), Err(Refusal::OtherProtocol), "{flags}");
        }
        let whole = reply(&ends, SYN | ACK, 5);
        for length in 0..whole.len() {
            assert!(decode(&whole[..length]).is_err(), "{length}");
        }
        for bit in 0..whole.len() * 8 {
            let mut flipped = whole.clone();
            flipped[bit / 8] ^= 1 << (bit % 8);
            let _ = decode(&flipped);
        }
    }
}

#[test]
fn families_do_not_mix() {
    assert_eq!(ends("10.0.0.12:1", "[fd00::100]:443").syn(1), None);
}
