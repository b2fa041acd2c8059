//! The partners' own bytes: our codec reads each of their adverts, and writes the same bytes.

use super::scene::{Family, LONG, Scene};
use fulcrum_tests::LabError;
use fulcrum_tests::error::Context;
use fulcrum_tests::frames::Capture;
use fulcrum_tests::lab::{Kind, Lab};
use fulcrum_tests::wait::wait_until;
use fulcrum_vip_manager::advert::{HOP_LIMIT, Received, decode};
use pnet::packet::Packet;
use pnet::packet::ethernet::{EtherTypes, EthernetPacket};
use pnet::packet::ip::IpNextHeaderProtocol;
use pnet::packet::ipv6::Ipv6Packet;

const VRRP: IpNextHeaderProtocol = IpNextHeaderProtocol(112);

/// The VRRP message of a frame, with what its header said.
fn received<'a>(ethernet: &'a EthernetPacket<'a>) -> Option<Received<'a>> {
    if ethernet.get_ethertype() == EtherTypes::Ipv4 {
        return Received::from_ipv4(ethernet.payload()).ok();
    }
    let packet = Ipv6Packet::new(ethernet.payload())?;
    let start = Ipv6Packet::minimum_packet_size();
    (ethernet.get_ethertype() == EtherTypes::Ipv6 && packet.get_next_header() == VRRP).then_some(Received {
        source: packet.get_source().into(),
        destination: packet.get_destination().into(),
        hop_limit: packet.get_hop_limit(),
        message: ethernet.payload().get(start..)?.get(..usize::from(packet.get_payload_length()))?,
    })
}

fn ours_reads_and_writes_the_same_bytes(kind: Kind, family: Family) {
    Lab::run(|lab| {
        let scene = Scene::new(lab, kind, family, 150, false)?;
        let capture = Capture::start(scene.pair.client.namespace(), "eth0", |frame| {
            EthernetPacket::new(frame).is_some_and(|ethernet| received(&ethernet).is_some())
        })?;
        let partner = scene.partner()?;
        wait_until("five adverts", LONG, || capture.frames().len() >= 5)?;
        drop(partner);
        for frame in capture.frames() {
            let ethernet = EthernetPacket::new(&frame.bytes).ok_or(LabError::new("not Ethernet"))?;
            let received = received(&ethernet).ok_or(LabError::new("not VRRP"))?;
            assert_eq!(received.hop_limit, HOP_LIMIT);
            let advert = decode(&received).context(format!("{:02x?}", frame.bytes))?;
            assert_eq!(advert.vrid.get(), scene.router.vrid);
            assert!([0, scene.router.priority].contains(&advert.priority));
            assert_eq!(advert.interval.centiseconds(), scene.router.advert_centiseconds);
            assert_eq!(*advert.addresses, *scene.router.vips);
            assert_eq!(advert.encode(received.source, received.destination), received.message);
        }
        println!("{kind:?} {family:?}: {} adverts", capture.frames().len());
        Ok(())
    });
}

#[test]
fn keepalived_ipv4() {
    ours_reads_and_writes_the_same_bytes(Kind::Keepalived, Family::Ipv4);
}

#[test]
fn keepalived_ipv6() {
    ours_reads_and_writes_the_same_bytes(Kind::Keepalived, Family::Ipv6);
}

#[test]
fn frr_ipv4() {
    ours_reads_and_writes_the_same_bytes(Kind::Frr, Family::Ipv4);
}

#[test]
fn frr_ipv6() {
    ours_reads_and_writes_the_same_bytes(Kind::Frr, Family::Ipv6);
}
