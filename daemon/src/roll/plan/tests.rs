use super::*;
use crate::roll::fixture::{journal, look, options};

fn inventory(nodes: &[&str]) -> Inventory {
    let nodes: String =
        nodes.iter().map(|node| format!("  - {{name: {node}, fulcrum: [run, {node}]}}\n")).collect();
    Inventory::parse(&format!("nodes:\n{nodes}"), "nodes.yaml").unwrap()
}

#[test]
fn standbys_come_first_and_who_leads_most_comes_last() {
    let nodes = ["lb-1", "lb-2", "lb-3", "lb-4"];
    let look = look(&nodes, &[("a", "lb-1"), ("b", "lb-1"), ("c", "lb-3")]);
    let order = |inventory: &Inventory| -> Vec<(String, usize)> {
        plan(inventory, &look).unwrap().into_iter().map(|entry| (entry.node, entry.led)).collect()
    };
    let of = |nodes: [(&str, usize); 4]| nodes.map(|(node, led)| (node.to_owned(), led)).to_vec();
    assert_eq!(order(&inventory(&nodes)), of([("lb-2", 0), ("lb-4", 0), ("lb-3", 1), ("lb-1", 2)]));
    let turned = inventory(&["lb-4", "lb-3", "lb-2", "lb-1"]);
    assert_eq!(order(&turned), of([("lb-4", 0), ("lb-2", 0), ("lb-3", 1), ("lb-1", 2)]));
}

#[test]
fn without_an_answer_of_each_node_there_is_no_plan() {
    let mut look = look(&["lb-1", "lb-2"], &[]);
    look.insert("lb-2".to_owned(), Err("no route".to_owned()));
    assert_eq!(plan(&inventory(&["lb-1", "lb-2"]), &look).unwrap_err(), ["lb-2 does not answer: no route"]);
    look.insert("lb-2".to_owned(), look["lb-1"].clone());
    let faults = plan(&inventory(&["lb-1", "lb-2"]), &look).unwrap_err();
    assert_eq!(faults, ["what the inventory says of lb-2 leads to node lb-1: correct it"]);
}

#[test]
fn nodes_that_are_not_in_the_inventory_are_named() {
    let look = look(&["lb-1", "lb-2", "lb-3"], &[]);
    assert_eq!(left_out(&inventory(&["lb-1", "lb-2"]), &look).into_iter().collect::<Vec<_>>(), ["lb-3"]);
}

#[test]
fn how_long_it_takes_is_said_by_the_deadlines_then_by_the_last_roll_then_by_this_one() {
    let minutes = |count: u64| Duration::from_secs(60 * count);
    let mut journal = journal(&["lb-1", "lb-2", "lb-3"]);
    let first = expected(&journal, None);
    // 9 + 1 minutes of commands and looks, 5 for connections, 30 for the command, 10 and 2 to come back, three times.
    assert!(first.contains("3 nodes left, at most 2 h 51 min by the deadlines"), "{first}");
    let last = expected(&journal, Some(minutes(6)));
    assert!(last.contains("3 nodes left, about 18 min: 6 min each in the last roll"), "{last}");
    (journal.nodes[0].step, journal.nodes[0].spent) = (Step::Done, minutes(10));
    journal.nodes[1].spent = minutes(5);
    let then = expected(&journal, Some(minutes(6)));
    assert_eq!(then, "2 nodes left, about 15 min: those before took 10 min each");
    assert_eq!(mean(&journal), None);
    journal.nodes.iter_mut().for_each(|entry| entry.step = Step::Done);
    assert_eq!(mean(&journal), Some(minutes(5)));
}

#[test]
fn the_name_of_the_node_stays_one_word() {
    let exec =
        ["ssh", "{node}.example", "a{node}{node}", "{{action} {x}{", "{backup}"].map(str::to_owned).to_vec();
    let backup = Some("/backups/of {node}".into());
    let words = command(&Options { exec, backup, ..options() }, &Entry::new("lb-1", 0));
    assert_eq!(words, ["ssh", "lb-1.example", "alb-1lb-1", "{recreate {x}{", "/backups/of {node}"]);
}

#[test]
fn the_plan_says_each_step_with_its_bounds() {
    let mut entries = vec![Entry::new("lb-2", 0), Entry::new("lb-1", 2)];
    entries[0].step = Step::Return;
    let page = page(&Journal::new(options(), entries), 2);
    assert!(page.contains("1 of 2: lb-2, which leads 0 of 2 groups\n     wait until it answers"), "{page}");
    assert!(page.contains("run, for 30 min at most: ./recreate lb-1"), "{page}");
    assert!(!page.contains("./recreate lb-2"), "{page}");
    assert!(page.contains("fulcrum drain lb-node lb-1"), "{page}");
}

