use super::*;

#[test]
fn what_does_not_matter_is_never_the_result() {
    let aside = || Line::not_applicable("gateway", "gateways", "there is none");
    let warning = Line::warning("mtu", "eth0", "it is 1400", "set it to 1500");
    assert_eq!(worst(&[]), State::Ok);
    assert_eq!(worst(&[aside()]), State::Ok);
    assert_eq!(worst(&[aside(), warning.clone()]), State::Warning);
    assert_eq!(worst(&[Line::failed("link", "eth0", "it is down", "look"), warning]), State::Failed);
}

#[test]
fn each_line_says_what_to_do_and_is_plain_unless_on_a_terminal() {
    let lines =
        [Line::ok("link", "eth0", "it is up"), Line::warning("mtu", "eth0", "it is 1400", "set it to 1500")];
    let plain = page(&lines, false);
    assert_eq!(
        plain,
        "ok       link  eth0: it is up\nwarning  mtu   eth0: it is 1400\n         do: set it to 1500\n"
    );
    assert!(page(&lines, true).contains("\x1b[33mwarning\x1b[0m"));
    assert_eq!(summary(&lines), "0 failed, 1 warning, 1 ok, 0 not applicable");
}
