//! The wall clock is set back and forth under a running pair: nothing moves.

use fulcrum_tests::lab::{Fulcrum, GROUP, Lab, Machine, Pair};
use fulcrum_tests::wait::{now, run_for, wait_until};
use std::path::PathBuf;
use std::time::Duration;

const LONG: Duration = Duration::from_secs(15);

/// Starts a node whose wall clock is off by what the file `clock` of its machine says. The kernel's clock belongs
/// to the whole machine and can't differ in a namespace, so libfaketime stands in; it leaves the monotonic
/// clock alone, as setting the real one does.
fn start(pair: &Pair, machine: &Machine) -> fulcrum_tests::Result<Fulcrum> {
    let clock = machine.write("clock", "+0\n")?;
    let library = std::fs::read_dir("/usr/lib")?
        .flatten()
        .map(|entry| entry.path().join("faketime/libfaketimeMT.so.1"))
        .find(|path| path.exists())
        .unwrap_or(PathBuf::from("/usr/lib/faketime/libfaketimeMT.so.1"));
    assert!(library.exists(), "libfaketime is not installed: run `make packages`");
    Fulcrum::start_with(machine, &pair.plan.file(machine), |command| {
        command
            .env("LD_PRELOAD", library)
            .env("FAKETIME_TIMESTAMP_FILE", clock)
            .env("FAKETIME_NO_CACHE", "1")
            .env("FAKETIME_DONT_FAKE_MONOTONIC", "1");
    })
}

#[test]
fn nothing_moves_when_the_clock_is_set() {
    Lab::run(|lab| {
        let pair = Pair::new(lab)?;
        let first = start(&pair, &pair.lb1)?;
        first.wait_leader(GROUP)?;
        let second = start(&pair, &pair.lb2)?;
        second.wait_hears_leader(GROUP)?;
        let probe = pair.probe()?;
        let transitions = |node: &Fulcrum| {
            node.status().ok().and_then(|status| status.group(GROUP)?.get("transitions")?.as_u64())
        };
        let before = (transitions(&first), transitions(&second));
        assert!(before.0.is_some());
        let begun = now();
        for offset in ["-400d", "+400d", "-3600s", "+1", "-1", "+0"] {
            for machine in [&pair.lb1, &pair.lb2] {
                machine.write("clock", &format!("{offset}\n"))?;
            }
            run_for(Duration::from_millis(500));
        }
        wait_until("traffic", LONG, || probe.timeline().since(begun).answered() > 100)?;
        let seen = probe.finish().since(begun);
        println!("longest gap {:?}, {:?}", seen.longest_gap(), seen.outcomes());
        assert_eq!((transitions(&first), transitions(&second)), before);
        assert_eq!(seen.failed(), 0);
        // The daemon did see it: its log lines carry the faked year.
        let years = |node: &Fulcrum| node.process().log().matches("2027-").count();
        println!("lines of the other year: {} and {}", years(&first), years(&second));
        Ok(())
    });
}
