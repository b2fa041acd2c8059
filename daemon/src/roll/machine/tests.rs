use super::*;
use crate::roll::fixture::{journal, look};
use crate::roll::report::{Group, Override, Service};

const SECOND: Duration = Duration::from_secs(1);

fn of<'a>(look: &'a mut Look, node: &str) -> &'a mut Report {
    look.get_mut(node).unwrap().as_mut().unwrap()
}

fn group_of<'a>(look: &'a mut Look, node: &str) -> &'a mut Group {
    of(look, node).groups.first_mut().unwrap()
}

/// At the first node, at this step.
fn at(step: Step, emptied: Option<Emptied>) -> Journal {
    let mut journal = journal(&["lb-1", "lb-2"]);
    let entry = journal.current_mut().unwrap();
    (entry.step, entry.emptied) = (step, emptied);
    journal
}

fn pair(leader: &str) -> Look {
    look(&["lb-1", "lb-2"], &[("web", leader)])
}

fn drain(look: &mut Look, node: &str) {
    let asked = Override { of: format!("lb-node {node}"), by: "uid 0".to_owned() };
    of(look, node).overrides.push(asked);
    group_of(look, node).standing_down = true;
}

fn waits(next: &Next, what: &str) -> bool {
    matches!(next, Next::Wait(why) if why.contains(what))
}

fn stops(next: &Next, what: &str) -> bool {
    matches!(next, Next::Stop(why) if why.contains(what))
}

#[test]
fn a_roll_without_faults_does_everything_to_each_node_and_never_to_two_at_once() {
    let mut journal = journal(&["lb-1", "lb-2"]);
    let mut done = Vec::new();
    let mut looks = pair("lb-2");
    for _ in 0..100 {
        let Some(node) = journal.current().map(|entry| entry.node.clone()) else { break };
        let other = if node == "lb-1" { "lb-2" } else { "lb-1" };
        match next(&journal, &looks, SECOND) {
            Next::Do(task) => {
                done.push(format!("{node} {task:?}"));
                if task == Task::Drain {
                    looks = pair(other);
                    drain(&mut looks, &node);
                    journal.current_mut().unwrap().emptied = Some(Emptied::Drained);
                }
                if task == Task::Undrain {
                    looks = pair(other);
                    continue;
                }
            }
            Next::Advance(note) => assert_eq!(note, None),
            Next::Done => break,
            next @ (Next::Wait(_) | Next::Stop(_)) => panic!("{next:?}"),
        }
        journal.advance();
    }
    let tasks = ["Preflight", "Backup", "Drain", "Change", "Undrain"];
    let all: Vec<String> =
        ["lb-1", "lb-2"].iter().flat_map(|node| tasks.map(|task| format!("{node} {task}"))).collect();
    assert_eq!(done, all);
    assert_eq!(next(&journal, &looks, SECOND), Next::Done);
}

#[test]
fn nothing_is_done_while_another_node_is_not_ready() {
    type Fault = fn(&mut Look);
    let faults: [(Fault, &str); 8] = [
        (
            |look| drop(look.insert("lb-2".to_owned(), Err("no route".to_owned()))),
            "lb-2 does not answer: no route",
        ),
        (|look| of(look, "lb-2").node = "lb-9".to_owned(), "leads to node lb-9"),
        (
            |look| {
                (of(look, "lb-2").ready, of(look, "lb-2").not_ready) = (false, vec!["no round".to_owned()])
            },
            "lb-2: no round",
        ),
        (|look| group_of(look, "lb-2").priority = None, "may not lead group web"),
        (|look| group_of(look, "lb-2").standing_down = true, "may not lead group web"),
        (|look| group_of(look, "lb-2").links[0].up = false, "interface eth0 is down"),
        (|look| group_of(look, "lb-2").role = "init".to_owned(), "group web has not started"),
        (|look| of(look, "lb-2").groups.clear(), "no other node knows group web"),
    ];
    for step in [Step::Others, Step::Change] {
        let journal = at(step, Some(Emptied::Drained));
        for (fault, why) in faults {
            let mut look = pair("lb-1");
            fault(&mut look);
            let soon = next(&journal, &look, SECOND);
            assert!(waits(&soon, why), "{why}: {soon:?}");
            let late = next(&journal, &look, OTHERS);
            assert!(stops(&late, why), "{why}: {late:?}");
        }
    }
    assert!(waits(&next(&at(Step::Others, None), &look(&["lb-1"], &[]), SECOND), "no other node"));
}

