//! The forwarding plane: packets go on, whoever forwards them.

use fulcrum_tests::Result;
use fulcrum_tests::lab::{Fulcrum, GROUP, Lab, Machine, Pair, Status, ipv4};
use fulcrum_tests::probe::{Ended, Outcome, Session, request};
use fulcrum_tests::wait::{now, wait_for, wait_until};
use std::collections::BTreeSet;
use std::time::{Duration, Instant};

const LONG: Duration = Duration::from_secs(15);
const SESSIONS: usize = 60;
/// The client's own network, which is not the backends'.
const FAR: &str = "192.0.2.50";
/// The backends' gateway, which moves with the VIP.
const GATEWAY: u8 = 101;

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Mode {
    Nat,
    Dsr,
}

/// A pair that forwards.
fn forwarding_pair(lab: &Lab, mode: Mode) -> Result<Pair> {
    let mut pair = Pair::new(lab)?;
    match mode {
        Mode::Nat => prepare_nat(&mut pair)?,
        Mode::Dsr => prepare_dsr(&mut pair)?,
    }
    Ok(pair)
}

/// The client is behind a network of its own, and replies come through whoever leads.
fn prepare_nat(pair: &mut Pair) -> Result<()> {
    let (vip, client) = (pair.service().ip().to_string(), pair.client.ipv4().to_string());
    pair.client.run("ip", &["address", "add", &format!("{FAR}/32"), "dev", "lo"])?;
    pair.client.run("ip", &["route", "add", &format!("{vip}/32"), "dev", "eth0", "src", FAR])?;
    for node in [&pair.lb1, &pair.lb2] {
        node.set("net/ipv4/ip_forward", "1")?;
        node.run("ip", &["route", "add", "192.0.2.0/24", "via", &client])?;
    }
    for web in &pair.web {
        web.machine.run("ip", &["route", "add", "default", "via", &ipv4(GATEWAY).to_string()])?;
    }
    pair.plan.gateways = vec![ipv4(GATEWAY)];
    pair.plan.service = vec!["mode: nat".to_owned()];
    Ok(())
}

/// Each backend has the VIP, and tells nobody.
fn prepare_dsr(pair: &mut Pair) -> Result<()> {
    let vip = format!("{}/32", pair.service().ip());
    for web in &pair.web {
        web.machine.set("net/ipv4/conf/all/arp_ignore", "1")?;
        web.machine.set("net/ipv4/conf/all/arp_announce", "2")?;
        web.machine.run("ip", &["address", "add", &vip, "dev", "lo"])?;
    }
    pair.plan.service = vec!["mode: dsr".to_owned()];
    Ok(())
}

/// Sessions on every web server.
fn sessions(pair: &Pair) -> Result<Vec<Session>> {
    wait_for("a first answer", LONG, || {
        request(&pair.client, pair.service(), Duration::from_secs(1)).ok().filter(|sample| sample.is_answer())
    })?;
    let open = |_| Session::open(&pair.client, pair.service(), LONG);
    let sessions = (0..SESSIONS).map(open).collect::<Result<Vec<_>>>()?;
    assert_eq!(backends_of(&sessions).len(), pair.web.len(), "{:?}", backends_of(&sessions));
    Ok(sessions)
}

fn backends_of(sessions: &[Session]) -> BTreeSet<&str> {
    sessions.iter().map(Session::backend).collect()
}

/// Every one of them answers, from where it did before. Gives the longest that one took.
fn assert_all_live(sessions: &mut [Session]) -> Duration {
    let mut longest = Duration::ZERO;
    for (number, session) in sessions.iter_mut().enumerate() {
        let (backend, begun) = (session.backend().to_owned(), now());
        let answer = session.ask();
        assert!(
            answer.as_ref().is_ok_and(|name| *name == backend),
            "session {number} on {backend}: {answer:?}"
        );
        longest = longest.max(begun.elapsed());
    }
    longest
}

fn assert_no_listener(node: &Machine) -> Result<()> {
    let listening = node.run("ss", &["-Htlna", "sport = :80"])?;
    assert_eq!(listening.trim(), "", "nobody listens, nothing is answered by the kernel");
    Ok(())
}

