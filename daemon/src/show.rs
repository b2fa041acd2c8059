//! The status for people.

use comfy_table::presets::NOTHING;
use comfy_table::{Cell, Color, Table};
use fulcrum_config::UnixTime;
use fulcrum_lifecycle::{
    Backend, ConfigState, Failover, Group, Kubernetes, Plane, Service, Severity, Status, Votes,
};
use std::fmt::Write;

#[cfg(test)]
mod tests;

/// The whole page.
pub(crate) fn status(status: &Status, colour: bool) -> String {
    let mut page = String::new();
    // Writing to a String can't fail.
    let _ = write_page(&mut page, status, colour);
    page
}

/// Of each source, so many services that are set aside are named.
const SET_ASIDE_SHOWN: usize = 20;

fn write_page(page: &mut String, status: &Status, colour: bool) -> std::fmt::Result {
    let config = &status.config;
    let state = match config.state {
        ConfigState::Current if config.refused.is_empty() => "",
        ConfigState::Current => ", THE FILE WAS REFUSED SINCE",
        ConfigState::LastGood => ", LAST GOOD: THE FILE IS BAD",
    };
    writeln!(page, "node {}, fulcrum {}, up {}", status.node, status.version, time(status.uptime_seconds))?;
    writeln!(page, "configuration {}, loaded {} ago{state}", config.file, time(config.loaded_seconds_ago))?;
    if let Some(from) = &config.received_from {
        writeln!(page, "its changes from {from} are newer than the file (serial {})", config.serial)?;
    }
    for fence in &status.fence {
        writeln!(page, "fence at {}: {}", fence.interface, fence.what)?;
    }
    for (interface, how) in status.plane.iter().flat_map(|plane| &plane.interfaces) {
        writeln!(page, "forwarding plane at {interface}: {how}")?;
    }
    if let Some(plane) = &status.plane {
        page.push_str(&failover(plane));
    }
    if let Some(votes) = &status.votes {
        page.push_str(&split(votes));
    }
    if let Some(before) = &status.finishing {
        let connections = counted(usize::try_from(before.connections).unwrap_or(usize::MAX), "connection");
        writeln!(
            page,
            "the process before this one, {}, finishes {connections}, for {} at most",
            before.pid,
            time(before.seconds)
        )?;
    }
    for waits in &status.not_ready {
        writeln!(page, "not ready: {waits}")?;
    }
    alarms(page, status, colour)?;
    peers(page, status)?;
    writeln!(page, "\nGROUPS\n{}", groups(status, colour))?;
    writeln!(page, "\nSERVICES\n{}", services(status, colour))?;
    if !status.pools.is_empty() {
        writeln!(page, "\nPOOLS\n{}", pools(status, colour))?;
    }
    if !status.hooks.is_empty() {
        writeln!(page, "\nHOOKS\n{}", hooks(status, colour))?;
    }
    if !status.kubernetes.is_empty() {
        writeln!(page, "\nKUBERNETES\n{}", clusters(status, now(), colour))?;
    }
    if !status.overrides.is_empty() {
        writeln!(page, "\nOVERRIDES\n{}", overrides(status, now(), colour))?;
    }
    if !status.sources.is_empty() {
        writeln!(page, "\nSOURCES\n{}", sources(status, now(), colour))?;
        page.push_str(&set_aside(status, SET_ASIDE_SHOWN));
    }
    writeln!(page, "\nBACKENDS\n{}", backends(status, colour))
}

#[allow(clippy::disallowed_methods, reason = "deadlines are shown as the time that is left")]
fn now() -> UnixTime {
    UnixTime::of(std::time::SystemTime::now())
}

