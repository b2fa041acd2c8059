use super::*;

const ROUND: Duration = Duration::from_secs(1);
const SOON: Duration = Duration::from_millis(100);

#[allow(clippy::disallowed_methods, reason = "any moment will do")]
fn begun() -> Instant {
    Instant::now()
}

fn address(number: u8) -> BackendAddress {
    BackendAddress { ip: [10, 0, 1, number].into(), port: Some(80) }
}

/// Two backends, each down or not.
fn judge(deaths: &mut Deaths, down: [bool; 2], now: Instant) {
    deaths.handle([(address(1), down[0]), (address(2), down[1])].into_iter(), ROUND, now);
}

fn dead(deaths: &Deaths) -> [bool; 2] {
    [deaths.has(address(1)), deaths.has(address(2))]
}

#[test]
fn a_backend_is_dead_once_another_was_up_beside_it_for_a_round() {
    let (mut deaths, now) = (Deaths::default(), begun());
    judge(&mut deaths, [true, false], now);
    assert!(!deaths.handle_timeout(ROUND, now + ROUND - SOON));
    assert_eq!(dead(&deaths), [false, false]);
    assert!(deaths.handle_timeout(ROUND, now + ROUND));
    assert!(!deaths.handle_timeout(ROUND, now + ROUND + SOON));
    assert_eq!(dead(&deaths), [true, false]);
    judge(&mut deaths, [false, false], now + ROUND + SOON);
    assert_eq!(dead(&deaths), [false, false]);
}

#[test]
fn a_node_that_is_cut_off_finds_none_dead_while_it_loses_them_nor_while_they_come_back() {
    let (mut deaths, now) = (Deaths::default(), begun());
    judge(&mut deaths, [false, false], now);
    judge(&mut deaths, [true, false], now + ROUND);
    judge(&mut deaths, [true, true], now + ROUND + SOON);
    assert!(!deaths.handle_timeout(ROUND, now + 10 * ROUND));
    let healed = now + 20 * ROUND;
    judge(&mut deaths, [true, false], healed);
    assert_eq!(dead(&deaths), [false, false]);
    judge(&mut deaths, [false, false], healed + SOON);
    assert!(!deaths.handle_timeout(ROUND, healed + ROUND));
    assert_eq!(dead(&deaths), [false, false]);
}

#[test]
fn one_that_was_dead_is_not_while_nobody_is_up() {
    let (mut deaths, now) = (Deaths::default(), begun());
    judge(&mut deaths, [true, false], now);
    deaths.handle_timeout(ROUND, now + ROUND);
    judge(&mut deaths, [true, true], now + ROUND + SOON);
    assert_eq!(dead(&deaths), [false, false]);
    judge(&mut deaths, [true, false], now + 2 * ROUND);
    assert_eq!(dead(&deaths), [false, false]);
    assert!(deaths.handle_timeout(ROUND, now + 3 * ROUND));
    assert_eq!(dead(&deaths), [true, false]);
}

#[test]
fn one_that_is_no_longer_there_is_forgotten() {
    let (mut deaths, now) = (Deaths::default(), begun());
    judge(&mut deaths, [true, false], now);
    deaths.handle_timeout(ROUND, now + ROUND);
    deaths.handle([(address(2), false)].into_iter(), ROUND, now + ROUND);
    assert_eq!(dead(&deaths), [false, false]);
}