#[test]
fn of_three_the_other_two_must_be_in_sync_with_each_other_and_not_with_the_one_that_is_changed() {
    let journal = journal(&["lb-1", "lb-2", "lb-3"]);
    let mut three = look(&["lb-1", "lb-2", "lb-3"], &[("web", "lb-2")]);
    // What lb-2 has of lb-1 does not matter: that one goes anyway.
    of(&mut three, "lb-2").peer_link.peers[0].state = "down".to_owned();
    assert_eq!(next(&journal, &three, SECOND), Next::Advance(None));
    of(&mut three, "lb-2").peer_link.peers[1].config_agrees = Some(false);
    let held = next(&journal, &three, SECOND);
    assert!(waits(&held, "lb-2: it runs another configuration than lb-3"), "{held:?}");
}

#[test]
fn a_node_is_empty_once_it_leads_nothing_others_lead_and_its_connections_finished() {
    let drained = at(Step::Empty, Some(Emptied::Drained));
    let leads = next(&drained, &pair("lb-1"), SECOND);
    assert!(waits(&leads, "it leads web still"), "{leads:?}");
    assert!(stops(&next(&drained, &pair("lb-1"), LEADS), "it leads web still"));
    // Without a drain it may have taken the group back.
    let handed = at(Step::Empty, Some(Emptied::HandedOver));
    assert_eq!(next(&handed, &pair("lb-1"), SECOND), Next::Do(Task::HandOver(vec!["web".to_owned()])));
    assert!(stops(&next(&handed, &pair("lb-1"), LEADS), "it leads web still"));
    let nobody = next(&drained, &pair("nobody-in-it"), SECOND);
    assert_eq!(nobody, Next::Advance(None), "a partner that is not ours leads");
    let mut unled = pair("lb-2");
    group_of(&mut unled, "lb-2").role = "standby".to_owned();
    assert!(waits(&next(&drained, &unled, SECOND), "nobody leads group web"));

    let mut busy = pair("lb-2");
    let service =
        |mode: &str, connections| Service { mode: mode.to_owned(), connections, ..Service::default() };
    of(&mut busy, "lb-1").services = vec![service("proxy", 3), service("fullnat", 1000)];
    let finishing = next(&drained, &busy, SECOND);
    assert!(waits(&finishing, "3 connections to finish; what is left is cut in 299 s"), "{finishing:?}");
    let Next::Advance(Some(note)) = next(&drained, &busy, drained.options.deadline) else { panic!() };
    assert!(note.contains("3 connections had not finished at the deadline"), "{note}");
    of(&mut busy, "lb-1").services.remove(0);
    assert_eq!(next(&drained, &busy, SECOND), Next::Advance(None));
}

#[test]
fn a_command_that_was_begun_is_run_again_whatever_the_others_say() {
    let mut journal = at(Step::Change, Some(Emptied::Drained));
    journal.current_mut().unwrap().begun = true;
    let mut look = pair("lb-2");
    look.insert("lb-1".to_owned(), Err("gone".to_owned()));
    assert_eq!(next(&journal, &look, SECOND), Next::Do(Task::Change));
}

#[test]
fn a_changed_node_is_waited_for_until_it_is_in_sync_but_not_for_ever() {
    let journal = at(Step::Return, Some(Emptied::Drained));
    let mut back = pair("lb-2");
    // Drained, it may not lead yet, and that is as it should be.
    group_of(&mut back, "lb-1").priority = None;
    assert_eq!(next(&journal, &back, SECOND), Next::Advance(None));
    of(&mut back, "lb-1").peer_link.peers[0].config_agrees = None;
    assert!(waits(&next(&journal, &back, SECOND), "another configuration"));
    group_of(&mut back, "lb-1").leader = None;
    assert!(waits(&next(&journal, &back, SECOND), "it hears no leader of group web"));
    back.insert("lb-1".to_owned(), Err("connection refused".to_owned()));
    assert!(waits(&next(&journal, &back, SECOND), "lb-1 does not answer: connection refused"));
    let late = next(&journal, &back, journal.options.ready_deadline);
    assert!(stops(&late, "lb-1 does not answer: connection refused"), "{late:?}");
    let mut old = pair("lb-2");
    of(&mut old, "lb-1").uptime_seconds = 100;
    let Next::Advance(Some(note)) = next(&journal, &old, SECOND) else { panic!() };
    assert!(note.contains("did not start it anew"), "{note}");
}

