//! Any frame is a neighbour solicitation or advertisement, or is refused.
#![no_main]

use fulcrum_vip_manager::ndp::decode;
use libfuzzer_sys::fuzz_target;

fuzz_target!(|frame: &[u8]| {
    let _refused_or_not = decode(frame);
});
