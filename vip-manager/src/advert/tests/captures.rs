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

fn bytes(dump: &str) -> Vec<u8> {
    let digits: Vec<u32> = dump.chars().filter_map(|digit| digit.to_digit(16)).collect();
    digits.chunks(2).map(|pair| u8::try_from(pair[0] << 4 | pair[1]).unwrap()).collect()
}

#[test]
fn keepalived_over_ipv4() {
    for (dump, priority) in [(KEEPALIVED_IPV4, 200), (KEEPALIVED_IPV4_STOPS, 0)] {
        let packet = bytes(dump);
        let received = Received::from_ipv4(&packet).unwrap();
        assert_eq!((received.hop_limit, received.destination), (255, MULTICAST_IPV4.into()));
        let addresses = ["10.77.0.100", "10.77.0.101"].map(|address| address.parse().unwrap()).into();
        let checksum = ChecksumForm::PseudoHeader;
        let expected = Advert { priority, addresses, checksum, ..ipv4() };
        assert_eq!(decode(&received), Ok(expected.clone()));
        assert_eq!(expected.encode(received.source, received.destination), received.message);
    }
}

#[test]
fn keepalived_over_ipv6() {
    let source = "fe80::6ce3:aeff:fee9:8167".parse().unwrap();
    for (dump, priority) in [(KEEPALIVED_IPV6, 200), (KEEPALIVED_IPV6_STOPS, 0)] {
        let message = bytes(dump);
        let received = Received { source, ..received_ipv6(&message) };
        let expected = Advert { priority, interval: AdvertInterval::DEFAULT, ..ipv6() };
        assert_eq!(decode(&received), Ok(expected.clone()));
        assert_eq!(expected.encode(source, received.destination), message);
    }
}
