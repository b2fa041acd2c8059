use super::*;

#[test]
fn it_is_given_back_once_after_each_change_that_no_other_follows() {
    let mut memory = Memory::default();
    let looks = [(1, MANY), (2, MANY), (2, MANY), (2, MANY), (3, MANY), (3, 10), (3, MANY)];
    let given = looks.map(|(serial, services)| memory.is_left(serial, services));
    assert_eq!(given, [false, false, true, false, false, false, true]);
}