/// Whether this node may lead groups that are to have no leader rather than two.
fn split(votes: &Votes) -> String {
    let may = match (votes.leads_on, votes.takes_over) {
        (true, true) => "enough to lead groups with `on_split: one`",
        (true, false) => "enough to lead on, too few of them agree for a takeover (`on_split: one`)",
        (false, _) => "TOO FEW to lead groups with `on_split: one`",
    };
    let witness = match (&votes.witness_error, &votes.lock_holder) {
        (Some(error), _) => format!("{}, NOT REACHED: {error}", votes.witness),
        (None, Some(holder)) => format!("{}, its lock is held by {holder}", votes.witness),
        (None, None) => votes.witness.clone(),
    };
    format!("votes: {} of {} nodes, {may}; witness: {witness}\n", votes.votes, votes.nodes)
}

/// What would become of forwarded flows if another node led now: a line for those of each kind.
fn failover(plane: &Plane) -> String {
    let Failover { live, held, by_hash, by_unproven_hash } = &plane.failover;
    let mut lines = String::new();
    if *live > 0 {
        let known = match plane.flows_held_by.as_slice() {
            [] => {
                "no other node knows them: if this one failed now, they would go on only by luck".to_owned()
            }
            peers => format!("if this node failed now, {held} would go on: {} knows them", peers.join(", ")),
        };
        lines.push_str(&format!("flows known one by one: {live}; {known}\n"));
    }
    let (proven, unproven): (Vec<_>, Vec<_>) =
        by_hash.iter().map(String::as_str).partition(|name| !by_unproven_hash.iter().any(|one| one == name));
    if !proven.is_empty() {
        let names = proven.join(", ");
        lines.push_str(&format!("flows of {names}: by hash; if this node failed now, all would go on\n"));
    }
    if !unproven.is_empty() {
        let names = unproven.join(", ");
        lines.push_str(&format!(
            "flows of {names}: by hash; they would go on if the other node's tables are the same, which it has not said\n"
        ));
    }
    lines
}

/// Live connections of a service, or of one of its backends: most of those that go by hash are not counted.
fn connections(service: &Service, count: u64) -> String {
    let counted = service.forwarded.as_ref().is_none_or(|forwarded| forwarded.each_flow_known);
    match count {
        _ if counted => count.to_string(),
        0 => "by hash".to_owned(),
        _ => format!("by hash, {count} noted"),
    }
}

/// A line for each peer, or why there is no link.
fn peers(page: &mut String, status: &Status) -> std::fmt::Result {
    let link = &status.peer_link;
    if let Some(why) = &link.why {
        return writeln!(page, "\nno peer link: {why}");
    }
    if !link.peers.is_empty() {
        writeln!(page)?;
    }
    for peer in &link.peers {
        write!(page, "peer {}: link {} for {}", peer.name, peer.state, time(peer.since_seconds))?;
        if peer.state != "up" {
            writeln!(page, ": {}", peer.reason)?;
            continue;
        }
        let known = |text: &Option<String>| text.clone().unwrap_or_else(|| "?".to_owned());
        write!(page, ", {}, fulcrum {}", known(&peer.address), known(&peer.version))?;
        if let Some(round_trip) = peer.round_trip_ms {
            write!(page, ", round trip {round_trip:.2} ms")?;
        }
        let agrees = match peer.config_agrees {
            Some(true) => ", same configuration",
            Some(false) => ", ANOTHER CONFIGURATION",
            None => "",
        };
        writeln!(page, "{agrees}{}", tables(status, &peer.name))?;
    }
    for service in &status.services {
        if let Some(line) = verdicts(service) {
            writeln!(page, "service {}: {line}", service.name)?;
        }
    }
    Ok(())
}

/// Whether the tables of forwarded services are the peer's.
fn tables(status: &Status, peer: &str) -> String {
    let services = status.services.iter().filter_map(|service| Some((service, service.forwarded.as_ref()?)));
    let mut compared = services.flat_map(|(service, forwarded)| {
        forwarded.tables.iter().filter(|tables| tables.peer == peer).map(|tables| (&service.name, tables))
    });
    let differ: Vec<_> = compared.clone().filter(|(_, tables)| !tables.in_sync).collect();
    match differ.as_slice() {
        [] if compared.next().is_none() => String::new(),
        [] => ", tables in sync".to_owned(),
        [(name, tables), rest @ ..] => {
            let more = if rest.is_empty() { String::new() } else { format!(", {} more", rest.len()) };
            format!(", TABLES NOT IN SYNC: {name} ({}){more}", tables.what)
        }
    }
}

