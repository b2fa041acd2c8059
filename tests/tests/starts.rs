//! Both nodes start at once, in any order: one leads, the other stands by.

use fulcrum_tests::Result;
use fulcrum_tests::frames::NeighbourProbe;
use fulcrum_tests::lab::Machine;
use fulcrum_tests::lab::{Fulcrum, GROUP, Lab, Pair};
use fulcrum_tests::wait::{now, run_for, wait_until};
use std::io::{Read, Write};
use std::net::TcpListener;
use std::time::Duration;

/// `FULCRUM_STARTS`, 3 by default.
fn starts() -> u32 {
    std::env::var("FULCRUM_STARTS").ok().and_then(|text| text.parse().ok()).unwrap_or(3)
}

#[test]
fn one_leads_whoever_starts_first() {
    Lab::run(|lab| {
        let pair = Pair::new(lab)?;
        let neighbours = NeighbourProbe::start(&pair.client, pair.service().ip(), Duration::from_millis(10))?;
        let seed = fastrand::u64(..);
        println!("seed {seed}");
        let mut random = fastrand::Rng::with_seed(seed);
        for round in 0..starts() {
            let mut order = [&pair.lb1, &pair.lb2];
            random.shuffle(&mut order);
            let head_start = Duration::from_millis(random.u64(0..600));
            let one = pair.start(order[0])?;
            run_for(head_start);
            let other = pair.start(order[1])?;
            let role = |node: &Fulcrum| node.status().ok()?.role(GROUP).map(str::to_owned);
            wait_until("one leader and one standby", Duration::from_secs(20), || {
                let mut roles = [role(&one), role(&other)];
                roles.sort();
                roles == [Some("leader".into()), Some("standby".into())]
            })?;
            let settled = now();
            run_for(Duration::from_millis(300));
            let macs = neighbours.macs_since(settled);
            let leader = if role(&one).as_deref() == Some("leader") { &one } else { &other };
            println!(
                "round {round}: {} first, the other {head_start:?} later; {} leads",
                one.machine.name(),
                leader.machine.name()
            );
            assert_eq!(macs.len(), 1, "{macs:?}");
            assert!(macs.iter().all(|mac| mac.to_string() == leader.machine.mac()), "{macs:?}");
            for node in [&one, &other] {
                let status = node.process().terminate(Duration::from_secs(15))?;
                assert!(status.success(), "{status}");
                assert!(!node.machine.has_address(pair.service().ip())?);
            }
        }
        Ok(())
    });
}

#[test]
fn a_file_that_was_copied_without_its_node_changed_is_told() {
    Lab::run(|lab| {
        let pair = Pair::new(lab)?;
        let first = pair.start(&pair.lb1)?;
        first.wait_leader(GROUP)?;
        let right = pair.plan.file(&pair.lb2);
        let second = Fulcrum::start(&pair.lb2, &right.replace("node: lb2", "node: lb1"))?;
        let told = |node: &Fulcrum| {
            node.status().is_ok_and(|status| status.0["alarms"].to_string().contains("correct 'node:'"))
        };
        wait_until("the alarm", Duration::from_secs(15), || told(&second))?;
        assert!(!told(&first));
        Ok(())
    });
}

const SLOW: Duration = Duration::from_millis(1200);

/// A port of a backend whose answers to checks take a while.
fn answer_slowly(machine: &Machine) -> Result<()> {
    let listener = machine.namespace().enter(|| TcpListener::bind("0.0.0.0:9000"))??;
    std::thread::spawn(move || {
        for stream in listener.incoming().take(1000) {
            let Ok(mut stream) = stream else { return };
            std::thread::spawn(move || {
                run_for(SLOW);
                let _ = stream.read(&mut [0; 512]);
                let _ =
                    stream.write_all(b"HTTP/1.1 200 OK\r\ncontent-length: 0\r\nconnection: close\r\n\r\n");
            });
        }
    });
    Ok(())
}

#[test]
fn a_node_takes_its_group_back_when_its_own_checks_are_done() {
    Lab::run(|lab| {
        let mut pair = Pair::new(lab)?;
        pair.plan.group.push("preempt: true".to_owned());
        let check = "check: {type: http, path: /, port: 9000, interval: 3s, timeout: 2s, rise: 1, fall: 1}";
        pair.plan.service.push(check.to_owned());
        for web in &pair.web {
            answer_slowly(&web.machine)?;
        }
        let (first, second) = pair.start_both()?;
        first.wait_leader(GROUP)?;
        first.kill()?;
        second.wait_leader(GROUP)?;
        first.process().wait(Duration::from_secs(15))?;
        let begun = now();
        let first = pair.start(&pair.lb1)?;
        first.wait_leader(GROUP)?;
        assert!(begun.elapsed() > SLOW, "it knew of no backend whether it is alive");
        Ok(())
    });
}
