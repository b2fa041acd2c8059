//! Five nodes in one VRRP group at 10 ms adverts, whose leaders are lost one after another.

use crate::failover::{PATIENCE, PORT, VIP, backends, fulcrum, start_fulcrum};
use crate::report::median;
use fulcrum_tests::Result;
use fulcrum_tests::lab::{Lab, Machine, Process, ipv4};
use fulcrum_tests::probe::{Options, Probe};
use fulcrum_tests::wait::{now, run_for, wait_until};
use std::net::SocketAddr;
use std::time::Duration;

const NODES: u8 = 5;

/// Loses four leaders in each round and gives a table.
///
/// # Errors
/// A lab can't be built, or the group does not come into service.
pub(crate) fn run(rounds: usize) -> Result<String> {
    let (mut gaps, mut not_alone) = (Vec::new(), 0);
    for round in 0..rounds {
        eprintln!("round {}/{rounds}: five nodes", round + 1);
        once(&mut gaps, &mut not_alone)?;
    }
    let worst = gaps.iter().copied().fold(f64::NAN, f64::max);
    let late = gaps.iter().filter(|gap| **gap > 60.0).count();
    Ok(format!(
        "\n### Five nodes in one group, 10 ms adverts, the leader's machine lost\n\n\
         | takeovers | gap ms, median / worst | above 60 ms | ended with other than one owner |\n|---:|---:|---:|---:|\n\
         | {} | {:.0} / {worst:.0} | {late} | {not_alone} |\n",
        gaps.len(),
        median(gaps.iter().copied()),
    ))
}

fn once(gaps: &mut Vec<f64>, not_alone: &mut usize) -> Result<()> {
    let lab = Lab::new()?;
    let client = lab.machine("client", 50)?;
    let _backends = backends(&lab)?;
    let names: Vec<(String, u8, u8)> =
        (1..=NODES).map(|i| (format!("lb{i}"), 10 + i, 200 - 10 * i)).collect();
    let mut nodes: Vec<(Machine, Process)> = Vec::new();
    for (name, number, _) in &names {
        let machine = lab.machine(name, *number)?;
        let process = start_fulcrum(&machine, &fulcrum(&machine, &names, 1))?;
        nodes.push((machine, process));
    }
    let probe = Probe::start(&client, SocketAddr::new(ipv4(VIP), PORT), Options::default())?;
    let start = now();
    wait_until("an answer", PATIENCE, || probe.answered_since(start).is_some())?;
    run_for(Duration::from_secs(2));
    while nodes.len() > 1 {
        let owner = nodes.iter().position(|(machine, _)| machine.has_address(ipv4(VIP)).unwrap_or(false));
        let (_, process) = nodes.remove(owner.unwrap_or(0));
        run_for(Duration::from_micros(fastrand::u64(0..50_000)));
        let lost = now();
        process.kill_with_children()?;
        run_for(Duration::from_millis(1500));
        gaps.push(probe.timeline().since(lost).longest_gap().as_secs_f64() * 1e3);
        let owners =
            nodes.iter().filter(|(machine, _)| machine.has_address(ipv4(VIP)).unwrap_or(false)).count();
        *not_alone += usize::from(owners != 1);
    }
    Ok(())
}
