use super::*;
use fulcrum_config::{Before, NodeName, Noted, SourceName, UnixTime};
use std::collections::BTreeSet;

const FILE: &str = "node: lb1\nnodes: {lb1: {addresses: [10.0.0.1]}, lb2: {addresses: [10.0.0.2]}}\n\
    interfaces: {eth0: {networks: [10.0.0.0/24]}}\n";

fn offer(text: &str) -> Offer {
    let says = Noted { what: Arc::from(text), by: String::new(), since: UnixTime(1) };
    let fragments = Fragments::default().with(SourceName::new("prod"), Some(says)).expect("a fragment");
    Offer {
        number: 1,
        forced: BTreeSet::new(),
        text: FILE.into(),
        allocations: Some(Arc::default()),
        overrides: Some(Arc::default()),
        fragments: Some(Arc::new(fragments)),
    }
}

fn text(offer: &Offer) -> Text {
    let Offer { text, allocations, overrides, fragments, .. } = offer.clone();
    Text { serial: 2, text, allocations, overrides, fragments }
}

#[test]
fn only_what_was_offered_need_not_be_read_again() {
    let directory = tempfile::tempdir().expect("a directory");
    let file = directory.path().join("fulcrum.yaml");
    let own = FILE.replace("node: lb1", "node: lb2");
    let agreed = |offer: &Offer| {
        std::fs::write(&file, &own).expect("room");
        let before = Before::default();
        let adopted = Adopted::read(&file, &NodeName::new("lb1"), &offer.text, &before);
        Agreed::new(offer, adopted.expect("a good file"))
    };
    let offered = offer("services: {}");
    let same = agreed(&offered).expect("agreed").of(&text(&offered), &file);
    assert!(same.is_some_and(|it| it.text.contains("lb2")));

    let other = text(&offer("services: {} # other"));
    assert!(agreed(&offered).expect("agreed").of(&other, &file).is_none(), "another fragment");
    let other = Text { text: format!("{FILE}\n").into(), ..text(&offered) };
    assert!(agreed(&offered).expect("agreed").of(&other, &file).is_none(), "another file");
    let older = Text { allocations: None, ..text(&offered) };
    assert!(agreed(&offered).expect("agreed").of(&older, &file).is_none(), "of an older version");
    let agreed = agreed(&offered).expect("agreed");
    std::fs::write(&file, format!("{own}\n")).expect("room");
    assert!(agreed.of(&text(&offered), &file).is_none(), "this node's own file was edited");
}
