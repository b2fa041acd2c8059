use super::*;
use crate::fixtures::{SECOND, backend, check, service};
use fulcrum_config::{CheckKind, Quorum, Weight};
use proptest::prelude::*;

#[allow(clippy::disallowed_methods)] // Any moment will do.
fn epoch() -> Instant {
    Instant::now()
}

fn known(verdict: Verdict, since: Instant) -> TargetHealth {
    TargetHealth {
        verdict,
        reason: format!("{verdict:?}").into(),
        since,
        probes: 1,
        failures: 0,
        last_duration: Duration::ZERO,
        not_made: 0,
        not_made_reason: "".into(),
    }
}

fn with_backends(n: u8, quorum: Quorum) -> Service {
    let addresses: Vec<_> = (1..=n).map(backend).collect();
    Service { quorum, ..service("web", Some(check(CheckKind::Tcp)), &addresses) }
}

fn start(service: Service, now: Instant) -> ServiceState {
    ServiceState::new(Arc::new(service), None, |_| None, now)
}

fn set(state: &mut ServiceState, n: usize, verdict: Verdict, now: Instant) {
    let target = state.backends[n].target.clone().unwrap();
    state.handle_target(&target, &known(verdict, now), now);
}

#[test]
fn quorum_with_hysteresis() {
    // Five backends; minimum 3, hysteresis 1: down below 2, up again at 4.
    let now = epoch();
    let mut state = start(with_backends(5, Quorum { minimum: 3, hysteresis: 1 }), now);
    assert!(state.health().up, "all unchecked count as up");
    let mut up_at = |up: usize| {
        for n in 0..5 {
            set(&mut state, n, if n < up { Verdict::Up } else { Verdict::Down }, now);
        }
        state.health().up
    };
    for (up, expected) in
        [(5, true), (3, true), (2, true), (1, false), (2, false), (3, false), (4, true), (2, true)]
    {
        assert_eq!(up_at(up), expected, "{up} backends up");
    }
}

#[test]
fn a_service_with_fewer_backends_than_it_needs_to_rise_rises_with_all() {
    let now = epoch();
    let mut state = start(with_backends(2, Quorum { minimum: 2, hysteresis: 1 }), now);
    set(&mut state, 0, Verdict::Down, now);
    assert!(state.health().up);
    set(&mut state, 1, Verdict::Down, now);
    assert!(!state.health().up);
    set(&mut state, 0, Verdict::Up, now);
    assert!(!state.health().up);
    set(&mut state, 1, Verdict::Up, now);
    assert!(state.health().up);
}

#[test]
fn drained_and_weightless_backends_do_not_count_and_backups_do() {
    let now = epoch();
    let change = |change: fn(&mut Backend)| {
        let mut service = with_backends(1, Quorum::default());
        change(Arc::make_mut(&mut service.backends[0]));
        start(service, now).health().up
    };
    assert!(!change(|backend| backend.drain = true));
    assert!(!change(|backend| backend.weight = Weight::new(0).unwrap()));
    assert!(change(|backend| backend.backup = true));
}

#[test]
fn without_a_check_everything_counts_as_up() {
    let now = epoch();
    let state = start(service("web", None, &[backend(1)]), now);
    let health = state.health();
    assert!(health.up);
    let (_, backend) = health.backends.first_key_value().unwrap();
    assert_eq!((backend.verdict, backend.share_percent), (Verdict::Unchecked, 100));
    assert_eq!(&*backend.reason, "no check is configured");
    assert_eq!(state.targets().count(), 0);
}

