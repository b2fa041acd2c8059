use super::*;

fn entry(kind: Kind, outage_ms: f64) -> Entry {
    Entry {
        at: 1_700_000_000,
        by: "ops@bastion".to_owned(),
        kind,
        group: "api".to_owned(),
        from: "lb-1".to_owned(),
        to: Some("lb-2".to_owned()),
        leads: Some("lb-2".to_owned()),
        outage_ms,
        is_over: true,
        resolution_ms: 1.0,
        requests: 5000,
        failed: 300,
        held: 10,
        broken: 10,
    }
}

#[test]
fn a_torn_line_is_left_out_and_what_is_added_stands_behind_it_whole() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("nodes.yaml.drills");
    assert_eq!(History::load(&path).unwrap(), History::default());
    History::add(&path, vec![entry(Kind::Kill, 350.0), entry(Kind::Cut, 400.0)]).unwrap();
    let text = std::fs::read_to_string(&path).unwrap();
    std::fs::write(&path, &text[..text.len() - 40]).unwrap();
    let torn = History::load(&path).unwrap();
    assert_eq!((torn.entries, torn.unread), (vec![entry(Kind::Kill, 350.0)], 1));
    History::add(&path, vec![entry(Kind::Handover, 0.0)]).unwrap();
    let whole = History::load(&path).unwrap();
    assert_eq!(
        (whole.entries, whole.unread),
        (vec![entry(Kind::Kill, 350.0), entry(Kind::Handover, 0.0)], 0)
    );
}

#[test]
fn the_oldest_go_when_there_are_too_many() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("drills");
    let many = (0_u16..505).map(|number| entry(Kind::Kill, f64::from(number))).collect();
    History::add(&path, many).unwrap();
    let kept = History::load(&path).unwrap().entries;
    assert_eq!((kept.len(), kept[0].outage_ms, kept[499].outage_ms), (500, 5.0, 504.0));
    assert_eq!(std::fs::read_dir(directory.path()).unwrap().count(), 1, "nothing is left beside it");
}

#[test]
fn people_see_each_and_the_median_and_the_worst_of_each_kind() {
    let outages = [300.0, 900.0, 310.0];
    let mut entries: Vec<Entry> = outages.into_iter().map(|outage| entry(Kind::Kill, outage)).collect();
    entries.push(Entry { to: None, is_over: false, ..entry(Kind::Cut, 60_000.0) });
    let text = History { entries, unread: 1 }.in_words();
    assert!(text.contains("kill: 3 drills, median 310.0 ms, worst 900.0 ms\n"), "{text}");
    assert!(text.contains("cut: 1 drill, median 60000.0 ms, worst 60000.0 ms\n"), "{text}");
    assert!(text.contains(">60000.0") && text.contains("nobody"), "{text}");
    assert!(text.contains("2023-11-14T22:13:20Z"), "{text}");
    assert!(text.contains("left out: 1 unreadable line\n"), "{text}");
}
