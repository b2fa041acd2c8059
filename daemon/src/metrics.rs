//! What others measure of the node: the status as metrics.
//!
//! A page is made from one status, so series come and go with what is configured, and their number is bounded
//! by it. `docs/metrics.md` lists them all.

use fulcrum_lifecycle::{ConfigState, Status};
use page::{Family, Page};
use std::collections::{BTreeMap, BTreeSet};
use std::rc::Rc;

mod page;
#[cfg(test)]
mod tests;

/// Of the page.
pub(crate) const CONTENT_TYPE: &str = "text/plain; version=0.0.4";

/// The page.
pub(crate) fn page(status: &Status) -> String {
    made(status).text()
}

fn made(status: &Status) -> Page {
    let mut page = Page::default();
    daemon(&mut page, status);
    plane(&mut page, status);
    groups(&mut page, status);
    services(&mut page, status);
    pools(&mut page, status);
    votes(&mut page, status);
    backends(&mut page, status);
    peers(&mut page, status);
    limits(&mut page, status);
    hooks(&mut page, status);
    overrides(&mut page, status);
    sources(&mut page, status);
    kubernetes(&mut page, status);
    engines(&mut page, status);
    page
}

/// Counters above 2^53 lose their last digits, as all of Prometheus does.
#[allow(clippy::cast_precision_loss, reason = "Prometheus knows only floating point")]
fn number(count: u64) -> f64 {
    count as f64
}

fn flag(is_so: bool) -> f64 {
    f64::from(u8::from(is_so))
}

fn plane(page: &mut Page, status: &Status) {
    let at = page.gauge(
        "fulcrum_plane_attached",
        "1 for each interface that the forwarding plane works at, with how.",
        &["interface", "by"],
    );
    let left = page.counter(
        "fulcrum_plane_not_forwarded_total",
        "Packets of its services that the forwarding plane did not forward, by the reason.",
        &["reason"],
    );
    let checks = page.counter(
        "fulcrum_plane_checks_total",
        "Packets of checks that go to a VIP at the backend's MAC, and of the answers, by what became of them.",
        &["what"],
    );
    let noted = page.gauge(
        "fulcrum_plane_noted_flows",
        "Flows that are known one by one: of mode fullnat, or because their place in the hash changed hands.",
        &[],
    );
    let live = page.gauge(
        "fulcrum_plane_live_flows",
        "Flows that are known one by one and that nobody has ended.",
        &[],
    );
    let surviving = page.gauge(
        "fulcrum_plane_surviving_flows",
        "Those of them that would go on if another node led now. Flows that go by hash are not among them.",
        &[],
    );
    let held = page.gauge(
        "fulcrum_plane_flows_held",
        "1 for each peer that knows all of those flows: they outlive this node.",
        &["peer"],
    );
    let in_sync = page.gauge(
        "fulcrum_plane_flows_in_sync",
        "1 if this node knows those of every peer that it has a link to.",
        &[],
    );
    let told = page.counter(
        "fulcrum_plane_flow_news_total",
        "What the nodes told each other of flows: told, heard, misfits, losses.",
        &["what"],
    );
    agreement(page, status);
    let Some(plane) = &status.plane else { return };
    for (interface, by) in &plane.interfaces {
        at.with_label_values(&[interface, by]).set(1.0);
    }
    for (reason, count) in &plane.not_forwarded {
        left.with_label_values(&[reason]).set(number(*count));
    }
    for (what, count) in &plane.checks {
        checks.with_label_values(&[what]).set(number(*count));
    }
    noted.with_label_values::<&str>(&[]).set(number(plane.noted_flows));
    live.with_label_values::<&str>(&[]).set(number(plane.failover.live));
    surviving.with_label_values::<&str>(&[]).set(number(plane.failover.held));
    for peer in &plane.flows_held_by {
        held.with_label_values(&[peer]).set(1.0);
    }
    in_sync.with_label_values::<&str>(&[]).set(f64::from(u8::from(plane.flows_in_sync)));
    for (what, count) in &plane.flow_counters {
        told.with_label_values(&[what]).set(number(*count));
    }
}

