use super::*;
use proptest::prelude::*;

const ECHO: Echo = Echo { identifier: 0x1234, sequence: 7, token: 0x0102_0304_0506_0708 };

#[test]
fn requests_byte_by_byte() {
    let v4 = [8, 0, 0xd5, 0xb0, 0x12, 0x34, 0, 7, 1, 2, 3, 4, 5, 6, 7, 8];
    assert_eq!(ECHO.request(Family::V4), v4);
    let v6 = [128, 0, 0, 0, 0x12, 0x34, 0, 7, 1, 2, 3, 4, 5, 6, 7, 8];
    assert_eq!(ECHO.request(Family::V6), v6);
}

#[test]
fn only_a_reply_of_our_length_is_one() {
    let mut reply = ECHO.request(Family::V4);
    assert_eq!(Echo::parse_reply(Family::V4, &reply), None, "a request");
    reply[0] = 0;
    assert_eq!(Echo::parse_reply(Family::V4, &reply), Some(ECHO));
    assert_eq!(Echo::parse_reply(Family::V6, &reply), None);
    assert_eq!(Echo::parse_reply(Family::V4, &reply[..15]), None);
    assert_eq!(Echo::parse_reply(Family::V4, &[reply.as_slice(), &[0]].concat()), None);
    reply[1] = 1;
    assert_eq!(Echo::parse_reply(Family::V4, &reply), None, "a code");
}

proptest! {
    #[test]
    fn the_checksum_of_a_whole_message_is_zero(identifier: u16, sequence: u16, token: u64) {
        let request = Echo { identifier, sequence, token }.request(Family::V4);
        prop_assert_eq!(checksum(&request), 0);
    }

    #[test]
    fn garbage_is_no_reply_and_no_panic(bytes in prop::collection::vec(any::<u8>(), 0..64)) {
        for family in [Family::V4, Family::V6] {
            let parsed = Echo::parse_reply(family, &bytes);
            prop_assert_eq!(parsed.is_some(), bytes.len() == 16 && bytes[0] == family.reply_type() && bytes[1] == 0);
        }
    }
}
