//! What other implementations send, captured from them: read by us, and written by us the same way.

use super::*;

/// keepalived 2.2.7 with `vrrp_version 3`, IPv4: the whole packet from 10.77.0.1, priority 200.
const KEEPALIVED_IPV4: &str = "
    45c0 0024 0001 0000 ff70 d048 0a4d 0001 e000 0012
    3133 c802 000a 067c 0a4d 0064 0a4d 0065";

/// The same as it stops.
const KEEPALIVED_IPV4_STOPS: &str = "
    45c0 0024 0039 0000 ff70 d010 0a4d 0001 e000 0012
    3133 0002 000a ce7c 0a4d 0064 0a4d 0065";

/// keepalived 2.2.7, IPv6: the message from fe80::6ce3:aeff:fee9:8167.
const KEEPALIVED_IPV6: &str = "
    3133 c802 000a 3e23
    fe80 0000 0000 0000 0000 0000 0000 0100
    2001 0db8 0000 0000 0000 0000 0000 0100";

/// The same as it stops.
const KEEPALIVED_IPV6_STOPS: &str = "
    3133 0002 000a 0624
    fe80 0000 0000 0000 0000 0000 0000 0100
    2001 0db8 0000 0000 0000 0000 0000 0100";

/// FRR 8.4.4's vrrpd, IPv4: the whole packet from 10.77.0.1; and as it stops.
const FRR_IPV4: &str = "
    45c0 0020 91d9 4000 ff70 fe73 0a4d 0001 e000 0012
    3133 c801 000a 1133 0a4d 0064";
const FRR_IPV4_STOPS: &str = "
    45c0 0020 9457 4000 ff70 fbf5 0a4d 0001 e000 0012
    3133 0001 000a d933 0a4d 0064";

/// The same over IPv6, from fe80::200:5eff:fe00:233, the link-local address of its virtual MAC.
const FRR_IPV6: &str = "3133 c801 000a 78b6 2001 0db8 0000 0000 0000 0000 0000 0100";
const FRR_IPV6_STOPS: &str = "3133 0001 000a 40b7 2001 0db8 0000 0000 0000 0000 0000 0100";

fn bytes(dump: &str) -> Vec<u8> {
    let digits: Vec<u32> = dump.chars().filter_map(|digit| digit.to_digit(16)).collect();
    digits.chunks(2).map(|pair| u8::try_from(pair[0] << 4 | pair[1]).unwrap()).collect()
}

/// Both directions, for an advert every 100 ms with VRID 51.
fn same(received: &Received<'_>, priority: u8, addresses: &[&str]) {
    let expected = Advert {
        priority,
        addresses: addresses.iter().map(|address| address.parse().unwrap()).collect(),
        checksum: ChecksumForm::PseudoHeader,
        ..ipv4()
    };
    assert_eq!(decode(received), Ok(expected.clone()));
    assert_eq!(expected.encode(received.source, received.destination), received.message);
}

fn same_ipv4(dump: &str, priority: u8, addresses: &[&str]) {
    let packet = bytes(dump);
    let received = Received::from_ipv4(&packet).unwrap();
    assert_eq!((received.hop_limit, received.destination), (HOP_LIMIT, MULTICAST_IPV4.into()));
    same(&received, priority, addresses);
}

fn same_ipv6(dump: &str, source: &str, priority: u8, addresses: &[&str]) {
    let message = bytes(dump);
    same(&Received { source: source.parse().unwrap(), ..received_ipv6(&message) }, priority, addresses);
}

#[test]
fn keepalived() {
    same_ipv4(KEEPALIVED_IPV4, 200, &["10.77.0.100", "10.77.0.101"]);
    same_ipv4(KEEPALIVED_IPV4_STOPS, 0, &["10.77.0.100", "10.77.0.101"]);
    let source = "fe80::6ce3:aeff:fee9:8167";
    same_ipv6(KEEPALIVED_IPV6, source, 200, &["fe80::100", "2001:db8::100"]);
    same_ipv6(KEEPALIVED_IPV6_STOPS, source, 0, &["fe80::100", "2001:db8::100"]);
}

#[test]
fn frr() {
    same_ipv4(FRR_IPV4, 200, &["10.77.0.100"]);
    same_ipv4(FRR_IPV4_STOPS, 0, &["10.77.0.100"]);
    let source = "fe80::200:5eff:fe00:233";
    same_ipv6(FRR_IPV6, source, 200, &["2001:db8::100"]);
    same_ipv6(FRR_IPV6_STOPS, source, 0, &["2001:db8::100"]);
}
