//! Any bytes are a DNS answer or are refused; a good one has a whole header and says that it is an answer.
#![no_main]

use fulcrum_health::fuzzing::dns_answer;
use libfuzzer_sys::fuzz_target;

fuzz_target!(|bytes: &[u8]| {
    if dns_answer(bytes) {
        assert!(bytes.len() >= 12 && bytes[..2] == [0, 1] && bytes[2] & 0x80 != 0);
    }
});
