//! Any frame is an ARP message or is refused; what is taken is written as it was read.
#![no_main]

use fulcrum_vip_manager::arp::decode;
use libfuzzer_sys::fuzz_target;

fuzz_target!(|frame: &[u8]| {
    if let Ok(arp) = decode(frame) {
        assert_eq!(decode(&arp.encode()), Ok(arp));
    }
});
