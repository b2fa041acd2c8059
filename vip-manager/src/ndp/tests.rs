#![allow(clippy::arithmetic_side_effects)]

use super::*;
use proptest::prelude::*;

const OURS: Mac = Mac(2, 0, 0, 0, 0, 1);
const THEIRS: Mac = Mac(2, 0, 0, 0, 0, 2);
const VIP: Ipv6Addr = Ipv6Addr::new(0x2001, 0xdb8, 0, 0, 0, 0, 0, 0x100);
const CLIENT: Ipv6Addr = Ipv6Addr::new(0x2001, 0xdb8, 0, 0, 0, 0, 0, 9);

/// An unsolicited advertisement, laid out by hand from RFC 4861 section 4.4; checksums by RFC 4443
/// section 2.3, computed apart from this code.
const ANNOUNCEMENT: [u8; 86] = [
    0x33, 0x33, 0, 0, 0, 1, 2, 0, 0, 0, 0, 1, 0x86, 0xdd, // to all nodes, from us, IPv6
    0x60, 0, 0, 0, 0, 32, 58, 255, // 32 bytes of ICMPv6, hop limit 255
    0x20, 0x01, 0x0d, 0xb8, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0x01, 0x00, // from the VIP
    0xff, 0x02, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 1, //
    136, 0, 0x77, 0x2c, 0xa0, 0, 0, 0, // router and override
    0x20, 0x01, 0x0d, 0xb8, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0x01, 0x00, //
    2, 1, 2, 0, 0, 0, 0, 1, // target link-layer address
];

/// A solicitation of duplicate address detection (RFC 4862 section 5.4.2).
const PROBE: [u8; 78] = [
    0x33, 0x33, 0xff, 0, 0x01, 0, 2, 0, 0, 0, 0, 1, 0x86, 0xdd, // to the solicited-node group
    0x60, 0, 0, 0, 0, 24, 58, 255, //
    0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, //
    0xff, 0x02, 0, 0, 0, 0, 0, 0, 0, 0, 0, 1, 0xff, 0, 0x01, 0, //
    135, 0, 0x4a, 0xef, 0, 0, 0, 0, //
    0x20, 0x01, 0x0d, 0xb8, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0x01, 0x00,
];

#[test]
fn an_announcement_overrides_and_goes_to_all_nodes() {
    let announcement = Advertisement::announcement(OURS, VIP);
    assert_eq!(announcement.encode(), ANNOUNCEMENT);
    assert_eq!(decode(&ANNOUNCEMENT), Ok(Ndp::Advertisement(announcement)));
}

#[test]
fn a_probe_has_no_source_and_its_answer_goes_to_all() {
    let probe = Solicitation::probe(OURS, VIP);
    assert_eq!(probe.encode(), PROBE);
    assert_eq!(decode(&PROBE), Ok(Ndp::Solicitation(probe)));
    assert_eq!(probe.answer(THEIRS), Advertisement::announcement(THEIRS, VIP));
}

#[test]
fn a_solicitation_is_answered_to_its_sender() {
    let Ok(Ndp::Solicitation(asked)) = decode(&Solicitation::new(THEIRS, CLIENT, VIP).encode()) else {
        panic!("it is a solicitation")
    };
    let frame = asked.answer(OURS).encode();
    assert_eq!(&frame[..6], &THEIRS.octets());
    assert_eq!(&frame[54..62], [136, 0, 0x08, 0x6e, 0xe0, 0, 0, 0], "router, solicited and override");
    let Ok(Ndp::Advertisement(answer)) = decode(&frame) else { panic!("it is an advertisement") };
    let said = (answer.source, answer.destination, answer.target_mac, answer.solicited);
    assert_eq!(said, (VIP, CLIENT, OURS, true));
}

/// A frame with some bytes changed and the checksum right again.
fn with(frame: &[u8], changes: &[(usize, u8)]) -> Result<Ndp, Refusal> {
    let mut frame = frame.to_vec();
    for (index, value) in changes {
        frame[*index] = *value;
    }
    let address = |at: usize| Ipv6Addr::from(<[u8; 16]>::try_from(&frame[at..at + 16]).unwrap());
    let sum = checksum(&frame[54..], address(22), address(38));
    frame[56..58].copy_from_slice(&sum.to_be_bytes());
    decode(&frame)
}

#[test]
fn what_rfc_4861_says_to_drop_is_dropped() {
    assert_eq!(with(&ANNOUNCEMENT, &[(21, 254)]), Err(Refusal::HopLimit));
    assert_eq!(with(&ANNOUNCEMENT, &[(55, 1)]), Err(Refusal::Malformed), "code");
    assert_eq!(with(&ANNOUNCEMENT, &[(58, 0xe0)]), Err(Refusal::Malformed), "solicited, to a group");
    assert_eq!(with(&ANNOUNCEMENT, &[(62, 0xff)]), Err(Refusal::Malformed), "a target that is a group");
    assert_eq!(with(&ANNOUNCEMENT, &[(79, 0)]), Err(Refusal::Malformed), "an option of length zero");
    assert_eq!(with(&ANNOUNCEMENT, &[(79, 2)]), Err(Refusal::Truncated), "an option that ends too late");
    assert_eq!(with(&PROBE, &[(53, 1)]), Err(Refusal::Malformed), "a probe to another group");
    assert_eq!(with(&PROBE, &[(54, 134)]), Err(Refusal::OtherProtocol), "a router advertisement");
    assert_eq!(with(&PROBE, &[(20, 17)]), Err(Refusal::OtherProtocol), "UDP");
    let mut damaged = ANNOUNCEMENT;
    damaged[85] ^= 1;
    assert_eq!(decode(&damaged), Err(Refusal::Checksum));
    for length in 0..ANNOUNCEMENT.len() {
        assert_eq!(decode(&ANNOUNCEMENT[..length]), Err(Refusal::Truncated), "{length} bytes");
    }
}

#[test]
fn unknown_options_are_skipped() {
    let mut frame = ANNOUNCEMENT.to_vec();
    let nonce = [14, 1, 1, 2, 3, 4, 5, 6];
    frame.splice(78..78, nonce);
    let announcement = Ok(Ndp::Advertisement(Advertisement::announcement(OURS, VIP)));
    assert_eq!(with(&frame, &[(19, 40)]), announcement);
}

proptest! {
    #[test]
    fn anything_is_refused_or_valid(noise in prop::collection::vec((0..86usize, any::<u8>()), 0..8), cut in 0..87usize) {
        let mut frame = ANNOUNCEMENT.to_vec();
        for (index, value) in noise {
            frame[index] = value;
        }
        let _ = decode(&frame[..cut.min(86)]);
        let _ = with(&frame, &[]);
    }
}
