//! What is next: a function of the journal, of what the nodes say, and of how long the present step has gone on.

use super::journal::{Emptied, Entry, Journal, Options};
use super::report::{Look, Report};
use super::step::{Action, Step};
use crate::show::counted;
use std::collections::BTreeSet;
use std::time::Duration;

#[cfg(test)]
mod tests;

/// How long the other nodes may take until they are ready, before anything is done to the next one.
pub(crate) const OTHERS: Duration = Duration::from_secs(30);
/// How long a node may go on leading that is to lead nothing.
pub(crate) const LEADS: Duration = Duration::from_secs(60);
/// How long the nodes may take until each group has one leader again.
pub(crate) const SETTLE: Duration = Duration::from_secs(120);
/// How long a move for an even spread is waited for: the next drain would only move the group once more.
const MOVES: Duration = Duration::from_secs(30);

/// What is next.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Next {
    /// Every node is changed.
    Done,
    /// This, and then the following step (but for [`Task::HandOver`] and [`Task::Undrain`], after which to look again).
    Do(Task),
    /// The step is over; perhaps there is something to say.
    Advance(Option<String>),
    /// Nothing but to look again: what is waited for.
    Wait(String),
    /// It can't go on: why.
    Stop(String),
}

/// What is done at the node that is being changed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Task {
    Preflight,
    Backup,
    Drain,
    /// Each of these groups.
    HandOver(Vec<String>),
    /// The operator's command.
    Change,
    Undrain,
}

/// Whether what the nodes say is needed to know what is next.
pub(crate) fn looks(step: Step) -> bool {
    matches!(
        step,
        Step::Others | Step::Gone | Step::Empty | Step::Change | Step::Return | Step::Undrain | Step::Settle
    )
}

/// What is next, if the present step has gone on for `waited`.
pub(crate) fn next(journal: &Journal, look: &Look, waited: Duration) -> Next {
    let Some(entry) = journal.current() else { return Next::Done };
    match entry.step {
        Step::Others => others(entry, look, waited),
        Step::Gone if journal.options.force => {
            Next::Advance(Some("whether it lives is not looked at, as asked".to_owned()))
        }
        Step::Gone => gone(entry, &journal.options, look, waited),
        Step::Preflight if journal.options.preflight => Next::Do(Task::Preflight),
        Step::Preflight => Next::Advance(Some("preflight left out, as asked".to_owned())),
        Step::Backup => Next::Do(Task::Backup),
        Step::Drain => Next::Do(Task::Drain),
        Step::Empty => empty(entry, look, waited, journal.options.deadline),
        Step::Change => change(entry, &journal.options, look, waited),
        Step::Return => came_back(entry, look, waited, journal.options.ready_deadline),
        Step::Undrain if entry.emptied == Some(Emptied::HandedOver) => Next::Advance(None),
        Step::Undrain if entry.action == Action::Remove => forgotten(entry, look, waited),
        Step::Undrain => undrained(entry, look, waited),
        Step::Settle => settled(entry, look, waited),
        Step::Done => Next::Advance(None),
    }
}

/// Why nothing may be done to the next node now.
pub(crate) fn in_the_way(journal: &Journal, look: &Look) -> Vec<String> {
    journal.current().map(|entry| hinders(entry, &journal.options, look)).unwrap_or_default()
}

/// On if nothing is in the way; else it is waited for, but not for ever.
fn held_up(reasons: Vec<String>, waited: Duration, patience: Duration) -> Next {
    if reasons.is_empty() {
        return Next::Advance(None);
    }
    let reasons = reasons.join("; ");
    if waited < patience {
        Next::Wait(reasons)
    } else {
        Next::Stop(format!("{reasons} (waited {} s)", waited.as_secs()))
    }
}

fn others(entry: &Entry, look: &Look, waited: Duration) -> Next {
    let why = unready_others(entry, look);
    if !why.is_empty() {
        return held_up(why, waited, OTHERS);
    }
    let drained = report(look, &entry.node).ok().and_then(Report::drained_by);
    Next::Advance(drained.map(|by| format!("it was drained already, by {by}; it is undrained at the end")))
}

/// A node's report, or why it says nothing that counts.
pub(crate) fn report<'a>(look: &'a Look, node: &str) -> Result<&'a Report, String> {
    match look.get(node) {
        None => Err(format!("{node} is not in the inventory any more")),
        Some(Err(why)) => Err(format!("{node} does not answer: {why}")),
        Some(Ok(report)) if report.node != node => {
            Err(format!("what the inventory says of {node} leads to node {}: correct it", report.node))
        }
        Some(Ok(report)) => Ok(report),
    }
}

