//! What happens to addresses and interfaces behind the daemon's back.

use fulcrum_tests::Result;
use fulcrum_tests::frames::inject;
use fulcrum_tests::lab::{Fulcrum, GROUP, Lab, Machine, Pair, Status, ip_batch, ipv4, ipv6, wait_served_by};
use fulcrum_tests::wait::{now, run_for, wait_for, wait_until};
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
fn a_storm_of_changes_that_overflows_loses_no_vip() {
    Lab::run(|lab| {
        let pair = Pair::new(lab)?;
        let (first, second) = pair.start_both()?;
        // The standby's own: it does not answer, and must not believe what it missed.
        let node = &pair.lb2;
        second.process().freeze()?;
        let lines: String = (0..4000)
            .map(|_| "addr add 10.8.0.1/32 dev lo\naddr del 10.8.0.1/32 dev lo\n")
            .collect::<String>()
            + "addr add 10.77.0.100/32 dev lo\n";
        ip_batch(Some(node.namespace()), &lines)?;
        second.process().thaw()?;
        wait_until("the address that it missed to be gone", LONG, || {
            !node.has_address(ipv4(100)).unwrap_or(true)
        })?;
        wait_until("the loss to be counted", LONG, || {
            let lost = |status: Status| status.0.pointer("/counters/vip_manager/netlink_overflows")?.as_u64();
            second.status().ok().and_then(lost) > Some(0)
        })?;
        assert_eq!(first.status()?.role(GROUP), Some("leader"));
        second.wait_hears_leader(GROUP)?;
        let probe = pair.probe()?;
        first.process().kill_with_children()?;
        wait_served_by(&probe, &pair.lb2)?;
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

/// A gratuitous ARP: `claimant` has 10.77.0.100. The frame itself comes from `source`.
fn gratuitous_arp(source: [u8; 6], claimant: [u8; 6]) -> Vec<u8> {
    let (vip, nobody) = ([10, 77, 0, 100], [0; 6]);
    let head = [&[0xff; 6][..], &source, &[8, 6, 0, 1, 8, 0, 6, 4, 0, 1]].concat();
    [&head[..], &claimant, &vip, &nobody, &vip].concat()
}

const LB1: [u8; 6] = [2, 0, 0, 0, 0, 0x11];
const ROGUE: [u8; 6] = [2, 0, 0, 0, 0, 0x66];
/// Of VRID 51 (RFC 9568 section 7.3).
const VIRTUAL: [u8; 6] = [0, 0, 0x5e, 0, 1, 51];

/// How often `node`, which leads, saw a rival after the rogue claimed its VIP for `claimant` some times.
fn rival_claims(node: &Fulcrum, rogue: &Machine, source: [u8; 6], claimant: [u8; 6]) -> Result<u64> {
    for _ in 0..5 {
        inject(rogue, &[gratuitous_arp(source, claimant)])?;
        run_for(Duration::from_millis(20));
    }
    // Counters are told every half second.
    run_for(Duration::from_millis(1200));
    let status = node.status()?;
    assert_eq!(status.role(GROUP), Some("leader"));
    let address = status.address(GROUP, ipv4(100)).and_then(|address| address.get("state"));
    assert_eq!(address.and_then(|state| state.as_str()), Some("answering"));
    Ok(status.counter(GROUP, "rival_claims"))
}

#[test]
fn frames_of_our_own_that_come_back_are_no_rival() {
    for virtual_mac in [false, true] {
        Lab::run(|lab| {
            let pair = Pair::new(lab)?;
            let rogue = lab.machine("rogue", 66)?;
            let wanted = if virtual_mac { "eth0: {virtual_mac: true, networks" } else { "eth0: {networks" };
            let config = pair.plan.file(&pair.lb1).replace("eth0: {networks", wanted);
            let node = Fulcrum::start(&pair.lb1, &config)?;
            node.wait_leader(GROUP)?;
            // Sent back by a switch as they were, or by something that puts its own source in front.
            for source in [LB1, ROGUE] {
                assert_eq!(rival_claims(&node, &rogue, source, LB1)?, 0, "its own MAC");
                if virtual_mac {
                    assert_eq!(rival_claims(&node, &rogue, source, VIRTUAL)?, 0, "its virtual MAC");
                }
            }
            let seen = rival_claims(&node, &rogue, ROGUE, ROGUE)?;
            assert_eq!(seen, 1, "another machine's, told at most once a second");
            if !virtual_mac {
                assert!(rival_claims(&node, &rogue, ROGUE, VIRTUAL)? > seen, "nobody here has a virtual MAC");
            }
            wait_until("the VIP to be announced again", LONG, || {
                node.status().is_ok_and(|status| status.counter(GROUP, "announcements_sent") > 3)
            })?;
            Ok(())
        });
    }
}
