//! Any bytes are an advert or are refused; what is taken is written as it was read.
#![no_main]

use fulcrum_vip_manager::advert::{HOP_LIMIT, MULTICAST_IPV6, Received, decode};
use libfuzzer_sys::fuzz_target;
use std::net::Ipv6Addr;

fuzz_target!(|bytes: &[u8]| {
    if let Ok(received) = Received::from_ipv4(bytes) {
        let _refused_or_not = decode(&received);
    }
    let source = Ipv6Addr::new(0xfe80, 0, 0, 0, 0, 0, 0, 1).into();
    let received =
        Received { source, destination: MULTICAST_IPV6.into(), hop_limit: HOP_LIMIT, message: bytes };
    if let Ok(advert) = decode(&received) {
        let message = advert.encode(source, received.destination);
        assert_eq!(decode(&Received { message: &message, ..received }).as_ref(), Ok(&advert));
    }
});