fn agreement(page: &mut Page, status: &Status) {
    let in_sync = page.gauge(
        "fulcrum_tables_in_sync",
        "Whether the service's tables are the peer's: both would send each flow to the same backend.",
        &["service", "peer"],
    );
    let verdicts = page.gauge(
        "fulcrum_service_verdicts",
        "1, with the node whose verdicts a forwarded service goes by; own if this node's.",
        &["service", "of"],
    );
    let disputed = page.gauge(
        "fulcrum_service_disputed_backends",
        "Backends of a forwarded service of which this node's checks say something else than the leader's.",
        &["service"],
    );
    for service in &status.services {
        let Some(forwarded) = &service.forwarded else { continue };
        verdicts.with_label_values(&[&service.name, &forwarded.verdicts_of]).set(1.0);
        let count = u64::try_from(forwarded.disputed.len()).unwrap_or(u64::MAX);
        disputed.with_label_values(&[&service.name]).set(number(count));
        for tables in &forwarded.tables {
            in_sync.with_label_values(&[&service.name, &tables.peer]).set(flag(tables.in_sync));
        }
    }
}

fn daemon(page: &mut Page, status: &Status) {
    page.gauge("fulcrum_build_info", "1, with the version.", &["version"])
        .with_label_values(&[&status.version])
        .set(1.0);
    page.value("fulcrum_uptime_seconds", "Since the daemon started.", number(status.uptime_seconds));
    page.value(
        "fulcrum_ready",
        "Configuration applied, listeners stand, first checks done.",
        flag(status.ready),
    );
    page.value("fulcrum_guard_up", "Whether the guard process lives and is up to date.", flag(status.guard));
    let fence = page.gauge(
        "fulcrum_fence_kernel",
        "Whether the kernel itself silences this node at the interface.",
        &["interface"],
    );
    for at in &status.fence {
        fence.with_label_values(&[&at.interface]).set(flag(at.kernel));
    }
    let config = &status.config;
    let stale = config.state == ConfigState::LastGood || !config.refused.is_empty();
    page.value(
        "fulcrum_config_generation",
        "Configurations applied since the start.",
        number(config.generation),
    );
    page.value(
        "fulcrum_config_serial",
        "Grows with each change of what the nodes share; a node with the lower one is behind.",
        number(config.serial),
    );
    page.value("fulcrum_config_stale", "1 if the file was refused and an older one runs.", flag(stale));
    page.value(
        "fulcrum_config_age_seconds",
        "Since the running configuration was applied.",
        number(config.loaded_seconds_ago),
    );
    let alarms = page.gauge("fulcrum_alarms", "Alarms now, as status lists them.", &["severity"]);
    for severity in ["critical", "warning"] {
        let of = |alarm: &&fulcrum_lifecycle::Alarm| {
            serde_json::to_value(alarm.severity).is_ok_and(|value| value == severity)
        };
        let count = status.alarms.iter().filter(of).count();
        alarms.with_label_values(&[severity]).set(number(u64::try_from(count).unwrap_or(u64::MAX)));
    }
    page.count(
        "fulcrum_log_lines_left_out_total",
        "Log lines left out because nobody read the others.",
        crate::logging::left_out(),
    )
}