fn assert_mode(node: &Fulcrum, mode: Mode) -> Result<()> {
    let status = node.status()?;
    let expected = if mode == Mode::Nat { "nat" } else { "dsr" };
    let service = status.service("web").map(ToString::to_string).unwrap_or_default();
    assert!(service.contains(&format!("\"mode\":\"{expected}\"")), "{service}");
    Ok(())
}

fn lives_through_kill_9(mode: Mode) {
    Lab::run(|lab| {
        let pair = forwarding_pair(lab, mode)?;
        let (first, second) = pair.start_both()?;
        let mut sessions = sessions(&pair)?;
        assert_mode(&first, mode)?;
        assert_no_listener(&pair.lb1)?;
        let event = now();
        first.kill()?;
        let stalled = assert_all_live(&mut sessions);
        println!(
            "{mode:?}: all answered within {:?} of kill -9, the slowest in {stalled:?}",
            event.elapsed()
        );
        second.wait_leader(GROUP)?;
        assert_all_live(&mut sessions);
        // The old leader comes back and stands by, and then the other one goes.
        first.process().wait(LONG)?;
        let first = pair.start(&pair.lb1)?;
        first.wait_hears_leader(GROUP)?;
        assert_all_live(&mut sessions);
        wait_ready(&first)?;
        second.kill()?;
        first.wait_leader(GROUP)?;
        assert_all_live(&mut sessions);
        Ok(())
    });
}

fn wait_ready(node: &Fulcrum) -> Result<()> {
    wait_until("the node to be ready", LONG, || {
        node.status().is_ok_and(|status| status.0.get("ready").is_some_and(|ready| ready == true))
    })
}

#[test]
fn connections_of_nat_live_through_the_leaders_death_and_return() {
    lives_through_kill_9(Mode::Nat);
}

#[test]
fn connections_of_dsr_live_through_the_leaders_death_and_return() {
    lives_through_kill_9(Mode::Dsr);
}

fn only_its_flows_move(mode: Mode) {
    Lab::run(|lab| {
        let pair = forwarding_pair(lab, mode)?;
        let node = pair.start(&pair.lb1)?;
        node.wait_leader(GROUP)?;
        let (mut lost, mut kept): (Vec<_>, Vec<_>) =
            sessions(&pair)?.into_iter().partition(|session| session.backend() == "web1");
        cut_web1(lab, &pair)?;
        wait_until("web1 to be down", LONG, || {
            node.status().is_ok_and(|status| status.backends("web", "down") == 1)
        })?;
        assert_all_live(&mut kept);
        for _ in 0..20 {
            let sample = request(&pair.client, pair.service(), LONG)?;
            assert!(sample.is_answer() && sample.backend() != Some("web1"), "{sample:?}");
        }
        // Whoever gets its packets now does not know the connection, and says so.
        for session in lost.drain(..5) {
            assert_ends(session, now())?;
        }
        let between = Session::open(&pair.client, pair.service(), LONG)?;
        lab.switch().heal()?;
        wait_until("web1 to be used again", LONG, || {
            request(&pair.client, pair.service(), LONG).is_ok_and(|sample| sample.backend() == Some("web1"))
        })?;
        // Nobody else moved, nor what began meanwhile; and what did not speak in between never noticed.
        kept.push(between);
        assert_all_live(&mut kept);
        assert_all_live(&mut lost);
        Ok(())
    });
}

fn cut_web1(lab: &Lab, pair: &Pair) -> Result<()> {
    pair.web.first().map_or(Ok(()), |web| lab.switch().cut(&web.machine))
}

fn assert_ends(mut session: Session, begun: Instant) -> Result<()> {
    while begun.elapsed() < LONG {
        if session.ask().is_err() {
            return Ok(());
        }
    }
    assert_ne!(session.wait_end(LONG)?, Ended::Open);
    Ok(())
}

#[test]
fn in_nat_a_dead_backend_takes_only_its_own_connections_along() {
    only_its_flows_move(Mode::Nat);
}

