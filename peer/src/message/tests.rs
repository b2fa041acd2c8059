use super::*;
use fulcrum_config::{NodeName, Noted, SourceName, UnixTime};
use proptest::prelude::*;

fn hello() -> Hello {
    Hello {
        node: "lb-1".into(),
        version: "0.1.0".into(),
        protocol: PROTOCOL,
        instance: u64::MAX,
        config: PeerConfig { generation: 7, serial: 3, digest: SharedDigest(1 << 90) },
        linked: Some(true),
    }
}

fn allocations(services: u32) -> Allocations {
    let mut allocations = Allocations::default();
    for number in 0..services {
        let name = fulcrum_config::ServiceName::new(&format!("service-{number}"));
        let address = std::net::Ipv4Addr::from(number.wrapping_add(0x0a00_0000));
        allocations.insert(name, address.into(), fulcrum_config::PoolName::new("public"));
    }
    allocations
}

/// A version that says nothing of it is asked, and one that does not know it.
#[test]
fn whether_a_node_is_linked_is_a_field_that_older_versions_neither_send_nor_mind() {
    let Ok(Message::Hello(read)) = Message::decode(&Message::Hello(hello()).encode()) else { panic!() };
    assert_eq!(read.linked, Some(true));
    let old = Message::Hello(Hello { linked: None, ..hello() }).encode();
    assert!(!String::from_utf8_lossy(&old).contains("linked"));
    assert_eq!(Message::decode(&old), Ok(Message::Hello(Hello { linked: None, ..hello() })));
}

/// A version that knows of no pools reads what one says that does, and the other way round.
#[test]
fn allocations_are_a_field_that_older_versions_neither_send_nor_mind() {
    let old = br#"{"serial":9,"text":"a: b"}"#;
    let Ok(Message::Text(read)) = Message::decode(&[&TEXT.to_be_bytes()[..], old].concat()) else { panic!() };
    assert_eq!(
        *read,
        Text { serial: 9, text: "a: b".into(), allocations: None, overrides: None, fragments: None }
    );
    assert_eq!(Message::Text(read).encode()[2..], old[..]);
    #[derive(serde::Deserialize)]
    struct OldText {
        serial: u64,
        text: String,
    }
    let new = text().encode();
    let read: OldText = serde_json::from_slice(&new[2..]).unwrap();
    assert_eq!((read.serial, read.text.as_str()), (9, "a: b"));
    let hostile = br#"{"serial":9,"text":"a: b","allocations":{"web":{"10.0.0.1/8":"p"}}}"#;
    assert_eq!(Message::decode(&[&TEXT.to_be_bytes()[..], hostile].concat()), Err(Misfit::Malformed));
}

fn offer() -> Message {
    let allocations = Some(Arc::new(allocations(2)));
    let text = "a: \"b\"\n".into();
    Message::Offer(Some(Arc::new(Offer {
        number: u64::MAX,
        forced: BTreeSet::from([GroupName::new("api")]),
        text,
        allocations,
        overrides: None,
        fragments: None,
    })))
}

fn answer() -> Message {
    Message::Answer(Arc::new(Answer { number: 1, serial: 2, errors: vec!["line 1\nis wrong".to_owned()] }))
}

fn fragments(text: &str) -> Arc<Fragments> {
    let says = Noted { what: text.into(), by: "uid 0".to_owned(), since: UnixTime(1) };
    Arc::new(Fragments::default().with(SourceName::new("prod"), Some(says)).expect("fits"))
}

fn text() -> Message {
    Message::Text(Arc::new(Text {
        serial: 9,
        text: "a: b".into(),
        allocations: Some(Arc::new(allocations(1))),
        overrides: None,
        fragments: Some(fragments("services: {\"prod/a/b\": {}}")),
    }))
}

#[test]
fn a_configuration_of_the_greatest_size_fits_and_a_greater_one_is_refused() {
    let lines = "  \"a\": b # \u{e9}\n";
    let long = lines.repeat(TEXT_LIMIT / lines.len());
    // With as many allocations as there can be services.
    let allocations = Some(Arc::new(allocations(10_000)));
    let text = long.clone().into();
    let message = Message::Offer(Some(Arc::new(Offer {
        number: 1,
        forced: BTreeSet::new(),
        text,
        allocations,
        overrides: None,
        fragments: Some(fragments(&"\"".repeat(Fragments::SIZE))),
    })));
    assert!(message.encode().len() < MESSAGE_LIMIT);
    assert_eq!(Message::decode(&message.encode()), Ok(message));
    let longer = (long + lines).into();
    let message = Message::Text(Arc::new(Text {
        serial: 1,
        text: longer,
        allocations: None,
        overrides: None,
        fragments: None,
    }));
    assert_eq!(Message::decode(&message.encode()), Err(Misfit::Malformed));
}

#[test]
fn errors_are_shown_to_people_and_control_no_terminal() {
    let errors = vec!["\u{1b}[31mred".to_owned(); 100];
    let written = Message::Answer(Arc::new(Answer { number: 1, serial: 2, errors })).encode();
    let Ok(Message::Answer(read)) = Message::decode(&written) else { panic!() };
    assert_eq!((read.errors.len(), read.errors[0].as_str()), (50, "[31mred"));
}