/// By whose verdicts a forwarded service goes, if they are not this node's own.
fn verdicts(service: &Service) -> Option<String> {
    let forwarded = service.forwarded.as_ref().filter(|forwarded| forwarded.verdicts_of != "own")?;
    let kept = forwarded.kept_seconds.map(|left| format!(", which led, for {} more", time(left)));
    let disputed = forwarded.disputed.iter().filter_map(|name| {
        let backend = service.backends.iter().find(|backend| backend.name == *name)?;
        Some(format!(
            "; {name} is {} by them, {} by this node's own",
            backend.served_as.as_ref()?,
            backend.state
        ))
    });
    let disputed: String = disputed.collect();
    let of = &forwarded.verdicts_of;
    // What is as ever needs no line.
    (kept.is_some() || !disputed.is_empty())
        .then(|| format!("by the verdicts of {of}{}{disputed}", kept.unwrap_or_default()))
}

fn alarms(page: &mut String, status: &Status, colour: bool) -> std::fmt::Result {
    for alarm in &status.alarms {
        let (word, paint) = match alarm.severity {
            Severity::Critical => ("CRITICAL", "\x1b[31m"),
            Severity::Warning => ("warning", "\x1b[33m"),
        };
        let (paint, plain) = if colour { (paint, "\x1b[0m") } else { ("", "") };
        writeln!(page, "\n{paint}{word}{plain}: {}", alarm.what)?;
        writeln!(page, "  affects: {}\n  do: {}", alarm.affected, alarm.remedy)?;
    }
    Ok(())
}

pub(crate) fn table(header: &[&str]) -> Table {
    let mut table = Table::new();
    table.load_style(NOTHING).set_header(header.iter().map(|title| title.to_uppercase()));
    table
}

/// As text: left-aligned columns without trailing blanks.
pub(crate) fn text(mut table: Table, colour: bool) -> String {
    if colour {
        table.enforce_styling();
    } else {
        table.force_no_tty();
    }
    let lines: Vec<String> = table.to_string().lines().map(|line| line.trim_end().to_owned()).collect();
    lines.join("\n")
}

fn painted(word: &str, good: &[&str], bad: &[&str]) -> Cell {
    let cell = Cell::new(word);
    if good.contains(&word) {
        cell.fg(Color::Green)
    } else if bad.contains(&word) {
        cell.fg(Color::Red)
    } else {
        cell.fg(Color::Yellow)
    }
}

fn groups(status: &Status, colour: bool) -> String {
    let elected = status.groups.iter().any(|group| !group.standbys.is_empty());
    let order = if elected { "priority or standbys" } else { "priority" };
    let mut table = table(&["group", "here", "since", "leader", order, "VIPs", "why"]);
    for group in &status.groups {
        table.add_row(vec![
            Cell::new(&group.name),
            painted(&group.role, &["leader", "standby"], &["init"]),
            Cell::new(time(group.since_seconds)),
            Cell::new(leader(group)),
            Cell::new(order_of(group)),
            Cell::new(addresses(group)),
            Cell::new(why(group)),
        ]);
    }
    text(table, colour)
}

/// What says who comes next: this node's priority, or who stands by for an elected group.
fn order_of(group: &Group) -> String {
    const SHOWN: usize = 2;
    let Some(priority) = group.priority else { return "ineligible".to_owned() };
    if group.standbys.is_empty() {
        return priority.to_string();
    }
    let shown: Vec<&str> = group.standbys.iter().take(SHOWN).map(String::as_str).collect();
    let more = group.standbys.len().saturating_sub(SHOWN);
    if more == 0 { shown.join(", ") } else { format!("{}, and {more} more", shown.join(", ")) }
}