fn groups(page: &mut Page, status: &Status) {
    let of = &["group"];
    let state = page.gauge("fulcrum_vrrp_state", "0 init, 1 standby, 2 leader.", of);
    let priority = page.gauge("fulcrum_vrrp_priority", "Priority after tracks; 0 if ineligible.", of);
    let epoch = page.gauge("fulcrum_vrrp_epoch", "Changes of leader that this node saw.", of);
    let transitions = page.counter("fulcrum_vrrp_transitions_total", "Changes of this node's role.", of);
    let takeover =
        page.gauge("fulcrum_vrrp_takeover_seconds", "The last takeover, from decision to announcement.", of);
    let address = page.gauge(
        "fulcrum_vip_state",
        "1 for the state that the VIP is in.",
        &["group", "address", "state"],
    );
    let proof = page.gauge(
        "fulcrum_vip_proof",
        "1 for what this node found out by asking for the VIP from outside: answered, not-answered, answered-twice, ...",
        &["group", "address", "state"],
    );
    let proof_age = page.gauge(
        "fulcrum_vip_proof_age_seconds",
        "Since the VIP's leader, and nobody else, last answered this node.",
        &["group", "address"],
    );
    let track = page.gauge("fulcrum_track_good", "Whether a track is good.", &["group", "track"]);
    let link_labels = &["group", "interface", "family"];
    let link = page.gauge("fulcrum_vrrp_link_up", "Whether adverts can be sent and received.", link_labels);
    let events = page.counter(
        "fulcrum_vrrp_events_total",
        "Adverts sent and received, refusals by their reason, announcements, each by name.",
        &["group", "interface", "family", "event"],
    );
    for group in &status.groups {
        let name = &[group.name.as_str()];
        let role = match group.role.as_str() {
            "leader" => 2.0,
            "standby" => 1.0,
            _ => 0.0,
        };
        state.with_label_values(name).set(role);
        priority.with_label_values(name).set(f64::from(group.priority.unwrap_or(0)));
        epoch.with_label_values(name).set(number(group.epoch));
        transitions.with_label_values(name).set(number(group.transitions));
        if let Some(milliseconds) = group.takeover_ms {
            takeover.with_label_values(name).set(milliseconds / 1e3);
        }
        for vip in &group.addresses {
            address.with_label_values(&[&group.name, &vip.address, &vip.state]).set(1.0);
            let Some(found) = &vip.proof else { continue };
            proof.with_label_values(&[&group.name, &vip.address, &found.state]).set(1.0);
            if let Some(seconds) = found.answered_seconds_ago {
                proof_age.with_label_values(&[&group.name, &vip.address]).set(number(seconds));
            }
        }
        let mut told = BTreeSet::new();
        for tracked in group.tracks.iter().filter(|tracked| told.insert(&tracked.what)) {
            track.with_label_values(&[&group.name, &tracked.what]).set(flag(tracked.good));
        }
        for seen in &group.links {
            link.with_label_values(&[&group.name, &seen.interface, &seen.family]).set(flag(seen.up));
            for (event, count) in &seen.counters {
                let labels = &[&group.name, &seen.interface, &seen.family, event];
                events.with_label_values(labels).set(number(*count));
            }
        }
    }
}

fn services(page: &mut Page, status: &Status) {
    let of = &["service"];
    let up = page.gauge("fulcrum_service_up", "Whether it takes connections: enough backends are up.", of);
    let connections = page.gauge(
        "fulcrum_service_connections",
        "Connections (UDP: sessions) now; of forwarded services those that are known one by one.",
        of,
    );
    let counters = counters(page, "service", &fulcrum_lb::ServiceStats::default(), of);
    for service in &status.services {
        let name = &[service.name.as_str()];
        up.with_label_values(name).set(flag(service.up));
        connections.with_label_values(name).set(number(service.connections));
        add(&counters, &service.stats, name);
    }
}

fn pools(page: &mut Page, status: &Status) {
    let addresses = page.gauge(
        "fulcrum_pool_addresses",
        "Addresses of the pool: used by services, free, and both (total).",
        &["pool", "family", "state"],
    );
    for pool in &status.pools {
        for (state, count) in [("used", pool.used), ("free", pool.free), ("total", pool.total)] {
            addresses.with_label_values(&[&pool.name, &pool.family, state]).set(number(count));
        }
    }
}

fn sources(page: &mut Page, status: &Status) {
    let services = page.gauge(
        "fulcrum_source_services",
        "Services that come from this source outside the file: in force (applied) and set-aside.",
        &["source", "state"],
    );
    let refused = page.gauge(
        "fulcrum_source_refused",
        "1 if nothing of what the source says can be used.",
        &["source"],
    );
    for source in &status.sources {
        let aside = u64::try_from(source.set_aside.len()).unwrap_or(u64::MAX);
        services.with_label_values(&[&source.name, "applied"]).set(number(source.services));
        services.with_label_values(&[&source.name, "set-aside"]).set(number(aside));
        refused.with_label_values(&[&source.name]).set(flag(source.refused.is_some()));
    }
}

