//! Any bytes are a PROXY header, the beginning of one, or are refused; a header lies within the bytes, and reads
//! the same in two pieces.
#![no_main]

use fulcrum_lb::proxy_protocol::{Decoded, HeaderReader, Transport, decode, decode_datagram};
use libfuzzer_sys::fuzz_target;

fuzz_target!(|bytes: &[u8]| {
    if let Ok((length, _)) = decode_datagram(bytes) {
        assert!(length <= bytes.len());
    }
    let whole = decode(bytes, Transport::Stream);
    if let Ok(Decoded::Complete { length, .. }) = whole {
        assert!(length <= bytes.len());
    }
    let (first, second) = bytes.split_at(bytes.len() / 2);
    let mut reader = HeaderReader::default();
    let pieces = match reader.handle_bytes(first) {
        Ok(None) => reader.handle_bytes(second).map(|received| received.map(|header| (first.len(), header))),
        decided => decided.map(|received| received.map(|header| (0, header))),
    };
    let pieces = pieces.map(|received| match received {
        Some((before, header)) => {
            Decoded::Complete { length: before + header.consumed, endpoints: header.endpoints }
        }
        None => Decoded::Incomplete,
    });
    assert_eq!(pieces, whole);
});
