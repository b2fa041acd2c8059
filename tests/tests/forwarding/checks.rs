//! In mode dsr backends are checked at the VIP, which each of them must have.
#![allow(clippy::indexing_slicing, reason = "what is not in JSON is null")]

use crate::scene::{Family, LONG, Mode, add_to_loopback, forwarding_pair};
use fulcrum_tests::Result;
use fulcrum_tests::lab::{Echo, Fulcrum, GROUP, Lab, Machine, Nginx, Pair};
use fulcrum_tests::probe::request;
use fulcrum_tests::wait::{run_for, wait_until};
use serde_json::Value;
use std::net::{IpAddr, SocketAddr};
use std::time::Duration;

fn start_both(pair: &Pair, fence: &str) -> Result<[Fulcrum; 2]> {
    let start = |node: &Machine| {
        Fulcrum::start_with(node, &pair.plan.file(node), |command| {
            command.env("FULCRUM_FENCE", fence);
        })
    };
    let first = start(&pair.lb1)?;
    first.wait_leader(GROUP)?;
    let second = start(&pair.lb2)?;
    second.wait_hears_leader(GROUP)?;
    Ok([first, second])
}

fn whole(vip: IpAddr) -> &'static str {
    if vip.is_ipv4() { "32" } else { "128" }
}

fn take_from_loopback(machine: &Machine, vip: IpAddr) -> Result<()> {
    machine.run("ip", &["address", "del", &format!("{vip}/{}", whole(vip)), "dev", "lo"]).map(|_| ())
}

/// Each backend's name and state, and why.
fn backends(node: &Fulcrum) -> Vec<(String, String, String)> {
    let status = node.status().map(|status| status.service("web").cloned().unwrap_or_default());
    let word = |value: &Value| value.as_str().unwrap_or_default().to_owned();
    let backends = status.unwrap_or_default()["backends"].as_array().cloned().unwrap_or_default();
    backends
        .iter()
        .map(|known| (word(&known["name"]), word(&known["state"]), word(&known["reason"])))
        .collect()
}

/// Both nodes find so, by their own checks.
fn wait_states(nodes: &[Fulcrum; 2], what: &str, expected: [&str; 3]) -> Result<()> {
    for node in nodes {
        wait_until(&format!("{what} on {}", node.machine.name()), LONG, || {
            let states = backends(node);
            states.len() == 3 && states.iter().zip(expected).all(|(known, state)| known.1 == state)
        })?;
    }
    Ok(())
}

fn is_found(family: Family, fence: &str) {
    Lab::run(|lab| {
        let pair = forwarding_pair(lab, Mode::Dsr, family)?;
        let nodes = start_both(&pair, fence)?;
        wait_states(&nodes, "every backend up", ["up"; 3])?;
        let vip = pair.service().ip();
        for node in &nodes {
            // Packets are counted once a second.
            wait_until("checks at the VIP, and answers", LONG, || {
                let web =
                    node.status().ok().and_then(|status| Some(status.service("web")?["checks"].clone()));
                let plane =
                    node.status().map(|status| status.0["plane"]["checks"].clone()).unwrap_or_default();
                web.unwrap_or_default()["at_vip"] == true && plane["answered"].as_u64() > Some(0)
            })?;
        }
        let Some(web1) = pair.web.first().map(|web| &web.machine) else { return Ok(()) };
        take_from_loopback(web1, vip)?;
        wait_states(&nodes, "the backend without the VIP down", ["down", "up", "up"])?;
        for node in &nodes {
            let (_, _, reason) = backends(node).swap_remove(0);
            assert!(reason.ends_with("while connecting"), "{reason}");
            let page = node.command(&["status"])?;
            assert!(page.contains("while connecting, checked at the VIP"), "{page}");
        }
        for _ in 0..20 {
            let sample = request(&pair.client, pair.service(), LONG)?;
            assert!(sample.is_answer() && sample.backend() != Some("web1"), "{sample:?}");
        }
        add_to_loopback(web1, &vip.to_string(), whole(vip))?;
        wait_states(&nodes, "it up again", ["up"; 3])?;
        wait_until("it used again", LONG, || {
            request(&pair.client, pair.service(), LONG).is_ok_and(|sample| sample.backend() == Some("web1"))
        })
    });
}

#[test]
fn in_dsr_a_backend_without_the_vip_is_found() {
    is_found(Family::Ipv4, "auto");
}

#[test]
fn in_dsr_a_backend_without_the_vip_is_found_over_ipv6() {
    is_found(Family::Ipv6, "auto");
}

#[test]
fn in_dsr_a_backend_without_the_vip_is_found_by_clsact() {
    is_found(Family::Ipv4, "clsact");
}

/// It would send a check on to the node that leads, where another backend would answer it.
fn is_found_although_it_forwards(family: Family, setting: &str) {
    Lab::run(|lab| {
        let pair = forwarding_pair(lab, Mode::Dsr, family)?;
        let Some(web1) = pair.web.first().map(|web| &web.machine) else { return Ok(()) };
        web1.set(setting, "1")?;
        let nodes = start_both(&pair, "auto")?;
        wait_states(&nodes, "every backend up", ["up"; 3])?;
        take_from_loopback(web1, pair.service().ip())?;
        wait_states(&nodes, "the backend without the VIP down", ["down", "up", "up"])?;
        for _ in 0..20 {
            run_for(Duration::from_millis(100));
            for node in &nodes {
                let known = backends(node);
                assert_eq!(known.first().map(|known| known.1.as_str()), Some("down"), "{known:?}");
            }
        }
        Ok(())
    });
}

#[test]
fn in_dsr_a_backend_that_sends_checks_on_is_found() {
    is_found_although_it_forwards(Family::Ipv4, "net/ipv4/ip_forward");
}

#[test]
fn in_dsr_a_backend_that_sends_checks_on_is_found_over_ipv6() {
    is_found_although_it_forwards(Family::Ipv6, "net/ipv6/conf/all/forwarding");
}

/// Nobody listens at the backends' own addresses.
#[test]
fn in_dsr_checks_by_udp_go_to_the_vip_too() {
    Lab::run(|lab| {
        let mut pair = forwarding_pair(lab, Mode::Dsr, Family::Ipv4)?;
        let vip = pair.service().ip();
        let backends: Vec<String> =
            pair.web.iter().map(|web| format!("'{}:5353'", web.machine.ipv4())).collect();
        pair.plan.services.push(format!(
            "datagrams: {{vip: {vip}, protocol: udp, port: 5353, mode: dsr, backends: [{}], \
             check: {{type: udp, send: hello, expect: web, interval: 200ms, timeout: 200ms, rise: 1, fall: 1}}}}",
            backends.join(", ")
        ));
        let start = |web: &Nginx| Echo::start(&web.machine, SocketAddr::new(vip, 5353));
        let mut echoes = pair.web.iter().map(start).collect::<Result<Vec<_>>>()?;
        let nodes = start_both(&pair, "auto")?;
        let wait = |what: &str, up: usize| {
            nodes.iter().try_for_each(|node| {
                wait_until(what, LONG, || {
                    node.status().is_ok_and(|status| status.backends("datagrams", "up") == up)
                })
            })
        };
        wait("every backend up", 3)?;
        echoes.truncate(2);
        wait("one down", 2)
    });
}
