//! A node that does not say that it lives is silenced by its kernel.
#![allow(
    clippy::arithmetic_side_effects,
    clippy::indexing_slicing,
    clippy::disallowed_methods,
    reason = "nothing but a test"
)]

use fulcrum_tests::Result;
use fulcrum_tests::frames::{Capture, NeighbourProbe, speaks_for};
use fulcrum_tests::lab::{Fulcrum, GROUP, Lab, Machine, Pair, Status, ipv4, ipv6, wait_served_by};
use fulcrum_tests::probe::{Probe, request};
use fulcrum_tests::wait::{now, run_for, wait_until};
use std::process::Command;
use std::time::{Duration, Instant};

const LONG: Duration = Duration::from_secs(15);
const SHORT: Duration = Duration::from_millis(200);
/// Three adverts and the least skew, and a margin: after this nothing may speak for a leader that stands still.
const DOWN_INTERVAL: Duration = Duration::from_millis(310);

/// The capabilities of the systemd unit, and the same without those for BPF.
const UNIT: &str = "+net_admin,+net_raw,+net_bind_service,+sys_nice,+ipc_lock,+chown,+bpf,+perfmon";
const UNIT_WITHOUT_BPF: &str = "+net_admin,+net_raw,+net_bind_service,+sys_nice,+ipc_lock,+chown";

/// A pair with both families, somebody who asks who has the VIPs, and one who knows nothing of any takeover.
struct Scene {
    pair: Pair,
    first: Fulcrum,
    second: Fulcrum,
    probe: Probe,
    /// Sends everything for the VIPs to the first node, for ever.
    stubborn: Machine,
    /// What speaks for a VIP on the first node's cable.
    spoken: Capture,
    _asking: [NeighbourProbe; 2],
}

impl Scene {
    fn new(lab: &Lab, fence: &'static str) -> Result<Self> {
        let mut pair = Pair::new(lab)?;
        pair.plan = pair.plan.dual_stack();
        let stubborn = lab.machine("stubborn", 51)?;
        for vip in &pair.plan.vips {
            let (vip, mac) = (vip.to_string(), pair.lb1.mac());
            stubborn
                .run("ip", &["neigh", "replace", &vip, "lladdr", &mac, "dev", "eth0", "nud", "permanent"])?;
        }
        let first = start(&pair, &pair.lb1, fence)?;
        first.wait_leader(GROUP)?;
        let second = start(&pair, &pair.lb2, fence)?;
        second.wait_hears_leader(GROUP)?;
        for node in [&first, &second] {
            assert_eq!(fence_of(&node.status()?), format!("kernel ({fence})"));
        }
        let (vips, mac) = (pair.plan.vips.clone(), pair.lb1.mac());
        let spoken = lab.switch().watch(&pair.lb1, move |frame| {
            frame.get(6..12).is_some_and(|source| format_mac(source) == mac) && speaks_for(frame, &vips)
        })?;
        let probe = pair.probe()?;
        wait_served_by(&probe, &pair.lb1)?;
        let asking = [ipv4(100), ipv6(100)]
            .map(|vip| NeighbourProbe::start(&pair.client, vip, Duration::from_millis(10)));
        let [ask_ipv4, ask_ipv6] = asking;
        Ok(Self { pair, first, second, probe, stubborn, spoken, _asking: [ask_ipv4?, ask_ipv6?] })
    }

    /// Somebody makes the first node's own kernel answer for the VIPs.
    fn add_by_hand(&self) -> Result<()> {
        self.pair.lb1.run("ip", &["addr", "add", "10.77.0.100/24", "dev", "eth0"])?;
        self.pair.lb1.run("ip", &["addr", "add", "fd77::100/64", "dev", "eth0", "nodad"])?;
        Ok(())
    }

    fn remove_by_hand(&self) -> Result<()> {
        self.pair.lb1.run("ip", &["addr", "del", "10.77.0.100/24", "dev", "eth0"])?;
        self.pair.lb1.run("ip", &["addr", "del", "fd77::100/64", "dev", "eth0"])?;
        Ok(())
    }

    /// Whether the first node answers somebody who sends everything to it.
    fn first_answers(&self) -> bool {
        let answers = |vip: &std::net::IpAddr| {
            request(&self.stubborn, (*vip, 80).into(), SHORT).is_ok_and(|sample| sample.is_answer())
        };
        self.pair.plan.vips.iter().any(answers)
    }

    /// From the down interval after `event` on the first node says nothing for a VIP, however it is asked.
    fn assert_silent_since(&self, event: Instant) -> Result<()> {
        let silent = event + DOWN_INTERVAL;
        wait_served_by(&self.probe, &self.pair.lb2)?;
        self.add_by_hand()?;
        run_for(silent.saturating_duration_since(now()));
        for _ in 0..5 {
            assert!(!self.first_answers());
        }
        run_for(Duration::from_millis(500));
        self.assert_nothing_said_since(event)
    }

