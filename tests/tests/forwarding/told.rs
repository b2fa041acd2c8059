//! What the other node knows only because it was told.

use crate::scene::{Family, LONG, Mode, assert_all_live, forwarding_pair, sessions};
use fulcrum_tests::Result;
use fulcrum_tests::lab::{Fulcrum, GROUP, Lab, Pair};
use fulcrum_tests::probe::Session;
use fulcrum_tests::wait::{wait_for, wait_until};
use std::io::{Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};

const PORT: u16 = 7000;
const COUNT: usize = 30;

/// Connections to a backend's program, whose clients say nothing once they have connected.
pub struct Silent {
    clients: Vec<TcpStream>,
    servers: Vec<TcpStream>,
}

impl Silent {
    pub fn open(pair: &Pair) -> Result<Self> {
        let web = &pair.web[0].machine;
        let listener = web.namespace().enter(|| TcpListener::bind(SocketAddr::new(web.ipv4(), PORT)))??;
        let target = SocketAddr::new(pair.service().ip(), PORT);
        wait_until("a first connection", LONG, || {
            let first = pair.client.namespace().enter(|| TcpStream::connect_timeout(&target, LONG));
            first.is_ok_and(|first| first.is_ok()) && listener.accept().is_ok()
        })?;
        let mut silent = Self { clients: Vec::new(), servers: Vec::new() };
        for _ in 0..COUNT {
            let client = pair.client.namespace().enter(|| TcpStream::connect_timeout(&target, LONG))??;
            client.set_read_timeout(Some(LONG))?;
            let (mut server, _) = listener.accept()?;
            server.write_all(b"hello")?;
            silent.clients.push(client);
            silent.servers.push(server);
        }
        silent.hear(b"hello")?;
        Ok(silent)
    }

    pub fn push(&mut self, word: &[u8; 5]) -> Result<()> {
        self.servers.iter_mut().try_for_each(|server| server.write_all(word))?;
        self.hear(word)
    }

    fn hear(&mut self, word: &[u8; 5]) -> Result<()> {
        for (number, client) in self.clients.iter_mut().enumerate() {
            let mut heard = [0; 5];
            let read = client.read_exact(&mut heard);
            assert!(read.is_ok() && heard == *word, "client {number}: {read:?}, {heard:?}");
        }
        Ok(())
    }
}

fn plane(node: &Fulcrum) -> serde_json::Value {
    node.status().map(|status| status.0["plane"].clone()).unwrap_or_default()
}

/// The other node says that it has all that this one knows, and that is all there is.
pub fn wait_held(node: &Fulcrum, other: &Fulcrum, least: u64) -> Result<()> {
    wait_until("the other to know all flows", LONG, || {
        let held = plane(node)["flows_held_by"].as_array().is_some_and(|held| !held.is_empty());
        let heard = plane(other)["flow_counters"]["heard"].as_u64().unwrap_or_default();
        held && heard >= least
    })
    .inspect_err(|_| eprintln!("this one: {:#}\nthe other: {:#}", plane(node), plane(other)))
}

pub fn silent_pair(lab: &Lab) -> Result<Pair> {
    let mut pair = forwarding_pair(lab, Mode::Fullnat, Family::Ipv4)?;
    pair.plan = pair.plan.with_keys()?;
    let (vip, web) = (pair.service().ip(), pair.web[0].machine.ipv4());
    pair.plan.services.push(format!(
        "silent: {{vip: {vip}, port: {PORT}, mode: fullnat, check: none, backends: ['{web}:{PORT}']}}"
    ));
    Ok(pair)
}

