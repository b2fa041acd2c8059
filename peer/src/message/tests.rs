use super::*;
use proptest::prelude::*;

fn hello() -> Hello {
    Hello {
        node: "lb-1".into(),
        version: "0.1.0".into(),
        protocol: PROTOCOL,
        instance: u64::MAX,
        config: PeerConfig { generation: 7, digest: SharedDigest(1 << 90) },
    }
}

#[test]
fn each_message_reads_as_it_was_written() {
    for message in [Message::Hello(hello()), Message::Config(hello().config), Message::Redial] {
        assert_eq!(Message::decode(&message.encode()), Ok(message.clone()));
        assert!(message.encode().len() < MESSAGE_LIMIT);
    }
    for datagram in [Datagram::Beat(0), Datagram::Beat(u64::MAX), Datagram::Echo(258)] {
        assert_eq!(Datagram::decode(&datagram.encode()), Ok(datagram));
    }
}

#[test]
fn what_a_newer_node_adds_is_passed_over() {
    assert_eq!(Message::decode(&[0, 99, b'{', b'}']), Err(Misfit::Unknown));
    assert_eq!(Datagram::decode(&[99]), Err(Misfit::Unknown));
    let mut longer = Datagram::Beat(5).encode().to_vec();
    longer.push(1);
    assert_eq!(Datagram::decode(&longer), Ok(Datagram::Beat(5)));
    let written = Message::Hello(hello()).encode();
    let mut body: serde_json::Value = serde_json::from_slice(&written[2..]).unwrap();
    body["colour"] = "blue".into();
    let mut more = written[..2].to_vec();
    more.extend(serde_json::to_vec(&body).unwrap());
    assert_eq!(Message::decode(&more), Ok(Message::Hello(hello())));
}

#[test]
fn what_makes_no_sense_is_refused() {
    for bytes in [&b""[..], b"\0", b"\0\x01", b"\0\x01{}", b"\0\x02{\"generation\":1,\"digest\":\"+1\"}"] {
        assert_eq!(Message::decode(bytes), Err(Misfit::Malformed), "{bytes:?}");
    }
    for text in ["", "a b", "\u{1b}[31m", &"x".repeat(65)] {
        let wrong = Message::Hello(Hello { node: text.into(), ..hello() });
        assert_eq!(Message::decode(&wrong.encode()), Err(Misfit::Malformed), "{text:?}");
    }
    for bytes in [&[][..], &[1], &[2, 0, 0, 0, 0, 0, 0, 0]] {
        assert_eq!(Datagram::decode(bytes), Err(Misfit::Malformed), "{bytes:?}");
    }
}

proptest! {
    #[test]
    fn any_bytes_can_be_read(bytes in prop::collection::vec(any::<u8>(), 0..200), kind in 0..5_u8) {
        read_and_write(&bytes);
        let mut framed = vec![0, kind];
        framed.extend(bytes);
        read_and_write(&framed);
    }
}
