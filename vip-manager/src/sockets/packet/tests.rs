use super::*;
use crate::advert::{MULTICAST_IPV4, MULTICAST_IPV6, Received};

const MAC: Mac = Mac(0, 0, 0x5e, 0, 1, 51);

#[test]
fn an_ipv4_frame_goes_to_the_groups_mac_and_its_header_is_right() {
    let source = Ipv4Addr::new(10, 0, 0, 1);
    let frame = advert_frame(MAC, source.into(), MULTICAST_IPV4.into(), b"message").unwrap();
    assert_eq!(frame[..14], [0x01, 0, 0x5e, 0, 0, 18, 0, 0, 0x5e, 0, 1, 51, 8, 0]);
    let header = Ipv4Packet::new(&frame[14..]).unwrap();
    assert_eq!(header.get_checksum(), ipv4::checksum(&header));
    let received = Received::from_ipv4(&frame[14..]).unwrap();
    let expected = Received {
        source: source.into(),
        destination: MULTICAST_IPV4.into(),
        hop_limit: 255,
        message: b"message",
    };
    assert_eq!(received, expected);
}

#[test]
fn an_ipv6_frame_goes_to_the_groups_mac() {
    let source: Ipv6Addr = "fe80::1".parse().unwrap();
    let frame = advert_frame(MAC, source.into(), MULTICAST_IPV6.into(), b"message").unwrap();
    assert_eq!(frame[..14], [0x33, 0x33, 0, 0, 0, 0x12, 0, 0, 0x5e, 0, 1, 51, 0x86, 0xdd]);
    assert_eq!(frame[14..22], [0x6c, 0, 0, 0, 0, 7, 112, 255]);
    assert_eq!(frame[22..38], source.octets());
    assert_eq!(frame[38..54], MULTICAST_IPV6.octets());
    assert_eq!(&frame[54..], b"message");
}

#[test]
fn families_do_not_mix() {
    let source = Ipv4Addr::new(10, 0, 0, 1);
    assert_eq!(advert_frame(MAC, source.into(), MULTICAST_IPV6.into(), b"message"), None);
}
