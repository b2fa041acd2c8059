use super::*;

#[test]
fn root_and_our_own_user_operate_and_members_of_the_group_look() {
    let viewers = Some(50);
    assert_eq!(role(0, &[0], 7, viewers), Some(Role::Operator));
    assert_eq!(role(7, &[7], 7, viewers), Some(Role::Operator));
    assert_eq!(role(8, &[8, 50], 7, viewers), Some(Role::Viewer));
    assert_eq!(role(8, &[8], 7, viewers), None);
    assert_eq!(role(8, &[8, 50], 7, None), None);
}

#[test]
fn groups_are_found_by_name() {
    let groups = "root:x:0:\nstaff:x:50:ann,bob\nbroken\n";
    assert_eq!(find_group(groups, "staff"), Some(50));
    assert_eq!(find_group(groups, "broken"), None);
    assert_eq!(find_group(groups, "ann"), None);
}

#[tokio::test]
async fn the_kernel_says_who_is_at_the_other_end() {
    let (ours, _theirs) = UnixStream::pair().expect("two sockets");
    let caller = of_unix(&ours, None).expect("credentials").expect("our own user");
    assert_eq!(caller.role, Role::Operator);
    assert!(caller.who.ends_with(&format!("pid {}", std::process::id())), "{}", caller.who);
}
