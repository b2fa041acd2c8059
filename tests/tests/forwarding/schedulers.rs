//! Round robin and least connections: each connection is known, on both nodes.

use crate::limits::work_through;
use crate::scene::{Family, LONG, Mode, assert_all_live, forwarding_pair, sessions};
use crate::told::{live, wait_held};
use fulcrum_tests::Result;
use fulcrum_tests::lab::{Fulcrum, GROUP, Lab, Pair};
use fulcrum_tests::probe::{Session, request};
use fulcrum_tests::wait::wait_until;
use std::collections::BTreeMap;
use std::time::Duration;

const ROUND_ROBIN: &str = "round-robin";
const LEAST_CONNECTIONS: &str = "least-connections";

fn scheduled_pair(lab: &Lab, mode: Mode, balance: &str) -> Result<Pair> {
    let mut pair = forwarding_pair(lab, mode, Family::Ipv4)?;
    pair.plan = pair.plan.with_keys()?;
    pair.plan.service.push(format!("balance: {balance}"));
    // On a busy machine no backend is to miss its turns because a check was late.
    let check =
        "check: {type: http, path: /, interval: 1s, fast_interval: 100ms, timeout: 1s, rise: 1, fall: 5}";
    pair.plan.service.push(check.to_owned());
    Ok(pair)
}

fn start_one(pair: &Pair) -> Result<Fulcrum> {
    let node = pair.start(&pair.lb1)?;
    node.wait_leader(GROUP)?;
    wait_until("a first answer", LONG, || {
        request(&pair.client, pair.service(), Duration::from_secs(1)).is_ok_and(|sample| sample.is_answer())
    })?;
    // It ends, and counts no more.
    wait_until("no connection", LONG, || live(&node, "web").0 == 0)?;
    Ok(node)
}

fn open(pair: &Pair, count: usize) -> Result<Vec<Session>> {
    (0..count).map(|_| Session::open(&pair.client, pair.service(), LONG)).collect()
}

/// So many are on each, within so many: a SYN that is sent again late takes another turn.
fn assert_spread(sessions: &[Session], expected: &[(&str, usize)], within: usize) {
    let mut counts: BTreeMap<&str, usize> = BTreeMap::new();
    sessions.iter().for_each(|session| *counts.entry(session.backend()).or_default() += 1);
    println!("{counts:?}");
    for (name, expected) in expected {
        let count = counts.remove(name).unwrap_or(0);
        assert!(count.abs_diff(*expected) <= within, "{name}: {count}, not {expected}, {counts:?}");
    }
    assert!(counts.is_empty(), "{counts:?}");
}

/// By their weights, and so it is when one more comes.
fn new_connections_are_spread(mode: Mode) {
    Lab::run(|lab| {
        let mut pair = scheduled_pair(lab, mode, ROUND_ROBIN)?;
        let all = pair.plan.web.clone();
        pair.plan.web.truncate(2);
        pair.plan.weights = vec![1, 2, 1];
        let node = start_one(&pair)?;
        let mut first = open(&pair, 60)?;
        assert_spread(&first, &[("web1", 20), ("web2", 40)], 2);
        pair.plan.web = all;
        node.reload(&pair.plan.file(&pair.lb1))?;
        wait_until("web3 to be up", LONG, || {
            node.status().is_ok_and(|status| status.backends("web", "up") == 3)
        })?;
        wait_until("web3 to be used", LONG, || {
            request(&pair.client, pair.service(), LONG).is_ok_and(|sample| sample.backend() == Some("web3"))
        })?;
        // Also where several come at once.
        let second = std::thread::scope(|scope| {
            let threads: Vec<_> = (0..4).map(|_| scope.spawn(|| open(&pair, 20))).collect();
            let opened = threads
                .into_iter()
                .map(|thread| thread.join().unwrap_or_else(|panic| std::panic::resume_unwind(panic)));
            opened.collect::<Result<Vec<_>>>()
        })?;
        let second: Vec<Session> = second.into_iter().flatten().collect();
        assert_spread(&second, &[("web1", 20), ("web2", 40), ("web3", 20)], 2);
        assert_all_live(&mut first);
        first.extend(second);
        wait_until("each to be counted where it is", LONG, || {
            let of = |name: &str| first.iter().filter(|session| session.backend() == name).count() as u64;
            live(&node, "web") == (first.len() as u64, ["web1", "web2", "web3"].map(of).to_vec())
        })?;
        assert_all_live(&mut first);
        Ok(())
    });
}

#[test]
fn in_nat_round_robin_spreads_by_weight_and_a_new_backend_gets_its_share() {
    new_connections_are_spread(Mode::Nat);
}

#[test]
fn in_dsr_round_robin_spreads_by_weight_and_a_new_backend_gets_its_share() {
    new_connections_are_spread(Mode::Dsr);
}

#[test]
fn in_fullnat_round_robin_spreads_by_weight_and_a_new_backend_gets_its_share() {
    new_connections_are_spread(Mode::Fullnat);
}