fn leader(group: &Group) -> String {
    match &group.leader {
        None => "unknown".to_owned(),
        Some(leader) => leader.node.clone().unwrap_or_else(|| leader.address.clone()),
    }
}

fn why(group: &Group) -> String {
    let bad: Vec<&str> = group.tracks.iter().filter(|track| !track.good).map(|t| t.what.as_str()).collect();
    let mut why = group.reason.clone();
    if !bad.is_empty() {
        why.push_str(&format!("; failed: {}", bad.join(", ")));
    }
    if let Some(seconds) = group.draining_seconds {
        why.push_str(&format!("; finishes its connections, for {seconds} s at most"));
    }
    if let Some(waits) = &group.waits {
        why.push_str(&format!("; {waits}"));
    }
    if let Some(node) = &group.moves_to {
        why.push_str(&format!("; goes to {node} soon, for an even spread"));
    }
    if let Some(seconds) = group.proven_seconds_ago {
        why.push_str(&format!("; answered this node {} ago", time(seconds)));
    }
    if let Some(node) = &group.finisher {
        why.push_str(&format!("; {node} finishes its own connections"));
    }
    why
}

/// Every address; what it is in, if that is not what its group's role implies.
fn addresses(group: &Group) -> String {
    let expected = if group.role == "leader" { "answering" } else { "absent" };
    let shown = group.addresses.iter().map(|vip| match (&vip.mac, &vip.error) {
        (Some(mac), _) => format!("{} (CONFLICT with {mac})", vip.address),
        (_, Some(error)) => format!("{} (FAILED: {error})", vip.address),
        (None, None) if vip.state == expected => vip.address.clone(),
        (None, None) => format!("{} ({})", vip.address, vip.state),
    });
    shown.collect::<Vec<_>>().join(" ")
}

fn services(status: &Status, colour: bool) -> String {
    let mut table =
        table(&["service", "group", "on", "mode", "state", "backends", "connections", "accepted", "refused"]);
    for service in &status.services {
        let usable =
            service.backends.iter().filter(|b| ["up", "unchecked"].contains(&b.state.as_str())).count();
        let state = match service {
            Service { errors, .. } if !errors.is_empty() => "not listening",
            Service { up: true, .. } => "up",
            _ => "refuses",
        };
        let stat = |name: &str| service.stats.get(name).copied().unwrap_or(0);
        let refused: u64 =
            service.stats.iter().filter(|(k, _)| k.starts_with("refused_")).map(|(_, v)| v).sum();
        table.add_row(vec![
            Cell::new(&service.name),
            Cell::new(&service.group),
            Cell::new(format!("{}/{} {}", service.ports, service.protocol, vips(service))),
            Cell::new(&service.mode),
            painted(state, &["up"], &["refuses", "not listening"]),
            Cell::new(format!("{usable}/{}", service.backends.len())),
            Cell::new(connections(service, service.connections)),
            Cell::new(stat("accepted")),
            Cell::new(refused),
        ]);
    }
    text(table, colour)
}

/// Every address; of which pool, if it is of one.
fn vips(service: &Service) -> String {
    let shown = service.vips.iter().map(|vip| match service.pools.get(vip) {
        Some(pool) => format!("{vip} (pool {pool})"),
        None => vip.clone(),
    });
    shown.collect::<Vec<_>>().join(" ")
}

fn pools(status: &Status, colour: bool) -> String {
    let mut table = table(&["pool", "group", "family", "used", "free", "state"]);
    for pool in &status.pools {
        let state = match (pool.free, pool.auto_assign) {
            (0, _) => "full",
            (_, true) => "any service",
            (_, false) => "by name only",
        };
        table.add_row(vec![
            Cell::new(&pool.name),
            Cell::new(pool.group.as_deref().unwrap_or("one for each")),
            Cell::new(&pool.family),
            Cell::new(pool.used),
            Cell::new(pool.free),
            painted(state, &["any service", "by name only"], &["full"]),
        ]);
    }
    text(table, colour)
}

