//! The leader goes, in each way there is, and the other serves.

use fulcrum_tests::Result;
use fulcrum_tests::frames::NeighbourProbe;
use fulcrum_tests::lab::{Fault, Fulcrum, GROUP, Lab, Machine, Pair, wait_served_by};
use fulcrum_tests::probe::{Probe, Sample, Timeline};
use fulcrum_tests::wait::{now, run_for, wait_until};
use rustix::process::Signal;
use std::collections::BTreeSet;
use std::time::{Duration, Instant};

const LONG: Duration = Duration::from_secs(15);
/// Requests fail or are answered well within this: the lab is small.
const WITHOUT_SERVICE_AT_MOST: Duration = Duration::from_secs(5);

/// A running pair with a client and somebody who asks for the VIP's MAC.
struct Scene {
    pair: Pair,
    first: Fulcrum,
    second: Fulcrum,
    probe: Probe,
    neighbours: NeighbourProbe,
}

impl Scene {
    fn new(lab: &Lab, change: impl FnOnce(&mut Pair)) -> Result<Self> {
        let mut pair = Pair::new(lab)?;
        change(&mut pair);
        let (first, second) = pair.start_both()?;
        let probe = pair.probe()?;
        wait_served_by(&probe, &pair.lb1)?;
        let neighbours = NeighbourProbe::start(&pair.client, pair.service().ip(), Duration::from_millis(10))?;
        Ok(Self { pair, first, second, probe, neighbours })
    }

    /// Only `node` answers for the VIP from now on.
    fn assert_alone(&self, node: &Machine) -> Result<()> {
        let only = BTreeSet::from([node.mac()]);
        let seen = |since: Instant| -> BTreeSet<String> {
            self.neighbours.macs_since(since).iter().map(ToString::to_string).collect()
        };
        let settled = now();
        wait_until("an answer about the VIP", LONG, || !seen(settled).is_empty())?;
        run_for(Duration::from_millis(300));
        assert_eq!(seen(settled), only);
        Ok(())
    }

    /// Ends with either node serving alone.
    fn assert_settled(self, event: Instant, what: &str) -> Result<()> {
        wait_until("one leader and one standby", LONG, || {
            let role = |node: &Fulcrum| node.status().ok()?.role(GROUP).map(str::to_owned);
            let roles = BTreeSet::from([role(&self.first), role(&self.second)]);
            roles == BTreeSet::from([Some("leader".into()), Some("standby".into())])
        })?;
        let leads = self.first.status()?.role(GROUP) == Some("leader");
        let leader = if leads { &self.pair.lb1 } else { &self.pair.lb2 };
        wait_served_by(&self.probe, leader)?;
        self.assert_alone(leader)?;
        let leader = leader.name().to_owned();
        let gap = self.probe.finish().since(event).longest_gap();
        println!("{what}: longest gap {gap:?}, {leader} leads");
        assert!(gap < WITHOUT_SERVICE_AT_MOST, "{gap:?}");
        Ok(())
    }

    /// Ends with the second node serving alone; gives what the client saw from `event` on.
    fn assert_moved(self, event: Instant, what: &str) -> Result<Timeline> {
        wait_served_by(&self.probe, &self.pair.lb2)?;
        self.second.wait_leader(GROUP)?;
        self.assert_alone(&self.pair.lb2)?;
        let seen = self.probe.finish().since(event);
        let gap = seen.longest_gap();
        println!("{what}: longest gap {gap:?}, {} of {} failed", seen.failed(), seen.samples().len());
        assert!(gap < WITHOUT_SERVICE_AT_MOST, "{gap:?}");
        Ok(seen)
    }
}

#[test]
fn the_leader_serves_through_every_backend() {
    Lab::run(|lab| {
        let scene = Scene::new(lab, |_| {})?;
        wait_until("all three web servers to be used", LONG, || {
            scene.probe.timeline().backends().len() == 3
        })?;
        scene.assert_alone(&scene.pair.lb1)?;
        assert!(scene.pair.lb1.has_address(scene.pair.service().ip())?);
        assert!(!scene.pair.lb2.has_address(scene.pair.service().ip())?);
        Ok(())
    });
}

#[test]
fn the_daemon_is_killed() {
    Lab::run(|lab| {
        let scene = Scene::new(lab, |_| {})?;
        let (lb1, vip) = (scene.pair.lb1.clone(), scene.pair.service().ip());
        let event = now();
        scene.first.kill()?;
        wait_until("the guard to withdraw the address", LONG, || !lb1.has_address(vip).unwrap_or(true))?;
        scene.assert_moved(event, "kill -9")?;
        Ok(())
    });
}

#[test]
fn the_daemon_is_killed_with_its_guard() {
    Lab::run(|lab| {
        let scene = Scene::new(lab, |_| {})?;
        let event = now();
        scene.first.process().kill_with_children()?;
        // The address may still be on lo, but nobody answers ARP for it: the kernel never does.
        scene.assert_moved(event, "kill -9 of daemon and guard")?;
        Ok(())
    });
}

#[test]
fn the_node_is_told_to_stop() {
    Lab::run(|lab| {
        let scene = Scene::new(lab, |_| {})?;
        let (lb1, lb2) = (scene.pair.lb1.clone(), scene.pair.lb2.clone());
        let vip = scene.pair.service().ip();
        let event = now();
        let status = scene.first.process().terminate(LONG)?;
        assert!(status.success(), "{status}");
        assert!(!lb1.has_address(vip)?);
        let seen = scene.assert_moved(event, "SIGTERM")?;
        let moved = seen.samples().iter().find(|sample| sample.via() == Some(lb2.ipv4()));
        let moved = moved.map(|sample| sample.begun).unwrap();
        let after = seen.since(moved);
        let lost: Vec<&Sample> = after.samples().iter().filter(|sample| !sample.is_answer()).collect();
        assert!(lost.is_empty(), "requests begun after the move failed: {lost:?}");
        Ok(())
    });
}

