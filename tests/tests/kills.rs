//! SIGKILL at random moments under load, again and again: no address stays, the other serves.

use fulcrum_tests::lab::{Fulcrum, GROUP, Lab, Pair, wait_served_by};
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
