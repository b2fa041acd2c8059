use super::*;
use crate::border::Verdict;
use crate::fixtures::{MS, SECOND, backend, check, desired, service};
use fulcrum_config::{Check, CheckKind, ProxyProtocolVersion};
use proptest::prelude::*;
use std::net::{Ipv4Addr, SocketAddr};

#[allow(clippy::disallowed_methods)] // Any moment will do.
fn epoch() -> Instant {
    Instant::now()
}

fn tcp(name: &str, backends: &[SocketAddr]) -> Service {
    service(name, Some(check(CheckKind::Tcp)), backends)
}

fn failed() -> Outcome {
    Outcome::Failed("connection refused".into())
}

fn timed_out() -> Outcome {
    Outcome::TimedOut("timed out".into())
}

fn verdicts(observed: &Observed, name: &str) -> Vec<Verdict> {
    observed.services[&ServiceName::new(name)].backends.values().map(|backend| backend.verdict).collect()
}

/// Starts what is due, in order.
fn due(table: &mut Table, now: Instant) -> Vec<(TargetId, Target)> {
    table.handle_tick(now);
    std::iter::from_fn(|| table.poll_probe(now)).collect()
}

/// Probes everything once, all with the same outcome, and says when that was done.
fn round(table: &mut Table, outcome: &Outcome, mut now: Instant) -> Instant {
    for _ in 0..table.targets.len() {
        now = table.queue.first().unwrap().0.max(now);
        for (id, _) in due(table, now) {
            table.handle_outcome(id, outcome, 0, now);
        }
    }
    now
}

#[test]
fn equal_targets_are_probed_once() {
    let now = epoch();
    let mut table = Table::new(100, now);
    let services = (0..50).map(|n| tcp(&format!("service-{n}"), &[backend(1), backend(2)]));
    table.handle_desired(&desired(services), now);
    let started = due(&mut table, now + SECOND);
    assert_eq!(started.len(), 2);
    table.handle_outcome(started[0].0, &failed(), 0, now + SECOND);
    let observed = table.poll_observed(now + SECOND).unwrap();
    assert_eq!(observed.targets.len(), 2);
    for n in 0..50 {
        assert_eq!(verdicts(&observed, &format!("service-{n}")), [Verdict::Down, Verdict::Unchecked]);
    }
}

#[test]
fn a_proxy_header_is_part_of_a_target_unless_the_check_has_a_port_of_its_own() {
    let now = epoch();
    let mut table = Table::new(100, now);
    let proxied = |name, port| {
        let mut service = service(name, Some(Check { port, ..check(CheckKind::Tcp) }), &[backend(1)]);
        service.proxy_protocol.send = Some(ProxyProtocolVersion::V2);
        service
    };
    table.handle_desired(
        &desired([proxied("a", None), proxied("b", Some(8080)), tcp("c", &[backend(1)])]),
        now,
    );
    let mut headers: Vec<_> = table
        .targets
        .values()
        .map(|entry| (entry.target.address.port(), entry.target.proxy_protocol.is_some()))
        .collect();
    headers.sort_unstable();
    assert_eq!(headers, [(80, false), (80, true), (8080, false)]);
}

#[test]
fn what_is_known_of_a_backend_goes_with_it_to_a_service_of_another_name() {
    for (before, after) in [("web", "zoo"), ("web", "api")] {
        let now = epoch();
        let mut table = Table::new(100, now);
        table.handle_desired(&desired([tcp(before, &[backend(1)])]), now);
        round(&mut table, &failed(), now);
        table.handle_desired(&desired([tcp(after, &[backend(1)])]), now);
        let observed = table.poll_observed(now + SECOND).unwrap();
        assert_eq!(verdicts(&observed, after), [Verdict::Down], "{before} renamed to {after}");
        assert_eq!((observed.services.len(), table.targets.len()), (1, 1));

        let first = [tcp(before, &[backend(1), backend(2)]), tcp(after, &[backend(3)])];
        table.handle_desired(&desired(first), now);
        round(&mut table, &failed(), now + SECOND);
        let moved = [tcp(before, &[backend(1)]), tcp(after, &[backend(3), backend(2)])];
        table.handle_desired(&desired(moved), now + SECOND);
        let observed = table.poll_observed(now + 2 * SECOND).unwrap();
        assert_eq!(verdicts(&observed, after), [Verdict::Down; 2], "one moved from {before} to {after}");
        table.handle_desired(&Desired::default(), now + SECOND);
        assert!(table.targets.is_empty() && table.ids.is_empty() && table.queue.is_empty());
    }
}