    /// The same, by what was on the wire until now.
    fn assert_nothing_said_since(&self, event: Instant) -> Result<()> {
        assert!(!self.first_answers());
        wait_served_by(&self.probe, &self.pair.lb2)?;
        let silent = event + DOWN_INTERVAL;
        let spoken = self.spoken.frames();
        let (before, after): (Vec<_>, Vec<_>) = spoken.iter().partition(|frame| frame.at < silent);
        println!("{} frames for a VIP before, {} after", before.len(), after.len());
        assert!(!before.is_empty(), "the capture sees nothing");
        assert!(after.is_empty(), "{:?} after the event: {:x?}", after[0].at - event, after[0].bytes);
        Ok(())
    }
}

fn start(pair: &Pair, node: &Machine, fence: &str) -> Result<Fulcrum> {
    let fence = if fence == "tcx" { "auto" } else { fence };
    Fulcrum::start_with(node, &pair.plan.file(node), |command| {
        command.env("FULCRUM_FENCE", fence);
    })
}

fn format_mac(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect::<Vec<_>>().join(":")
}

fn fence_of(status: &Status) -> String {
    let what = status.0.pointer("/fence/0/what").and_then(|what| what.as_str());
    what.unwrap_or_default().to_owned()
}

fn dropped(status: &Status, counter: &str) -> u64 {
    status.0.pointer(&format!("/counters/vip_manager/fenced_{counter}")).and_then(|n| n.as_u64()).unwrap_or(0)
}

fn a_frozen_node_is_silent(lab: &Lab, fence: &'static str) -> Result<()> {
    let scene = Scene::new(lab, fence)?;
    assert!(scene.first_answers());
    scene.first.process().freeze()?;
    let event = now();
    scene.assert_silent_since(event)?;
    scene.remove_by_hand()?;
    scene.first.process().thaw()?;
    scene.first.wait_hears_leader(GROUP)?;
    let status = scene.first.status()?;
    for reason in ["neighbour_out_stale", "packet_in_stale"] {
        assert!(dropped(&status, reason) > 0, "{reason}: {}", status.0["counters"]);
    }
    // Nothing is held back from the one that leads.
    assert_eq!(dropped(&scene.second.status()?, "packet_in_stale"), 0);
    // And the first may lead again.
    scene.second.process().terminate(LONG)?;
    wait_served_by(&scene.probe, &scene.pair.lb1)?;
    Ok(())
}

fn a_dead_node_is_silent_until_a_new_daemon_leads(lab: &Lab, fence: &'static str) -> Result<()> {
    let scene = Scene::new(lab, fence)?;
    scene.first.process().kill_with_children()?;
    let event = now();
    scene.assert_silent_since(event)?;
    // The kernel would answer all the time while the new daemon replaces the fence.
    let again = start(&scene.pair, &scene.pair.lb1, fence)?;
    again.wait_hears_leader(GROUP)?;
    assert_eq!(fence_of(&again.status()?), format!("kernel ({fence})"));
    scene.assert_nothing_said_since(event)?;
    scene.remove_by_hand()?;
    scene.second.process().terminate(LONG)?;
    wait_served_by(&scene.probe, &scene.pair.lb1)?;
    wait_until("the first to answer all", LONG, || scene.first_answers())?;
    Ok(())
}

#[test]
fn a_frozen_node_is_silenced_by_its_kernel() {
    Lab::run(|lab| a_frozen_node_is_silent(lab, "tcx"));
}

#[test]
fn a_frozen_node_is_silenced_by_its_kernel_where_there_is_no_tcx() {
    Lab::run(|lab| a_frozen_node_is_silent(lab, "clsact"));
}

#[test]
fn a_dead_node_is_silenced_by_its_kernel_until_a_new_daemon_leads() {
    Lab::run(|lab| a_dead_node_is_silent_until_a_new_daemon_leads(lab, "tcx"));
}

#[test]
fn a_dead_node_is_silenced_by_its_kernel_where_there_is_no_tcx() {
    Lab::run(|lab| a_dead_node_is_silent_until_a_new_daemon_leads(lab, "clsact"));
}

#[test]
fn an_orderly_stop_takes_the_fence_away() {
    for fence in ["tcx", "clsact"] {
        Lab::run(|lab| {
            let pair = Pair::new(lab)?;
            let node = start(&pair, &pair.lb1, fence)?;
            node.wait_leader(GROUP)?;
            assert!(node.process().terminate(LONG)?.success());
            pair.lb1.run("ip", &["addr", "add", "10.77.0.100/24", "dev", "eth0"])?;
            let asking = NeighbourProbe::start(&pair.client, ipv4(100), Duration::from_millis(10))?;
            wait_until("the kernel to answer", LONG, || !asking.answers().is_empty())
        });
    }
}

