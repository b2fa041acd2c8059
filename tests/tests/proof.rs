//! A standby asks from outside whether the leader answers for its VIPs.
#![allow(clippy::indexing_slicing, reason = "a test stops at what it did not expect")]

use fulcrum_tests::Result;
use fulcrum_tests::lab::{Cluster, Fault, Fulcrum, GROUP, Lab, Pair, Plan, ipv4, ipv6};
use fulcrum_tests::wait::{run_for, wait_until};
use std::net::IpAddr;
use std::time::Duration;

const LONG: Duration = Duration::from_secs(15);

struct Scene {
    pair: Pair,
    first: Fulcrum,
    second: Fulcrum,
}

impl Scene {
    /// A pair with both families that asks often.
    fn new(lab: &Lab) -> Result<Self> {
        Self::with(lab, |_| {})
    }

    fn with(lab: &Lab, prepare: impl FnOnce(&mut Plan)) -> Result<Self> {
        let mut pair = Pair::new(lab)?;
        pair.plan = pair.plan.dual_stack();
        pair.plan.group.push("proof: {interval: 600ms}".into());
        prepare(&mut pair.plan);
        let (first, second) = pair.start_both()?;
        Ok(Self { pair, first, second })
    }

    fn vips(&self) -> &[IpAddr] {
        &self.pair.plan.vips
    }
}

/// What `node` found out by asking for `vip`.
fn found(node: &Fulcrum, vip: IpAddr) -> String {
    let state = |status: fulcrum_tests::lab::Status| {
        Some(status.address(GROUP, vip)?.pointer("/proof/state")?.as_str()?.to_owned())
    };
    node.status().ok().and_then(state).unwrap_or_default()
}

fn wait_found(node: &Fulcrum, vips: &[IpAddr], state: &str) -> Result<()> {
    let what = format!("{state} on {}", node.machine.name());
    wait_until(&what, LONG, || vips.iter().all(|vip| found(node, *vip) == state))
}

/// The alarms of `node` that are about a VIP.
fn alarms(node: &Fulcrum) -> Result<Vec<String>> {
    let status = node.status()?;
    let about = |what: &&str| what.contains("VIP ") || what.contains("nobody answers");
    Ok(status.alarms().into_iter().filter(about).map(str::to_owned).collect())
}

#[test]
fn a_leader_that_does_not_answer_for_its_vips_is_named_until_it_does() {
    Lab::run(|lab| {
        let scene = Scene::new(lab)?;
        wait_found(&scene.second, scene.vips(), "answered")?;
        let port = scene.pair.lb1.port();
        lab.switch().add(scene.vips().iter().map(|vip| Fault::QuestionsTo(port.clone(), *vip)))?;
        wait_found(&scene.second, scene.vips(), "not-answered")?;
        let alarms = alarms(&scene.second)?;
        for (vip, question) in [(ipv4(100), "ARP"), (ipv6(100), "neighbour discovery")] {
            let about = format!("VIP {vip} of group {GROUP} is not answered: lb1 leads");
            let is_it = |alarm: &&String| alarm.starts_with(&about) && alarm.contains(question);
            assert!(alarms.iter().any(|alarm| is_it(&alarm)), "{alarms:?}");
        }
        lab.switch().heal()?;
        wait_found(&scene.second, scene.vips(), "answered")?;
        assert_eq!(self::alarms(&scene.second)?, Vec::<String>::new());
        // Nothing moved for it.
        assert_eq!(scene.first.status()?.role(GROUP), Some("leader"));
        Ok(())
    });
}

#[test]
fn a_leader_that_does_not_answer_hands_over_where_that_is_asked_for_and_does_not_come_back() {
    Lab::run(|lab| {
        let scene = Scene::with(lab, |plan| {
            plan.group.pop();
            plan.group.push("proof: {interval: 600ms, on_failure: hand-over}".into());
            plan.group.push("preempt: true".into());
            *plan = plan.clone().with_keys().unwrap();
        })?;
        wait_found(&scene.second, scene.vips(), "answered")?;
        let ports = [scene.pair.lb1.port(), scene.pair.lb2.port()];
        let deaf = |port: &String| -> Vec<Fault> {
            scene.vips().iter().map(|vip| Fault::QuestionsTo(port.clone(), *vip)).collect()
        };
        lab.switch().add(deaf(&ports[0]))?;
        wait_until("the other one to lead", LONG, || {
            scene.second.status().is_ok_and(|status| status.role(GROUP) == Some("leader"))
        })?;
        let reason = scene.first.status()?.0["groups"][0]["reason"].to_string();
        assert!(reason.contains("lb2 asked for its addresses and was not answered"), "{reason}");
        // It would preempt, and both would give it back and forth.
        lab.switch().add(deaf(&ports[1]))?;
        wait_found(&scene.first, scene.vips(), "not-answered")?;
        run_for(Duration::from_secs(3));
        assert_eq!(scene.second.status()?.role(GROUP), Some("leader"));
        assert_eq!(scene.first.status()?.role(GROUP), Some("standby"));
        Ok(())
    });
}

