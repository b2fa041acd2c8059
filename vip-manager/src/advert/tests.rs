#![allow(clippy::arithmetic_side_effects)]

mod captures;

use super::*;
use proptest::prelude::*;

const SOURCE_IPV4: IpAddr = IpAddr::V4(Ipv4Addr::new(10, 0, 0, 1));
const SOURCE_IPV6: IpAddr = IpAddr::V6(Ipv6Addr::new(0xfe80, 0, 0, 0, 0, 0, 0, 1));

/// VRID 51, priority 200, 10.0.0.100 and 10.0.0.101 every 100 ms; laid out by hand from RFC 9568 section 5.2.
const IPV4: [u8; 16] = [
    0x31, 0x33, 0xc8, 0x02, // version 3, type 1; VRID 51; priority 200; two addresses
    0x00, 0x0a, 0xf1, 0xf6, // reserved 0, interval 10 cs; checksum
    10, 0, 0, 100, //
    10, 0, 0, 101,
];

/// The same VRID over IPv6 with fe80::100 and 2001:db8::100, interval 40.95 s.
const IPV6: [u8; 40] = [
    0x31, 0x33, 0x64, 0x02, //
    0x0f, 0xff, 0x2e, 0x62, //
    0xfe, 0x80, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0x01, 0x00, //
    0x20, 0x01, 0x0d, 0xb8, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0x01, 0x00,
];

fn ipv4() -> Advert {
    Advert {
        vrid: Vrid::new(51).unwrap(),
        priority: 200,
        interval: AdvertInterval::DEFAULT,
        addresses: ["10.0.0.100", "10.0.0.101"].map(|address| address.parse().unwrap()).into(),
        checksum: ChecksumForm::Message,
    }
}

fn ipv6() -> Advert {
    Advert {
        vrid: Vrid::new(51).unwrap(),
        priority: 100,
        interval: AdvertInterval::from_centiseconds(4095).unwrap(),
        addresses: ["fe80::100", "2001:db8::100"].map(|address| address.parse().unwrap()).into(),
        checksum: ChecksumForm::PseudoHeader,
    }
}

fn received(message: &[u8]) -> Received<'_> {
    Received { source: SOURCE_IPV4, destination: MULTICAST_IPV4.into(), hop_limit: HOP_LIMIT, message }
}

fn received_ipv6(message: &[u8]) -> Received<'_> {
    Received { source: SOURCE_IPV6, destination: MULTICAST_IPV6.into(), hop_limit: HOP_LIMIT, message }
}

/// One's complement sum by the book (RFC 1071), apart from the code under test.
fn sum(parts: &[&[u8]]) -> u16 {
    let bytes: Vec<u8> = parts.concat();
    let mut sum: u32 = bytes.chunks(2).map(|pair| u32::from(pair[0]) << 8 | u32::from(pair[1])).sum();
    while sum > 0xffff {
        sum = (sum & 0xffff) + (sum >> 16);
    }
    u16::try_from(sum).unwrap()
}

#[test]
fn ipv4_bytes_are_those_of_the_rfc() {
    assert_eq!(ipv4().encode(SOURCE_IPV4, MULTICAST_IPV4.into()), IPV4);
    assert_eq!(sum(&[&IPV4]), 0xffff, "checksum over the message alone (section 5.2.8)");
    assert_eq!(decode(&received(&IPV4)), Ok(ipv4()));
}

#[test]
fn ipv6_bytes_are_those_of_the_rfc() {
    assert_eq!(ipv6().encode(SOURCE_IPV6, MULTICAST_IPV6.into()), IPV6);
    let (IpAddr::V6(source), length) = (SOURCE_IPV6, [0, 0, 0, 40]) else { unreachable!() };
    let pseudo = [&source.octets()[..], &MULTICAST_IPV6.octets(), &length, &[0, 0, 0, 112], &IPV6];
    assert_eq!(sum(&pseudo), 0xffff, "checksum with the pseudo-header of RFC 8200 section 8.1");
    assert_eq!(decode(&received_ipv6(&IPV6)), Ok(ipv6()));
}

#[test]
fn ipv4_checksum_with_pseudo_header_as_keepalived_sends_it() {
    let advert = Advert { checksum: ChecksumForm::PseudoHeader, ..ipv4() };
    let bytes = advert.encode(SOURCE_IPV4, MULTICAST_IPV4.into());
    assert_eq!(sum(&[&[10, 0, 0, 1, 224, 0, 0, 18, 0, 112, 0, 16], &bytes]), 0xffff);
    assert_eq!(decode(&received(&bytes)), Ok(advert));
}

#[test]
fn reserved_bits_are_ignored_and_trailing_bytes_checked_but_ignored() {
    let mut bytes = IPV4.to_vec();
    bytes[4] |= 0xf0;
    bytes[6..8].copy_from_slice(&0x01f6_u16.to_be_bytes());
    assert_eq!(decode(&received(&bytes)), Ok(ipv4()), "reserved bits MUST be ignored on reception");
    let mut bytes = IPV4.to_vec();
    bytes.extend_from_slice(&[0, 0, 0, 0]);
    assert_eq!(decode(&received(&bytes)), Ok(ipv4()));
    bytes[19] = 1;
    assert_eq!(decode(&received(&bytes)), Err(Refusal::Checksum));
}