/// Why the others could not lead every group without this one.
fn unready_others(entry: &Entry, look: &Look) -> Vec<String> {
    let others: Vec<&str> = look.keys().map(String::as_str).filter(|node| *node != entry.node).collect();
    let mut reasons = if others.is_empty() { vec!["there is no other node".to_owned()] } else { Vec::new() };
    for node in &others {
        match report(look, node) {
            Err(why) => reasons.push(why),
            Ok(report) => {
                let why = report.unready(&others, false);
                reasons.extend(why.into_iter().map(|why| format!("{node}: {why}")));
            }
        }
    }
    if let Ok(own) = report(look, &entry.node) {
        let known = |name: &str| {
            others.iter().any(|node| report(look, node).is_ok_and(|report| report.group(name).is_some()))
        };
        let lacking = own.groups.iter().filter(|group| !known(&group.name));
        reasons.extend(lacking.map(|group| format!("no other node knows group {}", group.name)));
    }
    reasons
}

fn empty(entry: &Entry, look: &Look, waited: Duration, deadline: Duration) -> Next {
    let own = match report(look, &entry.node) {
        Ok(own) => own,
        Err(why) => return held_up(vec![why], waited, LEADS),
    };
    let leads = own.leads();
    if !leads.is_empty() {
        let what = format!("it leads {} still", leads.join(", "));
        // Without a drain it may have taken a group back.
        let again = entry.emptied == Some(Emptied::HandedOver) && waited < LEADS;
        return if again { Next::Do(Task::HandOver(leads)) } else { held_up(vec![what], waited, LEADS) };
    }
    let unled = unled(own, look);
    if !unled.is_empty() {
        return held_up(unled, waited, LEADS);
    }
    let left = usize::try_from(own.proxied()).unwrap_or(usize::MAX);
    let connections = counted(left, "connection");
    if left == 0 {
        Next::Advance(None)
    } else if waited < deadline {
        let rest = deadline.saturating_sub(waited).as_secs();
        Next::Wait(format!("{connections} to finish; what is left is cut in {rest} s"))
    } else {
        Next::Advance(Some(format!("{connections} had not finished at the deadline and are cut")))
    }
}

/// Groups of a node that no other node leads.
fn unled(own: &Report, look: &Look) -> Vec<String> {
    let is_led = |name: &str| {
        let leads = |said: &Result<Report, String>| {
            said.as_ref().ok().and_then(|report| report.group(name)).is_some_and(|group| group.is_led())
        };
        look.values().any(leads) || is_led_elsewhere(name, look)
    };
    let unled = own.groups.iter().filter(|group| !is_led(&group.name));
    unled.map(|group| format!("nobody leads group {}", group.name)).collect()
}

/// Whether all agree on a leader that is none of them (a partner that is not ours).
fn is_led_elsewhere(name: &str, look: &Look) -> bool {
    let mut groups = look.values().flatten().filter_map(|report| report.group(name)).peekable();
    let is_foreign = |node: &str| !look.contains_key(node);
    groups.peek().is_some()
        && groups.all(|group| {
            let leader = group.leader.as_ref();
            leader.is_some_and(|leader| leader.node.as_deref().is_none_or(is_foreign))
        })
}

/// Why the command may not begin.
fn hinders(entry: &Entry, options: &Options, look: &Look) -> Vec<String> {
    let mut why = unready_others(entry, look);
    if entry.action == Action::Replace && !options.force {
        why.extend(heard(&entry.node, look));
    }
    why
}

/// By what it is seen that a node lives.
fn heard(node: &str, look: &Look) -> Vec<String> {
    let mut signs = Vec::new();
    if look.get(node).is_some_and(Result::is_ok) {
        signs.push(format!("{node} answers"));
    }
    for (other, report) in look.iter().filter_map(|(other, said)| Some((other, said.as_ref().ok()?))) {
        if other == node {
            continue;
        }
        if report.peer_link.peers.iter().any(|peer| peer.name == node && peer.state == "up") {
            signs.push(format!("{other} has a link with {node}"));
        }
        let leads = |group: &&super::report::Group| {
            group.leader.as_ref().is_some_and(|leader| leader.node.as_deref() == Some(node))
        };
        let led = report.groups.iter().filter(leads);
        signs.extend(led.map(|group| format!("{other} hears {node} lead group {}", group.name)));
    }
    signs
}

