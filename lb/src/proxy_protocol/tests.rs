use super::*;
use fulcrum_config::ProxyProtocolVersion::{V1, V2};
use proptest::prelude::*;

fn ends(source: &str, destination: &str) -> Endpoints {
    Endpoints { source: source.parse().unwrap(), destination: destination.parse().unwrap() }
}

fn stream(bytes: &[u8]) -> Result<Decoded, HeaderError> {
    decode(bytes, Transport::Stream)
}

fn complete(bytes: &[u8], endpoints: Option<Endpoints>) -> Result<Decoded, HeaderError> {
    Ok(Decoded::Complete { length: bytes.len(), endpoints })
}

/// A header of version 2 with any fields.
fn v2(version_command: u8, family_transport: u8, body: &[u8]) -> Vec<u8> {
    let mut bytes = V2_SIGNATURE.to_vec();
    bytes.extend([version_command, family_transport]);
    bytes.extend(u16::try_from(body.len()).unwrap().to_be_bytes());
    bytes.extend(body);
    bytes
}

#[test]
fn version_1_as_in_the_spec() {
    let header = b"PROXY TCP4 192.168.0.1 192.168.0.11 56324 443\r\n";
    let endpoints = ends("192.168.0.1:56324", "192.168.0.11:443");
    assert_eq!(stream(header), complete(header, Some(endpoints)));
    assert_eq!(encode(V1, Transport::Stream, Some(endpoints)), header);

    let header = b"PROXY TCP6 2001:db8::1 2001:db8::2 1 65535\r\n";
    let endpoints = ends("[2001:db8::1]:1", "[2001:db8::2]:65535");
    assert_eq!(stream(header), complete(header, Some(endpoints)));
    assert_eq!(encode(V1, Transport::Stream, Some(endpoints)), header);
}

#[test]
fn version_1_unknown_ignores_the_rest() {
    let longest: &[u8] = b"PROXY UNKNOWN ffff:ffff:ffff:ffff:ffff:ffff:ffff:ffff \
        ffff:ffff:ffff:ffff:ffff:ffff:ffff:ffff 65535 65535\r\n";
    assert_eq!(longest.len(), MAX_V1);
    for header in [b"PROXY UNKNOWN\r\n".as_slice(), longest, b"PROXY UNKNOWN a b c d e f g h i\r\n"] {
        assert_eq!(stream(header), complete(header, None));
    }
    assert_eq!(encode(V1, Transport::Stream, None), b"PROXY UNKNOWN\r\n");
}

#[test]
fn version_1_refuses_what_is_not_exact() {
    for wrong in [
        "PROXY TCP4 192.168.0.1 192.168.0.11 56324 443\n",
        "PROXY TCP4 192.168.0.1 192.168.0.11 56324\r\n",
        "PROXY TCP4 192.168.0.1 192.168.0.11 56324 443 \r\n",
        "PROXY TCP4 192.168.0.1 192.168.0.11 56324 443 9\r\n",
        "PROXY TCP4  192.168.0.1 192.168.0.11 56324 443\r\n",
        "PROXY TCP4 192.168.0.1 192.168.0.11 056324 443\r\n",
        "PROXY TCP4 192.168.0.1 192.168.0.11 65536 443\r\n",
        "PROXY TCP4 192.168.0.1 192.168.0.11 +1 443\r\n",
        "PROXY TCP4 192.168.0.1 192.168.0.11 -1 443\r\n",
        "PROXY TCP4 192.168.000.1 192.168.0.11 1 443\r\n",
        "PROXY TCP4 2001:db8::1 2001:db8::2 1 443\r\n",
        "PROXY TCP6 192.168.0.1 192.168.0.11 1 443\r\n",
        "PROXY TCP4\r192.168.0.1\r192.168.0.11\r1\r443\r\n",
        "PROXY TCP4 192.168.0.1 192.168.0.11 1 443\r\r\n",
        "PROXY UDP4 192.168.0.1 192.168.0.11 1 443\r\n",
        "PROXY UNKNOWNX\r\n",
        "PROXY \r\n",
        "PROXY \n",
    ] {
        assert_eq!(stream(wrong.as_bytes()), Err(HeaderError::Malformed), "{wrong:?}");
    }
    for wrong in ["GET / HTTP/1.1\r\n", "proxy TCP4", "PROXX", "\r\n\r\n\0\r\nQUIX", "\u{16}\u{3}\u{1}"] {
        assert_eq!(stream(wrong.as_bytes()), Err(HeaderError::NoHeader), "{wrong:?}");
    }
    assert_eq!(stream(&[b"PROXY UNKNOWN ".as_slice(), &[b'x'; 93]].concat()), Err(HeaderError::TooLong));
    assert_eq!(stream(b"PROXY TCP4 \xff\xfe\r\n"), Err(HeaderError::Malformed));
}

