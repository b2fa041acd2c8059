use super::*;

#[test]
fn times_show_their_two_largest_units() {
    assert_eq!(time(0), "0s");
    assert_eq!(time(59), "59s");
    assert_eq!(time(725), "12m 5s");
    assert_eq!(time(3_600), "1h 0m");
    assert_eq!(time(86_400 * 3 + 4 * 3_600 + 59), "3d 4h");
}

#[test]
fn one_is_not_many() {
    let told = [0, 1, 2].map(|count| counted(count, "group"));
    assert_eq!(told, ["0 groups", "1 group", "2 groups"]);
}
