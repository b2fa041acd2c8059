//! A limit on memory is reached.

use fulcrum_tests::lab::{Fulcrum, GROUP, Lab, Pair, wait_served_by};
use fulcrum_tests::wait::wait_until;
use std::net::TcpStream;
use std::time::Duration;

const LONG: Duration = Duration::from_secs(15);
/// Enough to start: for a moment the fence's loader takes 30 MiB.
const LIMIT: u64 = 56 << 20;

#[test]
fn a_node_that_runs_out_of_memory_leaves_its_addresses_to_the_other() {
    Lab::run(|lab| {
        let pair = Pair::new(lab)?;
        let limit = lab.memory_limit(LIMIT)?;
        let first =
            Fulcrum::start_with(&pair.lb1, &pair.plan.file(&pair.lb1), |command| limit.hold(command))?;
        first.wait_leader(GROUP)?;
        let second = pair.start(&pair.lb2)?;
        second.wait_hears_leader(GROUP)?;
        let probe = pair.probe()?;
        wait_served_by(&probe, &pair.lb1)?;
        // Connections that do nothing: the larger part of what they cost is the kernel's.
        let target = pair.service();
        let mut held: Vec<TcpStream> = Vec::new();
        pair.client.namespace().enter(|| {
            while held.len() < 15_000 && first.process().ended().is_none() {
                held.extend(TcpStream::connect_timeout(&target, Duration::from_millis(200)));
            }
        })?;
        println!("{} connections; {}", held.len(), first.process().wait(LONG)?);
        wait_served_by(&probe, &pair.lb2)?;
        wait_until("the address to be gone", LONG, || !pair.lb1.has_address(target.ip()).unwrap_or(true))?;
        // As a service manager does; the clients of before are gone.
        held.clear();
        let again =
            Fulcrum::start_with(&pair.lb1, &pair.plan.file(&pair.lb1), |command| limit.hold(command))?;
        again.wait_hears_leader(GROUP)?;
        assert_eq!(second.status()?.role(GROUP), Some("leader"));
        Ok(())
    });
}
