use super::*;

#[test]
fn times_show_their_two_largest_units() {
    assert_eq!(time(0), "0s");
    assert_eq!(time(59), "59s");
    assert_eq!(time(725), "12m 5s");
    assert_eq!(time(3_600), "1h 0m");
    assert_eq!(time(86_400 * 3 + 4 * 3_600 + 59), "3d 4h");
}