#[test]
fn version_2_agrees_with_the_ppp_crate() {
    for endpoints in [ends("10.1.2.3:4", "10.5.6.7:89"), ends("[2001:db8::1]:4", "[2001:db8::2]:89")] {
        for (transport, protocol) in [
            (Transport::Stream, ppp::v2::Protocol::Stream),
            (Transport::Datagram, ppp::v2::Protocol::Datagram),
        ] {
            let expected = ppp::v2::Builder::with_addresses(
                ppp::v2::Version::Two | ppp::v2::Command::Proxy,
                protocol,
                (endpoints.source, endpoints.destination),
            )
            .build()
            .unwrap();
            assert_eq!(encode(V2, transport, Some(endpoints)), expected);
            assert_eq!(decode(&expected, transport), complete(&expected, Some(endpoints)));
        }
    }
}

#[test]
fn ends_of_two_families_are_mapped() {
    let mixed = ends("10.1.2.3:4", "[2001:db8::2]:89");
    let sent = ends("[::ffff:10.1.2.3]:4", "[2001:db8::2]:89");
    for version in [V1, V2] {
        let header = encode(version, Transport::Stream, Some(mixed));
        assert_eq!(stream(&header), complete(&header, Some(sent)));
    }
}

#[test]
fn version_2_local_speaks_for_itself() {
    let header = encode(V2, Transport::Stream, None);
    assert_eq!(header, v2(0x20, 0x00, &[]));
    assert_eq!(stream(&header), complete(&header, None));
    // Whatever the family and the body are (section 2.2).
    for header in [v2(0x20, 0x11, &[]), v2(0x20, 0xff, &[1; 40])] {
        assert_eq!(stream(&header), complete(&header, None));
    }
}

#[test]
fn version_2_of_other_families_speaks_for_nobody() {
    for header in [v2(0x21, 0x00, &[]), v2(0x21, 0x31, &[7; 216]), v2(0x21, 0x01, &[1; 12])] {
        assert_eq!(stream(&header), complete(&header, None));
    }
}

#[test]
fn version_2_skips_tlvs_up_to_the_limit() {
    let mut body = vec![10, 0, 0, 1, 10, 0, 0, 2, 0, 80, 1, 187];
    body.resize(MAX_HEADER - V2_FIXED, 0x04);
    let header = v2(0x21, 0x11, &body);
    assert_eq!(stream(&header), complete(&header, Some(ends("10.0.0.1:80", "10.0.0.2:443"))));
    body.push(0);
    assert_eq!(stream(&v2(0x21, 0x11, &body)), Err(HeaderError::TooLong));
    assert_eq!(
        stream(&v2(0x21, 0x11, &body)[..16]),
        Err(HeaderError::TooLong),
        "said as soon as it is known"
    );
}

#[test]
fn version_2_refuses_what_is_not_exact() {
    for (version_command, family_transport, length) in [
        (0x11, 0x11, 12),
        (0x31, 0x11, 12),
        (0x22, 0x11, 12),
        (0x21, 0x41, 12),
        (0x21, 0x13, 12),
        (0x21, 0x11, 11),
        (0x21, 0x21, 35),
    ] {
        let header = v2(version_command, family_transport, &vec![0; length]);
        assert_eq!(stream(&header), Err(HeaderError::Malformed), "{header:x?}");
    }
    assert_eq!(stream(&v2(0x21, 0x12, &[0; 12])), Err(HeaderError::Transport));
    assert_eq!(decode(&v2(0x21, 0x11, &[0; 12]), Transport::Datagram), Err(HeaderError::Transport));
}

