use super::super::Message;
use super::*;

fn address(number: u16) -> BackendAddress {
    let [high, low] = number.to_be_bytes();
    let ip = format!("2001:db8:1111:2222:3333:4444:5555:{high:02x}{low:02x}").parse().unwrap();
    BackendAddress { ip, port: Some(65_535) }
}

fn told(backends: u16, slots: usize) -> Told {
    let judged = Judged { usage: Usage::Draining, weight: u32::MAX };
    let addresses: Vec<_> = (0..backends).map(address).collect();
    let verdict = Verdict { up: true, backends: addresses.iter().map(|it| (*it, judged)).collect() };
    let slots = (0..=backends).cycle().take(slots).collect();
    Told {
        verdict: Some(Arc::new(verdict)),
        tables: Some((u64::MAX, 1)),
        older: Some((HOLD_LIMIT, Arc::new(AddressSlots { backends: addresses, slots }))),
    }
}

pub(crate) fn portion() -> Portion {
    let services = BTreeMap::from([
        (ServiceName::new("web"), Some(told(3, 1000))),
        (ServiceName::new("many"), Some(told(300, 1000))),
        (ServiceName::new("plain"), Some(Told { verdict: None, tables: None, older: None })),
        (ServiceName::new("gone"), None),
    ]);
    Portion { instance: u64::MAX, sequence: 9, since: 3, services }
}

/// As many services as the kernel's tables hold, each in the midst of a change; and the greatest service.
#[test]
fn a_thousand_services_are_told_in_messages_of_which_each_fits() {
    let name = |number: u32| ServiceName::new(&format!("{number:063}"));
    let mut services: BTreeMap<_, _> =
        (0..1023).map(|number| (name(number), Some(told(8, 16_381)))).collect();
    services.insert(name(1023), Some(told(8191, 16_381)));
    let portions = Portion::split(services.clone());
    let count = portions.len();
    let mut together = BTreeMap::new();
    for services in portions {
        let portion = Portion { instance: 1, sequence: 2, since: 1, services };
        let written = Message::Serving(portion.clone()).encode();
        assert!(written.len() < WINDOW as usize, "{}", written.len());
        assert_eq!(Message::decode(&written), Ok(Message::Serving(portion.clone())));
        together.extend(portion.services);
    }
    assert_eq!(together, services);
    assert!(count < 560, "{count}");
    // Settled services are told all at once, and nothing to be said is one portion.
    let settled = |number| (name(number), Some(Told { older: None, ..told(3, 0) }));
    assert!(Portion::split((0..512).map(settled).collect()).len() < 10);
    assert_eq!(Portion::split(BTreeMap::new()), [BTreeMap::new()]);
}

fn changed(change: impl FnOnce(&mut serde_json::Value)) -> Result<Message, Misfit> {
    let written = Message::Serving(portion()).encode();
    let mut body = serde_json::from_slice(&written[2..]).unwrap();
    change(&mut body);
    let mut bytes = written[..2].to_vec();
    bytes.extend(serde_json::to_vec(&body).unwrap());
    Message::decode(&bytes)
}

#[test]
fn what_a_newer_node_adds_is_passed_over() {
    let more = changed(|body| {
        body["colour"] = "blue".into();
        body["services"]["web"]["verdict"]["backends"][0]["colour"] = "blue".into();
    });
    assert_eq!(more, Ok(Message::Serving(portion())));
}

#[test]
fn what_makes_no_sense_is_refused() {
    let good = changed(|_| ());
    assert!(good.is_ok());
    let wrong: [fn(&mut serde_json::Value); 8] = [
        |body| body["since"] = 10.into(),
        |body| body["services"][""] = serde_json::Value::Null,
        |body| body["services"]["x".repeat(300)] = serde_json::Value::Null,
        |body| body["services"]["web"]["tables"][0] = "+00000000000000f".into(),
        |body| body["services"]["web"]["older"]["slots"] = "BBBB".into(),
        |body| body["services"]["web"]["older"]["slots"] = "?".into(),
        |body| body["services"]["many"]["older"]["slots"] = "AAAA".into(),
        |body| body["services"]["web"]["verdict"]["backends"][0]["usage"] = "asleep".into(),
    ];
    for change in wrong {
        assert_eq!(changed(change), Err(Misfit::Malformed));
    }
    let long = changed(|body| {
        body["services"]["web"]["older"]["slots"] = "AAAA".repeat(SLOTS_LIMIT / 3 + 1).into();
    });
    assert_eq!(long, Err(Misfit::Malformed));
    let crowd: serde_json::Map<_, _> =
        (0..=SERVICES_LIMIT).map(|number| (number.to_string(), serde_json::Value::Null)).collect();
    assert_eq!(changed(|body| body["services"] = crowd.into()), Err(Misfit::Malformed));
}
