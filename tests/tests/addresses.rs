//! What happens to addresses and interfaces behind the daemon's back.

use fulcrum_tests::lab::{GROUP, Lab, Pair, ipv4, ipv6, wait_served_by};
use fulcrum_tests::wait::{now, wait_for, wait_until};
use std::net::SocketAddr;
use std::time::Duration;

const LONG: Duration = Duration::from_secs(15);

#[test]
fn a_vip_removed_by_hand_comes_back() {
    Lab::run(|lab| {
        let mut pair = Pair::new(lab)?;
        pair.plan = pair.plan.dual_stack();
        let (_first, _second) = pair.start_both()?;
        for (vip, prefix) in [(ipv4(100), 32), (ipv6(100), 128)] {
            wait_until("the VIP", LONG, || pair.lb1.has_address(vip).unwrap_or(false))?;
            pair.lb1.run("ip", &["addr", "del", &format!("{vip}/{prefix}"), "dev", "lo"])?;
            let removed = now();
            wait_until("the VIP to be back", LONG, || pair.lb1.has_address(vip).unwrap_or(false))?;
            println!("{vip} back after {:?}", removed.elapsed());
        }
        let probe = pair.probe()?;
        wait_served_by(&probe, &pair.lb1)?;
        Ok(())
    });
}

#[test]
fn an_interface_vanishes_and_returns() {
    Lab::run(|lab| {
        let pair = Pair::new(lab)?;
        let (first, second) = pair.start_both()?;
        let probe = pair.probe()?;
        lab.switch().destroy_link(&pair.lb1)?;
        wait_served_by(&probe, &pair.lb2)?;
        lab.switch().plug_in(&pair.lb1)?;
        pair.lb1.configure()?;
        first.wait_hears_leader(GROUP)?;
        assert_eq!(second.status()?.role(GROUP), Some("leader"));
        // And it can lead again.
        second.process().kill_with_children()?;
        wait_served_by(&probe, &pair.lb1)?;
        Ok(())
    });
}

#[test]
fn a_vip_that_another_machine_uses_stays_down_and_the_others_work() {
    for dual_stack in [false, true] {
        Lab::run(|lab| {
            let mut pair = Pair::new(lab)?;
            let squatter = lab.machine("squatter", 66)?;
            let (good, taken, prefix) =
                if dual_stack { (ipv6(100), ipv6(101), 64) } else { (ipv4(100), ipv4(101), 24) };
            squatter.run("ip", &["addr", "add", &format!("{taken}/{prefix}"), "dev", "eth0"])?;
            pair.plan.vips = vec![good, taken];
            let node = pair.start(&pair.lb1)?;
            node.wait_leader(GROUP)?;
            let seen = wait_for("the conflict", LONG, || {
                let address = node.status().ok()?.address(GROUP, taken)?.clone();
                (address.get("state")? == "conflict").then_some(address)
            })?;
            assert_eq!(seen.get("mac").and_then(|mac| mac.as_str()), Some(squatter.mac().as_str()), "{seen}");
            assert!(!pair.lb1.has_address(taken)?);
            let sample = wait_for("the other VIP to be served", LONG, || {
                let sample = fulcrum_tests::probe::request(&pair.client, SocketAddr::new(good, 80), LONG);
                sample.ok().filter(|sample| sample.is_answer())
            })?;
            println!("{sample:?}");
            Ok(())
        });
    }
}