#[test]
fn in_dsr_a_dead_backend_takes_only_its_own_connections_along() {
    only_its_flows_move(Mode::Dsr);
}

fn refuses_at_once(mode: Mode) {
    Lab::run(|lab| {
        let pair = forwarding_pair(lab, mode)?;
        let node = pair.start(&pair.lb1)?;
        node.wait_leader(GROUP)?;
        for web in &pair.web {
            lab.switch().cut(&web.machine)?;
        }
        wait_until("the service to be down", LONG, || {
            node.status().is_ok_and(|status| status.backends("web", "down") == 3)
        })?;
        wait_until("a refusal", LONG, || {
            request(&pair.client, pair.service(), Duration::from_secs(1))
                .is_ok_and(|sample| matches!(sample.outcome, Outcome::Refused | Outcome::Reset))
        })?;
        for _ in 0..10 {
            let sample = request(&pair.client, pair.service(), Duration::from_secs(1))?;
            assert!(matches!(sample.outcome, Outcome::Refused | Outcome::Reset), "{sample:?}");
        }
        Ok(())
    });
}

#[test]
fn in_nat_a_service_without_a_backend_refuses_at_once() {
    refuses_at_once(Mode::Nat);
}

#[test]
fn in_dsr_a_service_without_a_backend_refuses_at_once() {
    refuses_at_once(Mode::Dsr);
}

#[test]
fn a_daemon_that_is_killed_and_started_again_takes_its_flows_over() {
    Lab::run(|lab| {
        let pair = forwarding_pair(lab, Mode::Nat)?;
        let first = pair.start(&pair.lb1)?;
        first.wait_leader(GROUP)?;
        // Some flows are where only a noted flow says that they are.
        let mut sessions = sessions(&pair)?;
        lab.switch().cut(&pair.web[0].machine)?;
        wait_until("web1 to be down", LONG, || {
            first.status().is_ok_and(|status| status.backends("web", "down") == 1)
        })?;
        sessions.retain(|session| session.backend() != "web1");
        for _ in 0..30 {
            sessions.push(Session::open(&pair.client, pair.service(), LONG)?);
        }
        lab.switch().heal()?;
        wait_until("web1 to be up", LONG, || {
            first.status().is_ok_and(|status| status.backends("web", "down") == 0)
        })?;
        assert_all_live(&mut sessions);
        first.kill()?;
        first.process().wait(LONG)?;
        let again = pair.start(&pair.lb1)?;
        again.wait_leader(GROUP)?;
        assert_all_live(&mut sessions);
        Ok(())
    });
}

#[test]
fn by_clsact_it_forwards_alike() {
    Lab::run(|lab| {
        let pair = forwarding_pair(lab, Mode::Nat)?;
        let start = |node: &Machine| {
            Fulcrum::start_with(node, &pair.plan.file(node), |command| {
                command.env("FULCRUM_FENCE", "clsact");
            })
        };
        let first = start(&pair.lb1)?;
        first.wait_leader(GROUP)?;
        let second = start(&pair.lb2)?;
        second.wait_hears_leader(GROUP)?;
        let mut sessions = sessions(&pair)?;
        let filters = pair.lb1.run("tc", &["filter", "show", "dev", "eth0", "ingress"])?;
        assert!(filters.contains("fulcrum_forward"), "{filters}");
        first.kill()?;
        second.wait_leader(GROUP)?;
        assert_all_live(&mut sessions);
        Ok(())
    });
}

#[test]
fn a_node_that_can_not_forward_says_why() {
    Lab::run(|lab| {
        let mut pair = Pair::new(lab)?;
        prepare_nat(&mut pair)?;
        pair.lb1.set("net/ipv4/ip_forward", "0")?;
        pair.lb1.set("net/ipv4/conf/eth0/forwarding", "0")?;
        let node = pair.start(&pair.lb1)?;
        wait_until("the reason", LONG, || {
            node.status().is_ok_and(|status| says(&status, "set net.ipv4.ip_forward=1"))
        })
    });
}

fn says(status: &Status, what: &str) -> bool {
    status.service("web").is_some_and(|service| service.to_string().contains(what))
}
