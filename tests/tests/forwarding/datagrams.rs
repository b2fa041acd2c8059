//! UDP through the plane.

use crate::scene::{Family, LONG, Mode, forwarding_pair, wait_known};
use crate::told::wait_held;
use fulcrum_tests::lab::{Echo, Fulcrum, GROUP, Lab, Pair};
use fulcrum_tests::probe::{Datagrams, Seen};
use fulcrum_tests::wait::{now, run_for, wait_for, wait_until};
use fulcrum_tests::{LabError, Result};
use std::collections::BTreeSet;
use std::net::{SocketAddr, UdpSocket};
use std::time::Duration;

const PORT: u16 = 5353;
const CLIENTS: usize = 30;

/// Who answered a datagram of `size` bytes, if anybody did in time. Only answers from the VIP get here.
fn ask(socket: &UdpSocket, size: usize) -> Option<String> {
    socket.send(&vec![7; size]).ok()?;
    let mut buffer = [0; 2048];
    let length = socket.recv(&mut buffer).ok()?;
    let answer = String::from_utf8_lossy(buffer.get(..length)?).into_owned();
    let mut words = answer.split(' ');
    let (backend, seen) = (words.next()?, words.next()?);
    (seen == size.to_string()).then(|| backend.to_owned())
}

fn client(pair: &Pair, target: SocketAddr) -> Result<UdpSocket> {
    let socket = pair.client.namespace().enter(|| UdpSocket::bind("0.0.0.0:0"))??;
    pair.client.namespace().enter(|| socket.connect(target))??;
    socket.set_read_timeout(Some(Duration::from_millis(300)))?;
    Ok(socket)
}

/// A pair with a service for datagrams, and what answers them.
fn pair_of(lab: &Lab, mode: Mode, balance: &str) -> Result<(Pair, SocketAddr, Vec<Echo>)> {
    let mut pair = forwarding_pair(lab, mode, Family::Ipv4)?;
    if balance != "maglev" {
        pair.plan = pair.plan.with_keys()?;
    }
    let vip = pair.service().ip();
    let backends: Vec<String> =
        pair.web.iter().map(|web| format!("'{}:{PORT}'", web.machine.ipv4())).collect();
    let word = mode.name();
    pair.plan.services.push(format!(
        "datagrams: {{vip: {vip}, protocol: udp, port: {PORT}, mode: {word}, balance: {balance}, backends: [{}]}}",
        backends.join(", ")
    ));
    let echoes = pair.web.iter().map(|web| {
        // In mode dsr the answer comes from the VIP itself.
        let own = if mode == Mode::Dsr { vip } else { web.machine.ipv4() };
        Echo::start(&web.machine, SocketAddr::new(own, PORT))
    });
    let echoes = echoes.collect::<Result<Vec<_>>>()?;
    Ok((pair, SocketAddr::new(vip, PORT), echoes))
}

fn datagrams_keep_their_backend(mode: Mode, balance: &str) {
    Lab::run(|lab| {
        let is_hashed = balance == "maglev";
        let (pair, target, _echoes) = pair_of(lab, mode, balance)?;
        let (first, second) = pair.start_both()?;
        let probe = client(&pair, target)?;
        wait_until("a first answer", LONG, || ask(&probe, 10).is_some())?;
        let mut clients = Vec::new();
        for _ in 0..CLIENTS {
            let socket = client(&pair, target)?;
            let backend = wait_for("an answer", LONG, || ask(&socket, 100))?;
            clients.push((socket, backend));
        }
        let used: BTreeSet<&str> = clients.iter().map(|(_, backend)| backend.as_str()).collect();
        assert_eq!(used.len(), pair.web.len(), "{used:?}");
        // In pieces, which follow the first.
        for (socket, backend) in &clients {
            let answered = wait_for("an answer to pieces", LONG, || ask(socket, 3000))?;
            assert_eq!(&answered, backend, "in pieces");
        }
        if !is_hashed || mode == Mode::Fullnat {
            // Each has been told of with its second datagram.
            wait_held(&first, &second, CLIENTS as u64)?;
        }
        let event = now();
        first.kill()?;
        second.wait_leader(GROUP)?;
        for (socket, backend) in &clients {
            let answered = wait_for("an answer after the takeover", LONG, || ask(socket, 100))?;
            assert_eq!(&answered, backend);
        }
        println!("{mode:?}: all clients had an answer within {:?} of kill -9", event.elapsed());
        Ok(())
    });
}

#[test]
fn datagrams_of_nat_keep_their_backend_through_the_leaders_death() {
    datagrams_keep_their_backend(Mode::Nat, "maglev");
}

#[test]
fn datagrams_of_dsr_keep_their_backend_through_the_leaders_death() {
    datagrams_keep_their_backend(Mode::Dsr, "maglev");
}

#[test]
fn datagrams_of_fullnat_keep_their_backend_through_the_leaders_death() {
    datagrams_keep_their_backend(Mode::Fullnat, "maglev");
}

#[test]
fn in_nat_datagrams_of_round_robin_keep_their_backend_through_the_leaders_death() {
    datagrams_keep_their_backend(Mode::Nat, "round-robin");
}

#[test]
fn in_dsr_datagrams_of_least_connections_keep_their_backend_through_the_leaders_death() {
    datagrams_keep_their_backend(Mode::Dsr, "least-connections");
}

#[test]
fn in_fullnat_datagrams_of_round_robin_keep_their_backend_through_the_leaders_death() {
    datagrams_keep_their_backend(Mode::Fullnat, "round-robin");
}

/// Flows with a datagram each millisecond.
const STEADY: usize = 8;

/// Each goes on to the backend that it had, and how long nobody answered is said.
fn steady_flows_go_on(mode: Mode) {
    Lab::run(|lab| {
        let (pair, target, _echoes) = pair_of(lab, mode, "maglev")?;
        let (first, second) = pair.start_both()?;
        let probe = client(&pair, target)?;
        wait_until("a first answer", LONG, || ask(&probe, 10).is_some())?;
        let flows = Datagrams::start(&pair.client, target, STEADY)?;
        let through = |what: &str, event: &dyn Fn() -> Result<()>, next: &Fulcrum| {
            run_for(Duration::from_millis(500));
            wait_known(mode, next, "datagrams", STEADY)?;
            let struck = now();
            event()?;
            next.wait_leader(GROUP)?;
            let after = now();
            wait_until("answers to all flows", LONG, || flows.are_answered(after))?;
            let Seen { backends, gap, pause, sent, lost } = flows.seen(struck);
            assert!(backends.iter().all(|backends| backends.len() == 1), "{what}: {backends:?}");
            println!(
                "{mode:?}: {what}: {lost} of {sent} datagrams unanswered, the longest gap {gap:?} (the client's own: {pause:?})"
            );
            Ok::<_, LabError>(())
        };
        through("a handover", &|| first.command(&["handover", GROUP]).map(|_| ()), &second)?;
        through("kill -9", &|| second.kill(), &first)
    });
}

#[test]
fn in_nat_steady_datagrams_keep_their_backend_in_a_handover_and_a_death() {
    steady_flows_go_on(Mode::Nat);
}

#[test]
fn in_dsr_steady_datagrams_keep_their_backend_in_a_handover_and_a_death() {
    steady_flows_go_on(Mode::Dsr);
}

#[test]
fn in_fullnat_steady_datagrams_keep_their_backend_in_a_handover_and_a_death() {
    steady_flows_go_on(Mode::Fullnat);
}
