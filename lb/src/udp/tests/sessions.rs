use crate::udp::sessions::{Key, Sessions};
use proptest::prelude::*;
use std::time::{Duration, Instant};

#[derive(Debug, Clone)]
enum Step {
    Insert(u16),
    Touch(u16),
    TouchRemoved,
    Remove(u16),
    EvictOldest,
}

fn steps() -> impl Strategy<Value = Vec<Step>> {
    let step = prop_oneof![
        (0..12_u16).prop_map(Step::Insert),
        (0..12_u16).prop_map(Step::Touch),
        Just(Step::TouchRemoved),
        (0..12_u16).prop_map(Step::Remove),
        Just(Step::EvictOldest),
    ];
    prop::collection::vec(step, 0..200)
}

fn key(port: u16) -> Key {
    Key { client: ([192, 0, 2, 1], port).into(), listener: usize::from(port % 2) }
}

proptest! {
    #[test]
    #[allow(clippy::disallowed_methods)] // Any fixed point will do; all times are offsets from it.
    fn the_table_agrees_with_a_plain_list(steps in steps()) {
        let start = Instant::now();
        let idle = Duration::from_secs(30);
        let mut sessions = Sessions::new();
        // Oldest first: port and time of the last datagram.
        let mut list: Vec<(u16, Instant)> = Vec::new();
        let mut last_removed = None;
        for (number, step) in steps.into_iter().enumerate() {
            let now = start + Duration::from_millis(u64::try_from(number).unwrap());
            match step {
                Step::Insert(port) => {
                    let known = list.iter().any(|(other, _)| *other == port);
                    let vacant = sessions.vacant();
                    let (id, replaced) = sessions.insert(key(port), port, now);
                    prop_assert!(known || id == vacant);
                    prop_assert_eq!(replaced, known.then_some(port));
                    list.retain(|(other, _)| *other != port);
                    list.push((port, now));
                }
                Step::Touch(port) => {
                    if let Some(id) = sessions.find(&key(port)) {
                        sessions.touch(id, now);
                        list.retain(|(other, _)| *other != port);
                        list.push((port, now));
                    }
                }
                Step::TouchRemoved => {
                    if let Some(id) = last_removed.filter(|id| sessions.get_mut(*id).is_none()) {
                        sessions.touch(id, now);
                    }
                }
                Step::Remove(port) => {
                    let found = sessions.find(&key(port));
                    last_removed = found.or(last_removed);
                    let removed = found.and_then(|id| sessions.remove(id));
                    let known = list.iter().any(|(other, _)| *other == port);
                    prop_assert_eq!(removed, known.then_some((key(port), port)));
                    list.retain(|(other, _)| *other != port);
                }
                Step::EvictOldest => {
                    last_removed = sessions.oldest().or(last_removed);
                    let removed = sessions.oldest().and_then(|id| sessions.remove(id)).map(|(_, port)| port);
                    let expected = (!list.is_empty()).then(|| list.remove(0).0);
                    prop_assert_eq!(removed, expected);
                }
            }
            prop_assert_eq!(sessions.len(), list.len());
            prop_assert_eq!(sessions.iter().count(), list.len());
            prop_assert_eq!(sessions.deadline(idle), list.first().map(|(_, last)| *last + idle));
            for port in 0..12 {
                let found = sessions.find(&key(port)).and_then(|id| sessions.get_mut(id).map(|(_, port)| *port));
                prop_assert_eq!(found, list.iter().any(|(other, _)| *other == port).then_some(port));
            }
        }
    }
}
