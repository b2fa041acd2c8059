#![allow(clippy::disallowed_methods, clippy::arithmetic_side_effects, reason = "a test")]

use super::*;

fn name() -> ObjectName {
    named("web")
}

fn named(name: &str) -> ObjectName {
    ObjectName { namespace: "default".to_owned(), name: name.to_owned() }
}

fn report(message: &str) -> Report {
    Report {
        ingress: Vec::new(),
        is_served: true,
        reason: "Served".to_owned(),
        message: message.to_owned(),
        annotations: std::collections::BTreeMap::new(),
    }
}

/// Writes in `time`, if what was written is overwritten at once, and what came of it.
fn writes_in(rivals: &mut Rivals, report: &Report, begin: Instant, time: Duration) -> u32 {
    let (mut now, mut writes) = (begin, 0);
    loop {
        now = rivals.when(&name(), Some(report), now);
        if now > begin + time {
            return writes;
        }
        rivals.told(&name(), Some(report), now);
        writes += 1;
        now += Duration::from_millis(10);
    }
}

#[test]
fn what_is_overwritten_is_written_ever_more_seldom_and_it_is_said() {
    let (now, mut rivals) = (Instant::now(), Rivals::default());
    let report = report("one");
    assert_eq!(rivals.when(&name(), Some(&report), now), now);
    let writes = writes_in(&mut rivals, &report, now, Duration::from_secs(3));
    assert!((3..=4).contains(&writes), "{writes}");
    let hour = Duration::from_secs(3600);
    let writes = writes_in(&mut rivals, &report, now, hour);
    assert!((100..=130).contains(&writes), "{writes}");
    let said = rivals.said(now + hour).unwrap();
    assert!(said.contains("Service default/web is overwritten"), "{said}");
    // It has ended.
    assert_eq!(rivals.said(now + hour + CALM + CALM), None);
    let later = now + hour + CALM + CALM;
    assert_eq!(rivals.when(&name(), Some(&report), later), later);
}

#[test]
fn one_correction_and_all_that_is_new_are_written_at_once() {
    let (now, mut rivals) = (Instant::now(), Rivals::default());
    rivals.told(&name(), Some(&report("one")), now);
    assert_eq!(rivals.when(&name(), Some(&report("one")), now), now);
    for _ in 0..5 {
        rivals.told(&name(), Some(&report("one")), now);
    }
    assert!(rivals.when(&name(), Some(&report("one")), now) > now);
    assert_eq!(rivals.when(&name(), Some(&report("two")), now), now);
    assert_eq!(rivals.when(&name(), None, now), now, "it is not ours any more");
    rivals.retain(|_| false, now);
    assert_eq!(rivals.when(&name(), Some(&report("one")), now), now);
    assert_eq!(rivals.said(now), None);
}

#[test]
fn where_hundreds_are_overwritten_there_is_one_correction_a_second() {
    let (begin, mut rivals) = (Instant::now(), Rivals::default());
    let report = report("one");
    let names: Vec<ObjectName> = (0..300).map(|number| named(&format!("s{number}"))).collect();
    let mut writes = Vec::new();
    for second in (0..7_200).step_by(5) {
        let now = begin + Duration::from_secs(second);
        rivals.retain(|_| true, now);
        let due: Vec<&ObjectName> =
            names.iter().filter(|name| rivals.when(name, Some(&report), now) == now).collect();
        for name in &due {
            rivals.told(name, Some(&report), now);
        }
        writes.push(due.len());
    }
    // Pauses double until they are as long as that takes.
    let of_second_hour: usize = writes[720..].iter().sum();
    assert!((2_000..=4_000).contains(&of_second_hour), "{of_second_hour}");
    let said = rivals.said(begin + Duration::from_secs(7_200)).unwrap();
    assert!(said.contains("and of 299 more"), "{said}");
    assert!(rivals.corrects(&names[0], Some(&report), begin + Duration::from_secs(7_200)));
}
