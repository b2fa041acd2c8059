use super::*;
use crate::roll::fixture::{journal, options};

#[test]
fn what_was_written_is_read_again() {
    let directory = tempfile::tempdir().unwrap();
    let path = beside(&directory.path().join("nodes.yaml"), "roll");
    assert!(path.ends_with("nodes.yaml.roll"));
    assert_eq!(Journal::load(&path).unwrap(), None);
    let mut kept = journal(&["lb-1", "lb-2"]);
    kept.advance();
    kept.current_mut().unwrap().note("said".to_owned());
    kept.current_mut().unwrap().running = Some(Running { pid: 7, began: 8 });
    kept.save(&path).unwrap();
    assert_eq!(Journal::load(&path).unwrap(), Some(kept));
    assert_eq!(std::fs::read_dir(directory.path()).unwrap().count(), 1);
}

#[test]
fn what_is_no_journal_is_refused_with_what_to_do() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("journal");
    let newer = serde_json::to_string(&journal(&["lb-1"])).unwrap().replace("\"version\":2", "\"version\":3");
    for text in ["", "{}", "[1", &newer] {
        std::fs::write(&path, text).unwrap();
        let refused = Journal::load(&path).unwrap_err().to_string();
        assert!(refused.contains("can't be read") && refused.contains("remove it"), "{refused}");
    }
}

#[test]
fn each_node_goes_through_all_steps_one_after_the_other() {
    let mut journal = journal(&["lb-2", "lb-1"]);
    for (done, node) in ["lb-2", "lb-1"].into_iter().enumerate() {
        for step in Action::Recreate.steps().iter().copied() {
            let current = journal.current().unwrap();
            assert_eq!((current.node.as_str(), current.step, journal.done()), (node, step, done));
            journal.advance();
        }
    }
    assert_eq!((journal.current(), journal.done()), (None, 2));
    journal.advance();
    assert_eq!(journal.stands(), "done: lb-2, lb-1");
}

#[test]
fn a_node_begins_anew_unless_its_command_was_begun() {
    let mut journal = Journal::new(options(), vec![Entry::new("lb-1", 2)]);
    for begun in [false, true] {
        let entry = journal.current_mut().unwrap();
        (entry.step, entry.emptied, entry.begun) = (Step::Change, Some(Emptied::Drained), begun);
        journal.rewind();
        let entry = journal.current().unwrap();
        assert_eq!(entry.step == Step::Change, begun);
        assert_eq!(entry.emptied.is_some(), begun);
    }
    assert!(journal.stands().contains("its command was begun; it is drained"), "{}", journal.stands());
}