#[test]
fn one_target_may_be_two_backends_of_one_service() {
    let now = epoch();
    let mut table = Table::new(100, now);
    let mut web = tcp("web", &[backend(1), backend(1)]);
    Arc::make_mut(&mut web.backends[1]).name = fulcrum_config::BackendName::new("again");
    table.handle_desired(&desired([web]), now);
    round(&mut table, &failed(), now);
    assert_eq!(verdicts(&table.poll_observed(now + SECOND).unwrap(), "web"), [Verdict::Down; 2]);
    table.handle_desired(&desired([tcp("web", &[backend(1)])]), now);
    assert_eq!(table.targets.len(), 1, "still used once");
    table.handle_desired(&Desired::default(), now);
    assert!(table.targets.is_empty() && table.ids.is_empty() && table.queue.is_empty());
}

#[test]
fn a_change_keeps_what_is_known_of_unchanged_targets() {
    let now = epoch();
    let mut table = Table::new(100, now);
    table.handle_desired(&desired([tcp("web", &[backend(1), backend(2)])]), now);
    let now = round(&mut table, &failed(), now);
    let due_before = table.queue.clone();
    table.handle_desired(&desired([tcp("web", &[backend(1), backend(3)]), tcp("new", &[backend(2)])]), now);
    let observed = table.poll_observed(now + SECOND).unwrap();
    assert_eq!(verdicts(&observed, "web"), [Verdict::Down, Verdict::Unchecked]);
    assert_eq!(verdicts(&observed, "new"), [Verdict::Down], "kept though its service changed");
    assert!(due_before.is_subset(&table.queue), "their next probes stay where they were");
}

#[test]
fn another_check_of_the_same_backend_inherits_the_verdict_until_it_knows_better() {
    let now = epoch();
    let mut table = Table::new(100, now);
    table.handle_desired(&desired([tcp("web", &[backend(1)])]), now);
    let now = round(&mut table, &failed(), now);
    let slower = Check { interval: 5 * SECOND, ..check(CheckKind::Tcp) };
    table.handle_desired(&desired([service("web", Some(slower), &[backend(1)])]), now);
    assert_eq!(verdicts(&table.poll_observed(now + SECOND).unwrap(), "web"), [Verdict::Down]);
    let now = round(&mut table, &Outcome::Passed, now);
    assert_eq!(verdicts(&table.poll_observed(now + 2 * SECOND).unwrap(), "web"), [Verdict::Up]);
}

#[test]
fn a_probe_of_a_removed_target_ends_unheard_and_gives_its_files_back() {
    let now = epoch();
    let mut table = Table::new(100, now);
    table.handle_desired(&desired([tcp("web", &[backend(1)])]), now);
    let (id, _) = due(&mut table, now).pop().unwrap();
    table.handle_desired(&desired([]), now);
    table.handle_outcome(id, &failed(), 0, now);
    table.handle_outcome(id, &failed(), 0, now);
    assert!(table.in_flight.is_empty());
    assert!(table.budget.fits(100), "all files are back");
    let observed = table.poll_observed(now + SECOND).unwrap();
    assert!(observed.services.is_empty() && observed.targets.is_empty());
}

#[test]
fn probes_wait_for_files_and_are_counted() {
    let now = epoch();
    let mut table = Table::new(2, now);
    let addresses: Vec<_> = (1..=5).map(backend).collect();
    table.handle_desired(&desired([tcp("web", &addresses)]), now);
    let now = now + SECOND;
    assert!(table.poll_observed(now).is_some());
    let first = due(&mut table, now);
    assert_eq!(first.len(), 2);
    assert_eq!(table.poll_timeout(), Some(now + crate::stall::TICK), "no spinning while all files are used");
    table.handle_outcome(first[0].0, &Outcome::Passed, 0, now);
    assert_eq!(due(&mut table, now).len(), 1, "one file was given back");
    let observed = table.poll_observed(now + SECOND).unwrap();
    assert_eq!((observed.counters.probes_delayed, observed.counters.in_flight), (1, 2));
}

#[test]
fn new_targets_start_spread_and_the_first_at_once() {
    let now = epoch();
    let mut table = Table::new(100_000, now);
    let addresses: Vec<SocketAddr> =
        (0..10_000u32).map(|n| (Ipv4Addr::from(0x0a00_0000 + n), 80).into()).collect();
    table.handle_desired(&desired([tcp("web", &addresses)]), now);
    assert_eq!(due(&mut table, now).len(), 1);
    assert_eq!(due(&mut table, now + SECOND).len(), 5_000);
    assert_eq!(due(&mut table, now + 2 * SECOND).len(), 4_999);
}

