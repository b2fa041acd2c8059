//! SIGKILL at random moments under load, again and again: no address stays, the other serves.
#![allow(clippy::indexing_slicing, reason = "nothing but a test")]

use fulcrum_tests::lab::{Fulcrum, GROUP, Lab, Linked, Pair, wait_served_by};
use fulcrum_tests::wait::{now, run_for, wait_until};
use std::time::Duration;

/// `FULCRUM_KILLS`, 4 by default.
fn kills() -> u32 {
    std::env::var("FULCRUM_KILLS").ok().and_then(|text| text.parse().ok()).unwrap_or(4)
}

#[test]
fn whoever_leads_is_killed_at_a_random_moment() {
    Lab::run(|lab| {
        let pair = Pair::new(lab)?;
        let (mut leader, mut standby) = pair.start_both()?;
        let probe = pair.probe()?;
        let vip = pair.service().ip();
        let seed = fastrand::u64(..);
        println!("seed {seed}");
        let mut random = fastrand::Rng::with_seed(seed);
        for round in 0..kills() {
            wait_served_by(&probe, &leader.machine)?;
            run_for(Duration::from_micros(random.u64(0..300_000)));
            let event = now();
            leader.kill()?;
            wait_served_by(&probe, &standby.machine)?;
            let dead = &leader.machine;
            wait_until("the dead node's address to be gone", Duration::from_secs(15), || {
                !dead.has_address(vip).unwrap_or(true)
            })?;
            let gap = probe.timeline().since(event).longest_gap();
            println!("round {round}: {} killed, longest gap {gap:?}", dead.name());
            assert!(gap < Duration::from_secs(5));
            // As a service manager does: the next one only when this one is gone.
            leader.process().wait(Duration::from_secs(15))?;
            let returned: Fulcrum = pair.start(dead)?;
            returned.wait_hears_leader(GROUP)?;
            standby.wait_leader(GROUP)?;
            leader = std::mem::replace(&mut standby, returned);
        }
        Ok(())
    });
}

#[test]
fn who_crashes_again_and_again_leads_only_if_nobody_else_can() {
    Lab::run(|lab| {
        let prepare = |pair: &mut Pair| {
            pair.plan.group.push("preempt: true".to_owned());
            pair.plan.held_after_crashes = 2;
        };
        let mut scene = Linked::new(lab, prepare, Fulcrum::start)?;
        for crash in 1..=2 {
            scene.nodes[0].kill()?;
            scene.nodes[1].wait_leader(GROUP)?;
            scene.nodes[0].process().wait(Duration::from_secs(15))?;
            scene.nodes[0] = scene.pair.start(&scene.pair.lb1)?;
            scene.wait_agreement()?;
            if crash == 1 {
                scene.nodes[0].wait_leader(GROUP)?;
            }
        }
        // It had taken it back long since.
        run_for(Duration::from_secs(2));
        assert_eq!(scene.nodes[1].status()?.role(GROUP), Some("leader"));
        let page = scene.nodes[0].command(&["status"])?;
        assert!(page.contains("this node is not stable: it crashed 2 times within 30 minutes"), "{page}");
        let told = scene.refused(1, &["handover", GROUP]);
        assert!(told.contains("lb1: it is not ready for it: it crashed 2 times within 30 minutes"), "{told}");

        scene.nodes[1].kill()?;
        scene.nodes[0].wait_leader(GROUP)?;
        let begun = now();
        let probe = scene.pair.probe()?;
        wait_until("an answer", Duration::from_secs(15), || probe.answered_since(begun).is_some())
    });
}
