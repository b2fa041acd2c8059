//! Backends die and return.

use fulcrum_tests::lab::{Lab, Nginx, Pair};
use fulcrum_tests::probe::{Ended, Outcome, Session, request};
use fulcrum_tests::wait::{now, wait_for, wait_until};
use std::collections::BTreeMap;
use std::time::Duration;

const LONG: Duration = Duration::from_secs(15);

/// One open session on each web server.
fn sessions(pair: &Pair) -> fulcrum_tests::Result<BTreeMap<String, Session>> {
    let mut sessions = BTreeMap::new();
    wait_until("a session on each web server", LONG, || {
        if let Ok(session) = Session::open(&pair.client, pair.service(), Duration::from_secs(2)) {
            sessions.insert(session.backend().to_owned(), session);
        }
        sessions.len() == pair.web.len()
    })?;
    Ok(sessions)
}

#[test]
fn a_backend_that_vanishes_is_left_and_its_connections_are_closed() {
    Lab::run(|lab| {
        let pair = Pair::new(lab)?;
        let node = pair.start(&pair.lb1)?;
        node.wait_leader(fulcrum_tests::lab::GROUP)?;
        let mut sessions = sessions(&pair)?;
        // Cut off, not killed: nobody sends a RST for it.
        lab.switch().cut(&pair.web[0].machine)?;
        let mut lost = sessions.remove("web1").unwrap();
        let cut = now();
        assert_ne!(lost.wait_end(LONG)?, Ended::Open, "its connection hangs");
        println!("closed {:?} after the cut", cut.elapsed());
        let status = node.status()?;
        assert_eq!(status.backends("web", "down"), 1, "{:?}", status.service("web"));
        for (name, session) in &mut sessions {
            assert_eq!(&session.ask()?, name, "connections to the others go on");
        }
        for _ in 0..20 {
            let sample = request(&pair.client, pair.service(), LONG)?;
            assert!(sample.is_answer() && sample.backend() != Some("web1"), "{sample:?}");
        }
        lab.switch().heal()?;
        wait_until("web1 to be used again", LONG, || {
            request(&pair.client, pair.service(), LONG).is_ok_and(|sample| sample.backend() == Some("web1"))
        })
    });
}

#[test]
fn without_a_live_backend_the_service_refuses_at_once() {
    Lab::run(|lab| {
        let mut pair = Pair::new(lab)?;
        let node = pair.start(&pair.lb1)?;
        node.wait_leader(fulcrum_tests::lab::GROUP)?;
        let machines: Vec<_> = pair.web.iter().map(|web| web.machine.clone()).collect();
        for machine in &machines {
            lab.switch().cut(machine)?;
        }
        let refused = wait_for("a refusal", LONG, || {
            let sample = request(&pair.client, pair.service(), Duration::from_secs(2)).ok()?;
            matches!(sample.outcome, Outcome::Refused | Outcome::Reset).then_some(sample)
        })?;
        println!("{refused:?}");
        wait_until("the service to be down", LONG, || {
            node.status().is_ok_and(|status| status.backends("web", "down") == 3)
        })?;
        for _ in 0..10 {
            let sample = request(&pair.client, pair.service(), Duration::from_secs(1))?;
            assert!(matches!(sample.outcome, Outcome::Refused | Outcome::Reset), "{sample:?}");
        }
        // They are back, as new processes.
        pair.web.clear();
        lab.switch().heal()?;
        pair.web = machines.iter().map(Nginx::start).collect::<fulcrum_tests::Result<_>>()?;
        wait_until("answers", LONG, || {
            request(&pair.client, pair.service(), LONG).is_ok_and(|sample| sample.is_answer())
        })
    });
}

#[test]
fn a_killed_daemon_resets_its_connections() {
    Lab::run(|lab| {
        let pair = Pair::new(lab)?;
        let node = pair.start(&pair.lb1)?;
        node.wait_leader(fulcrum_tests::lab::GROUP)?;
        let mut session = Session::open(&pair.client, pair.service(), LONG)?;
        node.kill()?;
        // Never a FIN: it would make a cut reply look whole. The RST may be lost with the address, and then the
        // client is told by the next leader, or times out.
        assert_ne!(session.wait_end(Duration::from_secs(2))?, Ended::Closed);
        Ok(())
    });
}
