//! Limits, and PROXY headers.

use super::*;

#[test]
fn limits_refuse_new_sessions_only() {
    let server = Server::start("a:");
    let mut lab = Lab::new(&[&server]);
    lab.service.limits.connections_per_client = Some(2);
    let lab = lab.serve();
    let clients: Vec<UdpSocket> = (0..3).map(|_| lab.client()).collect();
    assert_eq!(ask(&clients[0], b"x"), b"a:x");
    assert_eq!(ask(&clients[1], b"x"), b"a:x");
    clients[2].send(b"x").unwrap();
    assert!(is_silent(&clients[2]));
    assert_eq!(ask(&clients[0], b"y"), b"a:y");
    let stats = lab.stats();
    assert_eq!((stats.refused_limit, stats.datagrams_dropped, stats.connections), (1, 1, 2));
}

#[test]
fn rates_and_sources_refuse_too() {
    let server = Server::start("a:");
    let mut lab = Lab::new(&[&server]);
    lab.service.limits.rate = Some(Rate { per_second: 1, burst: 1 });
    let mut lab = lab.serve();
    let (first, second) = (lab.client(), lab.client());
    assert_eq!(ask(&first, b"x"), b"a:x");
    second.send(b"x").unwrap();
    lab.until("rate", |stats| stats.refused_rate == 1);
    lab.service.sources = vec!["192.0.2.0/24".parse().unwrap()];
    lab.apply();
    second.send(b"x").unwrap();
    lab.until("source", |stats| stats.refused_source == 1);
    assert_eq!(ask(&first, b"y"), b"a:y", "a session lives by the rules it began with");
}

#[test]
fn each_datagram_has_a_header_in_front() {
    let server = Server::start("");
    let mut lab = Lab::new(&[&server]);
    lab.service.proxy_protocol.send = Some(ProxyProtocolVersion::V2);
    let lab = lab.serve();
    let client = lab.client();
    for payload in [b"one".as_slice(), b"two", b""] {
        let seen = ask(&client, payload);
        let (length, endpoints) = decode_datagram(&seen).unwrap();
        let expected = Endpoints { source: client.local_addr().unwrap(), destination: lab.vip() };
        assert_eq!((endpoints, &seen[length..]), (Some(expected), payload));
    }
}

#[test]
fn headers_are_taken_from_listed_sources_only() {
    let server = Server::start("");
    let mut lab = Lab::new(&[&server]);
    lab.service.proxy_protocol.receive_from = vec!["127.0.0.1/32".parse().unwrap()];
    lab.service.proxy_protocol.send = Some(ProxyProtocolVersion::V2);
    lab.service.sources = vec!["192.0.2.0/24".parse().unwrap(), "127.0.0.2/32".parse().unwrap()];
    let lab = lab.serve();
    let front = lab.client();
    let ends = |source: &str| Endpoints {
        source: source.parse().unwrap(),
        destination: "198.51.100.1:53".parse().unwrap(),
    };
    let with_header = |ends, payload: &[u8]| {
        [&encode(ProxyProtocolVersion::V2, Transport::Datagram, Some(ends)), payload].concat()
    };
    // A listed source speaks for its clients, even for two by one port, and they are what is judged.
    for client in ["192.0.2.1:1000", "192.0.2.2:1000"] {
        let seen = ask(&front, &with_header(ends(client), b"x"));
        assert_eq!(seen, with_header(ends(client), b"x"));
    }
    front.send(&with_header(ends("203.0.113.1:1000"), b"x")).unwrap();
    lab.until("source", |stats| stats.refused_source == 1);
    // Hostile or missing headers.
    let good = with_header(ends("192.0.2.1:1000"), b"");
    for wrong in [b"x".as_slice(), b"", &good[..20], b"PROXY TCP4 1.1.1.1 2.2.2.2 1 2\r\nx", &[b'\r'; 600]] {
        front.send(wrong).unwrap();
    }
    lab.until("headers", |stats| stats.refused_proxy_header == 5);
    assert!(is_silent(&front));
    // Who is not listed is not believed: its header is a payload.
    let other = UdpSocket::bind("127.0.0.2:0").unwrap();
    other.connect(lab.vip()).unwrap();
    other.set_read_timeout(Some(PATIENCE)).unwrap();
    let sent = with_header(ends("192.0.2.1:1000"), b"x");
    let own = Endpoints { source: other.local_addr().unwrap(), destination: lab.vip() };
    assert_eq!(ask(&other, &sent), with_header(own, &sent));
}
