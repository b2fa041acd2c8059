#![allow(clippy::arithmetic_side_effects)]

use super::*;

fn ipv4(options: usize) -> Vec<u8> {
    let words = u8::try_from(5 + options).unwrap();
    let mut frame = vec![1, 0, 0x5e, 0, 0, 18, 2, 0, 0, 0, 0, 0x66, 8, 0];
    frame.extend([0x40 | words, 0xc0, 0, 32, 0, 0, 0, 0, 255, 112, 0, 0, 10, 77, 0, 66, 224, 0, 0, 18]);
    frame.extend(vec![1; options * 4]);
    frame.extend([0x31, 51, 254, 1]);
    frame
}

#[test]
fn the_machine_of_an_advert_is_seen_behind_any_header() {
    let expected = Some(((IpAddr::from([10, 77, 0, 66]), 51, Mac::new(2, 0, 0, 0, 0, 0x66)), 3));
    assert_eq!(sender(Family::Ipv4, &ipv4(0)), expected);
    assert_eq!(sender(Family::Ipv4, &ipv4(10)), expected);

    let source: Ipv6Addr = "fe80::66".parse().unwrap();
    let mut frame = vec![0x33, 0x33, 0, 0, 0, 0x12, 2, 0, 0, 0, 0, 0x66, 0x86, 0xdd];
    frame.extend([0x6c, 0, 0, 0, 0, 24, 112, 255]);
    frame.extend(source.octets());
    frame.extend([0xff; 16]);
    frame.extend([0x31, 52, 254, 1]);
    let expected = (source.into(), 52, Mac::new(2, 0, 0, 0, 0, 0x66));
    assert_eq!(sender(Family::Ipv6, &frame), Some((expected, 3)));
    frame[54] = 0x21;
    assert_eq!(sender(Family::Ipv6, &frame), Some((expected, 2)));
}

#[test]
fn a_frame_cut_short_shows_nothing() {
    let frame = ipv4(0);
    for length in 0..36 {
        assert_eq!(sender(Family::Ipv4, &frame[..length]), None, "{length} bytes");
        assert_eq!(sender(Family::Ipv6, &frame[..length]), None, "{length} bytes");
    }
}
