//! Another version on a node, while the other leads.
#![allow(clippy::indexing_slicing, reason = "a test stops at what it did not expect")]

use fulcrum_tests::Result;
use fulcrum_tests::lab::{GROUP, Lab, Upgradable, fulcrum_binary, install, script};
use fulcrum_tests::probe::{Options, Probe, Session};
use fulcrum_tests::wait::run_for;
use std::thread;
use std::time::Duration;

const LONG: Duration = Duration::from_secs(60);

/// How many overrides a node knows of.
fn overrides(scene: &Upgradable, side: usize) -> Result<usize> {
    Ok(scene.linked.node(side)?.status()?.0["overrides"].as_array().map_or(0, Vec::len))
}

#[test]
fn an_upgrade_fails_no_request_and_breaks_no_connection() {
    Lab::run(|lab| {
        let mut scene = Upgradable::new(lab, |_| {})?;
        let options =
            Options { timeout: Duration::from_secs(3), interval: Duration::from_millis(2), at_once: 1 };
        let probe = Probe::start(&scene.linked.pair.client, scene.linked.pair.service(), options)?;
        let mut session =
            Session::open(&scene.linked.pair.client, scene.linked.pair.service(), Duration::from_secs(3))?;
        let backend = session.ask()?;
        // It goes on for some seconds after the handover, and then ends by itself.
        let holds = thread::spawn(move || {
            for _ in 0..30 {
                if session.ask().is_ok_and(|it| it == backend) {
                    run_for(Duration::from_millis(100));
                } else {
                    return false;
                }
            }
            true
        });
        let new = install(&scene.linked.pair.lb2)?;
        let said = scene.upgrade(&new, 1)?;
        let said = said.unwrap_or_else(|error| panic!("{error}"));
        assert!(holds.join().is_ok_and(|held| held), "the connection broke: {said}");
        assert!(said.contains("every connection that it proxied has ended"), "{said}");
        assert!(said.contains("runs 0.1.0 and is ready"), "{said}");
        let timeline = probe.finish();
        assert_eq!(timeline.failed(), 0, "{:?}", timeline.outcomes());
        scene.linked.wait_agreement()?;
        assert_eq!((overrides(&scene, 0)?, overrides(&scene, 1)?), (0, 0));
        assert!(!scene.installed.with_extension("before").exists());
        Ok(())
    });
}

#[test]
fn a_binary_that_does_not_become_ready_is_taken_back() {
    Lab::run(|lab| {
        let mut scene = Upgradable::new(lab, |_| {})?;
        let binary = fulcrum_binary()?.display().to_string();
        let broken = format!("#!/bin/sh\n[ \"$1\" = run ] && exit 1\nexec {binary} \"$@\"\n");
        let broken = script(&scene.linked.pair.lb2, "broken", &broken)?;
        let said = scene.upgrade(&broken, 2)?.expect_err("it does not run");
        assert!(
            said.contains("the new binary was abandoned") && said.contains("0.1.0 runs again and is ready"),
            "{said}"
        );
        scene.linked.wait_agreement()?;
        assert_eq!(overrides(&scene, 0)?, 0);
        assert_eq!(std::fs::read(&scene.installed)?, std::fs::read(fulcrum_binary()?)?);
        Ok(())
    });
}

#[test]
fn what_can_not_be_is_refused_before_anything_is_changed() {
    Lab::run(|lab| {
        let mut scene = Upgradable::new(lab, |_| {})?;
        let stranger = script(&scene.linked.pair.lb2, "stranger", "#!/bin/sh\necho nginx 1.22\n")?;
        let picky = script(
            &scene.linked.pair.lb2,
            "picky",
            "#!/bin/sh\n[ \"$1\" = version ] && echo fulcrum 9.0.0 && exit\necho 'unknown key `vrid`' >&2; exit 1\n",
        )?;
        let cases = [
            (scene.linked.pair.lb2.file("nothing"), "there is no such file"),
            (stranger, "not which fulcrum it is"),
            (picky, "unknown key `vrid`"),
        ];
        for (new, word) in cases {
            let said = scene.upgrade(&new, 0)?.expect_err("it is refused");
            assert!(said.contains(word) && said.contains("nothing was changed"), "{said}");
        }
        // Nobody else could lead: it is done in place.
        scene.linked.node(1)?.process().terminate(LONG)?;
        scene.linked.wait_down(0)?;
        let said = scene.upgrade(&fulcrum_binary()?, 0)?.unwrap_or_else(|error| panic!("{error}"));
        assert!(said.contains("in place") && said.contains("took over"), "{said}");
        assert_eq!(scene.linked.node(0)?.status()?.role(GROUP), Some("leader"));
        Ok(())
    });
}
