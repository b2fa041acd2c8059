use super::*;
use fulcrum_ebpf::plane::layout::Hop;

fn ip(number: u8) -> IpAddr {
    [10, 0, 0, number].into()
}

#[test]
fn only_neighbours_are_asked_for_the_vip() {
    let hop = |interface, address| Way::Hop(Hop { interface, address });
    let ways = BTreeMap::from([
        (ip(21), hop(7, ip(21))),
        (ip(22), hop(7, ip(1))),
        (ip(23), Way::Local),
        (ip(24), Way::None),
    ]);
    let wanted: BTreeSet<Asked> = (21..=25).map(|number| (ip(number), ip(100))).collect();
    assert_eq!(neighbours(&wanted, &ways), BTreeMap::from([((ip(21), ip(100)), 7)]));
}

#[test]
fn nobody_is_asked_for_the_vip_as_long_as_the_kernel_was_not_told() {
    let checks = Checks::new(Mode::Auto);
    assert!(!checks.is_rewritten(&(ip(21), ip(100))) && checks.error().is_none());
    assert_eq!(checks.counters(), []);
}
