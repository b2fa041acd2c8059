//! Floods, and limits on how often new connections come.
#![allow(
    clippy::arithmetic_side_effects,
    clippy::expect_used,
    clippy::panic,
    reason = "small counts of a test"
)]

use crate::backends::cut_web1;
use crate::scene::{Family, LONG, Mode, assert_all_live, forwarding_pair, sessions};
use fulcrum_tests::Result;
use fulcrum_tests::flood::forged_syn;
use fulcrum_tests::frames::inject;
use fulcrum_tests::lab::{Fulcrum, GROUP, Lab, Machine, Pair, Status};
use fulcrum_tests::probe::{Outcome, Session, request};
use fulcrum_tests::wait::{now, run_for, wait_until};
use std::net::SocketAddr;
use std::time::Duration;

/// SYNs of one flood, each from another address.
const FLOOD: u32 = 100_000;
/// SYNs in a row. The machine's queues between namespaces have room for twice as many frames, and what overflows them is lost to
/// every lab on the machine, adverts too.
const AT_ONCE: usize = 500;
/// More sessions and health checks than a test makes besides.
const PROBES: u64 = 1_000;
const SHORT: Duration = Duration::from_millis(300);

fn flood(from: &Machine, to: SocketAddr, count: u32) -> Result<()> {
    let frames: Vec<_> = (0..count).map(|number| forged_syn(from, number, to, "02:00:00:00:00:11")).collect();
    frames.chunks(AT_ONCE).try_for_each(|some| {
        inject(from, some)?;
        run_for(Duration::from_millis(1));
        Ok(())
    })
}

/// While a flood lasts: those that live go on, and new ones come through. Returns how many came.
pub fn work_through(pair: &Pair, rogue: &Machine, sessions: &mut [Session], count: u32) -> Result<u64> {
    let (rogue, target) = (rogue.clone(), pair.service());
    let flood = std::thread::spawn(move || flood(&rogue, target, count));
    let mut rounds = 0;
    while !flood.is_finished() || rounds == 0 {
        assert_all_live(sessions);
        for _ in 0..5 {
            let sample = request(&pair.client, target, LONG)?;
            assert!(sample.is_answer(), "beside the flood: {sample:?}");
        }
        rounds += 1;
    }
    flood.join().expect("no panic")?;
    assert_all_live(sessions);
    Ok(rounds * 5)
}

fn plane(status: &Status, name: &str) -> u64 {
    let value = status.0.get("plane").and_then(|plane| plane.get(name));
    value.and_then(serde_json::Value::as_u64).unwrap_or_default()
}

fn stat(status: &Status, name: &str) -> u64 {
    let stats = status.service("web").and_then(|service| service.get("stats"));
    stats.and_then(|stats| stats.get(name)).and_then(serde_json::Value::as_u64).unwrap_or_default()
}

/// Until so many floods have come through, but for a third: a busy machine drops some of it before it is forwarded, as its
/// queues between namespaces have room for a thousand frames.
fn wait_forwarded(node: &Fulcrum, floods: u32) -> Result<()> {
    let least = u64::from(FLOOD) * u64::from(floods) * 2 / 3;
    wait_until("the flood to be counted", LONG, || {
        node.status().is_ok_and(|status| stat(&status, "accepted") >= least)
    })
}

fn a_flood_beside_live_connections(mode: Mode) {
    Lab::run(|lab| {
        let pair = forwarding_pair(lab, mode, Family::Ipv4)?;
        let rogue = lab.machine("rogue", 66)?;
        let node = pair.start(&pair.lb1)?;
        node.wait_leader(GROUP)?;
        let mut sessions = sessions(&pair)?;
        let mut made = work_through(&pair, &rogue, &mut sessions, FLOOD)?;
        wait_forwarded(&node, 1)?;
        let noted = plane(&node.status()?, "noted_flows");
        // In mode fullnat all are noted, but for those that nobody ever answered.
        let most = if mode == Mode::Fullnat { made + PROBES } else { 0 };
        assert!(noted <= most, "a flood leaves nothing behind: {noted}");
        // Where a table changed, new flows are noted, and those of a flood too; those that live are not pushed out.
        cut_web1(lab, &pair)?;
        wait_until("web1 to be down", LONG, || {
            node.status().is_ok_and(|status| status.backends("web", "down") == 1)
        })?;
        sessions.retain(|session| session.backend() != "web1");
        for _ in 0..30 {
            sessions.push(Session::open(&pair.client, pair.service(), LONG)?);
        }
        made += work_through(&pair, &rogue, &mut sessions, FLOOD)?;
        wait_forwarded(&node, 2)?;
        let noted = plane(&node.status()?, "noted_flows");
        let expected = if mode == Mode::Fullnat { 60..=made + PROBES } else { 5_000..=120_000 };
        assert!(expected.contains(&noted), "{noted}");
        lab.switch().heal()?;
        wait_until("web1 to be up", LONG, || {
            node.status().is_ok_and(|status| status.backends("web", "down") == 0)
        })?;
        assert_all_live(&mut sessions);
        Ok(())
    });
}