#[test]
fn a_timeout_during_a_stall_is_void_but_not_for_ever() {
    let mut now = epoch();
    let mut table = Table::new(100, now);
    table.handle_desired(&desired([tcp("web", &[backend(1)])]), now);
    for void in [true, true, true, false] {
        let (id, _) = due(&mut table, now).pop().expect("made again at once");
        now += 10 * SECOND;
        table.handle_tick(now);
        table.handle_outcome(id, &timed_out(), 0, now);
        let observed = table.poll_observed(now).unwrap();
        assert_eq!(verdicts(&observed, "web") == [Verdict::Unchecked], void);
    }
    assert_eq!(table.outbox.observed.counters.stalled, 3);
    assert_eq!(table.outbox.observed.counters.failures, 1);
}

#[test]
fn what_fails_for_certain_counts_during_a_stall_and_short_stalls_excuse_nothing() {
    let start = epoch();
    for (outcome, stall, expected) in [
        (failed(), 10 * SECOND, Verdict::Down),
        (Outcome::Passed, 10 * SECOND, Verdict::Up),
        (timed_out(), 10 * SECOND, Verdict::Unchecked),
        (timed_out(), 610 * MS, Verdict::Down),
        (timed_out(), 630 * MS, Verdict::Unchecked),
    ] {
        let mut table = Table::new(100, start);
        table.handle_desired(&desired([tcp("web", &[backend(1)])]), start);
        let (id, _) = due(&mut table, start).pop().unwrap();
        // The timeout is 500 ms. Until there the driver ran.
        for n in 1..=10 {
            table.handle_tick(start + n * 50 * MS);
        }
        table.handle_tick(start + stall);
        table.handle_outcome(id, &outcome, 0, start + stall);
        let observed = table.poll_observed(start + stall).unwrap();
        assert_eq!(verdicts(&observed, "web"), [expected], "{outcome:?} after {stall:?}");
    }
}

#[test]
fn local_errors_change_no_verdict() {
    let now = epoch();
    let mut table = Table::new(100, now);
    table.handle_desired(&desired([tcp("web", &[backend(1)])]), now);
    let now = round(&mut table, &Outcome::Passed, now);
    let now = round(&mut table, &Outcome::NotMade("too many open files".into()), now + SECOND);
    let observed = table.poll_observed(now + SECOND).unwrap();
    assert_eq!(verdicts(&observed, "web"), [Verdict::Up]);
    assert_eq!((observed.counters.local_errors, observed.counters.probes), (1, 1));
    let target = observed.targets.values().next().expect("one");
    assert_eq!((target.not_made, &*target.not_made_reason), (1, "too many open files"));
    let now = round(&mut table, &Outcome::Passed, now + SECOND);
    let observed = table.poll_observed(now + SECOND).unwrap();
    assert_eq!(observed.targets.values().next().expect("one").not_made, 0);
}

#[test]
fn changes_are_told_at_once_and_then_together() {
    let now = epoch();
    let mut table = Table::new(100, now);
    table.handle_desired(&desired([tcp("web", &[backend(1), backend(2), backend(3)])]), now);
    assert!(table.poll_observed(now).is_some());
    let now = now + SECOND;
    let started = due(&mut table, now);
    table.handle_outcome(started[0].0, &failed(), 0, now);
    assert_eq!(verdicts(&table.poll_observed(now).unwrap(), "web")[0], Verdict::Down);
    table.handle_outcome(started[1].0, &failed(), 0, now + MS);
    assert!(table.poll_observed(now + MS).is_none());
    table.handle_outcome(started[2].0, &failed(), 0, now + 2 * MS);
    let then = now + 10 * MS + 3 * TELL_EVERY_FOR_EACH;
    assert_eq!(table.poll_timeout(), Some(then));
    assert_eq!(verdicts(&table.poll_observed(then).unwrap(), "web"), [Verdict::Down; 3]);
    assert!(table.poll_observed(now + 50 * MS).is_none(), "nothing changed");
}

#[test]
fn counters_are_told_every_second_if_probes_were_made() {
    let now = epoch();
    let mut table = Table::new(100, now);
    table.handle_desired(&desired([tcp("web", &[backend(1)])]), now);
    let now = round(&mut table, &Outcome::Passed, now);
    assert!(table.poll_observed(now + 50 * MS).is_some());
    let now = round(&mut table, &Outcome::Passed, now);
    let again = round(&mut table, &Outcome::Passed, now);
    assert!(again - now >= SECOND);
    assert_eq!(table.poll_observed(again).unwrap().counters.probes, 3);
    assert!(table.poll_observed(again + 10 * SECOND).is_none(), "no probe, nothing to tell");
}

