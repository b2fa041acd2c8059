#![allow(clippy::disallowed_methods, reason = "a moment to count from")]
use super::{DOUBT, Elector, Plan, Planned, Standing};
use crate::election::heartbeat::{Heartbeat, Said, State};
use crate::election::placement::Candidate;
use fulcrum_config::{AdvertInterval, GroupName, NodeName, Weight};
use std::collections::BTreeMap;
use std::time::Instant;

const NODES: [&str; 4] = ["a", "b", "c", "d"];
const INTERVAL: AdvertInterval = AdvertInterval::DEFAULT;

fn group() -> GroupName {
    GroupName::new("web")
}

fn elector(own: &str, now: Instant) -> Elector {
    elector_with(own, &[], now)
}

fn elector_with(own: &str, drained: &[&str], now: Instant) -> Elector {
    let candidate = |name| Candidate { node: NodeName::new(name), weight: Weight::ONE, domain: None };
    let planned = Planned { protected: false, priorities: BTreeMap::new(), interval: INTERVAL, one: false };
    let mut elector = Elector::new(1, now);
    let plan = Plan {
        nodes: NODES.into_iter().map(candidate).collect(),
        own: Some(NodeName::new(own)),
        groups: BTreeMap::from([(group(), planned)]),
        drained: drained.iter().map(|name| NodeName::new(name)).collect(),
        ..Plan::default()
    };
    elector.handle_plan(plan, now);
    elector
}

fn heartbeat(sequence: u64, state: Option<State>) -> Heartbeat {
    let said = |state| Said { group: group().number(), state, epoch: 1, interval: INTERVAL };
    Heartbeat { instance: 1, sequence, groups: state.map(said).into_iter().collect() }
}

/// The priority that a node has after it looked around.
fn priority(elector: &mut Elector, leads: bool, own: &str, now: Instant) -> u8 {
    let standing = Standing { leads, unfit: false, speaks: true, epoch: 1 };
    elector.handle_timeout(|_| Some(standing), now);
    let order = elector.order(&group()).expect("an order");
    super::priority(order, &NodeName::new(own)).get()
}

#[test]
fn an_offer_is_for_one_and_to_all_others_its_leader_leads_on() {
    let now = Instant::now();
    for (own, expected) in [("b", State::Resigns), ("c", State::Leads(0)), ("d", State::Leads(0))] {
        let mut elector = elector(own, now);
        let heard = elector.handle_heartbeat(&NodeName::new("a"), &heartbeat(1, Some(State::Offers(2))), now);
        let heard = heard.expect("it is fresh");
        let [(name, said)] = heard.as_slice() else { panic!("{heard:?}") };
        assert_eq!(*name, group());
        let same =
            matches!((said.state, expected), (State::Leads(_), State::Leads(_))) || said.state == expected;
        assert!(same, "{own} hears {:?}", said.state);
    }
}

#[test]
fn whoever_took_over_keeps_its_place_until_the_others_were_heard() {
    let start = Instant::now();
    let mut elector = elector("d", start);
    let hear = |elector: &mut Elector, sequence, leader: &str, now| {
        for node in ["a", "b", "c"] {
            let state = (node == leader).then_some(State::Leads(254));
            assert!(elector.handle_heartbeat(&NodeName::new(node), &heartbeat(sequence, state), now).is_ok());
        }
    };
    hear(&mut elector, 1, "a", start);
    let place = priority(&mut elector, false, "d", start);
    assert!(place < 254, "a leads");
    // It falls silent, and this node takes over; the one that comes before it may do the same.
    let interval = INTERVAL.duration();
    let mut now = start;
    for beat in 1..=DOUBT {
        now += interval;
        hear(&mut elector, u64::from(beat) + 1, "", now);
        assert_eq!(priority(&mut elector, true, "d", now), place, "beat {beat}");
    }
    now += interval;
    assert_eq!(priority(&mut elector, true, "d", now), 254, "nobody else did");
}

#[test]
fn who_is_drained_takes_over_last_and_is_offered_nothing() {
    let now = Instant::now();
    for leader in NODES {
        let drained: Vec<&str> = NODES.into_iter().filter(|it| *it != leader).take(2).collect();
        let mut elector = elector_with(leader, &drained, now);
        for node in NODES.into_iter().filter(|it| *it != leader) {
            assert!(elector.handle_heartbeat(&NodeName::new(node), &heartbeat(1, None), now).is_ok());
        }
        priority(&mut elector, true, leader, now);
        let order = elector.order(&group()).expect("an order");
        let names: Vec<&str> = order.nodes.iter().map(NodeName::as_str).collect();
        assert_eq!(names.len(), 4);
        assert_eq!(names[0], leader);
        assert!(!drained.contains(&names[1]), "{names:?} of which {drained:?} are drained");
        assert_eq!(order.moves_to(), None);
    }
}

#[test]
fn that_it_leads_is_not_said_by_one_that_did_not_run() {
    let now = Instant::now();
    let later = now + INTERVAL.duration() / 2;
    // With a heartbeat of all groups, and with one of news.
    for (at, priority) in [(now, 254), (later, 190)] {
        for speaks in [true, false] {
            let mut elector = elector("a", now);
            let standing = Standing { leads: true, unfit: false, speaks, epoch: 1 };
            if at > now {
                elector.handle_timeout(|_| Some(standing), now);
                while elector.poll_datagram().is_some() {}
            }
            elector.handle_advert(&group(), priority, 1);
            elector.handle_timeout(|_| Some(standing), at);
            let heartbeats = std::iter::from_fn(|| elector.poll_datagram());
            let groups = heartbeats.flat_map(|bytes| Heartbeat::decode(&bytes).unwrap().groups);
            let states: Vec<State> = groups.map(|said| said.state).collect();
            let expected = if speaks { vec![State::Leads(priority)] } else { Vec::new() };
            assert_eq!(states, expected, "{priority}");
            // That it resigned is as true as before.
            elector.handle_advert(&group(), 0, 1);
            elector.handle_timeout(|_| Some(standing), at);
            let last = elector.poll_datagram().map(|bytes| Heartbeat::decode(&bytes).unwrap().groups);
            assert_eq!(last.unwrap()[0].state, State::Resigns);
        }
    }
}

#[test]
fn whoever_has_no_leader_rather_than_two_speaks_as_often_as_before_for_a_while() {
    let now = Instant::now();
    let mut elector = elector("a", now);
    for interval in [100, 1000] {
        let interval = AdvertInterval::from_centiseconds(interval / 10).unwrap();
        let mut plan = elector.plan.clone();
        plan.groups.values_mut().for_each(|planned| (planned.one, planned.interval) = (true, interval));
        elector.handle_plan(plan, now);
    }
    let second = std::time::Duration::from_secs(1);
    for (at, wait) in [(0, INTERVAL.duration()), (13, INTERVAL.duration()), (14, second)] {
        let at = now + at * second;
        elector.handle_timeout(|_| None, at);
        assert_eq!(elector.next_beat(), Some(at + wait));
    }
}
