//! Any bytes of a peer's data plane are flows or another message, or are refused; what is taken reads the same once it is
//! written.
#![no_main]

use libfuzzer_sys::fuzz_target;

fuzz_target!(|bytes: &[u8]| fulcrum_lb::fuzzing::flow_message(bytes));
