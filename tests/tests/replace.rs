//! `fulcrum replace`: a node that was lost is made anew, while the other serves.

#![allow(clippy::indexing_slicing, reason = "a test stops at what it did not expect")]

use fulcrum_tests::Result;
use fulcrum_tests::lab::{Anew, Fulcrum, GROUP, Lab, Linked};
use fulcrum_tests::probe::{Options, Probe};
use std::fs;
use std::path::Path;
use std::time::Duration;

const LONG: Duration = Duration::from_secs(240);

fn probe(linked: &Linked) -> Result<Probe> {
    let options =
        Options { interval: Duration::from_millis(2), timeout: Duration::from_secs(3), ..Options::default() };
    Probe::start_answered(&linked.pair.client, linked.pair.service(), options, LONG)
}

/// The other leads all the while: there is nothing that could fail.
fn assert_served(probe: Probe) {
    let timeline = probe.finish();
    println!(
        "{} failed, longest gap {:?}, {:?}",
        timeline.failed(),
        timeline.longest_gap(),
        timeline.outcomes()
    );
    assert_eq!(timeline.failed(), 0);
}

/// A backup of a node, with its key.
fn backup(node: &Fulcrum, scene: &Anew, to: &Path) -> Result<()> {
    let (config, to, secret) = (node.config().display(), to.display(), scene.passphrase.display());
    let words = format!("backup --config {config} --to {to} --passphrase-file {secret}");
    node.command(&words.split(' ').collect::<Vec<_>>()).map(drop)
}

#[test]
fn a_node_that_was_lost_with_its_disk_is_replaced_by_name_from_its_backup() {
    Lab::run(|lab| {
        let linked = Linked::new(lab, |_| {}, Fulcrum::start)?;
        let (first, second) = (linked.node(0)?, linked.node(1)?);
        let scene = Anew::new(lab, &[&linked.pair.lb1, &linked.pair.lb2])?;
        let kept = lab.directory().join("kept");
        fs::create_dir(&kept)?;
        backup(first, &scene, &kept.join("of-lb1"))?;
        backup(second, &scene, &kept.join("of-lb2"))?;
        fs::write(kept.join("damaged"), "fulcrum backup v1 00 2\n{}")?;
        let (exec, kept) = (scene.exec("{node} {action} {backup}"), kept.display().to_string());
        let replace = ["replace", "lb2", "--exec", exec.as_str(), "--backup", kept.as_str()];

        let (output, said) = scene.finish(&replace)?;
        assert!(!output.status.success() && said.contains("lb2 lives: it answers"), "{said}");
        assert_eq!(scene.at("replace"), None, "nothing was begun");

        let probe = probe(&linked)?;
        scene.run(&linked.pair.lb2, "remove")?;
        linked.wait_down(0)?;
        let key = linked.pair.lb2.file("peer.key");
        for path in [second.config(), &key] {
            fs::remove_file(path)?;
        }
        let stranger = ["replace", "lb2", "--exec", exec.as_str(), "--backup"];
        let of_other = format!("{kept}/of-lb1");
        let (output, said) = scene.finish(&[&stranger[..], &[&of_other]].concat())?;
        assert!(!output.status.success() && said.contains("a backup of lb1, not of lb2"), "{said}");

        let (output, said) = scene.finish(&replace)?;
        assert!(output.status.success(), "{said}");
        assert!(said.contains("lb2 is replaced, in "), "{said}");
        assert!(said.contains(&format!("without a standby meanwhile: group {GROUP}")), "{said}");
        linked.wait_agreement()?;
        assert_eq!(first.status()?.role(GROUP), Some("leader"));
        assert_eq!(second.status()?.role(GROUP), Some("standby"));
        assert_served(probe);
        Ok(())
    });
}

#[test]
fn a_replacement_that_is_killed_at_each_of_its_steps_goes_on_where_it_was() {
    Lab::run(|lab| {
        let linked = Linked::new(lab, |_| {}, Fulcrum::start)?;
        let scene = Anew::new(lab, &[&linked.pair.lb1, &linked.pair.lb2])?;
        let probe = probe(&linked)?;
        scene.run(&linked.pair.lb2, "remove")?;
        linked.wait_down(0)?;
        let exec = scene.exec("{node}");
        let replace = ["replace", "lb2", "--exec", exec.as_str()];
        let killed = scene.kill_at_each_step(&replace, &["replace", "lb2", "--resume"])?;
        println!("killed at {killed:?}");
        for step in ["others", "gone", "change", "return"] {
            assert!(killed.contains(&("lb2".to_owned(), step.to_owned())), "{step}: {killed:?}");
        }
        linked.wait_agreement()?;
        assert_served(probe);
        Ok(())
    });
}