#[test]
fn the_node_is_told_to_hand_over() {
    Lab::run(|lab| {
        let scene = Scene::new(lab, |_| {})?;
        let event = now();
        let said = scene.first.command(&["handover", GROUP])?;
        assert!(said.contains("lb2"), "{said}");
        scene.first.wait_role(GROUP, "standby")?;
        scene.assert_moved(event, "handover")?;
        Ok(())
    });
}

#[test]
fn the_machine_freezes_and_comes_back() {
    Lab::run(|lab| {
        let scene = Scene::new(lab, |_| {})?;
        let event = now();
        scene.first.process().freeze()?;
        wait_served_by(&scene.probe, &scene.pair.lb2)?;
        scene.assert_alone(&scene.pair.lb2)?;
        let back = now();
        scene.first.process().thaw()?;
        scene.first.wait_role(GROUP, "standby")?;
        run_for(Duration::from_millis(500));
        let second_gap = scene.probe.timeline().since(back).longest_gap();
        println!("after the return: longest gap {second_gap:?}");
        scene.assert_moved(event, "frozen, then resumed")?;
        Ok(())
    });
}

#[test]
fn the_machine_freezes_for_half_a_second() {
    Lab::run(|lab| {
        let scene = Scene::new(lab, |_| {})?;
        let event = now();
        scene.first.process().freeze()?;
        run_for(Duration::from_millis(500));
        scene.first.process().thaw()?;
        scene.assert_settled(event, "frozen for 500 ms")
    });
}

#[test]
fn the_link_is_cut_and_heals() {
    Lab::run(|lab| {
        let scene = Scene::new(lab, |_| {})?;
        let event = now();
        lab.switch().cut(&scene.pair.lb1)?;
        wait_served_by(&scene.probe, &scene.pair.lb2)?;
        lab.switch().heal()?;
        // Both lead when they hear each other again; the one with the lower priority gives in, and the client
        // is served throughout by whoever answers.
        scene.assert_settled(event, "link cut and healed")
    });
}

#[test]
fn the_cable_is_pulled() {
    Lab::run(|lab| {
        let scene = Scene::new(lab, |_| {})?;
        let event = now();
        lab.switch().unplug(&scene.pair.lb1)?;
        wait_served_by(&scene.probe, &scene.pair.lb2)?;
        lab.switch().replug(&scene.pair.lb1)?;
        scene.first.wait_role(GROUP, "standby")?;
        scene.assert_moved(event, "cable pulled and put back")?;
        Ok(())
    });
}

#[test]
fn the_two_lose_each_other_and_meet_again() {
    Lab::run(|lab| {
        let scene = Scene::new(lab, |_| {})?;
        let event = now();
        lab.switch().part(&scene.pair.lb1, &scene.pair.lb2)?;
        scene.second.wait_leader(GROUP)?;
        lab.switch().heal()?;
        scene.assert_settled(event, "parted and met again")
    });
}

#[test]
fn a_leader_that_is_not_heard_gives_way_to_the_one_that_is() {
    Lab::run(|lab| {
        let scene = Scene::new(lab, |_| {})?;
        let (lb1, lb2) = (scene.pair.lb1.clone(), scene.pair.lb2.clone());
        let event = now();
        // It hears the other, and is not heard.
        lab.switch().add([Fault::Between(lb1.port(), lb2.port())])?;
        scene.second.wait_leader(GROUP)?;
        scene.first.wait_hears_leader(GROUP)?;
        let status = scene.first.status()?;
        let reason = status.group(GROUP).and_then(|group| group.get("reason")?.as_str()).map(str::to_owned);
        assert!(reason.as_deref().is_some_and(|reason| reason.contains("one-way cut")), "{reason:?}");
        scene.assert_alone(&lb2)?;
        lab.switch().heal()?;
        run_for(Duration::from_secs(1));
        assert_eq!(scene.first.status()?.role(GROUP), Some("standby"), "and that lasts after the heal");
        scene.assert_moved(event, "one-way cut: the leader is not heard")?;
        Ok(())
    });
}

#[test]
fn a_standby_that_is_not_heard_changes_nothing() {
    Lab::run(|lab| {
        let scene = Scene::new(lab, |_| {})?;
        let (lb1, lb2) = (scene.pair.lb1.clone(), scene.pair.lb2.clone());
        let event = now();
        // The leader hears nothing of the standby, which has nothing to say, and is heard.
        lab.switch().add([Fault::Between(lb2.port(), lb1.port())])?;
        for _ in 0..10 {
            run_for(Duration::from_millis(200));
            assert_eq!(scene.first.status()?.role(GROUP), Some("leader"));
            assert_eq!(scene.second.status()?.role(GROUP), Some("standby"));
        }
        scene.assert_alone(&lb1)?;
        let seen = scene.probe.finish().since(event);
        assert_eq!(seen.failed(), 0, "{:?}", seen.outcomes());
        Ok(())
    });
}

#[test]
fn an_ipv6_vip_moves_too() {
    Lab::run(|lab| {
        let scene = Scene::new(lab, |pair| {
            pair.plan = pair.plan.clone().dual_stack();
            pair.plan.vips.reverse();
        })?;
        assert!(scene.pair.service().is_ipv6());
        let event = now();
        scene.first.process().signal(Signal::KILL)?;
        scene.assert_moved(event, "kill -9, IPv6")?;
        Ok(())
    });
}