/// A backend that speaks first after the takeover is heard only if the new leader knows whose its packets are.
#[test]
fn a_backend_that_speaks_first_is_heard_after_the_leaders_death_and_return() {
    Lab::run(|lab| {
        let pair = silent_pair(lab)?;
        let (first, second) = pair.start_both()?;
        let mut silent = Silent::open(&pair)?;
        wait_held(&first, &second, COUNT as u64)?;
        first.kill()?;
        second.wait_leader(GROUP)?;
        silent.push(b"again")?;
        // The one that was killed comes back, and is told all before the other goes.
        first.process().wait(LONG)?;
        let first = pair.start(&pair.lb1)?;
        first.wait_hears_leader(GROUP)?;
        wait_held(&second, &first, COUNT as u64)?;
        silent.push(b"third")?;
        second.kill()?;
        first.wait_leader(GROUP)?;
        silent.push(b"fours")?;
        Ok(())
    });
}

/// What ended is known to have ended on the other node too, and a node that is down is told of nothing.
#[test]
fn both_nodes_know_the_same_connections() {
    Lab::run(|lab| {
        let pair = silent_pair(lab)?;
        let (first, second) = pair.start_both()?;
        let mut sessions = sessions(&pair)?;
        wait_held(&first, &second, sessions.len() as u64)?;
        let told = |node: &Fulcrum, what: &str| plane(node)["flow_counters"][what].as_u64().unwrap_or(0);
        assert_eq!((told(&second, "misfits"), told(&first, "losses")), (0, 0));
        let before = told(&second, "heard");
        drop(sessions.split_off(30));
        wait_for("the ends to be told", LONG, || (told(&second, "heard") >= before + 30).then_some(()))?;
        assert_all_live(&mut sessions);
        second.kill()?;
        wait_until("nobody to hold them", LONG, || {
            plane(&first)["flows_held_by"].as_array().is_some_and(Vec::is_empty)
        })?;
        assert_all_live(&mut sessions);
        Ok(())
    });
}

/// What the status says of the service and its backends.
pub fn live(node: &Fulcrum, service: &str) -> (u64, Vec<u64>) {
    let status = node.status().map(|status| status.0).unwrap_or_default();
    let services = status["services"].as_array().cloned().unwrap_or_default();
    let found = services.into_iter().find(|found| found["name"] == service).unwrap_or_default();
    let of = |found: &serde_json::Value| found["connections"].as_u64().unwrap_or_default();
    let backends = found["backends"].as_array().map(|backends| backends.iter().map(of).collect());
    (of(&found), backends.unwrap_or_default())
}

/// Each connection is counted where it is, as long as it lives, by both nodes; and so is what would outlive the leader.
#[test]
fn live_connections_are_counted_and_those_that_would_outlive_the_leader() {
    Lab::run(|lab| {
        let pair = silent_pair(lab)?;
        let (first, second) = pair.start_both()?;
        let mut sessions = sessions(&pair)?;
        let count = sessions.len() as u64;
        let expected = |sessions: &[Session]| {
            let of = |name: &str| sessions.iter().filter(|session| session.backend() == name).count() as u64;
            (sessions.len() as u64, pair.web.iter().map(|web| of(web.machine.name())).collect::<Vec<_>>())
        };
        for node in [&first, &second] {
            wait_until("every connection to be counted", LONG, || live(node, "web") == expected(&sessions))
                .inspect_err(|_| eprintln!("{:?} is not {:?}", live(node, "web"), expected(&sessions)))?;
        }
        wait_until("all to be held", LONG, || plane(&first)["failover"]["held"] == count)?;
        let page = first.command(&["status"])?;
        assert!(page.contains(&format!("{count} would go on: lb2 knows them")), "{page}");
        drop(sessions.split_off(20));
        for node in [&first, &second] {
            wait_until("those that ended to be counted no more", LONG, || {
                live(node, "web") == expected(&sessions)
            })?;
        }
        second.kill()?;
        wait_until("nobody to hold them", LONG, || {
            plane(&first)["failover"]["held"] == 0 && plane(&first)["failover"]["live"] == 20
        })?;
        assert_all_live(&mut sessions);
        Ok(())
    });
}