#[test]
fn a_node_is_undrained_until_it_says_that_it_is() {
    let journal = at(Step::Undrain, Some(Emptied::Drained));
    let mut drained = pair("lb-2");
    drain(&mut drained, "lb-1");
    assert_eq!(next(&journal, &drained, SECOND), Next::Do(Task::Undrain));
    assert!(stops(&next(&journal, &drained, LEADS), "it is drained still"));
    // One that a roll undrained which was killed before it could note that.
    assert_eq!(next(&journal, &pair("lb-2"), SECOND), Next::Advance(None));
    let handed = at(Step::Undrain, Some(Emptied::HandedOver));
    assert_eq!(next(&handed, &drained, SECOND), Next::Advance(None));
    let mut others = self::journal(&["lb-1", "lb-2"]);
    let Next::Advance(Some(note)) = next(&others, &drained, SECOND) else { panic!() };
    assert!(note.contains("drained already, by uid 0"), "{note}");
    others.nodes.reverse();
    assert!(waits(&next(&others, &drained, SECOND), "lb-1: it is drained, by uid 0"));
}

#[test]
fn the_next_node_waits_for_one_leader_of_each_group() {
    let journal = at(Step::Settle, None);
    assert_eq!(next(&journal, &pair("lb-1"), SECOND), Next::Advance(None));
    let mut two = pair("lb-1");
    group_of(&mut two, "lb-2").role = "leader".to_owned();
    assert!(waits(&next(&journal, &two, SECOND), "group web is led by lb-1 and lb-2"));
    assert!(stops(&next(&journal, &two, SETTLE), "group web is led by lb-1 and lb-2"));
    let mut none = pair("lb-1");
    group_of(&mut none, "lb-1").role = "standby".to_owned();
    assert!(waits(&next(&journal, &none, SECOND), "nobody leads group web"));
    let mut moves = pair("lb-1");
    group_of(&mut moves, "lb-1").moves_to = Some("lb-2".to_owned());
    assert!(waits(&next(&journal, &moves, SECOND), "group web moves to lb-2"));
    assert_eq!(next(&journal, &moves, MOVES), Next::Advance(None));
    let mut drained = pair("lb-1");
    group_of(&mut drained, "lb-2").standing_down = true;
    assert!(waits(&next(&journal, &drained, SECOND), "lb-2: it may not lead group web now"));
}

/// lb-2 was lost while lb-1 led; lb-1 knows that its link is down.
fn lost() -> Look {
    let mut look = pair("lb-1");
    of(&mut look, "lb-1").peer_link.peers[0].state = "down".to_owned();
    look.insert("lb-2".to_owned(), Err("no route".to_owned()));
    look
}

fn replacing(step: Step) -> Journal {
    let mut journal = journal(&[]);
    journal.nodes.push(Entry { step, ..Entry::of("lb-2", Action::Replace) });
    journal
}

#[test]
fn a_node_that_was_lost_is_made_anew_and_neither_emptied_nor_looked_into() {
    let mut journal = replacing(Step::Others);
    let (mut looks, mut done) = (lost(), Vec::new());
    for _ in 0..20 {
        match next(&journal, &looks, SECOND) {
            Next::Do(task) => {
                done.push(task.clone());
                looks = pair("lb-1");
                if task == Task::Change {
                    // It was drained before it was lost.
                    drain(&mut looks, "lb-2");
                }
                if task == Task::Undrain {
                    continue;
                }
            }
            Next::Advance(note) => assert_eq!(note, None),
            Next::Done => break,
            next @ (Next::Wait(_) | Next::Stop(_)) => panic!("{next:?}"),
        }
        journal.advance();
    }
    assert_eq!(done, [Task::Change, Task::Undrain]);
    assert_eq!(next(&journal, &looks, SECOND), Next::Done);
}

