//! Handovers to and fro under load: no request fails, and every connection goes on.

use crate::scene::{Family, Flows, LONG, Mode, forwarding_pair};
use fulcrum_tests::Result;
use fulcrum_tests::lab::{Fulcrum, GROUP, Lab};
use fulcrum_tests::probe::{Options, Probe};
use fulcrum_tests::wait::wait_until;
use std::time::Duration;

const ROUNDS: usize = 6;
/// A client tries again one and three seconds after a packet that was lost.
const ASKS: Options =
    Options { interval: Duration::from_millis(5), timeout: Duration::from_secs(5), at_once: 1 };

fn nothing_is_seen(mode: Mode) {
    Lab::run(|lab| {
        let mut pair = forwarding_pair(lab, mode, Family::Ipv4)?;
        pair.plan = pair.plan.with_keys()?;
        let (first, second) = pair.start_both()?;
        let mut flows = Flows::open(&pair)?;
        let probe = Probe::start(&pair.client, pair.service(), ASKS)?;
        for round in 0..ROUNDS {
            let (from, to) = if round % 2 == 0 { (&first, &second) } else { (&second, &first) };
            flows.mark();
            let told = hand_over(from)?;
            to.wait_leader(GROUP)?;
            let stall = flows.assert_live()?;
            println!("{mode:?}, handover {round}: the longest stall was {stall:?}: {told}");
        }
        let timeline = probe.finish();
        assert!(timeline.samples().len() > 200, "{}", timeline.samples().len());
        assert_eq!(timeline.failed(), 0, "{:?}", timeline.outcomes());
        Ok(())
    });
}

/// The other node may need a moment to know all that it must.
fn hand_over(from: &Fulcrum) -> Result<String> {
    let mut told = String::new();
    wait_until("the handover", LONG, || match from.command(&["handover", GROUP]) {
        Ok(said) => {
            told = said;
            true
        }
        Err(error) => {
            println!("{error}");
            false
        }
    })?;
    Ok(told)
}

#[test]
fn in_nat_nothing_is_seen_of_handovers_to_and_fro() {
    nothing_is_seen(Mode::Nat);
}

#[test]
fn in_fullnat_nothing_is_seen_of_handovers_to_and_fro() {
    nothing_is_seen(Mode::Fullnat);
}
