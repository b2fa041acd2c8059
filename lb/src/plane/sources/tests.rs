use super::*;
use fulcrum_config::{GroupName, Service, ServiceName};
use std::sync::Arc;

fn ip(text: &str) -> IpAddr {
    text.parse().unwrap()
}

fn sources(addresses: &[(&str, &str)]) -> Sources {
    let vips = vec![ip("10.0.0.100"), ip("fd00::100")];
    let service = Service::new(ServiceName::new("web"), GroupName::new("g"), vips, 80);
    let sources = addresses.iter().map(|(name, address)| (InterfaceName::new(name), ip(address))).collect();
    let service = Arc::new(service);
    Sources::of(&ServiceDesired { service, up: true, protected: false, backends: vec![], sources })
}

#[test]
fn the_services_own_address_is_taken_unless_there_is_one_where_the_backend_is() {
    let one = sources(&[("eth1", "10.0.1.254"), ("eth0", "10.0.0.99"), ("eth0", "10.0.0.100")]);
    assert_eq!(one.towards(ip("10.0.1.11"), Some("eth1")), Some(ip("10.0.1.254")));
    assert_eq!(one.towards(ip("10.0.0.11"), Some("eth0")), Some(ip("10.0.0.100")));
    assert_eq!(one.towards(ip("10.9.0.11"), Some("eth2")), Some(ip("10.0.0.100")));
    assert_eq!(one.towards(ip("10.9.0.11"), None), Some(ip("10.0.0.100")));
    assert_eq!(one.clients().map(InterfaceName::as_str), Some("eth0"));
}

#[test]
fn it_is_of_the_backends_family() {
    let both = sources(&[("eth0", "10.0.0.100"), ("eth0", "fd00::100"), ("eth1", "10.0.1.254")]);
    assert_eq!(both.towards(ip("fd01::11"), Some("eth1")), Some(ip("fd00::100")));
    assert_eq!(sources(&[("eth0", "10.0.0.100")]).towards(ip("fd01::11"), None), None);
    assert_eq!(both.addresses().count(), 3);
}
