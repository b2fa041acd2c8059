use super::*;
use std::collections::BTreeMap;

fn shares(weights: &[u32]) -> Vec<Share> {
    weights.iter().zip(1..).map(|(weight, backend)| Share { backend, weight: *weight }).collect()
}

fn counts(slots: &[u16]) -> BTreeMap<u16, usize> {
    let mut counts = BTreeMap::new();
    slots.iter().for_each(|backend| *counts.entry(*backend).or_default() += 1);
    counts
}

#[test]
fn each_takes_its_turns_spread_over_the_round() {
    let slots = round_robin(&shares(&[1, 2, 1]));
    assert_eq!(slots.0[..8], [2, 1, 3, 2, 2, 1, 3, 2]);
    let slots = round_robin(&shares(&[100, 200, 100]));
    assert_eq!(slots.0[..4], [2, 1, 3, 2]);
    assert_eq!(round_robin(&shares(&[7])).0, [1; SLOTS]);
    assert_eq!(round_robin(&[]).0, [0; SLOTS]);
}

#[test]
fn shares_of_a_schedule_are_those_of_the_weights() {
    for weights in [vec![1, 2, 1], vec![5, 1, 1], vec![100; 97], vec![30, 200, 77, 1]] {
        let slots = round_robin(&shares(&weights));
        let total: u32 = weights.iter().sum();
        for (backend, count) in counts(&slots.0) {
            let weight = f64::from(weights[usize::from(backend) - 1]);
            let expected = weight / f64::from(total) * SLOTS as f64;
            // The last round of the table is not whole.
            assert!(
                (count as f64 - expected).abs() <= 2.0,
                "{weights:?}: {backend}: {count}, not {expected}"
            );
        }
        assert_eq!(counts(&slots.0).len(), weights.len());
    }
    assert_eq!(counts(&round_robin(&shares(&[1, 65_535, 65_535])).0).len(), 3, "nobody is left out");
}

fn loads(live: &[u64]) -> Vec<Load> {
    live.iter().map(|live| Load { live: *live, given: 0 }).collect()
}

#[test]
fn who_has_fewer_takes_all_until_it_has_as_many() {
    let slots = least_connections(&shares(&[1, 1, 1]), &loads(&[100, 0, 40]));
    assert_eq!(counts(&slots.0[..40]), BTreeMap::from([(2, 40)]));
    assert_eq!(counts(&slots.0[..160]), BTreeMap::from([(2, 100), (3, 60)]));
    assert_eq!(counts(&slots.0[160..460]), BTreeMap::from([(1, 100), (2, 100), (3, 100)]));
}

#[test]
fn load_counts_by_weight() {
    let slots = least_connections(&shares(&[1, 2, 1]), &loads(&[0, 0, 0]));
    assert_eq!(counts(&slots.0[..400]), BTreeMap::from([(1, 100), (2, 200), (3, 100)]));
    let slots = least_connections(&shares(&[100, 300]), &loads(&[10, 30]));
    assert_eq!(counts(&slots.0[..40]), BTreeMap::from([(1, 10), (2, 30)]));
    let slots = least_connections(&shares(&[100, 300]), &loads(&[0, 30]));
    assert_eq!(slots.0[..10], [1; 10]);
}

#[test]
fn of_equals_it_is_the_one_that_was_given_fewer() {
    let given = |given: [u64; 3]| given.map(|given| Load { live: 0, given });
    let first = |load: [u64; 3], weights: &[u32]| least_connections(&shares(weights), &given(load)).0[0];
    assert_eq!(
        [first([0, 0, 0], &[1, 1, 1]), first([1, 0, 0], &[1, 1, 1]), first([1, 1, 0], &[1, 1, 1])],
        [1, 2, 3]
    );
    // One connection at a time, each ended before the next one: all share, by weight.
    let mut load = given([0; 3]);
    for _ in 0..400 {
        let chosen = least_connections(&shares(&[1, 2, 1]), &load).0[0];
        load[usize::from(chosen) - 1].given += 1;
    }
    // An idle backend of twice the weight is always the least loaded, with the one more that it would have.
    assert_eq!(load.map(|load| load.given), [0, 400, 0]);
    let mut load = given([0; 3]);
    for _ in 0..300 {
        let chosen = least_connections(&shares(&[5, 5, 5]), &load).0[0];
        load[usize::from(chosen) - 1].given += 1;
    }
    assert_eq!(load.map(|load| load.given), [100; 3]);
}

#[test]
fn more_than_was_foreseen_goes_in_turn() {
    let slots = least_connections(&shares(&[1, 1]), &loads(&[1_000_000, 0]));
    assert_eq!(slots.0[..FORESEEN], [2; FORESEEN]);
    let rest = counts(&slots.0[FORESEEN..]);
    assert!(rest[&1].abs_diff(rest[&2]) <= 1, "{rest:?}");
    assert_eq!(least_connections(&[], &[]).0, [0; SLOTS]);
}

/// Connections, most of them short and some long, begin and end for a minute, 2,000 each second. By how much, in percent of its
/// part by weight, the busiest backend had more than that, on average of the second half.
fn excess(balance: impl Fn(&[Share], &[Load]) -> Slots, each_time: bool, weights: &[u32]) -> u64 {
    const TICKS: usize = 600;
    const IN_A_TICK: usize = 200;
    let shares = shares(weights);
    let mut random = fastrand::Rng::with_seed(7);
    let mut loads = vec![Load::default(); shares.len()];
    let mut ends: Vec<Vec<usize>> = vec![Vec::new(); TICKS];
    let (mut turn, mut sum) = (0, 0);
    let mut schedule = balance(&shares, &loads);
    for tick in 0..TICKS {
        // A tenth of a second: what began since is not known before the next.
        if each_time {
            (schedule, turn) = (balance(&shares, &loads), 0);
        }
        for backend in std::mem::take(&mut ends[tick]) {
            loads[backend].live -= 1;
        }
        for _ in 0..IN_A_TICK {
            let backend = usize::from(schedule.0[turn % SLOTS]) - 1;
            turn += 1;
            loads[backend].live += 1;
            loads[backend].given += 1;
            let lasts = if random.u8(..) < 26 { random.usize(50..400) } else { random.usize(1..10) };
            if let Some(end) = ends.get_mut(tick + lasts) {
                end.push(backend);
            }
        }
        if tick >= TICKS / 2 {
            let all: u64 = loads.iter().map(|load| load.live).sum();
            let total: u64 = weights.iter().copied().map(u64::from).sum();
            let shares = loads.iter().zip(weights);
            let percent = shares.map(|(load, weight)| load.live * total * 100 / u64::from(*weight) / all);
            sum += percent.max().unwrap() - 100;
        }
    }
    sum / (TICKS as u64 / 2)
}

#[test]
fn least_connections_keeps_backends_closer_to_each_other_than_turns() {
    for weights in [vec![1; 10], vec![1, 2, 1], vec![10, 20, 40, 10]] {
        let by_turns = excess(|shares, _| round_robin(shares), false, &weights);
        let by_load = excess(least_connections, true, &weights);
        println!("{weights:?}: {by_turns} % above its part by turns, {by_load} % by connections");
        assert!(by_load < by_turns || by_turns == 0, "{weights:?}: {by_load} {by_turns}");
        assert!(by_load <= 2, "{weights:?}: {by_load}");
    }
}
