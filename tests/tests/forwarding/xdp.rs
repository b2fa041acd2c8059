//! The plane in the drivers of the interfaces, natively, in front of itself at tcx.

use crate::scene::{Family, LONG, Mode, assert_all_live, forwarding_pair, sessions, wait_known};
use fulcrum_tests::Result;
use fulcrum_tests::frames::Capture;
use fulcrum_tests::lab::{Fulcrum, GROUP, Lab, Machine, Pair, by_xdp};
use fulcrum_tests::wait::{wait_for, wait_until};
use std::net::IpAddr;

fn xdp_pair(lab: &Lab, mode: Mode, family: Family) -> Result<Pair> {
    let mut pair = forwarding_pair(lab, mode, family)?;
    by_xdp(lab, &mut pair)?;
    Ok(pair)
}

/// Packets for the VIP that come here and that a socket of this machine can see: what goes by XDP, none can.
fn seen_by_the_kernel(machine: &Machine, vip: IpAddr) -> Result<Capture> {
    let own = machine.mac();
    Capture::start(machine.namespace(), "eth0", move |frame: &[u8]| {
        let to: Vec<String> = frame.iter().take(6).map(|byte| format!("{byte:02x}")).collect();
        is_to(frame, vip) && to.join(":") == own
    })
}

/// How the plane stands there, once it does.
fn wait_attached(node: &Fulcrum, how: &str) -> Result<()> {
    let attached = wait_for("the plane", LONG, || {
        Some(node.status().ok()?.0["plane"]["interfaces"]["eth0"].as_str()?.to_owned())
    })?;
    assert_eq!(attached, how, "{}", node.status()?.0["plane"]);
    Ok(())
}

fn lives_through_kill_9(mode: Mode, family: Family) {
    Lab::run(|lab| {
        let pair = xdp_pair(lab, mode, family)?;
        let (first, second) = pair.start_both()?;
        wait_attached(&first, "xdp (veth), tcx")?;
        wait_attached(&second, "xdp (veth), tcx")?;
        let mut sessions = sessions(&pair)?;
        let seen = seen_by_the_kernel(&first.machine, pair.service().ip())?;
        for _ in 0..5 {
            assert_all_live(&mut sessions);
        }
        // Two packets and more from the client for each question.
        let through = seen.frames().len();
        assert!(through < sessions.len(), "{through} packets for the VIP went by the kernel");
        drop(seen);
        wait_known(mode, &second, "web", sessions.len())?;
        first.kill()?;
        second.wait_leader(GROUP)?;
        assert_all_live(&mut sessions);
        first.process().wait(LONG)?;
        let first = pair.start(&pair.lb1)?;
        first.wait_hears_leader(GROUP)?;
        assert_all_live(&mut sessions);
        // What was left in the driver was taken over.
        wait_attached(&first, "xdp (veth), tcx")
    });
}

fn is_to(frame: &[u8], vip: IpAddr) -> bool {
    match vip {
        IpAddr::V4(vip) => frame.get(30..34) == Some(&vip.octets()),
        IpAddr::V6(vip) => frame.get(38..54) == Some(&vip.octets()),
    }
}

#[test]
fn connections_of_nat_live_through_the_leaders_death() {
    lives_through_kill_9(Mode::Nat, Family::Ipv4);
}

#[test]
fn connections_of_dsr_live_through_the_leaders_death() {
    lives_through_kill_9(Mode::Dsr, Family::Ipv4);
}

#[test]
fn connections_of_fullnat_live_through_the_leaders_death() {
    lives_through_kill_9(Mode::Fullnat, Family::Ipv4);
}

#[test]
fn connections_of_nat_over_ipv6_live_through_the_leaders_death() {
    lives_through_kill_9(Mode::Nat, Family::Ipv6);
}

/// A driver whose frames get lost is found out, and the plane works without it.
#[test]
fn a_driver_that_loses_frames_is_left_alone_with_the_reason() {
    Lab::run(|lab| {
        let pair = xdp_pair(lab, Mode::Fullnat, Family::Ipv4)?;
        // What leaves by XDP is dropped here by the other end of the cable.
        for node in [&pair.lb1, &pair.lb2] {
            lab.switch().run("ethtool", &["-K", &node.port(), "gro", "off"])?;
        }
        let (first, _second) = pair.start_both()?;
        wait_attached(&first, "tcx")?;
        let why = first.status()?.0["plane"]["without_xdp"]["eth0"].to_string();
        assert!(why.contains("answers no frames of 60 bytes"), "{why}");
        assert_all_live(&mut sessions(&pair)?);
        wait_until("no program in the driver", LONG, || {
            first.machine.run("ip", &["link", "show", "eth0"]).is_ok_and(|shown| !shown.contains("xdp"))
        })
    });
}

#[test]
fn without_being_asked_only_drivers_that_are_known_are_used() {
    Lab::run(|lab| {
        let mut pair = xdp_pair(lab, Mode::Fullnat, Family::Ipv4)?;
        pair.plan.top.clear();
        let first = pair.start(&pair.lb1)?;
        first.wait_leader(GROUP)?;
        let why = first.status()?.0["plane"]["without_xdp"]["eth0"].to_string();
        assert!(why.contains("the driver veth is none of those"), "{why}");
        Ok(())
    });
}
