use super::*;
use crate::plane::book::tests::{Kernel, LIVE, address, apply, begun, desired, service, sifted};
use crate::{BackendUse, ServiceDesired};
use std::collections::BTreeSet;

const HOUR: Duration = Duration::from_secs(3600);

fn web(backends: &[u8]) -> Arc<ServiceDesired> {
    let live: Vec<(u8, BackendUse)> = backends.iter().map(|number| (*number, LIVE)).collect();
    service("web", "10.0.0.100", &live)
}

fn name() -> ServiceName {
    ServiceName::new("web")
}

/// Has `book` do as `leader` does.
fn follow(book: &mut Book, service: &Arc<ServiceDesired>, leader: &History, now: Instant) {
    let desired = crate::Desired { follow: leader.clone(), ..desired(std::slice::from_ref(service)) };
    let errors = book.apply(&desired, &Kernel::default(), now);
    assert!(errors.is_empty(), "{errors:?}");
}

/// For each slot the addresses by the current and by the previous table.
fn by_address(book: &Book) -> Vec<[Option<BackendAddress>; 2]> {
    let entry = book.entry(&name()).unwrap();
    let of: BTreeMap<u16, BackendAddress> =
        entry.backends.iter().map(|(address, index)| (u16::try_from(*index).unwrap(), *address)).collect();
    let (current, previous) = (entry.generations.current(), entry.generations.previous());
    let pairs = current.0.iter().zip(&previous.0);
    pairs.map(|(current, previous)| [of.get(current).copied(), of.get(previous).copied()]).collect()
}

fn is_settled(book: &Book) -> bool {
    book.entry(&name()).unwrap().generations.is_settled()
}

#[test]
fn a_node_that_comes_after_a_change_has_the_tables_of_the_one_that_was_there() {
    let now = begun();
    let (mut leader, mut standby) = (Book::default(), Book::default());
    apply(&mut leader, &[web(&[1, 2, 3])], now);
    apply(&mut leader, &[web(&[2, 3, 4])], now);
    // Other indexes than the leader's: another service came first.
    let later = now + Duration::from_secs(600);
    let api = service("api", "10.0.0.101", &[(9, LIVE), (8, LIVE)]);
    apply(&mut standby, &[Arc::clone(&api), web(&[2, 3, 4])], later);
    assert_ne!(by_address(&leader), by_address(&standby));
    assert_eq!(leader.history()[&name()].current, standby.history()[&name()].current);
    let both = desired(&[api, web(&[2, 3, 4])]);
    let both = crate::Desired { follow: leader.history(), ..both };
    standby.apply(&both, &Kernel::default(), later);
    assert_eq!(by_address(&leader), by_address(&standby));
    assert_eq!(leader.history()[&name()], standby.history()[&name()]);
    let entry = standby.entry(&name()).unwrap();
    assert!(entry.pinned && entry.backends.contains_key(&address(1)), "flows of 1 still go there");
    assert!(standby.wanted().backends.values().any(|backend| backend.ip == address(1).ip && backend.up));
    // What it has taken over is no change any more.
    let kept = Arc::clone(entry.generations.previous());
    standby.apply(&both, &Kernel::default(), later);
    assert!(Arc::ptr_eq(&kept, standby.entry(&name()).unwrap().generations.previous()));
    // It ends when the leader's does, and what was only in it is forgotten.
    assert!(!standby.handle_timeout(now + HOUR - Duration::from_secs(1)));
    assert!(standby.handle_timeout(now + HOUR));
    sifted(&mut standby, &[], now);
    assert!(is_settled(&standby) && !standby.freed_backends.is_empty());
}