#[test]
fn a_node_that_somebody_hears_is_not_replaced_unless_that_is_asked_for() {
    type Sign = fn(&mut Look);
    let signs: [(Sign, &str); 3] = [
        (|look| drop(look.insert("lb-2".to_owned(), pair("lb-1")["lb-2"].clone())), "lb-2 answers"),
        (|look| of(look, "lb-1").peer_link.peers[0].state = "up".to_owned(), "lb-1 has a link with lb-2"),
        (
            |look| of(look, "lb-1").groups = vec![crate::roll::fixture::group("web", "lb-1", "lb-2")],
            "lb-1 hears lb-2 lead group web",
        ),
    ];
    for (sign, why) in signs {
        let mut look = lost();
        sign(&mut look);
        for step in [Step::Gone, Step::Change] {
            let mut journal = replacing(step);
            assert!(waits(&next(&journal, &look, SECOND), why), "{why}");
            assert!(stops(&next(&journal, &look, OTHERS), why), "{why}");
            journal.options.force = true;
            let forced = next(&journal, &look, SECOND);
            assert!(matches!(forced, Next::Advance(Some(_)) | Next::Do(Task::Change)), "{forced:?}");
        }
    }
    let mut unready = lost();
    of(&mut unready, "lb-1").ready = false;
    assert!(waits(&next(&replacing(Step::Others), &unready, SECOND), "lb-1: it is not ready"));
}

/// lb-3, which stands in, is at `step`.
fn standing_in(action: Action, step: Step) -> Journal {
    let mut journal = journal(&[]);
    journal.nodes.push(Entry { step, ..Entry::of("lb-3", action) });
    journal
}

#[test]
fn who_stands_in_is_made_and_waited_for_and_at_the_end_emptied_removed_and_forgotten() {
    let three = || look(&["lb-1", "lb-2", "lb-3"], &[("web", "lb-3")]);
    let mut before = three();
    before.insert("lb-3".to_owned(), Err("no route".to_owned()));
    assert_eq!(next(&standing_in(Action::Create, Step::Change), &before, SECOND), Next::Do(Task::Change));
    let mut unready = before.clone();
    of(&mut unready, "lb-2").ready = false;
    assert!(waits(
        &next(&standing_in(Action::Create, Step::Change), &unready, SECOND),
        "lb-2: it is not ready"
    ));
    assert!(waits(
        &next(&standing_in(Action::Create, Step::Return), &before, SECOND),
        "lb-3 does not answer"
    ));
    assert_eq!(next(&standing_in(Action::Create, Step::Return), &three(), SECOND), Next::Advance(None));

    assert_eq!(next(&standing_in(Action::Remove, Step::Drain), &three(), SECOND), Next::Do(Task::Drain));
    assert!(waits(&next(&standing_in(Action::Remove, Step::Empty), &three(), SECOND), "it leads web still"));
    let removed = standing_in(Action::Remove, Step::Gone);
    assert!(waits(&next(&removed, &three(), SECOND), "lb-3 answers"));
    assert!(stops(&next(&removed, &three(), removed.options.ready_deadline), "lb-3 answers"));
    let mut after = look(&["lb-1", "lb-2", "lb-3"], &[("web", "lb-1")]);
    after.insert("lb-3".to_owned(), Err("no route".to_owned()));
    assert!(waits(&next(&removed, &after, SECOND), "lb-1 has a link with lb-3"));
    for node in ["lb-1", "lb-2"] {
        of(&mut after, node).peer_link.peers[1].state = "down".to_owned();
    }
    assert_eq!(next(&removed, &after, SECOND), Next::Advance(None));
    let forgetting = standing_in(Action::Remove, Step::Undrain);
    let asked = Override { of: "lb-node lb-3".to_owned(), by: "uid 0".to_owned() };
    of(&mut after, "lb-2").overrides.push(asked);
    assert_eq!(next(&forgetting, &after, SECOND), Next::Do(Task::Undrain));
    of(&mut after, "lb-2").overrides.clear();
    assert_eq!(next(&forgetting, &after, SECOND), Next::Advance(None));
    assert_eq!(next(&standing_in(Action::Remove, Step::Settle), &after, SECOND), Next::Advance(None));
}
