//! In which order the nodes are changed, and how long that takes.

use super::journal::{Emptied, Entry, Journal, Options};
use super::machine::{LEADS, OTHERS, SETTLE, report};
use super::report::{Look, Report};
use super::step::{Action, Step};
use crate::show::counted;
use fulcrum_config::{Inventory, InventoryPlace};
use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Write;
use std::time::Duration;

#[cfg(test)]
mod tests;

/// What each of the short commands may take: hooks before a drain have 60 s.
pub(crate) const COMMAND: Duration = Duration::from_secs(90);

/// The nodes, those first that lead fewest groups; as the inventory has them where they lead equally many.
pub(crate) fn plan(inventory: &Inventory, look: &Look) -> Result<Vec<Entry>, Vec<String>> {
    let mut entries = Vec::new();
    let mut faults = Vec::new();
    for place in lasting(inventory) {
        match report(look, place.name.as_str()) {
            Ok(report) => entries.push(Entry::new(place.name.as_str(), report.leads().len())),
            Err(why) => faults.push(why),
        }
    }
    entries.sort_by_key(|entry| entry.led);
    if faults.is_empty() { Ok(entries) } else { Err(faults) }
}

/// Those that are always there.
fn lasting(inventory: &Inventory) -> impl Iterator<Item = &InventoryPlace> {
    inventory.nodes.iter().filter(|place| !place.surge)
}

/// The same between so many nodes that are made first, and removed at the end.
pub(crate) fn surge(inventory: &Inventory, look: &Look, count: usize) -> Result<Vec<Entry>, Vec<String>> {
    let changed = plan(inventory, look)?;
    let listed = inventory.nodes.iter().filter(|place| place.surge);
    let stand_in: Vec<&str> = listed.map(|place| place.name.as_str()).take(count).collect();
    let mut faults = Vec::new();
    if stand_in.len() < count {
        faults.push(format!(
            "--surge {count}: the inventory has {} with `surge: true`",
            counted(stand_in.len(), "node")
        ));
    }
    let reports: Vec<&Report> = look.values().flatten().collect();
    let groups = reports.iter().flat_map(|report| &report.groups).filter(|group| group.vrid.is_some());
    let groups: BTreeSet<&str> = groups.map(|group| group.name.as_str()).collect();
    for group in groups {
        faults.push(format!(
            "group {group} has a VRID: it moves between the nodes of its pair, and none can stand in; leave `vrid` out of it, or \
             roll without --surge"
        ));
    }
    for node in &stand_in {
        let peer = |report: &&Report| report.peer_link.peers.iter().find(|peer| peer.name == *node).cloned();
        for report in &reports {
            match peer(report) {
                None => faults.push(format!(
                    "{} does not know {node}: add it to `nodes`, with its addresses and `keys`, and say 'fulcrum reload'; a \
                     node that does not run may stand there",
                    report.node
                )),
                Some(peer) if peer.state == "up" => faults.push(format!(
                    "{node} runs already: {} has a link with it; stop it, or take `surge` out of its place in the inventory",
                    report.node
                )),
                Some(_) => {}
            }
        }
    }
    if !faults.is_empty() {
        return Err(faults);
    }
    let made = stand_in.iter().map(|node| Entry::of(node, Action::Create));
    let removed = stand_in.iter().rev().map(|node| Entry::of(node, Action::Remove));
    Ok(made.chain(changed).chain(removed).collect())
}

/// One node that was lost. What its place in the inventory says must not answer.
pub(crate) fn replacement(
    inventory: &Inventory,
    look: &Look,
    node: &str,
    force: bool,
) -> Result<Entry, Vec<String>> {
    let Some(place) = inventory.place(node) else {
        let names: Vec<&str> = inventory.nodes.iter().map(|place| place.name.as_str()).collect();
        return Err(vec![format!("{node} is not in the inventory, which has {}", names.join(", "))]);
    };
    if place.surge {
        return Err(vec![format!(
            "{node} is one that stands in for a while (`surge: true`): nothing is lost with it"
        )]);
    }
    let mut faults: Vec<String> = Vec::new();
    if !force && look.get(place.name.as_str()).is_some_and(Result::is_ok) {
        faults.push(format!(
            "{node} lives: it answers; 'fulcrum roll' makes nodes anew that live, and --force replaces it all the same"
        ));
    }
    let others = lasting(inventory).map(|place| place.name.as_str()).filter(|other| *other != node);
    faults.extend(others.filter_map(|other| report(look, other).err()));
    if !faults.is_empty() {
        return Err(faults);
    }
    let mut entry = Entry::of(node, Action::Replace);
    if let Some(note) = unguarded(look, node) {
        entry.note(note);
    }
    Ok(entry)
}

