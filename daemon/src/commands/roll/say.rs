//! What a roll prints: lines for people, or a JSON object in each line for programs.

use super::groups;
use crate::roll::journal::Journal;
use crate::roll::plan::{command, expected, left_out, order, page, short};
use crate::roll::report::Look;
use crate::roll::step::{Action, Step};
use fulcrum_config::Inventory;
use serde_json::{Value, json};
use std::cell::RefCell;
use std::io::{self, Write};
use std::time::Duration;

thread_local! {
    /// What was said last to be waited for: it is not said again.
    static WAITED: RefCell<String> = const { RefCell::new(String::new()) };
}

#[derive(Debug, Clone, Copy)]
pub(super) struct Say {
    pub(super) json: bool,
}

impl Say {
    fn tell(self, text: &str, event: &Value) {
        let line = if self.json { format!("{event}\n") } else { format!("{text}\n") };
        let mut out = io::stdout().lock();
        // A reader that went away is no reason to stop half-way.
        let _ = out.write_all(line.as_bytes()).and_then(|()| out.flush());
    }

    /// The order, and with `whole` what is done to each.
    pub(super) fn plan(
        self,
        inventory: &Inventory,
        journal: &Journal,
        look: &Look,
        last: Option<Duration>,
        whole: bool,
    ) {
        let expected = expected(journal, last);
        let left_out = left_out(inventory, look);
        let nodes: Vec<Value> = journal
            .nodes
            .iter()
            .map(|entry| {
                let exec = command(&journal.options, entry);
                json!({ "node": entry.node, "leads": entry.led, "action": entry.action, "step": entry.step, "exec": exec })
            })
            .collect();
        let mut text = if whole { page(journal, groups(look)) } else { order(journal) };
        for node in &left_out {
            text.push_str(&format!(
                "not changed: {node}, which the nodes know and the inventory does not have\n"
            ));
        }
        text.push_str(&expected);
        let event = json!({ "event": "plan", "nodes": nodes, "left_out": left_out, "expected": expected });
        self.tell(&text, &event);
    }

    pub(super) fn step(self, node: &str, done: usize, of: usize, step: Step) {
        let number = done.saturating_add(1);
        let event = json!({ "event": "step", "node": node, "number": number, "of": of, "step": step });
        self.tell(&format!("[{number}/{of}] {node}: {}", step.about()), &event);
    }

    pub(super) fn wait(self, node: &str, step: Step, what: &str) {
        let said = format!("{node} {step:?} {what}");
        if WAITED.with(|waited| waited.replace(said.clone()) != said) {
            let event = json!({ "event": "wait", "node": node, "step": step, "for": what });
            self.tell(&format!("      waits: {what}"), &event);
        }
    }

    pub(super) fn note(self, node: Option<&str>, what: &str) {
        let text = format!("      {}", what.replace('\n', "\n      "));
        self.tell(&text, &json!({ "event": "note", "node": node, "what": what }));
    }

    pub(super) fn output(self, node: &str, line: &str) {
        self.tell(&format!("{node} | {line}"), &json!({ "event": "output", "node": node, "line": line }));
    }

    /// The one at this place in the journal is done.
    pub(super) fn changed(self, journal: &Journal, place: usize, last: Option<Duration>) {
        let Some(entry) = journal.nodes.get(place) else { return };
        let expected = expected(journal, last);
        let (node, took) = (&entry.node, entry.spent);
        let event = json!({ "event": "changed", "node": node, "action": entry.action, "took_ms": took.as_millis(), "expected": expected });
        let expected = journal.current().map(|_| format!("; {expected}")).unwrap_or_default();
        if entry.action == Action::Replace && !self.json {
            // All that was to be done: the end says so.
            return;
        }
        let done = entry.action.done();
        self.tell(&format!("      {node} is {done}, in {}{expected}", short(took)), &event);
    }

    pub(super) fn done(self, journal: &Journal) {
        let took: Duration = journal.nodes.iter().map(|entry| entry.spent).sum();
        let nodes: Vec<Value> = journal
            .nodes
            .iter()
            .map(|entry| json!({ "node": entry.node, "took_ms": entry.spent.as_millis(), "notes": entry.notes }))
            .collect();
        let event = json!({ "event": "done", "took_ms": took.as_millis(), "nodes": nodes });
        let text = match journal.nodes.as_slice() {
            [lost] if lost.action == Action::Replace => {
                let notes: String = lost.notes.iter().map(|note| format!("\n  {note}")).collect();
                format!("{} is replaced, in {}{notes}", lost.node, short(took))
            }
            _ => format!("all nodes are changed, in {}", short(took)),
        };
        self.tell(&text, &event);
    }

    pub(super) fn stopped(self, journal: &Journal, why: &str, go_on: &str) {
        let node = journal.current().map(|entry| entry.node.as_str());
        let stands = journal.stands();
        let event =
            json!({ "event": "stopped", "node": node, "why": why, "stands": stands, "resume": go_on });
        if self.json {
            self.tell("", &event);
        }
        let node = node.unwrap_or_default();
        eprintln!(
            "fulcrum: stopped at {node}: {why}\n  {stands}\n  no other node is touched; when this is mended, go on: {go_on}"
        );
    }
}