#[test]
fn in_nat_a_flood_of_syns_harms_no_live_connection_and_no_new_one() {
    a_flood_beside_live_connections(Mode::Nat);
}

#[test]
fn in_fullnat_a_flood_of_syns_harms_no_live_connection_and_no_new_one() {
    a_flood_beside_live_connections(Mode::Fullnat);
}

#[test]
fn in_dsr_a_flood_of_syns_harms_no_live_connection_and_no_new_one() {
    a_flood_beside_live_connections(Mode::Dsr);
}

/// How many of `count` connections came about at once; the others must have heard nothing.
fn connected(pair: &Pair, count: u32) -> Result<u32> {
    let mut through = 0;
    for _ in 0..count {
        let sample = request(&pair.client, pair.service(), SHORT)?;
        match sample.outcome {
            Outcome::Answer { .. } => through += 1,
            Outcome::Timeout => {}
            other @ (Outcome::Refused | Outcome::Reset | Outcome::Garbled | Outcome::Failed(_)) => {
                panic!("{other:?}")
            }
        }
    }
    Ok(through)
}

fn rates_are_kept(mode: Mode) {
    Lab::run(|lab| {
        let mut pair = forwarding_pair(lab, mode, Family::Ipv4)?;
        let usual = pair.plan.clone();
        let node = pair.start(&pair.lb1)?;
        node.wait_leader(GROUP)?;
        let mut sessions = sessions(&pair)?;
        for (limit, reason) in [
            ("rate_per_client: {per_second: 1, burst: 5}", "client_rate"),
            ("rate: {per_second: 1, burst: 5}", "service_rate"),
        ] {
            pair.plan.service.push(format!("limits: {{{limit}}}"));
            node.reload(&pair.plan.file(&pair.lb1))?;
            let before = stat(&node.status()?, "refused_rate");
            let begun = now();
            let through = connected(&pair, 15)?;
            let meanwhile = u32::try_from(begun.elapsed().as_secs()).unwrap_or(u32::MAX) + 1;
            // On a machine that is paused some of those that may are too late.
            assert!((1..=5 + meanwhile).contains(&through), "{limit}: {through} in {:?}", begun.elapsed());
            assert_all_live(&mut sessions);
            wait_until("the refusals to be counted", LONG, || {
                node.status().is_ok_and(|status| {
                    let dropped = status
                        .0
                        .get("plane")
                        .and_then(|plane| plane.get("not_forwarded")?.get(reason)?.as_u64());
                    stat(&status, "refused_rate") > before && dropped > Some(0)
                })
            })?;
            pair.plan = usual.clone();
            node.reload(&pair.plan.file(&pair.lb1))?;
            run_for(SHORT);
            wait_until("no limit any more", LONG, || {
                connected(&pair, 15).is_ok_and(|through| through == 15)
            })?;
        }
        assert_all_live(&mut sessions);
        Ok(())
    });
}

#[test]
fn in_nat_new_connections_come_no_faster_than_asked() {
    rates_are_kept(Mode::Nat);
}

#[test]
fn in_fullnat_new_connections_come_no_faster_than_asked() {
    rates_are_kept(Mode::Fullnat);
}

#[test]
fn in_dsr_new_connections_come_no_faster_than_asked() {
    rates_are_kept(Mode::Dsr);
}
