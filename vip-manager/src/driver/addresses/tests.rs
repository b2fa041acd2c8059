#![allow(clippy::arithmetic_side_effects, clippy::disallowed_methods)]

use super::*;
use netlink_packet_route::RouteNetlinkMessage;
use netlink_packet_route::link::{LinkFlags, LinkMessage};

/// No machine has an interface of this number: the kernel refuses everything that is asked for it.
const NOWHERE: u32 = 0x7fff_fff0;

#[test]
fn a_removal_that_the_kernel_refuses_is_tried_again() {
    let now = Instant::now();
    let vip = IpAddr::from([192, 0, 2, 1]);
    let mut view = View::default();
    let mut loopback = LinkMessage::default();
    loopback.header.index = NOWHERE;
    loopback.header.flags = LinkFlags::Up | LinkFlags::Loopback;
    view.handle_message(&RouteNetlinkMessage::NewLink(loopback));
    view.note(NOWHERE, vip, true);
    let mut netlink = Netlink::open().unwrap();
    let mut addresses = Addresses::default();
    addresses.forget([vip].into_iter());
    let mut reconcile = |addresses: &mut Addresses, view: &mut View, at| {
        addresses.reconcile(&mut BTreeMap::new(), view, &mut netlink, at)
    };

    assert!(reconcile(&mut addresses, &mut view, now));
    assert!(view.loopback().unwrap().has(vip), "what was refused is not gone");
    assert_eq!(addresses.poll_timeout(), Some(now + RETRY));
    assert!(!reconcile(&mut addresses, &mut view, now + RETRY / 2), "not at once");
    assert!(reconcile(&mut addresses, &mut view, now + RETRY), "tried again");
    assert_eq!(addresses.poll_timeout(), Some(now + RETRY * 2));

    view.note(NOWHERE, vip, false);
    assert!(!reconcile(&mut addresses, &mut view, now + RETRY * 2));
    assert!(addresses.former.is_empty(), "somebody else removed it");
}