/// Starts a node with no more than these capabilities.
fn start_with_capabilities(pair: &Pair, capabilities: &str) -> Result<Fulcrum> {
    Fulcrum::start_with(&pair.lb1, &pair.plan.file(&pair.lb1), |command| {
        let mut limited = Command::new("setpriv");
        limited.args(["--inh-caps", "-all", "--bounding-set", &format!("-all,{capabilities}"), "--"]);
        limited.arg(command.get_program()).args(command.get_args());
        *command = limited;
    })
}

#[test]
fn the_unit_s_capabilities_are_enough_for_the_fence() {
    Lab::run(|lab| {
        let pair = Pair::new(lab)?;
        let node = start_with_capabilities(&pair, UNIT)?;
        node.wait_leader(GROUP)?;
        assert_eq!(fence_of(&node.status()?), "kernel (tcx)");
        let probe = pair.probe()?;
        wait_served_by(&probe, &pair.lb1)?;
        Ok(())
    });
}

#[test]
fn without_permission_for_bpf_the_node_serves_and_says_so() {
    Lab::run(|lab| {
        let pair = Pair::new(lab)?;
        let node = start_with_capabilities(&pair, UNIT_WITHOUT_BPF)?;
        node.wait_leader(GROUP)?;
        let fence = fence_of(&node.status()?);
        assert!(fence.starts_with("none: this process may not load BPF programs"), "{fence}");
        assert!(node.command(&["status"])?.contains("fence at eth0: none: "));
        let probe = pair.probe()?;
        wait_served_by(&probe, &pair.lb1)?;
        Ok(())
    });
}

fn drop_adverts(node: &Machine) -> Result<()> {
    node.run("nft", &["add", "table", "inet", "fault"])?;
    let chain = "{ type filter hook input priority 0 ; }";
    node.run("nft", &["add", "chain", "inet", "fault", "in", chain])?;
    node.run("nft", &["add", "rule", "inet", "fault", "in", "ip", "protocol", "112", "drop"]).map(|_| ())
}

fn has_link(node: &Fulcrum, peer: &Machine) -> bool {
    node.status().is_ok_and(|status| status.peer(peer.name()).is_some_and(|peer| peer["state"] == "up"))
}

/// The longest time in which the node did not answer, between two answers.
fn longest_silence(asking: &NeighbourProbe, node: &Machine) -> Duration {
    let answers: Vec<Instant> = asking
        .answers()
        .into_iter()
        .filter(|(_, mac)| mac.to_string() == node.mac())
        .map(|(at, _)| at)
        .collect();
    answers.windows(2).map(|pair| pair[1] - pair[0]).max().unwrap_or_default()
}

/// Adverts reach neither, so that nothing but the link tells, as to a node that comes back from a pause.
#[test]
fn a_peer_that_took_over_and_says_so_silences_a_leader_for_a_while_and_not_for_ever() {
    Lab::run(|lab| {
        let mut pair = Pair::new(lab)?;
        pair.plan = pair.plan.with_keys()?;
        let (first, second) = pair.start_both()?;
        wait_until("a link", LONG, || has_link(&first, &pair.lb2) && has_link(&second, &pair.lb1))?;
        let asking = NeighbourProbe::start(&pair.client, ipv4(100), Duration::from_millis(10))?;
        // Whoever leads has seen that the other does not.
        run_for(Duration::from_secs(1));
        let counted = |name: &str| {
            let counters = first.status().map(|status| status.0["counters"]["vip_manager"].clone());
            counters.unwrap_or_default()[name].as_u64().unwrap_or(0)
        };
        assert_eq!(counted("fence_denied"), 0);
        for node in [&pair.lb1, &pair.lb2] {
            drop_adverts(node)?;
        }
        second.wait_leader(GROUP)?;
        wait_until("the first node to be silenced", LONG, || counted("fence_denied") == 1)?;
        wait_until("answers that its kernel held back", LONG, || {
            counted("fenced_neighbour_out_silent") > 0
                && longest_silence(&asking, &pair.lb1) > DOWN_INTERVAL / 2
        })?;
        // For all that they hear both go on leading, as they would without a link.
        let again = now();
        wait_until("the first node to speak on", LONG, || {
            asking.macs_since(again).iter().any(|mac| mac.to_string() == pair.lb1.mac())
        })?;
        assert_eq!(counted("fence_denied"), 1);
        Ok(())
    });
}
