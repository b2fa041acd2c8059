//! Any bytes are an echo reply of ours or are refused, and never one of both families.
#![no_main]

use fulcrum_health::fuzzing::echo_reply;
use libfuzzer_sys::fuzz_target;

fuzz_target!(|bytes: &[u8]| {
    let replies = [false, true].map(|is_ipv6| echo_reply(is_ipv6, bytes));
    assert!(replies.contains(&None));
    for (identifier, sequence, token) in replies.into_iter().flatten() {
        let told = [&identifier.to_be_bytes()[..], &sequence.to_be_bytes(), &token.to_be_bytes()].concat();
        assert_eq!(bytes[4..], told);
    }
});
