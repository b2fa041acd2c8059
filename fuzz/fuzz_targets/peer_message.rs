//! Any bytes of a peer are a message or a datagram, or are refused; what is taken reads the same once it is written.
#![no_main]

use libfuzzer_sys::fuzz_target;

fuzz_target!(|bytes: &[u8]| fulcrum_peer::fuzzing::message(bytes));
