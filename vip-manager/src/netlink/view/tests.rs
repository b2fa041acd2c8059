use super::super::messages::{add_address, delete_address};
use super::*;

fn link(index: u32, name: &str, flags: LinkFlags) -> LinkMessage {
    let mut message = LinkMessage::default();
    message.header.index = index;
    message.header.flags = flags;
    message.attributes =
        vec![LinkAttribute::IfName(name.to_owned()), LinkAttribute::Address(vec![2, 0, 0, 0, 0, 1])];
    message
}

fn view() -> View {
    let mut view = View::default();
    let up = LinkFlags::Up | LinkFlags::LowerUp;
    view.handle_message(&RouteNetlinkMessage::NewLink(link(1, "lo", up | LinkFlags::Loopback)));
    view.handle_message(&RouteNetlinkMessage::NewLink(link(7, "eth0", up)));
    view
}

#[test]
fn a_link_appears_loses_its_carrier_and_goes() {
    let mut view = view();
    assert_eq!(view.named("eth0").map(|link| (link.index, link.up)), Some((7, true)));
    view.handle_message(&RouteNetlinkMessage::NewLink(link(7, "eth0", LinkFlags::Up)));
    assert_eq!(view.named("eth0").map(|link| link.up), Some(false));
    view.handle_message(&RouteNetlinkMessage::DelLink(link(7, "eth0", LinkFlags::Up)));
    assert_eq!(view.named("eth0"), None);
}

#[test]
fn a_port_that_leaves_its_bridge_is_not_gone() {
    let mut view = view();
    let mut message = link(7, "eth0", LinkFlags::Up);
    message.header.interface_family = AddressFamily::Bridge;
    view.handle_message(&RouteNetlinkMessage::DelLink(message));
    assert_eq!(view.named("eth0").map(|link| link.up), Some(true));
}

#[test]
fn the_macs_of_all_links_are_this_machines() {
    let view = view();
    assert!(view.has_mac([2, 0, 0, 0, 0, 1]));
    assert!(!view.has_mac([2, 0, 0, 0, 0, 2]));
}

#[test]
fn an_address_is_usable_once_it_is_no_longer_tentative() {
    let mut view = view();
    let address: IpAddr = "fe80::1".parse().unwrap();
    let (RouteNetlinkMessage::NewAddress(mut message), _) = add_address(7, address) else { unreachable!() };
    message.header.flags = AddressHeaderFlags::Tentative;
    view.handle_message(&RouteNetlinkMessage::NewAddress(message.clone()));
    assert_eq!(view.named("eth0").unwrap().link_local(), None);
    message.header.flags = AddressHeaderFlags::Permanent;
    view.handle_message(&RouteNetlinkMessage::NewAddress(message));
    assert!(view.named("eth0").unwrap().has(address));
    view.handle_message(&delete_address(7, address).0);
    assert!(!view.named("eth0").unwrap().has(address));
}