#[test]
fn where_the_leader_has_no_older_table_any_more_neither_has_the_standby() {
    let now = begun();
    let (mut leader, mut standby) = (Book::default(), Book::default());
    apply(&mut leader, &[web(&[1, 2])], now);
    apply(&mut standby, &[web(&[1, 2, 3])], now);
    apply(&mut standby, &[web(&[1, 2])], now);
    assert!(!is_settled(&standby));
    follow(&mut standby, &web(&[1, 2]), &leader.history(), now);
    assert!(is_settled(&standby));
    assert_eq!(by_address(&leader), by_address(&standby));
    sifted(&mut standby, &[], now);
    let entry = standby.entry(&name()).unwrap();
    assert!(!entry.backends.contains_key(&address(3)) && !standby.freed_backends.is_empty());
}

#[test]
fn tables_are_taken_over_only_where_the_current_ones_are_alike() {
    let now = begun();
    let (mut leader, mut standby) = (Book::default(), Book::default());
    apply(&mut leader, &[web(&[1, 2])], now);
    let before = leader.history();
    apply(&mut leader, &[web(&[1, 3])], now);
    apply(&mut standby, &[web(&[1, 2])], now);
    // The standby heard of the change before it heard of the tables that came of it.
    follow(&mut standby, &web(&[1, 3]), &before, now);
    assert!(!is_settled(&standby), "what the leader said was of its earlier tables");
    assert_eq!(by_address(&leader), by_address(&standby));
    // It serves by others: what is older there means nothing here.
    apply(&mut standby, &[web(&[2, 3])], now);
    let own = by_address(&standby);
    follow(&mut standby, &web(&[2, 3]), &leader.history(), now);
    assert_eq!(own, by_address(&standby));
}

#[test]
fn what_is_over_or_not_what_it_should_be_is_not_taken_over() {
    let now = begun();
    let (mut leader, mut standby) = (Book::default(), Book::default());
    apply(&mut leader, &[web(&[1, 2])], now);
    apply(&mut leader, &[web(&[1, 3])], now);
    apply(&mut standby, &[web(&[1, 3])], now);
    let good = leader.history()[&name()].clone();
    let changed = |change: &dyn Fn(&mut ServiceTables, &mut OlderTable)| {
        let mut tables = (*good).clone();
        let mut older = tables.older.take().unwrap();
        change(&mut tables, &mut older);
        tables.older = Some(older);
        History::from([(name(), Arc::new(tables))])
    };
    let slots = |older: &OlderTable| (*older.slots).clone();
    let wrong = [
        changed(&|_, older| older.until = now),
        changed(&|tables, _| tables.previous = 0),
        changed(&|_, older| {
            older.slots = Arc::new(AddressSlots { slots: vec![1; 100], ..slots(older) });
        }),
        changed(&|_, older| {
            older.slots = Arc::new(AddressSlots { backends: vec![address(7)], ..slots(older) });
        }),
        changed(&|_, older| {
            let backends = (0..9000).map(|port| BackendAddress { port: Some(port), ..address(1) }).collect();
            older.slots = Arc::new(AddressSlots { backends, ..slots(older) });
        }),
    ];
    for leader in wrong {
        follow(&mut standby, &web(&[1, 3]), &leader, now);
        assert!(is_settled(&standby));
    }
    follow(&mut standby, &web(&[1, 3]), &History::from([(name(), good)]), now);
    assert!(!is_settled(&standby));
}

#[test]
fn a_fingerprint_is_of_addresses_and_of_their_places() {
    let now = begun();
    let of = |backends: &[u8]| {
        let mut book = Book::default();
        apply(&mut book, &[web(backends)], now);
        book.history()[&name()].current
    };
    let sets: [&[u8]; 6] = [&[], &[1], &[2], &[1, 2], &[1, 3], &[1, 2, 3]];
    let prints: BTreeSet<u64> = sets.iter().map(|set| of(set)).collect();
    assert_eq!(prints.len(), sets.len());
    assert_eq!(of(&[3, 1, 2]), of(&[1, 2, 3]));
    // The same in each version: nodes are updated one by one.
    assert_eq!(of_address(address(1)), 0x8d30_69b1_0538_0fc6);
}
