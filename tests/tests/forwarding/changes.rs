//! The file changes while connections live.

use crate::scene::{Family, LONG, Mode, assert_all_live, forwarding_pair, sessions};
use fulcrum_tests::lab::{GROUP, Lab};
use fulcrum_tests::probe::{Options, Probe, request};
use fulcrum_tests::wait::{run_for, wait_until};
use std::time::Duration;

/// Longer than the plane takes until it looks again.
const LOOKED: Duration = Duration::from_secs(3);

fn gets_another_name(mode: Mode) {
    Lab::run(|lab| {
        let pair = forwarding_pair(lab, mode, Family::Ipv4)?;
        let node = pair.start(&pair.lb1)?;
        node.wait_leader(GROUP)?;
        let mut sessions = sessions(&pair)?;
        let options = Options { interval: Duration::from_millis(10), timeout: LONG, at_once: 1 };
        let probe = Probe::start(&pair.client, pair.service(), options)?;
        node.reload(&pair.plan.file(&pair.lb1).replace("services:\n  web:", "services:\n  www:"))?;
        assert!(node.status()?.service("www").is_some());
        run_for(LOOKED);
        assert_all_live(&mut sessions);
        let timeline = probe.finish();
        assert_eq!(timeline.failed(), 0, "{:?}", timeline.outcomes());
        Ok(())
    });
}

#[test]
fn in_nat_a_service_that_gets_another_name_keeps_its_connections_and_refuses_nobody() {
    gets_another_name(Mode::Nat);
}

#[test]
fn in_fullnat_a_service_that_gets_another_name_keeps_its_connections_and_refuses_nobody() {
    gets_another_name(Mode::Fullnat);
}

#[test]
fn a_daemon_that_comes_back_with_another_service_leaves_connections_on_their_backends() {
    Lab::run(|lab| {
        let mut pair = forwarding_pair(lab, Mode::Fullnat, Family::Ipv4)?;
        let first = pair.start(&pair.lb1)?;
        first.wait_leader(GROUP)?;
        let mut sessions = sessions(&pair)?;
        first.kill()?;
        first.process().wait(LONG)?;
        // It comes first by name, and its backends are others in another order.
        let vip = pair.service().ip();
        let api = format!(
            "api: {{vip: {vip}, port: 81, mode: fullnat, backends: [10.77.0.23:80, 10.77.0.22:80], check: none}}"
        );
        pair.plan.services.push(api);
        let again = pair.start(&pair.lb1)?;
        again.wait_leader(GROUP)?;
        let api = (vip, 81).into();
        wait_until("the other service", LONG, || {
            request(&pair.client, api, Duration::from_secs(1)).is_ok_and(|sample| sample.is_answer())
        })?;
        run_for(LOOKED);
        assert_all_live(&mut sessions);
        Ok(())
    });
}