/// Those that stay on one backend send new ones elsewhere.
fn new_connections_go_where_there_are_fewest(mode: Mode) {
    Lab::run(|lab| {
        let mut pair = scheduled_pair(lab, mode, LEAST_CONNECTIONS)?;
        pair.plan.weights = vec![1, 2, 1];
        let node = start_one(&pair)?;
        let mut long = open(&pair, 80)?;
        assert_spread(&long, &[("web1", 20), ("web2", 40), ("web3", 20)], 3);
        long.retain(|session| session.backend() == "web2");
        let stay = long.len() as u64;
        wait_until("the others to be counted no more", LONG, || live(&node, "web").1 == [0, stay, 0])?;
        // The schedule is made anew every tenth of a second.
        std::thread::sleep(Duration::from_millis(500));
        let new = open(&pair, 30)?;
        assert_spread(&new, &[("web1", 15), ("web3", 15)], 3);
        assert_all_live(&mut long);
        Ok(())
    });
}

#[test]
fn in_nat_long_connections_of_one_backend_send_new_ones_elsewhere() {
    new_connections_go_where_there_are_fewest(Mode::Nat);
}

#[test]
fn in_dsr_long_connections_of_one_backend_send_new_ones_elsewhere() {
    new_connections_go_where_there_are_fewest(Mode::Dsr);
}

#[test]
fn in_fullnat_long_connections_of_one_backend_send_new_ones_elsewhere() {
    new_connections_go_where_there_are_fewest(Mode::Fullnat);
}

/// No hash says where they are: the other node has been told of each.
fn lives_through_kill_9(mode: Mode, balance: &str) {
    Lab::run(|lab| {
        let pair = scheduled_pair(lab, mode, balance)?;
        let (first, second) = pair.start_both()?;
        let mut sessions = sessions(&pair)?;
        wait_held(&first, &second, sessions.len() as u64)?;
        first.kill()?;
        let stalled = assert_all_live(&mut sessions);
        println!("{mode:?}, {balance}: the slowest answered in {stalled:?}");
        second.wait_leader(GROUP)?;
        assert_all_live(&mut sessions);
        sessions.extend(open(&pair, 20)?);
        first.process().wait(LONG)?;
        let first = pair.start(&pair.lb1)?;
        first.wait_hears_leader(GROUP)?;
        wait_held(&second, &first, sessions.len() as u64)?;
        second.kill()?;
        first.wait_leader(GROUP)?;
        assert_all_live(&mut sessions);
        Ok(())
    });
}

#[test]
fn in_nat_connections_of_round_robin_live_through_the_leaders_death_and_return() {
    lives_through_kill_9(Mode::Nat, ROUND_ROBIN);
}

#[test]
fn in_dsr_connections_of_round_robin_live_through_the_leaders_death_and_return() {
    lives_through_kill_9(Mode::Dsr, ROUND_ROBIN);
}

#[test]
fn in_fullnat_connections_of_round_robin_live_through_the_leaders_death_and_return() {
    lives_through_kill_9(Mode::Fullnat, ROUND_ROBIN);
}

#[test]
fn in_nat_connections_of_least_connections_live_through_the_leaders_death_and_return() {
    lives_through_kill_9(Mode::Nat, LEAST_CONNECTIONS);
}

#[test]
fn in_dsr_connections_of_least_connections_live_through_the_leaders_death_and_return() {
    lives_through_kill_9(Mode::Dsr, LEAST_CONNECTIONS);
}

#[test]
fn in_fullnat_connections_of_least_connections_live_through_the_leaders_death_and_return() {
    lives_through_kill_9(Mode::Fullnat, LEAST_CONNECTIONS);
}

/// SYNs of a flood, more than flows can be noted.
const FLOOD: u32 = 300_000;
/// Attempts are forgotten after a minute, and sooner where room is short.
const FORGOTTEN: Duration = Duration::from_secs(120);

/// What finds no room goes by hash, with all of its packets; what was there before stays.
#[test]
fn a_flood_of_syns_takes_the_room_and_no_connection_fails() {
    Lab::run(|lab| {
        let pair = scheduled_pair(lab, Mode::Nat, ROUND_ROBIN)?;
        let rogue = lab.machine("rogue", 66)?;
        let node = start_one(&pair)?;
        let mut sessions = open(&pair, 60)?;
        work_through(&pair, &rogue, &mut sessions, FLOOD)?;
        let room = |name: &str| {
            let status = node.status().map(|status| status.0).unwrap_or_default();
            status["limits"]["noted_flows"][name].as_u64().unwrap_or_default()
        };
        // A slow machine floods no faster than attempts are forgotten: it must be short of room, or nearly so.
        assert!(room("reached") > 0 || room("used") > 100_000, "{} used", room("used"));
        println!("{} found no room", room("reached"));
        sessions.extend(open(&pair, 20)?);
        assert_all_live(&mut sessions);
        wait_until("room again", FORGOTTEN, || room("used") < 60_000)?;
        // New connections take their turns again.
        let new = open(&pair, 60)?;
        assert_spread(&new, &[("web1", 20), ("web2", 20), ("web3", 20)], 2);
        assert_all_live(&mut sessions);
        Ok(())
    });
}
