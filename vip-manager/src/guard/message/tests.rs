use super::*;

#[test]
fn orders_of_any_size_travel_in_messages_that_fit() {
    let address =
        |number: u16| (7, IpAddr::from([0x2001, 0xdb8, 0xffff, 0xffff, 0xffff, 0xffff, 0xffff, number]));
    let resignation = Resignation {
        sender: u64::MAX,
        destination: address(1).1,
        interface: u32::MAX,
        // The largest advert: 255 IPv6 addresses.
        bytes: vec![255; 8 + 255 * 16],
    };
    for (addresses, resignations) in [(0, 0), (0, 3), (1, 1), (400, 0), (5000, 2), (3, 50)] {
        let orders = Orders {
            resignations: vec![resignation.clone(); resignations],
            addresses: (0..addresses).map(address).collect(),
            devices: vec![1, 2],
            down_interval: Duration::from_millis(360),
        };
        let messages = ToGuard::group("web", Some(&orders));
        let mut told = None;
        for message in messages {
            assert!(serde_json::to_vec(&message).unwrap().len() <= MAX_BYTES);
            match (message, &mut told) {
                (ToGuard::Group { orders: Some(first), .. }, None) => told = Some(first),
                (ToGuard::More { orders: more, .. }, Some(told)) => told.extend(more),
                (other, _) => panic!("not expected: {other:?}"),
            }
        }
        assert_eq!(told, Some(orders));
    }
    assert_eq!(ToGuard::group("web", None), [ToGuard::Group { name: "web".to_owned(), orders: None }]);
}
