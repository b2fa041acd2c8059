//! A pair that forwards, in each mode and family, and sessions through it.

use crate::told::live;
use fulcrum_tests::Result;
pub use fulcrum_tests::lab::{Family, Mode, add_to_loopback, forwarding_pair};
use fulcrum_tests::lab::{Fulcrum, Machine, Pair};
use fulcrum_tests::probe::{Crowd, Outcome, Session, request};
use fulcrum_tests::wait::{now, wait_until};
use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};
use std::collections::BTreeSet;
use std::io;
use std::time::Duration;

pub const LONG: Duration = Duration::from_secs(15);
const SESSIONS: usize = 60;
/// How often those ask that are not idle.
const EVERY: Duration = Duration::from_millis(300);

/// Waits until `other` knows so many connections, if they are of a mode that does not leave all to hashes.
pub fn wait_known(mode: Mode, other: &Fulcrum, service: &str, count: usize) -> Result<()> {
    if mode != Mode::Fullnat {
        return Ok(());
    }
    wait_until("the other node to know all connections", LONG, || live(other, service).0 >= count as u64)
        .inspect_err(|_| eprintln!("it knows {:?} of {count}", live(other, service)))
}

/// Connections of which half ask all the time and half are silent, on every web server: `FULCRUM_FLOWS` of each, 60 by default.
pub struct Flows {
    active: Crowd,
    idle: Vec<Session>,
}

impl Flows {
    pub fn open(pair: &Pair) -> Result<Self> {
        let count =
            std::env::var("FULCRUM_FLOWS").ok().and_then(|text| text.parse().ok()).unwrap_or(SESSIONS);
        allow_files(2 * count as u64 + 200)?;
        let idle = open(pair, count)?;
        let active = Crowd::open(&pair.client, pair.service(), count, EVERY, LONG)?;
        assert_eq!(active.backends().len(), pair.web.len(), "{:?}", active.backends());
        Ok(Self { active, idle })
    }

    pub fn count(&self) -> usize {
        2 * self.idle.len()
    }

    /// To be called before something happens.
    pub fn mark(&self) {
        self.active.mark();
    }

    /// Every one of them lives, and is answered from where it was before. Gives the longest stall of those that were asking.
    pub fn assert_live(&mut self) -> Result<Duration> {
        let stall = self.active.wait_answered()?;
        assert_all_live(&mut self.idle);
        Ok(stall)
    }
}

/// For this process and those that it starts from now on, as far as it may.
pub fn allow_files(count: u64) -> Result<()> {
    let Rlimit { current, maximum } = getrlimit(Resource::Nofile);
    let count = maximum.map_or(count, |maximum| maximum.min(count));
    if current.is_some_and(|current| current < count) {
        setrlimit(Resource::Nofile, Rlimit { current: Some(count), maximum }).map_err(io::Error::from)?;
    }
    Ok(())
}

/// Sessions on every web server.
pub fn sessions(pair: &Pair) -> Result<Vec<Session>> {
    open(pair, SESSIONS)
}

fn open(pair: &Pair, count: usize) -> Result<Vec<Session>> {
    let mut heard = BTreeSet::new();
    wait_until("an answer of every web server", LONG, || {
        let sample = request(&pair.client, pair.service(), Duration::from_secs(1));
        if let Ok(Outcome::Answer { backend, .. }) = sample.map(|sample| sample.outcome) {
            heard.insert(backend);
        }
        heard.len() == pair.web.len()
    })?;
    let open = |_| Session::open(&pair.client, pair.service(), LONG);
    let sessions = (0..count).map(open).collect::<Result<Vec<_>>>()?;
    assert_eq!(backends_of(&sessions).len(), pair.web.len(), "{:?}", backends_of(&sessions));
    Ok(sessions)
}

fn backends_of(sessions: &[Session]) -> BTreeSet<&str> {
    sessions.iter().map(Session::backend).collect()
}

/// Every one of them answers, from where it did before. Gives the longest that one took.
pub fn assert_all_live(sessions: &mut [Session]) -> Duration {
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

pub fn assert_no_listener(node: &Machine) -> Result<()> {
    let listening = node.run("ss", &["-Htlna", "sport = :80"])?;
    assert_eq!(listening.trim(), "", "nobody listens, nothing is answered by the kernel");
    Ok(())
}

pub fn assert_mode(node: &Fulcrum, mode: Mode) -> Result<()> {
    let status = node.status()?;
    let expected = mode.name();
    let service = status.service("web").map(ToString::to_string).unwrap_or_default();
    assert!(service.contains(&format!("\"mode\":\"{expected}\"")), "{service}");
    Ok(())
}
