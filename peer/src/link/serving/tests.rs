use super::*;
use crate::serving::Verdict;
use fulcrum_config::AddressSlots;
use std::time::Duration;

fn start() -> Instant {
    #[allow(clippy::disallowed_methods, reason = "any instant will do")]
    Instant::now()
}

fn serving(up: bool, current: u64) -> Arc<Serving> {
    let verdict = Some(Arc::new(Verdict { up, ..Verdict::default() }));
    Arc::new(Serving { verdict, tables: Some(Arc::new(ServiceTables { current, previous: 1, older: None })) })
}

fn services(of: &[(&str, u64)]) -> Arc<Services> {
    Arc::new(of.iter().map(|(name, sum)| (ServiceName::new(name), serving(true, *sum))).collect())
}

fn names(portion: &Portion) -> Vec<(&str, bool)> {
    portion.services.iter().map(|(name, told)| (name.as_str(), told.is_some())).collect()
}

fn hear(hearer: &mut Hearer, portions: impl IntoIterator<Item = Portion>) {
    for portion in portions {
        assert!(!hearer.handle(portion, Some(7), start()));
    }
}

#[test]
fn only_what_changed_is_said() {
    let (now, mut teller, mut hearer) = (start(), Teller::new(7), Hearer::default());
    assert!(teller.poll_all(now).is_empty() && teller.poll_changes(now).is_empty());
    teller.handle(services(&[("a", 1), ("b", 1)]));
    let first = teller.poll_changes(now);
    assert_eq!(names(&first[0]), [("a", true), ("b", true)]);
    teller.handle(services(&[("b", 2), ("c", 1)]));
    let second = teller.poll_changes(now);
    assert_eq!(names(&second[0]), [("a", false), ("b", true), ("c", true)]);
    assert!(teller.poll_changes(now).is_empty());
    // An equal table is no news.
    teller.handle(services(&[("b", 2), ("c", 1)]));
    assert!(teller.poll_changes(now).is_empty());
    // In whatever order they come.
    hear(&mut hearer, second.into_iter().chain(first));
    assert_eq!(hearer.services(7), services(&[("b", 2), ("c", 1)]));
    assert_eq!(hearer.services(8), services(&[]), "nothing of another life");
}

#[test]
fn on_a_new_connection_all_is_said_anew_and_what_was_said_before_is_void() {
    let (now, mut teller, mut hearer) = (start(), Teller::new(7), Hearer::default());
    teller.handle(services(&[("a", 1), ("b", 1)]));
    hear(&mut hearer, teller.poll_all(now));
    // Said on a connection that was cut: lost, or so late that it is old.
    teller.handle(services(&[("b", 1)]));
    let late = teller.poll_changes(now);
    teller.handle(services(&[("b", 1), ("c", 1)]));
    let all = teller.poll_all(now);
    hear(&mut hearer, all);
    hear(&mut hearer, late);
    assert_eq!(hearer.services(7), services(&[("b", 1), ("c", 1)]));
    teller.handle(services(&[]));
    hear(&mut hearer, teller.poll_all(now));
    assert_eq!(hearer.services(7), services(&[]));
}

#[test]
fn a_new_life_of_the_peer_may_be_heard_before_it_is_known() {
    let (now, mut hearer) = (start(), Hearer::default());
    for (instance, sum) in [(7, 1), (8, 2)] {
        let mut teller = Teller::new(instance);
        teller.handle(services(&[("a", sum)]));
        hear(&mut hearer, teller.poll_all(now));
    }
    assert_eq!(hearer.services(7), services(&[("a", 1)]));
    assert_eq!(hearer.services(8), services(&[("a", 2)]));
    let mut third = Teller::new(9);
    third.handle(services(&[("a", 3)]));
    hear(&mut hearer, third.poll_all(now));
    assert_eq!(hearer.lives.len(), 2);
}

#[test]
fn an_older_table_holds_for_as_long_as_on_the_other_node() {
    let (now, mut teller, mut hearer) = (start(), Teller::new(7), Hearer::default());
    let slots = AddressSlots { backends: Vec::new(), slots: vec![0; 5] };
    let older = OlderTable { until: now + Duration::from_secs(50), slots: Arc::new(slots) };
    let tables = ServiceTables { current: 1, previous: 2, older: Some(older.clone()) };
    let verdict = Some(Arc::default());
    let serving = Serving { verdict, tables: Some(Arc::new(tables)) };
    teller.handle(Arc::new([(ServiceName::new("a"), Arc::new(serving))].into()));
    hear(&mut hearer, teller.poll_all(now + Duration::from_secs(20)));
    let heard = hearer.services(7);
    let heard = heard[&ServiceName::new("a")].tables.clone().unwrap().older.clone().unwrap();
    assert_eq!(heard.slots, older.slots);
    // The test's clock is not the hearer's: 30 s from when it heard.
    let left = heard.until.saturating_duration_since(start());
    assert!(left > Duration::from_secs(20) && left <= Duration::from_secs(30), "{left:?}");
}

#[test]
fn a_peer_that_invents_services_is_not_remembered_without_end() {
    let (now, mut hearer) = (start(), Hearer::default());
    let mut full = false;
    for round in 0..3_u64 {
        let name = |number: usize| ServiceName::new(&format!("{round}-{number}"));
        let services = (0..SERVICES_LIMIT / 2 + 1).map(|number| (name(number), None)).collect();
        let portion = Portion { instance: 7, sequence: round + 1, since: 0, services };
        full = hearer.handle(portion, Some(7), now);
    }
    assert!(full && hearer.lives[0].portions.len() == SERVICES_LIMIT);
}
