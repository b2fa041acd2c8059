use super::*;
use proptest::prelude::*;

fn at(text: &str) -> SocketAddr {
    text.parse().unwrap()
}

fn told() -> Told {
    Told {
        protocol: Protocol::Tcp,
        client: at("192.0.2.7:40000"),
        vip: at("10.0.0.100:443"),
        backend: at("10.0.1.11:8443"),
        source: None,
        ended: Ended::No,
        silent: Duration::from_millis(70),
    }
}

#[test]
fn what_is_written_is_read() {
    let six = Told {
        protocol: Protocol::Udp,
        client: at("[2001:db8::7]:40000"),
        vip: at("[fd00::100]:53"),
        backend: at("[fd01::11]:0"),
        source: Some(at("[fd00::100]:20000")),
        ended: Ended::Half,
        silent: Duration::ZERO,
    };
    let flows =
        vec![told(), six, Told { ended: Ended::Whole, source: Some(at("10.0.0.100:16384")), ..told() }];
    for message in [
        Message::Flows(flows),
        Message::Flows(vec![]),
        Message::Whole(7),
        Message::Held(u64::MAX),
        Message::Again,
    ] {
        assert_eq!(Message::decode(&message.encode()), Some(message));
    }
}

#[test]
fn the_longest_message_fits() {
    let six = Told {
        client: at("[2001:db8::7]:40000"),
        vip: at("[fd00::100]:53"),
        backend: at("[fd01::11]:1"),
        source: Some(at("[fd00::100]:20000")),
        ..told()
    };
    assert!(Message::Flows(vec![six; FLOWS_IN_MESSAGE]).encode().len() <= MESSAGE_BYTES);
}

#[test]
fn another_version_or_a_part_says_nothing() {
    let whole = Message::Flows(vec![told()]).encode();
    for length in 3..whole.len() {
        assert_eq!(Message::decode(&whole[..length]), None, "{length}");
    }
    assert_eq!(Message::decode(&[]), None);
    assert_eq!(Message::decode(&[VERSION + 1, WHOLE]), None);
    assert_eq!(Message::decode(&[VERSION, 99]), None);
    assert_eq!(Message::decode(&[VERSION, HELD, 0xff]), None);
    assert_eq!(Message::decode(&[VERSION, WHOLE]), None);
    assert_eq!(Message::decode(&vec![VERSION; MESSAGE_BYTES + 1]), None);
}

proptest! {
    #[test]
    fn whatever_comes_is_read_or_refused(bytes in proptest::collection::vec(any::<u8>(), 0..300)) {
        read_and_write(&[&[VERSION, FLOWS][..], &bytes].concat());
    }
}
