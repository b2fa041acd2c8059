//! A control plane beside workloads that are flooded.
#![allow(clippy::indexing_slicing, reason = "JSON of our own")]

use fulcrum_tests::Result;
use fulcrum_tests::lab::{Attack, Carrier, Classes, Fulcrum, Lab, attacked, moves};
use fulcrum_tests::probe::{Options, Probe};
use fulcrum_tests::wait::{now, run_for, wait_until};
use std::io::{Read, Write};
use std::os::unix::net::UnixStream;
use std::time::Duration;

/// A SYN that was lost is sent again after one second and after three.
const PATIENT: Duration = Duration::from_secs(6);
const LONG: Duration = Duration::from_secs(10);
const FLOODED: Duration = Duration::from_secs(2);
/// What a service takes in that time is less.
const MANY: u64 = 5_000;

const REFUSED: &str = "fulcrum_service_refused_rate_total";

/// Whether a limit of the service is what meets the attack.
fn is_limited(carrier: Carrier, attack: Attack) -> bool {
    match (carrier, attack) {
        // The kernel's listener meets them with cookies; no limit of ours sees one that is never completed.
        (Carrier::Proxy, Attack::Syns) => false,
        // One session's datagram can't be told from another's in the plane.
        (_, Attack::Datagrams) => carrier == Carrier::Proxy,
        (_, Attack::Syns | Attack::Connections) => true,
    }
}

/// A service's counter as Prometheus sees it.
fn counter(node: &Fulcrum, name: &str, service: &str) -> Result<u64> {
    let mut stream = UnixStream::connect(Fulcrum::socket_of(&node.machine))?;
    stream.write_all(b"GET /metrics HTTP/1.1\r\nhost: localhost\r\nconnection: close\r\n\r\n")?;
    let mut page = String::new();
    stream.read_to_string(&mut page)?;
    let line = format!("{name}{{service=\"{service}\"}} ");
    let value = page.lines().find_map(|text| text.strip_prefix(&line)?.parse().ok());
    Ok(value.unwrap_or_default())
}

fn the_control_plane_answers(carrier: Carrier) {
    Lab::run(|lab| {
        let scene = Classes::new(lab, carrier)?;
        let (first, second) = scene.start()?;
        let moved = || Ok::<_, fulcrum_tests::LabError>((moves(&first.status()?), moves(&second.status()?)));
        let before = moved()?;
        let asks = Options { interval: Duration::from_millis(10), timeout: PATIENT, at_once: 1 };
        let probe = Probe::start_answered(&scene.pair.client, scene.pair.service(), asks, LONG)?;
        for attack in [Attack::Syns, Attack::Connections, Attack::Datagrams] {
            let flood = scene.flood(attack, &first.machine)?;
            run_for(FLOODED);
            wait_until("a flood", LONG, || flood.sent() > MANY)?;
            if is_limited(carrier, attack) {
                wait_until(&format!("{attack:?} to be refused, and that to be counted"), LONG, || {
                    counter(&first, REFUSED, attacked(attack)).is_ok_and(|count| count > MANY / 10)
                })?;
            }
            let during = now();
            wait_until("an answer beside it", LONG, || probe.answered_since(during).is_some())?;
        }
        let timeline = probe.finish();
        assert_eq!(timeline.failed(), 0, "{:?}", timeline.outcomes());
        assert_eq!(before, moved()?, "a leader moved");
        Ok(())
    });
}

#[test]
fn behind_the_proxy_the_control_plane_answers_while_workloads_are_flooded() {
    the_control_plane_answers(Carrier::Proxy);
}

#[test]
fn in_nat_the_control_plane_answers_while_workloads_are_flooded() {
    the_control_plane_answers(Carrier::Nat);
}

#[test]
fn in_dsr_the_control_plane_answers_while_workloads_are_flooded() {
    the_control_plane_answers(Carrier::Dsr);
}

#[test]
fn in_fullnat_the_control_plane_answers_while_workloads_are_flooded() {
    the_control_plane_answers(Carrier::Fullnat);
}