/// The groups that only one node can lead while this one is away.
fn unguarded(look: &Look, node: &str) -> Option<String> {
    let mut able: BTreeMap<&str, BTreeSet<&str>> = BTreeMap::new();
    for (other, said) in look.iter().filter(|(other, _)| *other != node) {
        for group in said.iter().flat_map(|report| &report.groups) {
            able.entry(&group.name).or_default().insert(other);
        }
    }
    let alone: Vec<&str> = able.iter().filter(|(_, nodes)| nodes.len() < 2).map(|(name, _)| *name).collect();
    let groups = if alone.len() == 1 { "group" } else { "groups" };
    (!alone.is_empty()).then(|| format!("without a standby meanwhile: {groups} {}", alone.join(", ")))
}

/// Nodes that those of the inventory know of, and that it does not have.
pub(crate) fn left_out<'a>(inventory: &Inventory, look: &'a Look) -> BTreeSet<&'a str> {
    let peers = look.values().flatten().flat_map(|report| &report.peer_link.peers);
    peers.map(|peer| peer.name.as_str()).filter(|peer| inventory.place(peer).is_none()).collect()
}

/// How long what is left takes: for people.
pub(crate) fn expected(journal: &Journal, last: Option<Duration>) -> String {
    let left = journal.nodes.len().saturating_sub(journal.done());
    let nodes = u32::try_from(left).unwrap_or(u32::MAX);
    let done: Vec<Duration> =
        journal.nodes.iter().filter(|entry| entry.step == Step::Done).map(|entry| entry.spent).collect();
    let count = u32::try_from(done.len()).unwrap_or(u32::MAX);
    let mean = done.iter().sum::<Duration>().checked_div(count);
    let spent = journal.current().map_or(Duration::ZERO, |entry| entry.spent);
    let whole = |each: Duration| short(each.saturating_mul(nodes).saturating_sub(spent));
    let at_most = short(bound(&journal.options).saturating_mul(nodes));
    let is_usual =
        journal.nodes.iter().all(|entry| matches!(entry.action, Action::Recreate | Action::Replace));
    let left = counted(left, if is_usual { "node" } else { "change" });
    match (mean, last) {
        (Some(mean), _) => {
            format!("{left} left, about {}: those before took {} each", whole(mean), short(mean))
        }
        (None, Some(last)) => {
            format!(
                "{left} left, about {}: {} each in the last roll; at most {at_most}",
                whole(last),
                short(last)
            )
        }
        (None, None) => {
            format!("{left} left, at most {at_most} by the deadlines; better known after the first")
        }
    }
}

/// What a node took in a roll that came to its end.
pub(crate) fn mean(journal: &Journal) -> Option<Duration> {
    let spent: Duration = journal.nodes.iter().map(|entry| entry.spent).sum();
    let nodes = u32::try_from(journal.nodes.len()).ok()?;
    journal.current().is_none().then(|| spent.checked_div(nodes)).flatten()
}

/// What one node may take at most.
fn bound(options: &Options) -> Duration {
    // Preflight, backup, drain and undrain, two for hooks; the others are looked at twice.
    let commands = COMMAND.saturating_mul(6).saturating_add(OTHERS.saturating_mul(2));
    let waits = LEADS.max(options.deadline).saturating_add(options.ready_deadline).saturating_add(SETTLE);
    commands.saturating_add(waits).saturating_add(options.exec_deadline)
}

/// `1 h 2 min`, `3 min`, `42 s`
pub(crate) fn short(duration: Duration) -> String {
    let seconds = duration.as_secs();
    let (minutes, hours) = (seconds / 60, seconds / 3600);
    match (hours, minutes) {
        (0, 0) => format!("{seconds} s"),
        (0, 1..=4) => format!("{minutes} min {} s", seconds % 60),
        (0, _) => format!("{minutes} min"),
        _ => format!("{hours} h {} min", minutes % 60),
    }
}