fn gone(entry: &Entry, options: &Options, look: &Look, waited: Duration) -> Next {
    let mut signs = heard(&entry.node, look);
    if entry.action == Action::Remove {
        return held_up(signs, waited, options.ready_deadline);
    }
    if !signs.is_empty() {
        signs.push("a node that lives is not replaced: switch it off, or begin anew with --force".to_owned());
    }
    held_up(signs, waited, OTHERS)
}

fn change(entry: &Entry, options: &Options, look: &Look, waited: Duration) -> Next {
    if entry.begun {
        // It was begun, and did not end well: nothing is won by waiting for others first.
        return Next::Do(Task::Change);
    }
    let why = hinders(entry, options, look);
    if why.is_empty() { Next::Do(Task::Change) } else { held_up(why, waited, OTHERS) }
}

fn came_back(entry: &Entry, look: &Look, waited: Duration, deadline: Duration) -> Next {
    let nodes: Vec<&str> = look.keys().map(String::as_str).collect();
    let own = match report(look, &entry.node) {
        Ok(own) => own,
        Err(why) => return held_up(vec![why], waited, deadline),
    };
    // One that was lost, or stood in once before, may have been drained then.
    let drained = entry.emptied == Some(Emptied::Drained)
        || entry.action != Action::Recreate && own.drained_by().is_some();
    let why = own.unready(&nodes, drained);
    if !why.is_empty() {
        return held_up(
            why.into_iter().map(|why| format!("{}: {why}", entry.node)).collect(),
            waited,
            deadline,
        );
    }
    // Time between a crash of the operator's machine and --resume is not counted: then it is said in vain.
    let is_old = Duration::from_secs(own.uptime_seconds) > entry.spent;
    Next::Advance(is_old.then(|| {
        "its daemon runs for longer than this node is being changed: the command did not start it anew, or came back \
         before it did"
            .to_owned()
    }))
}

/// By what the node says: a roll that was killed meanwhile may have undrained it.
fn undrained(entry: &Entry, look: &Look, waited: Duration) -> Next {
    match report(look, &entry.node) {
        Err(why) => held_up(vec![why], waited, LEADS),
        Ok(own) if own.drained_by().is_none() => Next::Advance(None),
        Ok(_) if waited < LEADS => Next::Do(Task::Undrain),
        Ok(_) => Next::Stop(format!("it is drained still (waited {} s)", waited.as_secs())),
    }
}

/// What is gone is drained no more, should it come back one day.
fn forgotten(entry: &Entry, look: &Look, waited: Duration) -> Next {
    let mut others =
        look.iter().filter(|(other, _)| **other != entry.node).filter_map(|(_, said)| said.as_ref().ok());
    if !others.any(|report| report.drained(&entry.node).is_some()) {
        return Next::Advance(None);
    }
    if waited < LEADS {
        Next::Do(Task::Undrain)
    } else {
        Next::Stop(format!("{} is drained still (waited {} s)", entry.node, waited.as_secs()))
    }
}

fn settled(entry: &Entry, look: &Look, waited: Duration) -> Next {
    let is_gone = |node: &str| entry.action == Action::Remove && node == entry.node;
    let nodes: Vec<&str> = look.keys().map(String::as_str).filter(|node| !is_gone(node)).collect();
    let mut reasons = Vec::new();
    let mut reports = Vec::new();
    for node in &nodes {
        match report(look, node) {
            Ok(report) => {
                let why = report.unready(&nodes, false);
                reasons.extend(why.into_iter().map(|why| format!("{node}: {why}")));
                reports.push(report);
            }
            Err(why) => reasons.push(why),
        }
    }
    let names: BTreeSet<&str> =
        reports.iter().flat_map(|report| &report.groups).map(|group| group.name.as_str()).collect();
    for name in names {
        let leaders: Vec<&str> = reports
            .iter()
            .filter(|report| report.group(name).is_some_and(|group| group.is_led()))
            .map(|report| report.node.as_str())
            .collect();
        match leaders.as_slice() {
            [_] => {}
            [] if is_led_elsewhere(name, look) => {}
            [] => reasons.push(format!("nobody leads group {name}")),
            several => reasons.push(format!("group {name} is led by {}", several.join(" and "))),
        }
    }
    if !reasons.is_empty() {
        return held_up(reasons, waited, SETTLE);
    }
    let moves = reports.iter().flat_map(|report| &report.groups).filter(|group| group.is_led());
    let moves =
        moves.filter_map(|group| Some(format!("group {} moves to {}", group.name, group.moves_to.as_ref()?)));
    let moves: Vec<String> = moves.collect();
    if moves.is_empty() || waited >= MOVES { Next::Advance(None) } else { Next::Wait(moves.join("; ")) }
}