fn votes(page: &mut Page, status: &Status) {
    let Some(votes) = &status.votes else { return };
    page.value(
        "fulcrum_votes",
        "Nodes that hear this one, itself included.",
        number(u64::try_from(votes.votes).unwrap_or(u64::MAX)),
    );
    page.value(
        "fulcrum_votes_nodes",
        "All nodes that vote.",
        number(u64::try_from(votes.nodes).unwrap_or(u64::MAX)),
    );
    page.value(
        "fulcrum_votes_enough",
        "Whether this node may lead groups with on_split: one.",
        flag(votes.leads_on),
    );
    if votes.witness == "none" {
        return;
    }
    let reached = flag(votes.witness_error.is_none());
    page.value("fulcrum_witness_up", "Whether the witness answers, if there is one.", reached);
    let holds = votes.lock_holder.as_deref() == Some(status.node.as_str());
    page.value("fulcrum_witness_lock", "Whether this node holds the witness's lock.", flag(holds))
}

fn backends(page: &mut Page, status: &Status) {
    let of = &["service", "backend"];
    let up = page.gauge("fulcrum_backend_up", "Whether its check says that it can take traffic.", of);
    let weight = page.gauge("fulcrum_backend_weight", "Its weight, lowered by slow start.", of);
    let connections = page.gauge(
        "fulcrum_backend_connections",
        "Connections now; of forwarded services those that are known one by one.",
        of,
    );
    let counters = counters(page, "backend", &fulcrum_lb::BackendStats::default(), of);
    for service in &status.services {
        for backend in &service.backends {
            let names = &[service.name.as_str(), backend.name.as_str()];
            up.with_label_values(names).set(flag(backend.state != "down"));
            weight.with_label_values(names).set(backend.weight);
            connections.with_label_values(names).set(number(backend.connections));
            add(&counters, &backend.stats, names);
        }
    }
}

/// A family for each counter of `stats`, so that each new one is exported by itself.
fn counters(
    page: &mut Page,
    kind: &str,
    stats: &impl serde::Serialize,
    labels: &[&str],
) -> BTreeMap<String, Rc<Family>> {
    let Ok(serde_json::Value::Object(fields)) = serde_json::to_value(stats) else {
        return BTreeMap::new();
    };
    let names = fields.into_iter().map(|(name, _)| name).filter(|name| name != "connections");
    names
        .map(|name| {
            let help = help(&name);
            let family = page.counter(&format!("fulcrum_{kind}_{name}_total"), help, labels);
            (name, family)
        })
        .collect()
}

fn help(counter: &str) -> &'static str {
    match counter {
        "accepted" => "Connections accepted.",
        "refused_no_backend" => "Connections refused for want of a live backend.",
        "refused_source" => "Connections refused because their source is not allowed.",
        "refused_limit" => "Connections refused by a limit on connections.",
        "refused_rate" => "Connections refused by a limit on their rate.",
        "client_table_full" => {
            "Times that the table of clients was full, and a client was not counted or forgotten."
        }
        "refused_proxy_header" => {
            "Connections (UDP: datagrams) refused for a wrong, cut off or late PROXY header."
        }
        "connected" => "Connections made.",
        "connect_failed" => "Connections that could not be made.",
        "retries" => "Times that another backend was tried.",
        "timed_out" => "Connections ended by a timeout.",
        "reset" => "Connections ended by RST from either side.",
        "closed_backend_down" => "Connections closed because their backend went down.",
        "log_dropped" => "Connection log lines left out because there were too many.",
        "bytes_in" => "Bytes from clients to backends.",
        "bytes_out" => "Bytes from backends to clients.",
        "packets_in" => "Packets from clients that the kernel forwarded; 0 of what is proxied.",
        "packets_out" => "Packets to clients that the kernel forwarded; in mode dsr none passes this node.",
        "datagrams_in" => "Datagrams from clients.",
        "datagrams_out" => "Datagrams to clients.",
        "datagrams_dropped" => "Datagrams that were refused, too long or found no room in a buffer.",
        "sessions_evicted" => "UDP sessions that ended early to make room for another.",
        _ => "As its name says.",
    }
}