#[test]
fn slow_start_goes_on_by_itself() {
    let now = epoch();
    let mut table = Table::new(100, now);
    let slow = Service { slow_start: Some(20 * SECOND), ..tcp("web", &[backend(1)]) };
    table.handle_desired(&desired([slow]), now);
    let now = round(&mut table, &failed(), now);
    let now = round(&mut table, &Outcome::Passed, now);
    let now = round(&mut table, &Outcome::Passed, now);
    let mut share_at = |now| {
        table.handle_tick(now);
        let observed = table.poll_observed(now).unwrap();
        let backends = observed.services.values().flat_map(|service| service.backends.values());
        backends.map(|backend| backend.share_percent).next().unwrap()
    };
    assert_eq!(share_at(now + 50 * MS), 5);
    assert_eq!(share_at(now + 10 * SECOND), 50);
    assert_eq!(share_at(now + 20 * SECOND), 100);
    assert!(table.shares.is_empty());
}

/// What must hold between any two calls.
fn assert_consistent(table: &Table) {
    assert_eq!(table.ids.len(), table.targets.len());
    for (target, id) in &table.ids {
        assert_eq!(table.targets[id].target, *target);
    }
    let mut used: Vec<_> = table.services.values().flat_map(|service| service.targets().cloned()).collect();
    let users: usize = table.targets.values().map(|entry| entry.users.len()).sum();
    assert_eq!(used.len(), users, "each backend uses its target once");
    used.retain(|target| !table.ids.contains_key(target));
    assert!(used.is_empty(), "each used target is known");
    for (id, entry) in &table.targets {
        assert!(!entry.users.is_empty(), "each known target is used");
        let due = entry.checker.poll_timeout();
        assert_ne!(due.is_some(), table.in_flight.contains_key(id), "each is waiting or in flight");
        assert!(due.is_none_or(|due| table.queue.contains(&(due, *id))));
    }
    let waiting = table.targets.keys().filter(|id| !table.in_flight.contains_key(id)).count();
    assert_eq!(table.queue.len(), waiting, "nothing is queued twice, or after it is gone");
}

/// Services `0` to `2`, each with these backends.
fn wanted(backends: &[Vec<u8>]) -> Desired {
    let service = |(n, backends): (usize, &Vec<u8>)| {
        let addresses: Vec<_> = backends.iter().copied().map(backend).collect();
        tcp(&n.to_string(), &addresses)
    };
    desired(backends.iter().enumerate().map(service).filter(|service| !service.backends.is_empty()))
}

#[derive(Debug, Clone)]
enum Step {
    Wanted(Vec<Vec<u8>>),
    /// Time passes, and what is due starts.
    Wait(u64),
    /// The n-th probe in flight ends.
    End(usize, Outcome),
}

fn steps() -> impl Strategy<Value = Vec<Step>> {
    let outcome = prop_oneof![
        Just(Outcome::Passed),
        Just(failed()),
        Just(timed_out()),
        Just(Outcome::NotMade("no files".into())),
    ];
    let backends = prop::collection::btree_set(0u8..6, 0..4).prop_map(|set| set.into_iter().collect());
    let step = prop_oneof![
        1 => prop::collection::vec(backends, 0..3).prop_map(Step::Wanted),
        4 => (0u64..700).prop_map(Step::Wait),
        8 => (0usize..8, outcome).prop_map(|(n, outcome)| Step::End(n, outcome)),
    ];
    prop::collection::vec(step, 1..80)
}

proptest! {
    /// Whatever comes in whatever order, nothing is lost and nothing is left behind.
    #[test]
    fn targets_queue_and_users_agree(steps in steps(), files in 1u32..6) {
        let mut now = epoch();
        let mut table = Table::new(files, now);
        let mut in_flight = Vec::new();
        for step in steps {
            match step {
                Step::Wanted(backends) => table.handle_desired(&wanted(&backends), now),
                Step::Wait(millis) => {
                    now += Duration::from_millis(millis);
                    in_flight.extend(due(&mut table, now).into_iter().map(|(id, _)| id));
                    prop_assert!(in_flight.len() <= files as usize);
                    let _ = table.poll_observed(now);
                    prop_assert!(table.poll_timeout().is_none_or(|next| next > now), "no spinning");
                }
                Step::End(n, outcome) if n < in_flight.len() => {
                    table.handle_outcome(in_flight.swap_remove(n), &outcome, 0, now);
                }
                Step::End(..) => {}
            }
            assert_consistent(&table);
        }
        table.handle_desired(&Desired::default(), now);
        for id in in_flight {
            table.handle_outcome(id, &failed(), 0, now);
        }
        prop_assert!(table.targets.is_empty() && table.queue.is_empty() && table.in_flight.is_empty());
        prop_assert!(table.poll_observed(now + SECOND).unwrap().services.is_empty());
    }
}