#[test]
fn a_stranger_that_answers_for_a_vip_too_is_named() {
    Lab::run(|lab| {
        let stranger = lab.machine("stranger", 66)?;
        let scene = Scene::new(lab)?;
        for (vip, prefix) in scene.vips().iter().zip(["32", "128"]) {
            let nodad: &[&str] = if vip.is_ipv6() { &["nodad"] } else { &[] };
            let address = format!("{vip}/{prefix}");
            let arguments = [&["addr", "add", &address, "dev", "eth0"][..], nodad].concat();
            stranger.run("ip", &arguments)?;
        }
        wait_found(&scene.second, scene.vips(), "answered-twice")?;
        let alarms = alarms(&scene.second)?;
        let (leader, stranger) = (format!("lb1 (MAC {})", scene.pair.lb1.mac()), stranger.mac());
        for vip in scene.vips() {
            let about = format!("VIP {vip} of group {GROUP} is answered twice");
            let is_it = |what: &String| {
                what.starts_with(&about) && what.contains(&stranger) && what.contains(&leader)
            };
            assert!(alarms.iter().any(is_it), "{alarms:?}");
        }
        Ok(())
    });
}

#[test]
fn a_quiet_pair_raises_no_alarm_nor_does_a_handover_or_a_death() {
    Lab::run(|lab| {
        let scene = Scene::new(lab)?;
        let quiet = |node: &Fulcrum, time: Duration| -> Result<()> {
            for _ in 0..time.as_millis() / 100 {
                assert_eq!(alarms(node)?, Vec::<String>::new());
                run_for(Duration::from_millis(100));
            }
            Ok(())
        };
        scene.first.command(&["handover", GROUP])?;
        scene.first.wait_hears_leader(GROUP)?;
        wait_found(&scene.first, scene.vips(), "answered")?;
        quiet(&scene.first, Duration::from_secs(2))?;
        scene.second.process().kill_with_children()?;
        scene.first.wait_leader(GROUP)?;
        quiet(&scene.first, Duration::from_secs(3))
    });
}

#[test]
fn a_leader_whose_ports_are_not_answered_is_named_and_its_refusal_is_an_answer() {
    Lab::run(|lab| {
        // Nobody is there: refused at once.
        let refusing =
            "mode: fullnat, backends: [10.77.0.21:81], check: {type: tcp, interval: 200ms, timeout: 200ms}";
        let scene = Scene::with(lab, |plan| {
            plan.services.push(format!("nobody: {{vip: 10.77.0.100, port: 81, {refusing}}}"));
        })?;
        let (first, second, vips) = (&scene.first, &scene.second, scene.vips());
        wait_found(second, vips, "answered")?;
        let drop_port = "add table inet fault; add chain inet fault in { type filter hook input priority 0; }; \
            add rule inet fault in tcp dport 80 drop";
        first.machine.run("nft", &[drop_port])?;
        wait_found(second, vips, "port-not-answered")?;
        let found = alarms(second)?;
        for vip in vips {
            let about = format!("VIP {vip} of group {GROUP}: port 80 is not answered: lb1 leads");
            assert!(found.iter().any(|what| what.starts_with(&about)), "{found:?}");
        }
        first.machine.run("nft", &["delete table inet fault"])?;
        wait_found(second, vips, "answered")?;
        assert_eq!(alarms(second)?, Vec::<String>::new());
        // Half a handshake is no connection.
        let accepted = first.status()?.service("web").map(|web| web["stats"]["accepted"].clone());
        assert_eq!(accepted, Some(0.into()));
        Ok(())
    });
}

#[test]
fn of_an_elected_group_the_first_standby_asks_and_nobody_else() {
    Lab::run(|lab| {
        let mut cluster = Cluster::new(lab, 3, 3)?;
        cluster.of_groups = ", proof: {interval: 600ms}".into();
        let nodes = cluster.start_all()?;
        wait_until("each group to be proven by its first standby alone", LONG, || {
            let statuses: Vec<_> =
                nodes.iter().filter_map(|node| Some((node, node.status().ok()?))).collect();
            cluster.names().all(|group| {
                let proven = |status: &fulcrum_tests::lab::Status| {
                    status.group(&group).is_some_and(|group| group["proven_seconds_ago"].is_number())
                };
                let leader = statuses.iter().find(|(_, status)| status.role(&group) == Some("leader"));
                let first = leader.and_then(|(_, status)| Some(status.group(&group)?["standbys"][0].clone()));
                let provers: Vec<&str> = statuses
                    .iter()
                    .filter(|(_, status)| proven(status))
                    .map(|(node, _)| node.machine.name())
                    .collect();
                first.is_some_and(|first| provers == [first.as_str().unwrap_or_default()])
            })
        })?;
        // A leader that does not answer is named by that one.
        let group = "web-1";
        let leader = nodes.iter().find(|node| node.status().is_ok_and(|it| it.role(group) == Some("leader")));
        let leader = leader.unwrap_or(&nodes[0]);
        let first =
            leader.status()?.group(group).map(|group| group["standbys"][0].clone()).unwrap_or_default();
        let (vip, name) = (cluster.service(0).ip(), leader.machine.name());
        lab.switch().add([Fault::QuestionsTo(leader.machine.port(), vip)])?;
        let about = format!("VIP {vip} of group {group} is not answered: {name} leads");
        let prover = nodes.iter().find(|node| first == node.machine.name());
        wait_until("the alarm", LONG, || {
            let alarms = prover.and_then(|node| alarms(node).ok()).unwrap_or_default();
            alarms.iter().any(|alarm| alarm.starts_with(&about))
        })
    });
}