fn add(families: &BTreeMap<String, Rc<Family>>, stats: &BTreeMap<String, u64>, labels: &[&str]) {
    for (name, family) in families {
        let count = stats.get(name).copied().unwrap_or(0);
        family.with_label_values(labels).set(number(count));
    }
}

fn peers(page: &mut Page, status: &Status) {
    let of = &["peer"];
    let up = page.gauge("fulcrum_peer_up", "Whether the link to the peer stands.", of);
    let since = page.gauge("fulcrum_peer_state_age_seconds", "Since the link came up or went down.", of);
    let round_trip =
        page.gauge("fulcrum_peer_round_trip_seconds", "From a heartbeat to its echo, smoothed.", of);
    let agrees = page.gauge("fulcrum_peer_config_agrees", "Whether the peer runs what this node runs.", of);
    let events = page.counter(
        "fulcrum_peer_events_total",
        "What happened on the link to the peer, by name (links made and lost, heartbeats, refusals, ...).",
        &["peer", "event"],
    );
    for peer in &status.peer_link.peers {
        let name = &[peer.name.as_str()];
        up.with_label_values(name).set(flag(peer.state == "up"));
        since.with_label_values(name).set(number(peer.since_seconds));
        if let Some(milliseconds) = peer.round_trip_ms {
            round_trip.with_label_values(name).set(milliseconds / 1e3);
        }
        if let Some(agree) = peer.config_agrees {
            agrees.with_label_values(name).set(flag(agree));
        }
        for (event, count) in &peer.counters {
            events.with_label_values(&[&peer.name, event]).set(number(*count));
        }
    }
    let help = "Connections that came to the peer link and were refused, by reason.";
    let refused = page.counter("fulcrum_peer_refused_total", help, &["reason"]);
    for (reason, count) in status.counters.get("peer").into_iter().flatten() {
        refused.with_label_values(&[reason]).set(number(*count));
    }
}

fn overrides(page: &mut Page, status: &Status) {
    let since = page.gauge(
        "fulcrum_override_since_seconds",
        "When an operator asked for something over the file, in seconds since 1970: drained, disabled, weight N.",
        &["of", "what"],
    );
    let left = page.gauge(
        "fulcrum_override_connections",
        "Connections that are left of what an operator drains or has disabled, on this node.",
        &["of"],
    );
    for asked in &status.overrides {
        since.with_label_values(&[&asked.of, &asked.what]).set(number(asked.since));
        if let Some(connections) = asked.connections {
            left.with_label_values(&[&asked.of]).set(number(connections));
        }
    }
}

fn kubernetes(page: &mut Page, status: &Status) {
    let of = &["cluster"];
    let up = page.gauge("fulcrum_kubernetes_up", "Whether the cluster's API answers.", of);
    let stale = page.gauge(
        "fulcrum_kubernetes_stale_since_seconds",
        "Since when it does not, in seconds since 1970; 0: it does, or never did yet.",
        of,
    );
    let writer = page.gauge("fulcrum_kubernetes_writer", "Whether this node applies and writes.", of);
    let services = page.gauge("fulcrum_kubernetes_services", "Services that ask for an address.", of);
    let not_served = page.gauge(
        "fulcrum_kubernetes_services_not_served",
        "Of them, those that are not served, or not wholly; of the node that writes.",
        of,
    );
    let nodes = page.gauge("fulcrum_kubernetes_nodes", "Nodes of the cluster.", of);
    let slices = page.gauge("fulcrum_kubernetes_endpoint_slices", "Its slices of endpoints.", of);
    let writes = page.counter("fulcrum_kubernetes_writes_total", "Patches and events written.", of);
    let errors = page.counter(
        "fulcrum_kubernetes_write_errors_total",
        "Services to which something could not be written, at each attempt.",
        of,
    );
    let left_out = page.counter(
        "fulcrum_kubernetes_events_left_out_total",
        "Events that were left out, because there were too many at once.",
        of,
    );
    for cluster in &status.kubernetes {
        let of = &[&cluster.cluster];
        up.with_label_values(of).set(flag(cluster.reached_since.is_some()));
        stale.with_label_values(of).set(number(cluster.stale_since.unwrap_or(0)));
        writer.with_label_values(of).set(flag(cluster.writes));
        services.with_label_values(of).set(number(cluster.services));
        not_served.with_label_values(of).set(number(cluster.not_served));
        nodes.with_label_values(of).set(number(cluster.nodes));
        slices.with_label_values(of).set(number(cluster.endpoint_slices));
        writes.with_label_values(of).set(number(cluster.writes_total));
        errors.with_label_values(of).set(number(cluster.write_errors));
        left_out.with_label_values(of).set(number(cluster.events_left_out));
    }
}