#[test]
fn what_is_lost_is_replaced_alone_and_must_not_answer() {
    let inventory = inventory(&["lb-1", "lb-2"]);
    let mut look = look(&["lb-1", "lb-2"], &[("web", "lb-1")]);
    let plan = |look: &Look, force| replacement(&inventory, look, "lb-2", force);
    assert!(plan(&look, false).unwrap_err()[0].contains("lb-2 lives"));
    assert!(plan(&look, true).is_ok());
    look.insert("lb-2".to_owned(), Err("no route".to_owned()));
    let entry = plan(&look, false).unwrap();
    assert_eq!((entry.node.as_str(), entry.action, entry.step), ("lb-2", Action::Replace, Step::Others));
    assert_eq!(entry.notes, ["without a standby meanwhile: group web"]);
    let page = page(&Journal::new(options(), vec![entry]), 1);
    assert!(page.contains("lb-2, which is lost") && !page.contains("drain lb-node"), "{page}");
    look.insert("lb-1".to_owned(), Err("no route".to_owned()));
    assert_eq!(plan(&look, true).unwrap_err(), ["lb-1 does not answer: no route"]);
    let unknown = replacement(&inventory, &look, "lb-9", false).unwrap_err();
    assert_eq!(unknown, ["lb-9 is not in the inventory, which has lb-1, lb-2"]);
}

#[test]
fn of_three_nodes_each_group_has_a_standby_while_one_is_lost() {
    let nodes = ["lb-1", "lb-2", "lb-3"];
    let mut look = look(&nodes, &[("web", "lb-1")]);
    look.insert("lb-2".to_owned(), Err("no route".to_owned()));
    assert!(replacement(&inventory(&nodes), &look, "lb-2", false).unwrap().notes.is_empty());
}

/// lb-3 may stand in; lb-1 and lb-2 know it, and it does not run.
fn with_surge() -> (Inventory, Look) {
    let place = |node: &str, more: &str| format!("  - {{name: {node}, fulcrum: [run, {node}]{more}}}\n");
    let text = ["lb-1", "lb-2"].map(|node| place(node, "")).concat() + &place("lb-3", ", surge: true");
    let mut look = look(&["lb-1", "lb-2", "lb-3"], &[("web", "lb-2")]);
    look.remove("lb-3");
    for report in look.values_mut().flatten() {
        report.peer_link.peers[1].state = "down".to_owned();
    }
    (Inventory::parse(&format!("nodes:\n{text}"), "nodes.yaml").unwrap(), look)
}

#[test]
fn who_stands_in_is_made_first_and_removed_last() {
    let (inventory, look) = with_surge();
    let of = |entries: Vec<Entry>| -> Vec<String> { entries.iter().map(Entry::called).collect() };
    let with = surge(&inventory, &look, 1).unwrap();
    assert_eq!(of(with.clone()), ["lb-3 (create)", "lb-1", "lb-2", "lb-3 (remove)"]);
    assert_eq!(of(plan(&inventory, &look).unwrap()), ["lb-1", "lb-2"]);
    let mut journal = Journal::new(options(), with);
    let mut there = Vec::new();
    while journal.current().is_some() {
        there.push(journal.stands_in("lb-3"));
        journal.advance();
    }
    assert!(there.iter().all(|is_there| *is_there), "{there:?}");
    assert!(!journal.stands_in("lb-3") && !journal.stands_in("lb-1"));
}

#[test]
fn who_can_not_stand_in_is_named_with_what_to_do() {
    type Fault = fn(&mut Report);
    let faults: [(Fault, &str); 3] = [
        (|report| report.groups[0].vrid = Some(7), "group web has a VRID"),
        (|report| drop(report.peer_link.peers.remove(1)), "lb-1 does not know lb-3"),
        (|report| report.peer_link.peers[1].state = "up".to_owned(), "lb-3 runs already"),
    ];
    for (fault, why) in faults {
        let (inventory, mut look) = with_surge();
        fault(look.get_mut("lb-1").unwrap().as_mut().unwrap());
        let faults = surge(&inventory, &look, 1).unwrap_err().join("; ");
        assert!(faults.contains(why), "{faults}");
    }
    let (inventory, look) = with_surge();
    let few = surge(&inventory, &look, 2).unwrap_err();
    assert_eq!(few, ["--surge 2: the inventory has 1 node with `surge: true`"]);
    assert!(replacement(&inventory, &look, "lb-3", false).unwrap_err()[0].contains("surge"));
}