#[test]
fn each_check_refuses_by_its_own_name() {
    let with = |index: usize, value: u8| {
        let mut bytes = IPV4.to_vec();
        bytes[index] = value;
        let sum = checksum(&bytes, SOURCE_IPV4, MULTICAST_IPV4.into(), ChecksumForm::Message);
        bytes[6..8].copy_from_slice(&sum.to_be_bytes());
        bytes
    };
    let rows: [(Vec<u8>, Refusal); 9] = [
        (IPV4[..7].to_vec(), Refusal::Truncated),
        (IPV4[..15].to_vec(), Refusal::Truncated),
        (with(0, 0x21), Refusal::Version2),
        (with(0, 0x41), Refusal::Version(4)),
        (with(0, 0x32), Refusal::Type(2)),
        (with(3, 0), Refusal::NoAddresses),
        (with(3, 3), Refusal::Truncated),
        (with(1, 0), Refusal::VridZero),
        (with(5, 0), Refusal::IntervalZero),
    ];
    for (bytes, refusal) in rows {
        assert_eq!(decode(&received(&bytes)), Err(refusal), "{bytes:02x?}");
    }
    let mut damaged = IPV4;
    damaged[2] ^= 1;
    assert_eq!(decode(&received(&damaged)), Err(Refusal::Checksum));
    let forwarded = Received { hop_limit: 254, ..received(&IPV4) };
    assert_eq!(decode(&forwarded), Err(Refusal::HopLimit(254)));
    assert_eq!(
        decode(&Received { destination: SOURCE_IPV6, ..received_ipv6(&IPV6) }),
        Err(Refusal::Checksum)
    );
}

#[test]
fn version_2_says_what_to_do() {
    assert!(Refusal::Version2.to_string().contains("vrrp_version 3"));
}

#[test]
fn an_ipv4_packet_is_taken_apart() {
    let mut packet = vec![0x46, 0xc0, 0, 40, 0, 1, 0, 0, 255, 112, 0, 0, 10, 0, 0, 1, 224, 0, 0, 18];
    packet.extend_from_slice(&[0x94, 0x04, 0, 0]); // router alert: options are skipped
    packet.extend_from_slice(&IPV4);
    packet.extend_from_slice(&[0; 6]); // padding of a short Ethernet frame
    assert_eq!(Received::from_ipv4(&packet), Ok(received(&IPV4)));
    assert_eq!(Received::from_ipv4(&packet[..39]), Err(Refusal::Truncated), "shorter than it says");
    assert_eq!(Received::from_ipv4(&packet[..19]), Err(Refusal::Truncated), "no header");
    packet[0] = 0x44;
    assert_eq!(Received::from_ipv4(&packet), Err(Refusal::Truncated), "a header shorter than a header");
    packet[9] = 17;
    assert_eq!(Received::from_ipv4(&packet), Err(Refusal::NotVrrp));
}

#[test]
fn hundreds_of_addresses_are_cut_to_the_count_of_one_byte() {
    let addresses: Arc<[IpAddr]> = (0..300u32).map(|n| IpAddr::V4(n.into())).collect();
    let bytes = Advert { addresses, ..ipv4() }.encode(SOURCE_IPV4, MULTICAST_IPV4.into());
    assert_eq!((bytes[3], bytes.len()), (255, 8 + 255 * 4));
    assert_eq!(decode(&received(&bytes)).unwrap().addresses.len(), 255);
}

proptest! {
    #[test]
    fn whatever_is_encoded_decodes_to_itself(
        vrid in 1..=255u8, priority: u8, interval in 1..=4095u16, hosts in prop::collection::vec(any::<u128>(), 1..255),
        ipv6: bool, pseudo: bool,
    ) {
        let (source, destination) = if ipv6 {
            (SOURCE_IPV6, IpAddr::from(MULTICAST_IPV6))
        } else {
            (SOURCE_IPV4, IpAddr::from(MULTICAST_IPV4))
        };
        let address = |host: &u128| {
            if ipv6 { IpAddr::V6((*host).into()) } else { IpAddr::V4(u32::try_from(host >> 96).unwrap().into()) }
        };
        let checksum = if ipv6 || pseudo { ChecksumForm::PseudoHeader } else { ChecksumForm::Message };
        let advert = Advert {
            vrid: Vrid::new(vrid).unwrap(), priority,
            interval: AdvertInterval::from_centiseconds(interval).unwrap(),
            addresses: hosts.iter().map(address).collect(),
            checksum,
        };
        let message = advert.encode(source, destination);
        let received = Received { source, destination, hop_limit: HOP_LIMIT, message: &message };
        prop_assert_eq!(decode(&received), Ok(advert));
    }

    #[test]
    fn anything_is_refused_without_panic(bytes in prop::collection::vec(any::<u8>(), 0..100)) {
        prop_assert!(decode(&received(&bytes)).is_err() || bytes.len() >= 12);
        let _ = Received::from_ipv4(&bytes);
    }
}
