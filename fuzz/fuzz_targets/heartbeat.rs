//! Any bytes are a heartbeat, or votes, or are dropped; what is taken is written as it was read.
#![no_main]

use fulcrum_vip_manager::election::heartbeat::Heartbeat;
use fulcrum_vip_manager::election::votes::Votes;
use libfuzzer_sys::fuzz_target;

fuzz_target!(|bytes: &[u8]| {
    if let Ok(heartbeat) = Heartbeat::decode(bytes) {
        assert_eq!(heartbeat.encode(), bytes);
    }
    if let Ok(votes) = Votes::decode(bytes) {
        assert_eq!(votes.encode(), bytes);
    }
});
