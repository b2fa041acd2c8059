use super::*;
use proptest::prelude::*;

const OURS: Mac = Mac(2, 0, 0, 0, 0, 1);
const THEIRS: Mac = Mac(2, 0, 0, 0, 0, 2);
const VIP: Ipv4Addr = Ipv4Addr::new(10, 0, 0, 100);
const CLIENT: Ipv4Addr = Ipv4Addr::new(10, 0, 0, 9);

/// A gratuitous ARP request, laid out by hand from RFC 826 and RFC 5227 section 3.
const ANNOUNCEMENT: [u8; 42] = [
    0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 2, 0, 0, 0, 0, 1, 0x08, 0x06, // to all, from us, ARP
    0, 1, 0x08, 0, 6, 4, 0, 1, // Ethernet, IPv4, lengths, request
    2, 0, 0, 0, 0, 1, 10, 0, 0, 100, // sender
    0, 0, 0, 0, 0, 0, 10, 0, 0, 100, // target: the same address
];

/// The answer to a client that asked for the VIP.
const REPLY: [u8; 42] = [
    2, 0, 0, 0, 0, 2, 2, 0, 0, 0, 0, 1, 0x08, 0x06, //
    0, 1, 0x08, 0, 6, 4, 0, 2, //
    2, 0, 0, 0, 0, 1, 10, 0, 0, 100, //
    2, 0, 0, 0, 0, 2, 10, 0, 0, 9,
];

#[test]
fn an_announcement_is_a_request_whose_sender_and_target_are_the_vip() {
    assert_eq!(Arp::announcement(OURS, VIP).encode(), ANNOUNCEMENT);
    let arp = decode(&ANNOUNCEMENT).unwrap();
    assert_eq!(arp, Arp::announcement(OURS, VIP));
    assert_eq!(arp.claim(), Some((VIP, OURS)));
    assert_eq!(arp.answer(THEIRS), None, "an announcement asks nothing");
}

#[test]
fn a_request_is_answered_to_its_sender() {
    let request = Arp::request(THEIRS, CLIENT, VIP);
    let answer = decode(&request.encode()).unwrap().answer(OURS).unwrap();
    assert_eq!(answer.encode(), REPLY);
    assert_eq!(decode(&REPLY).unwrap().claim(), Some((VIP, OURS)));
    assert_eq!(answer.answer(OURS), None, "replies are not answered");
}

#[test]
fn a_probe_claims_nothing_and_is_answered() {
    let probe = decode(&Arp::probe(THEIRS, VIP).encode()).unwrap();
    assert_eq!((probe.sender, probe.claim()), (Ipv4Addr::UNSPECIFIED, None));
    let answer = probe.answer(OURS).unwrap();
    assert_eq!((answer.sender, answer.target, answer.target_mac), (VIP, Ipv4Addr::UNSPECIFIED, THEIRS));
}

#[test]
fn what_is_not_arp_for_ipv4_over_ethernet_is_refused() {
    let with = |index: usize, value: u8| {
        let mut frame = REPLY;
        frame[index] = value;
        decode(&frame)
    };
    assert_eq!(decode(&REPLY[..41]), Err(Refusal::Truncated));
    assert_eq!(decode(&REPLY[..13]), Err(Refusal::Truncated));
    assert_eq!(with(13, 0), Err(Refusal::OtherProtocol), "Ethernet type");
    assert_eq!(with(15, 6), Err(Refusal::OtherProtocol), "hardware type");
    assert_eq!(with(17, 6), Err(Refusal::OtherProtocol), "protocol type");
    assert_eq!(with(18, 8), Err(Refusal::OtherProtocol), "hardware length");
    assert_eq!(with(19, 16), Err(Refusal::OtherProtocol), "protocol length");
    assert_eq!(with(21, 3), Err(Refusal::OtherProtocol), "operation");
    assert_eq!(with(22, 3), Err(Refusal::Malformed), "a sender that is a group");
}

proptest! {
    #[test]
    fn anything_is_refused_or_valid(frame in prop::collection::vec(any::<u8>(), 0..80)) {
        let _ = decode(&frame).map(|arp| (arp.answer(OURS), arp.encode()));
    }

    #[test]
    fn padding_does_not_matter(padding in 0..30usize) {
        let mut frame = REPLY.to_vec();
        frame.extend(std::iter::repeat_n(0, padding));
        prop_assert_eq!(decode(&frame), decode(&REPLY));
    }
}