fn hooks(page: &mut Page, status: &Status) {
    let runs = page.counter(
        "fulcrum_hook_runs_total",
        "Runs of a hook by outcome: succeeded, failed, killed (at its deadline) or not-started.",
        &["hook", "outcome"],
    );
    let seconds =
        page.counter("fulcrum_hook_run_seconds_total", "How long all runs of a hook took.", &["hook"]);
    let waiting = page.gauge("fulcrum_hook_waiting", "What a hook is still to be told.", &["hook"]);
    let left_out = page.counter(
        "fulcrum_hook_left_out_total",
        "What a hook was not told: superseded by something later about the same, or queue-full.",
        &["hook", "reason"],
    );
    for hook in &status.hooks {
        for (outcome, count) in &hook.runs {
            runs.with_label_values(&[&hook.name, outcome]).set(number(*count));
        }
        for (reason, count) in &hook.left_out {
            left_out.with_label_values(&[&hook.name, reason]).set(number(*count));
        }
        seconds.with_label_values(&[&hook.name]).set(hook.run_seconds);
        waiting.with_label_values(&[&hook.name]).set(number(hook.waiting));
    }
}

fn limits(page: &mut Page, status: &Status) {
    let of = &["limit"];
    let used = page.gauge("fulcrum_limit_used", "How much of a limit is in use.", of);
    let limit = page.gauge("fulcrum_limit", "The limit.", of);
    let reached =
        page.counter("fulcrum_limit_reached_total", "Times that something was refused because of it.", of);
    for (name, seen) in &status.limits {
        used.with_label_values(&[name]).set(number(seen.used));
        limit.with_label_values(&[name]).set(number(seen.limit));
        reached.with_label_values(&[name]).set(number(seen.reached));
    }
}

fn engines(page: &mut Page, status: &Status) {
    let empty = BTreeMap::new();
    let of = |engine: &str| status.counters.get(engine).unwrap_or(&empty);
    let count = |name: &str| of("health").get(name).copied().unwrap_or(0);
    page.value("fulcrum_health_probes_in_flight", "Probes being made now.", number(count("in_flight")));
    page.count("fulcrum_health_probes_total", "Probes made.", count("probes"));
    page.count("fulcrum_health_failures_total", "Probes that failed.", count("failures"));
    page.count(
        "fulcrum_health_local_errors_total",
        "Probes that this node could not make (no files, memory or ports); they change no verdict.",
        count("local_errors"),
    );
    page.count(
        "fulcrum_health_probes_delayed_total",
        "Probes started late because too many were in flight.",
        count("probes_delayed"),
    );
    page.count(
        "fulcrum_health_stalled_total",
        "Probes that timed out while this process stood still; they change no verdict.",
        count("stalled"),
    );
    let help = "What happened to the VIP manager as a whole, by name (netlink overflows, stalls, what the fence dropped and why, ...).";
    let events = page.counter("fulcrum_vip_manager_events_total", help, &["event"]);
    for (event, count) in of("vip_manager") {
        events.with_label_values(&[event]).set(number(*count));
    }
}