fn hooks(status: &Status, colour: bool) -> String {
    let mut table = table(&["hook", "on", "runs", "not well", "last", "what came of it"]);
    for hook in &status.hooks {
        let runs: u64 = hook.runs.values().sum();
        let well = hook.runs.get("succeeded").copied().unwrap_or(0);
        let last = hook.running.first().or(hook.last.first());
        let of = last.map_or_else(
            || "never run".to_owned(),
            |run| format!("{}, {}, {} ago", run.event, run.of, time(run.seconds_ago)),
        );
        let what = last.map_or_else(String::new, |run| match &run.said {
            Some(said) => format!("{}: {said}", run.what),
            None => run.what.clone(),
        });
        let is_bad = last.is_some_and(|run| !["succeeded", "running"].contains(&run.outcome.as_str()));
        table.add_row(vec![
            Cell::new(&hook.name),
            Cell::new(hook.on.join(" ")),
            Cell::new(runs),
            Cell::new(runs.saturating_sub(well)),
            Cell::new(of),
            if is_bad { painted(&what, &[], &[what.as_str()]) } else { Cell::new(what) },
        ]);
    }
    text(table, colour)
}

/// What operators asked for over the file.
pub(crate) fn overrides(status: &Status, now: UnixTime, colour: bool) -> String {
    let mut table = table(&["of", "asked for", "by", "since", "left", "deadline"]);
    for asked in &status.overrides {
        let left = match (asked.connections, asked.leads.as_slice()) {
            (None, []) => "-".to_owned(),
            (None, groups) => format!("leads {}", groups.join(" ")),
            (Some(count), []) => count.to_string(),
            (Some(count), groups) => format!("{count}, leads {}", groups.join(" ")),
        };
        let deadline = asked.until.map(|until| match now.until(UnixTime(until)).as_secs() {
            0 => "over".to_owned(),
            seconds => format!("in {}", time(seconds)),
        });
        let since = UnixTime(asked.since).until(now).as_secs();
        table.add_row(vec![
            Cell::new(&asked.of),
            Cell::new(&asked.what),
            Cell::new(&asked.by),
            Cell::new(format!("{} ago", time(since))),
            Cell::new(left),
            Cell::new(deadline.unwrap_or_else(|| "-".to_owned())),
        ]);
    }
    text(table, colour)
}

fn clusters(status: &Status, now: UnixTime, colour: bool) -> String {
    let mut table = table(&["cluster", "API", "since", "services", "not served", "nodes", "writes", "why"]);
    for cluster in &status.kubernetes {
        let since = |since: u64| format!("{} ago", time(UnixTime(since).until(now).as_secs()));
        let (state, since) = match (cluster.reached_since, cluster.stale_since) {
            (Some(reached), _) => (Cell::new("answers"), since(reached)),
            (None, Some(stale)) => (Cell::new("AWAY, last state holds").fg(Color::Red), since(stale)),
            (None, None) => (Cell::new("not yet"), "-".to_owned()),
        };
        let machines =
            cluster.machines_leaving.first().map(|machine| format!("Machine {machine} waits for its node"));
        let why =
            [&cluster.error, &cluster.machines_error, &cluster.own_node_leaves, &machines, &cluster.metallb];
        let why = why.into_iter().find_map(Option::as_ref);
        table.add_row(vec![
            Cell::new(&cluster.cluster),
            state,
            Cell::new(since),
            Cell::new(cluster.services),
            Cell::new(if cluster.writes { cluster.not_served.to_string() } else { "-".to_owned() }),
            Cell::new(nodes(cluster)),
            Cell::new(if cluster.writes { "this node" } else { "another node" }),
            Cell::new(why.map_or("", String::as_str)),
        ]);
    }
    text(table, colour)
}

