//! Any frame is an answer to a SYN or is refused; what is taken can be reset.
#![no_main]

use fulcrum_vip_manager::segment::decode;
use libfuzzer_sys::fuzz_target;

fuzz_target!(|frame: &[u8]| {
    if let Ok(answer) = decode(frame) {
        assert!(answer.ends.reset(answer.acknowledged).is_some());
    }
});
