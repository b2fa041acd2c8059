//! Configurations good and bad, while traffic flows.

use fulcrum_tests::lab::{Fulcrum, GROUP, Lab, Pair, ipv4};
use fulcrum_tests::probe::Session;
use fulcrum_tests::wait::{now, run_for, wait_until};
use std::time::Duration;

const LONG: Duration = Duration::from_secs(15);

#[test]
fn a_bad_file_is_refused_whole_and_the_running_one_stays() {
    Lab::run(|lab| {
        let pair = Pair::new(lab)?;
        let node = pair.start(&pair.lb1)?;
        node.wait_leader(GROUP)?;
        let probe = pair.probe()?;
        let good = pair.plan.file(&pair.lb1);
        let begun = now();
        for (bad, mentions) in [
            (good.replace("services:", "services: ["), "fulcrum.yaml:"),
            (good.replace("vrid: 51", "vrid: 0"), "vrid"),
            (good.replace("    port: 80\n    check", "    prot: 80\n    check"), "prot"),
            (good.replace("    vrid: 51", "    vrid: 51\n    vrid: 52"), "vrid"),
            (good.replace("\"10.77.0.100\"", "\"10.99.0.100\""), "10.99.0.100"),
        ] {
            assert_ne!(bad, good);
            let error = node.reload(&bad).unwrap_err().to_string();
            assert!(error.contains(mentions), "{mentions}: {error}");
            let checked = node.command(&["check", &node.config().display().to_string()]);
            assert!(checked.is_err());
            assert_eq!(node.status()?.role(GROUP), Some("leader"));
        }
        run_for(Duration::from_millis(200));
        let seen = probe.finish().since(begun);
        assert_eq!(seen.failed(), 0, "{:?}", seen.outcomes());
        node.reload(&good)?;
        Ok(())
    });
}

#[test]
fn a_good_change_moves_no_vip_and_breaks_no_other_flow() {
    Lab::run(|lab| {
        let mut pair = Pair::new(lab)?;
        let (first, _second) = pair.start_both()?;
        let transitions = |status: &fulcrum_tests::lab::Status| {
            status.group(GROUP).and_then(|group| group.get("transitions")?.as_u64())
        };
        let before = transitions(&first.status()?);
        let probe = pair.probe()?;
        let mut kept = Session::open(&pair.client, pair.service(), LONG)?;
        let begun = now();
        // One that the kept session is not on goes.
        let gone = pair.plan.web.iter().position(|web| web.name() != kept.backend()).unwrap();
        let gone = pair.plan.web.remove(gone).name().to_owned();
        let said = first.reload(&pair.plan.file(&pair.lb1))?;
        assert!(said.contains(&gone), "the difference names what changed: {said}");
        let reloaded = now();
        assert_eq!(kept.ask()?, kept.backend());
        wait_until("traffic after the change", LONG, || probe.timeline().since(reloaded).answered() > 50)?;
        let seen = probe.finish();
        assert_eq!(seen.since(begun).failed(), 0, "{:?}", seen.since(begun).outcomes());
        let used = seen.since(reloaded).backends();
        assert!(!used.contains_key(&gone), "{used:?}");
        assert_eq!(transitions(&first.status()?), before);
        assert_eq!(first.status()?.role(GROUP), Some("leader"));
        Ok(())
    });
}

#[test]
fn a_group_that_a_reload_removes_goes_to_the_node_that_still_has_it() {
    Lab::run(|lab| {
        let pair = Pair::new(lab)?;
        let other = format!("  other:\n    vrid: 52\n    vips: [\"{}\"]\nservices:", ipv4(101));
        let with = |node| pair.plan.file(node).replace("services:", &other);
        let first = Fulcrum::start(&pair.lb1, &with(&pair.lb1))?;
        first.wait_leader("other")?;
        let second = Fulcrum::start(&pair.lb2, &with(&pair.lb2))?;
        second.wait_hears_leader("other")?;
        first.reload(&pair.plan.file(&pair.lb1))?;
        second.wait_leader("other")?;
        let status = second.status()?;
        let reason = status.group("other").and_then(|group| group.get("reason")?.as_str());
        assert!(reason.is_some_and(|reason| reason.contains("resigned")), "{reason:?}");
        wait_until("its address to be gone", LONG, || !pair.lb1.has_address(ipv4(101)).unwrap_or(true))?;
        assert!(pair.lb2.has_address(ipv4(101))?);
        assert_eq!(first.status()?.role(GROUP), Some("leader"), "the other group stays");
        Ok(())
    });
}

#[test]
fn a_spare_that_takes_a_dead_backends_name_serves_at_once() {
    Lab::run(|lab| {
        let mut pair = Pair::new(lab)?;
        pair.plan.web.truncate(2);
        let node = pair.start(&pair.lb1)?;
        node.wait_leader(GROUP)?;
        pair.web[0].process().kill_with_children()?;
        wait_until("the dead one to be found", LONG, || {
            node.status().is_ok_and(|status| status.backends("web", "down") == 1)
        })?;
        let probe = pair.probe()?;
        let begun = now();
        let (dead, spare) = (pair.plan.web.remove(0), pair.plan.web[0].clone());
        let promoted = pair
            .plan
            .file(&pair.lb1)
            .replace(&format!("name: {}, address", spare.name()), &format!("name: {}, address", dead.name()));
        node.reload(&promoted)?;
        run_for(Duration::from_millis(500));
        let seen = probe.finish().since(begun);
        assert_eq!(seen.failed(), 0, "{:?}", seen.outcomes());
        Ok(())
    });
}
