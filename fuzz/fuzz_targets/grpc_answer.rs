//! Any bytes are a framed answer of gRPC health checking or are refused; one that is taken fills its frame.
#![no_main]

use fulcrum_health::fuzzing::grpc_answer;
use libfuzzer_sys::fuzz_target;

fuzz_target!(|bytes: &[u8]| {
    if grpc_answer(bytes).is_some() {
        assert_eq!(bytes[0], 0);
        assert_eq!(bytes[1..5], u32::try_from(bytes.len() - 5).unwrap().to_be_bytes());
    }
});
