//! The daemon goes and comes back while new connections arrive all the time, and none of them fails.

use crate::faults::{wait_ready, wait_settled};
use crate::life::make_older;
use crate::scene::{Family, LONG, Mode, allow_files, forwarding_pair};
use fulcrum_tests::Result;
use fulcrum_tests::lab::{Fulcrum, GROUP, Lab, Pair};
use fulcrum_tests::probe::{Options, Probe, request};
use fulcrum_tests::wait::{now, run_for, wait_for};
use std::time::{Duration, Instant};

/// A client tries again one and three seconds after a packet that was lost.
const PATIENCE: Duration = Duration::from_secs(5);
/// Between what is done to the daemon.
const CALM: Duration = Duration::from_secs(1);

/// New connections a second that are asked for: `FULCRUM_RATE`, 1,000 by default.
fn rate() -> u32 {
    std::env::var("FULCRUM_RATE").ok().and_then(|text| text.parse().ok()).unwrap_or(1_000)
}

/// New connections to the service, all the time.
struct Arrivals {
    probe: Probe,
    begun: Instant,
}

impl Arrivals {
    fn start(pair: &Pair) -> Result<Self> {
        let target = pair.service();
        wait_for("a first answer", LONG, || {
            request(&pair.client, target, Duration::from_secs(1)).ok().filter(|sample| sample.is_answer())
        })?;
        allow_files(u64::from(rate()) * PATIENCE.as_secs() + 1_000)?;
        let interval = Duration::from_millis(1);
        let options = Options { interval, timeout: PATIENCE, at_once: rate().div_ceil(1_000) };
        Ok(Self { probe: Probe::start(&pair.client, target, options)?, begun: now() })
    }

    fn end(self, what: &str) {
        let lasted = self.begun.elapsed();
        let timeline = self.probe.finish();
        let (all, failed) = (timeline.samples().len(), timeline.failed());
        let slowest = timeline.samples().iter().map(|sample| sample.took).max().unwrap_or_default();
        println!(
            "{what}: {all} new connections, {:.0} a second, {failed} failed, the slowest took {slowest:?}",
            all as f64 / lasted.as_secs_f64()
        );
        assert!(all > 1_000, "{all}");
        assert_eq!(failed, 0, "{:?}", timeline.outcomes());
    }
}

/// It is killed, or asked to end, and started again, maybe with tables that are laid out differently; then it leads again.
fn comes_back(pair: &Pair, first: Fulcrum, second: &Fulcrum, how: How) -> Result<Fulcrum> {
    match how {
        How::Stopped => first.process().signal(rustix::process::Signal::TERM)?,
        How::Killed | How::Upgraded => first.kill()?,
    }
    second.wait_leader(GROUP)?;
    first.process().wait(LONG)?;
    if how == How::Upgraded {
        make_older(&pair.lb1)?;
    }
    run_for(CALM);
    let first = pair.start(&pair.lb1)?;
    wait_settled(&first, second)?;
    wait_ready(&first)?;
    run_for(CALM);
    second.command(&["handover", GROUP])?;
    first.wait_leader(GROUP)?;
    run_for(CALM);
    Ok(first)
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum How {
    Killed,
    Stopped,
    Upgraded,
}

fn none_fails(mode: Mode) {
    Lab::run(|lab| {
        let pair = forwarding_pair(lab, mode, Family::Ipv4)?;
        let (mut first, second) = pair.start_both()?;
        let arrivals = Arrivals::start(&pair)?;
        run_for(CALM);
        for how in [How::Killed, How::Stopped, How::Upgraded] {
            first = comes_back(&pair, first, &second, how)?;
        }
        arrivals.end(&format!("{mode:?}, killed, stopped and upgraded, each time started again"));
        Ok(())
    });
}

#[test]
fn in_nat_no_new_connection_fails_while_the_daemon_is_killed_stopped_and_upgraded() {
    none_fails(Mode::Nat);
}

#[test]
fn in_fullnat_no_new_connection_fails_while_the_daemon_is_killed_stopped_and_upgraded() {
    none_fails(Mode::Fullnat);
}

/// Without another node they wait until it leads again.
fn none_fails_alone(mode: Mode) {
    Lab::run(|lab| {
        let pair = forwarding_pair(lab, mode, Family::Ipv4)?;
        let mut node = pair.start(&pair.lb1)?;
        node.wait_leader(GROUP)?;
        let arrivals = Arrivals::start(&pair)?;
        for is_upgrade in [false, true] {
            run_for(CALM);
            node.kill()?;
            node.process().wait(LONG)?;
            if is_upgrade {
                make_older(&pair.lb1)?;
            }
            node = pair.start(&pair.lb1)?;
            node.wait_leader(GROUP)?;
        }
        run_for(CALM);
        arrivals.end(&format!("{mode:?}, alone, killed and upgraded"));
        Ok(())
    });
}

#[test]
fn in_nat_no_new_connection_fails_while_the_only_daemon_is_killed_and_upgraded() {
    none_fails_alone(Mode::Nat);
}

#[test]
fn in_fullnat_no_new_connection_fails_while_the_only_daemon_is_killed_and_upgraded() {
    none_fails_alone(Mode::Fullnat);
}
