#![allow(clippy::disallowed_methods, reason = "a moment to count from")]
use super::{Members, Stale};
use crate::election::heartbeat::{Heartbeat, Said, State};
use fulcrum_config::{AdvertInterval, NodeName};
use std::collections::{BTreeMap, BTreeSet};
use std::time::{Duration, Instant};

const PATIENCE: Duration = Duration::from_millis(400);
const MS: Duration = Duration::from_millis(1);

fn heartbeat(sequence: u64, groups: &[(u64, State, u64)]) -> Heartbeat {
    let said = |(group, state, epoch): &(u64, State, u64)| Said {
        group: *group,
        state: *state,
        epoch: *epoch,
        interval: AdvertInterval::DEFAULT,
    };
    Heartbeat { instance: 1, sequence, groups: groups.iter().map(said).collect() }
}

fn name(name: &str) -> NodeName {
    NodeName::new(name)
}

#[test]
fn who_was_heard_lives_until_it_is_silent_for_too_long() {
    let start = Instant::now();
    let mut members = Members::new(start);
    let said = heartbeat(1, &[(7, State::Leads(254), 3), (8, State::Unfit, 0)]);
    assert!(members.handle_heartbeat(&name("a"), &said, start).is_ok());
    let view = members.view(PATIENCE, start + PATIENCE);
    assert_eq!(view.live, BTreeSet::from([name("a")]));
    assert_eq!(view.owners, BTreeMap::from([(7, name("a"))]));
    assert_eq!(view.unfit, BTreeSet::from([(8, name("a"))]));
    assert_eq!(members.view(PATIENCE, start + PATIENCE + MS), super::View::default());
}

#[test]
fn what_it_says_no_more_is_forgotten_and_what_comes_late_passed_over() {
    let start = Instant::now();
    let mut members = Members::new(start);
    let leads = heartbeat(1, &[(7, State::Leads(254), 3)]);
    let mut hear = |heartbeat: &Heartbeat, at| {
        members.handle_heartbeat(&name("a"), heartbeat, at).map(|news| news.len())
    };
    assert_eq!(hear(&leads, start), Ok(1));
    assert_eq!(hear(&leads, start), Ok(0), "it comes twice");
    assert_eq!(hear(&heartbeat(70, &[(7, State::Resigns, 3)]), start), Ok(1));
    assert_eq!(hear(&heartbeat(69, &[(7, State::Leads(9), 3), (8, State::Leads(9), 3)]), start), Ok(1));
    assert_eq!(hear(&heartbeat(6, &[]), start), Err(Stale));
    let overtaken = BTreeMap::from([(8, name("a"))]);
    assert_eq!(members.view(PATIENCE, start).owners, overtaken);
    // It was started anew.
    let again = Heartbeat { instance: 2, ..leads };
    assert!(members.handle_heartbeat(&name("a"), &again, start).is_ok());
    assert_eq!(members.view(PATIENCE, start).owners, BTreeMap::from([(7, name("a"))]));
    let later = start + PATIENCE;
    let silent = Heartbeat { instance: 2, ..heartbeat(2, &[]) };
    assert!(members.handle_heartbeat(&name("a"), &silent, later).is_ok());
    let view = members.view(PATIENCE, later + MS);
    assert_eq!((view.live.len(), view.owners.len()), (1, 0));
}

#[test]
fn of_two_leaders_the_later_epoch_counts() {
    let start: Instant = Instant::now();
    let mut members = Members::new(start);
    for (node, epoch) in [("a", 4), ("b", 5), ("c", 3)] {
        let said = heartbeat(1, &[(7, State::Leads(254), epoch)]);
        assert!(members.handle_heartbeat(&name(node), &said, start).is_ok());
    }
    assert_eq!(members.view(PATIENCE, start).owners, BTreeMap::from([(7, name("b"))]));
}

#[test]
fn what_a_former_leader_said_before_it_heard_of_the_next_is_late() {
    let start = Instant::now();
    let mut members = Members::new(start);
    let mut hear = |node, sequence, state, epoch, at| {
        members.handle_heartbeat(&name(node), &heartbeat(sequence, &[(7, state, epoch)]), at).unwrap().len()
    };
    assert_eq!(hear("a", 1, State::Leads(254), 4, start), 1);
    assert_eq!(hear("b", 1, State::Leads(222), 5, start), 1);
    assert_eq!(hear("a", 2, State::Leads(254), 4, start + MS), 0);
    assert_eq!(hear("a", 3, State::Resigns, 4, start + MS), 0);
    assert_eq!(hear("b", 2, State::Resigns, 5, start + MS), 1, "its own");
    // Who goes on for longer than that may be the only one that is left.
    assert_eq!(hear("a", 4, State::Leads(254), 4, start + 101 * MS), 1);
}

#[test]
fn a_start_waits_for_all_but_not_for_ever() {
    let start = Instant::now();
    let mut members = Members::new(start);
    let all = [name("a"), name("b")];
    assert!(!members.is_gathered(all.iter(), start));
    for node in &all {
        assert!(!members.is_gathered(all.iter(), start));
        assert!(members.handle_heartbeat(node, &heartbeat(1, &[]), start).is_ok());
    }
    assert!(members.is_gathered(all.iter(), start));
    assert!(Members::new(start).is_gathered(all.iter(), start + super::GATHER));
}

#[test]
fn whoever_offers_a_group_leads_it_until_another_does_and_never_beside_it() {
    let start = Instant::now();
    for (offers, leads) in [("a", "b"), ("b", "a")] {
        let mut members = Members::new(start);
        let offer = heartbeat(1, &[(7, State::Offers(2), 3)]);
        assert!(members.handle_heartbeat(&name(offers), &offer, start).is_ok());
        assert_eq!(members.view(PATIENCE, start).owners, BTreeMap::from([(7, name(offers))]));
        let taken = heartbeat(1, &[(7, State::Leads(190), 4)]);
        assert!(members.handle_heartbeat(&name(leads), &taken, start).is_ok());
        let view = members.view(PATIENCE, start);
        assert_eq!(view.owners, BTreeMap::from([(7, name(leads))]));
        assert_eq!(view.doubled, BTreeSet::new(), "{offers} offers");
    }
}