#[test]
fn a_datagram_holds_its_header_whole() {
    let header = encode(V1, Transport::Datagram, Some(ends("10.0.0.1:5", "10.0.0.2:53")));
    let datagram = [header.as_slice(), b"payload"].concat();
    assert_eq!(decode_datagram(&datagram), Ok((header.len(), Some(ends("10.0.0.1:5", "10.0.0.2:53")))));
    assert_eq!(decode_datagram(&header[..27]), Err(HeaderError::CutOff));
    assert_eq!(decode_datagram(b""), Err(HeaderError::CutOff));
    assert_eq!(decode_datagram(b"PROXY UNKNOWN\r\nx"), Err(HeaderError::Transport));
}

#[test]
fn every_prefix_of_a_header_is_incomplete() {
    for endpoints in [None, Some(ends("10.1.2.3:4", "10.5.6.7:89")), Some(ends("[::1]:4", "[::2]:89"))] {
        for version in [V1, V2] {
            let header = encode(version, Transport::Stream, endpoints);
            for end in 0..header.len() {
                assert_eq!(stream(&header[..end]), Ok(Decoded::Incomplete), "{end} of {header:x?}");
            }
            assert_eq!(stream(&header), complete(&header, endpoints));
        }
    }
}

/// Bytes that are often close to a header.
fn hostile() -> impl Strategy<Value = Vec<u8>> {
    let noise = prop::collection::vec(any::<u8>(), 0..600);
    let v1 = prop::collection::vec(prop::sample::select(b"TCP46UNKOW 0123456789:.abf\r\n".to_vec()), 0..120)
        .prop_map(|rest| [V1_PREFIX, &rest].concat());
    let v2 = (any::<u8>(), any::<u8>(), 0..600_usize, prop::collection::vec(any::<u8>(), 0..600)).prop_map(
        |(version_command, family, length, body)| {
            let command = if version_command < 200 { 0x20 | (version_command & 1) } else { version_command };
            let family = if family < 200 { (family & 0x30) | (family & 3) } else { family };
            let length = u16::try_from(length).unwrap().to_be_bytes();
            [V2_SIGNATURE.as_slice(), &[command, family], &length, &body].concat()
        },
    );
    prop_oneof![noise, v1, v2]
}

proptest! {
    #[test]
    fn pieces_read_like_the_whole(bytes in hostile(), sizes in prop::collection::vec(1..200_usize, 1..50)) {
        let whole = stream(&bytes);
        let mut reader = HeaderReader::default();
        let (mut rest, mut sizes, mut taken) = (bytes.as_slice(), sizes.into_iter().cycle(), 0);
        let read = loop {
            if rest.is_empty() {
                break Ok(Decoded::Incomplete);
            }
            let (piece, after) = rest.split_at(sizes.next().unwrap().min(rest.len()));
            match reader.handle_bytes(piece) {
                Ok(Some(received)) => {
                    prop_assert!(received.consumed <= piece.len());
                    let length = taken + received.consumed;
                    break Ok(Decoded::Complete { length, endpoints: received.endpoints });
                }
                Ok(None) => {}
                Err(error) => break Err(error),
            }
            taken += piece.len();
            rest = after;
        };
        prop_assert_eq!(read, whole);
    }

    #[test]
    fn what_is_accepted_is_understood(bytes in hostile()) {
        if let Ok(Decoded::Complete { length, endpoints }) = stream(&bytes) {
            prop_assert!(length <= bytes.len() && length <= MAX_HEADER);
            let again = encode(V2, Transport::Stream, endpoints);
            prop_assert_eq!(stream(&again), complete(&again, endpoints));
        }
    }

    #[test]
    fn whatever_is_sent_is_received(source: std::net::SocketAddr, destination: std::net::SocketAddr, v1: bool) {
        let version = if v1 { V1 } else { V2 };
        let header = encode(version, Transport::Stream, Some(Endpoints { source, destination }));
        let Ok(Decoded::Complete { length, endpoints: Some(read) }) = stream(&header) else {
            return Err(TestCaseError::fail(format!("{header:x?}")));
        };
        prop_assert_eq!(length, header.len());
        prop_assert_eq!(read.source.ip().to_canonical(), source.ip().to_canonical());
        prop_assert_eq!(read.destination.ip().to_canonical(), destination.ip().to_canonical());
        prop_assert_eq!((read.source.port(), read.destination.port()), (source.port(), destination.port()));
    }
}
