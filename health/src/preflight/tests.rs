use super::*;
use fulcrum_config::preflight::State;
use fulcrum_config::{BackendAddress, BackendName, GroupName};
use std::net::SocketAddr;
use std::net::TcpListener;

fn service(ports: &[u16], protocol: Protocol) -> BTreeMap<ServiceName, Arc<Service>> {
    let name = ServiceName::new("web");
    let mut service =
        Service::new(name.clone(), GroupName::new("web"), vec!["10.0.0.100".parse().unwrap()], 80);
    service.protocol = protocol;
    service.backends = ports
        .iter()
        .map(|port| {
            let address = BackendAddress { ip: "127.0.0.1".parse().unwrap(), port: Some(*port) };
            Arc::new(Backend::new(BackendName::new(&format!("b{port}")), address))
        })
        .collect();
    BTreeMap::from([(name, Arc::new(service))])
}

fn line(ports: &[u16], protocol: Protocol) -> Line {
    backends(&service(ports, protocol), Duration::from_secs(4)).pop().unwrap()
}

#[test]
fn backends_that_do_not_answer_are_named() {
    let open = TcpListener::bind("127.0.0.1:0").unwrap();
    let port = open.local_addr().unwrap().port();
    // Bound, and so nobody else's, but not listened on.
    let closed = socket2::Socket::new(socket2::Domain::IPV4, socket2::Type::STREAM, None).unwrap();
    closed.bind(&"127.0.0.1:0".parse::<SocketAddr>().unwrap().into()).unwrap();
    let shut = closed.local_addr().unwrap().as_socket().unwrap().port();
    assert_eq!(line(&[port], Protocol::Tcp).state, State::Ok);
    let one = line(&[port, shut], Protocol::Tcp);
    assert_eq!(one.state, State::Warning);
    assert!(one.found.contains(&format!("b{shut} (127.0.0.1:{shut}): connection refused")), "{one:?}");
    assert_eq!(line(&[shut], Protocol::Tcp).state, State::Failed);
    assert_eq!(line(&[], Protocol::Tcp).state, State::Warning);
    assert_eq!(line(&[shut], Protocol::Udp).state, State::NotApplicable);
}