#[test]
fn a_backend_that_came_back_gets_its_share_over_time() {
    let begin = epoch();
    let slow = Service { slow_start: Some(20 * SECOND), ..with_backends(1, Quorum::default()) };
    let mut state = start(slow, begin);
    let share = |state: &ServiceState| state.health().backends.values().next().unwrap().share_percent;
    set(&mut state, 0, Verdict::Up, begin);
    assert_eq!(share(&state), 100, "not at the start of the process");
    set(&mut state, 0, Verdict::Down, begin);
    set(&mut state, 0, Verdict::Up, begin);
    let mut shares = vec![share(&state)];
    let mut now = begin;
    while let Some(next) = state.poll_timeout() {
        assert!(next > now, "time goes on");
        now = next;
        state.handle_timeout(now);
        shares.push(share(&state));
    }
    assert_eq!(now, begin + 20 * SECOND);
    assert_eq!(shares, [5, 10, 15, 20, 25, 30, 35, 40, 45, 50, 55, 60, 65, 70, 75, 80, 85, 90, 95, 100]);
}

#[test]
fn going_down_again_ends_the_slow_start() {
    let now = epoch();
    let slow = Service { slow_start: Some(20 * SECOND), ..with_backends(1, Quorum::default()) };
    let mut state = start(slow, now);
    for verdict in [Verdict::Down, Verdict::Up, Verdict::Down] {
        set(&mut state, 0, verdict, now);
    }
    assert_eq!(state.poll_timeout(), None);
}

#[test]
fn a_change_of_the_service_keeps_slow_start_and_quorum() {
    let begin = epoch();
    let quorum = Quorum { minimum: 2, hysteresis: 1 };
    let slow = Service { slow_start: Some(20 * SECOND), ..with_backends(3, quorum) };
    let mut state = start(slow.clone(), begin);
    for n in 0..3 {
        set(&mut state, n, Verdict::Down, begin);
    }
    set(&mut state, 0, Verdict::Up, begin);
    set(&mut state, 1, Verdict::Up, begin);
    assert!(!state.health().up, "needs all three to rise");
    let now = begin + 10 * SECOND;
    let up = known(Verdict::Up, begin);
    let changed = Service { transparent: true, ..slow };
    let state = ServiceState::new(Arc::new(changed), Some(&state), |_| Some(&up), now);
    let shares: Vec<_> = state.health().backends.values().map(|backend| backend.share_percent).collect();
    assert_eq!(shares, [50, 50, 100]);
}

proptest! {
    /// With hysteresis, the service changes only when the count of backends crosses a threshold.
    #[test]
    fn quorum_holds_between_its_thresholds(
        changes in prop::collection::vec((0usize..6, any::<bool>()), 1..60),
        minimum in 1u32..6, hysteresis in 0u32..3,
    ) {
        let now = epoch();
        let quorum = Quorum { minimum, hysteresis: hysteresis.min(minimum - 1) };
        let mut state = start(with_backends(6, quorum), now);
        let mut was = state.health().up;
        for (n, up) in changes {
            set(&mut state, n, if up { Verdict::Up } else { Verdict::Down }, now);
            let health = state.health();
            let count = super::count(health.backends.values().filter(|backend| backend.verdict.usable()));
            if count < (minimum - quorum.hysteresis).max(1) {
                prop_assert!(!health.up);
            } else if count >= (minimum + quorum.hysteresis).min(6) {
                prop_assert!(health.up);
            } else {
                prop_assert_eq!(health.up, was);
            }
            was = health.up;
        }
    }

    /// Shares only grow, and reach the whole at the end of the slow start.
    #[test]
    fn shares_grow_to_the_whole(slow_start in 1u64..100_000, steps in prop::collection::vec(0u64..10_000, 1..40)) {
        let begin = epoch();
        let slow_start = Duration::from_millis(slow_start);
        let slow = Service { slow_start: Some(slow_start), ..with_backends(1, Quorum::default()) };
        let mut state = start(slow, begin);
        set(&mut state, 0, Verdict::Down, begin);
        set(&mut state, 0, Verdict::Up, begin);
        let (mut now, mut last) = (begin, 0);
        for step in steps {
            now += Duration::from_millis(step);
            state.handle_timeout(now);
            let share = state.health().backends.values().next().unwrap().share_percent;
            prop_assert!(share >= last && (1..=100).contains(&share));
            prop_assert_eq!(share == 100, now >= begin + slow_start);
            prop_assert!(state.poll_timeout().is_none_or(|next| next > now));
            last = share;
        }
    }
}