/// How many nodes a cluster has, and of how many failure domains.
fn nodes(cluster: &Kubernetes) -> String {
    match cluster.domains.len() {
        0 => cluster.nodes.to_string(),
        domains => format!("{} in {}", cluster.nodes, counted(domains, "domain")),
    }
}

fn backends(status: &Status, colour: bool) -> String {
    let mut table =
        table(&["service", "backend", "address", "state", "since", "weight", "connections", "why"]);
    for service in &status.services {
        for backend in &service.backends {
            let name =
                if backend.backup { format!("{} (backup)", backend.name) } else { backend.name.clone() };
            table.add_row(vec![
                Cell::new(&service.name),
                Cell::new(name),
                Cell::new(&backend.address),
                painted(&backend.state, &["up"], &["down"]),
                Cell::new(time(backend.since_seconds)),
                Cell::new(backend.weight),
                Cell::new(connections(service, backend.connections)),
                Cell::new(reason(service, backend)),
            ]);
        }
    }
    text(table, colour)
}

/// Of a backend that answers for the VIP itself also by which path it is checked.
fn reason(service: &Service, backend: &Backend) -> String {
    let path = match &service.checks {
        Some(checks) if checks.at_vip => ", checked at the VIP",
        Some(_) => ", checked at its own address",
        None => "",
    };
    format!("{}{path}", backend.reason)
}

/// The two largest units: `3d 4h`, `12m 5s`, `0s`.
pub(crate) fn time(seconds: u64) -> String {
    let units = [("d", 86_400, u64::MAX), ("h", 3_600, 24), ("m", 60, 60), ("s", 1, 60)];
    let parts = units.iter().map(|(unit, length, of)| {
        let count = seconds.checked_div(*length).unwrap_or(0).checked_rem(*of).unwrap_or(0);
        (count, format!("{count}{unit}"))
    });
    let parts: Vec<String> =
        parts.skip_while(|(count, _)| *count == 0).take(2).map(|(_, part)| part).collect();
    if parts.is_empty() { "0s".to_owned() } else { parts.join(" ") }
}

/// "1 group", "2 groups".
pub(crate) fn counted(count: usize, what: &str) -> String {
    format!("{count} {what}{}", if count == 1 { "" } else { "s" })
}

/// What services come from that do not stand in the file.
pub(crate) fn sources(status: &Status, now: UnixTime, colour: bool) -> String {
    let mut table = table(&["source", "services", "set aside", "since", "by", "serial"]);
    for source in &status.sources {
        let aside = match (&source.refused, source.set_aside.len()) {
            (Some(_), _) => "ALL".to_owned(),
            (None, count) => count.to_string(),
        };
        let since = UnixTime(source.since).until(now).as_secs();
        table.add_row(vec![
            Cell::new(&source.name),
            Cell::new(source.services),
            painted(&aside, &["0"], &["ALL"]),
            Cell::new(format!("{} ago", time(since))),
            Cell::new(&source.by),
            Cell::new(source.serial),
        ]);
    }
    text(table, colour)
}

/// Why services of sources are not in force, at most so many of each.
pub(crate) fn set_aside(status: &Status, most: usize) -> String {
    let mut lines = String::new();
    for source in &status.sources {
        if let Some(why) = &source.refused {
            let _infallible = writeln!(lines, "source {}: nothing of it can be used: {why}", source.name);
        }
        for (name, why) in source.set_aside.iter().take(most) {
            let _infallible = writeln!(lines, "set aside: {name}: {why}");
        }
        let more = source.set_aside.len().saturating_sub(most);
        if more > 0 {
            let _infallible =
                writeln!(lines, "... and {more} more: 'fulcrum source list --json' has them all");
        }
    }
    lines
}