/// The operator's command for one node. What is put in is not looked at again.
pub(crate) fn command(options: &Options, entry: &Entry) -> Vec<String> {
    let backup = options.backup.as_ref().map(|path| path.display().to_string()).unwrap_or_default();
    let stands =
        [("{node}", entry.node.as_str()), ("{action}", entry.action.word()), ("{backup}", backup.as_str())];
    options.exec.iter().map(|word| fill(word, &stands)).collect()
}

fn fill(word: &str, stands: &[(&str, &str)]) -> String {
    let (mut filled, mut rest) = (String::new(), word);
    while let Some((before, from)) = rest.find('{').and_then(|at| rest.split_at_checked(at)) {
        filled.push_str(before);
        let put = stands.iter().find_map(|(name, text)| Some((*text, from.strip_prefix(name)?)));
        let plain = from.strip_prefix('{').unwrap_or_default();
        let (text, after) = put.unwrap_or(("{", plain));
        filled.push_str(text);
        rest = after;
    }
    filled.push_str(rest);
    filled
}

/// The order alone, for people.
pub(crate) fn order(journal: &Journal) -> String {
    let nodes = journal.nodes.iter().map(|entry| {
        let is_done = entry.step == Step::Done;
        match entry.action {
            _ if is_done => format!("{} (done)", entry.node),
            Action::Recreate => format!("{} (leads {})", entry.node, entry.led),
            Action::Replace => format!("{} (lost)", entry.node),
            Action::Create | Action::Remove => entry.called(),
        }
    });
    format!("one after another: {}\n", nodes.collect::<Vec<_>>().join(", "))
}

/// The whole plan, for people.
pub(crate) fn page(journal: &Journal, groups: usize) -> String {
    let mut page = String::new();
    let count = journal.nodes.len();
    // Writing to a String does not fail.
    for (number, entry) in (1_usize..).zip(&journal.nodes) {
        let (node, led) = (&entry.node, entry.led);
        let exec = command(&journal.options, entry).join(" ");
        let what = match entry.action {
            Action::Recreate => format!("which leads {led} of {}", counted(groups, "group")),
            Action::Replace => "which is lost".to_owned(),
            Action::Create => "which stands in for a while".to_owned(),
            Action::Remove => "which goes again".to_owned(),
        };
        let _ = writeln!(page, "{number} of {count}: {node}, {what}");
        for line in steps(entry, &journal.options, &exec) {
            let _ = writeln!(page, "     {line}");
        }
    }
    page
}

fn steps(entry: &Entry, options: &Options, exec: &str) -> Vec<String> {
    let seconds = |duration: Duration| short(duration);
    let mut lines = Vec::new();
    for step in entry.action.left(entry.step) {
        lines.push(match step {
            Step::Others => format!("look: all other nodes are ready; waits {}", seconds(OTHERS)),
            Step::Gone if entry.action == Action::Remove => format!(
                "look: it is gone, and nobody hears it; waits {}",
                seconds(options.ready_deadline)
            ),
            Step::Gone if options.force => continue,
            Step::Gone => format!("look: nobody hears it; waits {}", seconds(OTHERS)),
            Step::Preflight if !options.preflight => continue,
            Step::Preflight => "fulcrum preflight there: nothing may fail".to_owned(),
            Step::Backup => "fulcrum backup there, if that version has it".to_owned(),
            Step::Drain => {
                format!("fulcrum drain lb-node {} there; without that command, hand over what it leads", entry.node)
            }
            Step::Empty => format!(
                "wait until it leads nothing ({} at most) and its proxied connections finished (those left after {} are cut)",
                seconds(LEADS),
                seconds(options.deadline)
            ),
            Step::Change => format!("run, for {} at most: {exec}", seconds(options.exec_deadline)),
            Step::Return => format!(
                "wait until it answers, is ready and in sync, for {} at most",
                seconds(options.ready_deadline)
            ),
            Step::Undrain if entry.emptied == Some(Emptied::HandedOver) => continue,
            Step::Undrain => "undrain it, if it was drained".to_owned(),
            Step::Settle => {
                format!("wait until all are ready, with one leader of each group, for {} at most", seconds(SETTLE))
            }
            Step::Done => continue,
        });
    }
    lines
}
