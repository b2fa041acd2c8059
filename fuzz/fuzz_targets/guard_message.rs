//! Any bytes are a message to the guard or are dropped; what is taken is written as it was read.
#![no_main]

use fulcrum_vip_manager::reread_guard_message;
use libfuzzer_sys::fuzz_target;

fuzz_target!(|bytes: &[u8]| {
    if let Some(written) = reread_guard_message(bytes) {
        assert_eq!(reread_guard_message(&written).as_ref(), Some(&written));
    }
});