fn word() -> Message {
    let group = GroupName::new("web");
    let word = Word {
        leads: BTreeMap::from([(group.clone(), BTreeSet::from(["fe80::1".parse().unwrap()]))]),
        asks: BTreeMap::from([(group.clone(), u64::MAX)]),
        answers: BTreeMap::from([(group.clone(), 0)]),
        holds: BTreeSet::from([group.clone()]),
        sources: BTreeSet::from(["10.0.0.1".parse().unwrap()]),
        accuses: BTreeSet::from([group.clone()]),
        ready: BTreeSet::from([group.clone()]),
        unready: Some(BTreeMap::from([(
            "its link eth0 is down".to_owned(),
            BTreeSet::from([group.clone()]),
        )])),
        fails: BTreeMap::from([(ServiceName::new("web"), BTreeSet::from([BackendName::new("web-1")]))]),
        moves: BTreeMap::from([(group.clone(), u64::MAX)]),
        knows: BTreeSet::from([7]),
        prepares: BTreeMap::from([(
            group,
            Preparing { number: u64::MAX, to: NodeName::new("lb-2"), forced: true },
        )]),
        prepared: Some(BTreeMap::from([
            (u64::MAX, Prepared { hooks: 1, refused: Some("not now".to_owned()) }),
            (0, Prepared { hooks: 0, refused: None }),
        ])),
    };
    Message::Word(Said { instance: 1, sequence: 2, change: 3, word: Arc::new(word) })
}

/// As many groups as there can be, with the longest names and everything that can be said of them.
#[test]
fn a_word_about_many_groups_is_no_longer_than_a_message_may_be() {
    let sources = BTreeSet::from(["2001:db8:1111:2222:3333:4444:5555:6666".parse().unwrap()]);
    let group = |number: u32| (GroupName::new(&format!("{number:063}")), sources.clone());
    let leads: BTreeMap<_, _> = (0..4096).map(group).collect();
    let all: BTreeSet<_> = leads.keys().cloned().collect();
    let numbers: BTreeMap<_, _> = all.iter().map(|group| (group.clone(), u64::MAX)).collect();
    let reason = |number: usize| format!("{number:0200}");
    let mut unready: BTreeMap<_, _> = (0..64).map(|number| (reason(number), BTreeSet::new())).collect();
    unready.insert(reason(0), all.clone());
    let service = |number: u32| {
        let backend = BTreeSet::from([BackendName::new(&format!("{number:063}"))]);
        (ServiceName::new(&format!("{number:063}")), backend)
    };
    let word = Word {
        leads,
        sources,
        unready: Some(unready),
        fails: (0..1000).map(service).collect(),
        asks: numbers.clone(),
        answers: numbers.clone(),
        moves: numbers,
        holds: all.clone(),
        accuses: all.clone(),
        ready: all,
        ..Word::default()
    };
    let said = Said { instance: u64::MAX, sequence: u64::MAX, change: u64::MAX, word: Arc::new(word) };
    assert!(Message::Word(said).encode().len() < MESSAGE_LIMIT);
}

/// A version that does not say why it is not ready.
#[test]
fn whether_a_node_is_ready_is_a_field_that_older_versions_do_not_send() {
    let old = br#"{"instance":1,"sequence":2,"change":3,"leads":{},"asks":{},"answers":{}}"#;
    let Ok(Message::Word(read)) = Message::decode(&[&WORD.to_be_bytes()[..], old].concat()) else { panic!() };
    assert_eq!((*read.word).clone(), Word::default());
    let hostile = br#"{"instance":1,"sequence":2,"change":3,"leads":{},"asks":{},"answers":{},"unready":{"\u001b[31mred":["web"]}}"#;
    let Ok(Message::Word(read)) = Message::decode(&[&WORD.to_be_bytes()[..], hostile].concat()) else {
        panic!()
    };
    assert_eq!(read.word.prepared, None, "and so is whether it prepares");
    let reasons = read.word.unready.clone().unwrap();
    assert_eq!(reasons.keys().collect::<Vec<_>>(), ["[31mred"]);
}

#[test]
fn each_message_reads_as_it_was_written() {
    for message in [
        Message::Hello(hello()),
        Message::Config(hello().config),
        Message::Redial,
        word(),
        offer(),
        answer(),
        text(),
        Message::Serving(serving::tests::portion()),
    ] {
        assert_eq!(Message::decode(&message.encode()), Ok(message.clone()));
        assert!(message.encode().len() < MESSAGE_LIMIT);
    }
    for datagram in
        [Datagram::Beat(0, None), Datagram::Beat(u64::MAX, Some(u64::MAX)), Datagram::Echo(258, None)]
    {
        assert_eq!(Datagram::decode(&datagram.encode()), Ok(datagram));
    }
}

#[test]
fn what_a_newer_node_adds_is_passed_over() {
    assert_eq!(Message::decode(&[0, 99, b'{', b'}']), Err(Misfit::Unknown));
    assert_eq!(Datagram::decode(&[99]), Err(Misfit::Unknown));
    for datagram in [
        Datagram::Beat(5, Some(7)),
        Datagram::Beat(5, None),
        Datagram::Echo(5, Some(7)),
        Datagram::Echo(5, None),
    ] {
        let mut longer = datagram.encode();
        longer.push(1);
        assert_eq!(Datagram::decode(&longer), Ok(datagram));
    }
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
    fn any_bytes_can_be_read(bytes in prop::collection::vec(any::<u8>(), 0..200), kind in 0..9_u8) {
        read_and_write(&bytes);
        let mut framed = vec![0, kind];
        framed.extend(bytes);
        read_and_write(&framed);
    }
}
