//! Backups are made by themselves, and a node whose files are gone comes back from one.
#![allow(
    clippy::disallowed_methods,
    clippy::indexing_slicing,
    reason = "runs commands and looks at what they said"
)]

use fulcrum_tests::Result;
use fulcrum_tests::lab::{Fulcrum, GROUP, Lab, Machine, Pair, fulcrum_binary};
use fulcrum_tests::wait::{now, run_for, wait_for, wait_until};
use serde_json::Value;
use std::fs::{Permissions, set_permissions};
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::{Command, Output, Stdio};
use std::time::Duration;

const LONG: Duration = Duration::from_secs(20);

/// Runs a command on a machine, whatever comes of it; what it says, and whether it did it.
fn run(machine: &Machine, arguments: &[&str]) -> Result<(bool, String)> {
    let mut command = Command::new(fulcrum_binary()?);
    command.args(arguments);
    let Output { status, stdout, stderr } = machine.namespace().enter(move || command.output())??;
    let said = format!("{}{}", String::from_utf8_lossy(&stdout), String::from_utf8_lossy(&stderr));
    Ok((status.success(), said))
}

fn text(path: &Path) -> String {
    path.display().to_string()
}

/// A passphrase in a file.
fn passphrase(lab: &Lab) -> Result<String> {
    let path = lab.directory().join("passphrase");
    std::fs::write(&path, "correct horse battery\n")?;
    set_permissions(&path, Permissions::from_mode(0o600))?;
    Ok(text(&path))
}

/// What a node keeps, the newest last.
fn backups(node: &Fulcrum) -> Result<Vec<Value>> {
    let listed = run(&node.machine, &["backups", "--json", &text(node.config())])?.1;
    Ok(serde_json::from_str(&listed)?)
}

fn wait_backup(node: &Fulcrum, serial: u64) -> Result<PathBuf> {
    wait_for(&format!("a backup of serial {serial}"), LONG, || {
        let last = backups(node).ok()?.pop()?;
        (last["serial"] == serial).then(|| last["file"].as_str().map(PathBuf::from))?
    })
}

fn serial(node: &Fulcrum) -> Result<u64> {
    Ok(node.status()?.0["config"]["serial"].as_u64().unwrap_or_default())
}

/// All that makes this machine that node.
fn destroy(node: &Fulcrum) -> Result<()> {
    for path in [node.config().to_owned(), node.machine.file("peer.key")] {
        std::fs::remove_file(path)?;
    }
    std::fs::remove_dir_all(node.machine.file("state"))?;
    Ok(())
}

fn has_link(node: &Fulcrum, peer: &str, state: &str) -> bool {
    node.status().is_ok_and(|status| status.peer(peer).is_some_and(|peer| peer["state"] == state))
}

#[test]
fn a_node_whose_files_are_gone_comes_back_with_its_key_and_as_standby() {
    Lab::run(|lab| {
        let mut pair = Pair::new(lab)?;
        pair.plan = pair.plan.with_keys()?;
        let (first, second) = pair.start_both()?;
        wait_until("agreement", LONG, || second.status().is_ok_and(|status| status.agrees_with("lb1")))?;
        let secret = passphrase(lab)?;
        let file = text(&lab.directory().join("lb1.backup"));
        let config = text(first.config());
        let said =
            run(&pair.lb1, &["backup", "--config", &config, "--to", &file, "--passphrase-file", &secret])?;
        assert!(said.0, "{}", said.1);
        let old = serial(&first)?;

        // The cluster goes on.
        let mut newer = pair.plan.clone();
        newer
            .services
            .push("later: {vip: 10.77.0.100, port: 81, backends: [10.77.0.21:80], check: none}".into());
        second.reload(&newer.file(&pair.lb2))?;
        wait_until("the first to follow", LONG, || serial(&first).is_ok_and(|serial| serial > old))?;

        // While it lives nothing is restored, here or on another machine.
        let restore = ["restore", &file, "--config", &config, "--passphrase-file", &secret];
        let (done, said) = run(&pair.lb1, &restore)?;
        assert!(!done && said.contains("another fulcrum runs"), "{said}");

        first.kill()?;
        second.wait_leader(GROUP)?;
        destroy(&first)?;
        let before = second.status()?.0["config"]["serial"].clone();
        let (done, said) = run(&pair.lb1, &["restore", &file, "--config", &config])?;
        assert!(!done && said.contains("encrypted") && !first.config().exists(), "{said}");
        let (done, said) = run(&pair.lb1, &[&restore[..], &["--dry-run"]].concat())?;
        assert!(done && said.contains("nothing was written") && !first.config().exists(), "{said}");
        let (done, said) = run(&pair.lb1, &restore)?;
        assert!(done && said.contains("lb1 catches up"), "{said}");

        let probe = pair.probe()?;
        let back = Fulcrum::start(&pair.lb1, &std::fs::read_to_string(first.config())?)?;
        back.wait_hears_leader(GROUP)?;
        wait_until("the link with the old key", LONG, || has_link(&second, "lb1", "up"))?;
        wait_until("what is newer", LONG, || {
            back.status().is_ok_and(|status| status.agrees_with("lb2") && status.service("later").is_some())
        })?;
        assert_eq!(second.status()?.0["config"]["serial"], before, "what is old did not win");
        assert_eq!(back.status()?.role(GROUP), Some("standby"));
        assert_eq!(second.status()?.role(GROUP), Some("leader"));
        assert_eq!(probe.finish().failed(), 0, "nobody noticed");
        Ok(())
    });
}

#[test]
fn a_node_that_lives_elsewhere_is_not_restored() {
    Lab::run(|lab| {
        let mut pair = Pair::new(lab)?;
        pair.plan = pair.plan.with_keys()?;
        let (first, second) = pair.start_both()?;
        wait_until("agreement", LONG, || second.status().is_ok_and(|status| status.agrees_with("lb1")))?;
        let (secret, file) = (passphrase(lab)?, text(&lab.directory().join("lb1.backup")));
        let config = text(first.config());
        run(&pair.lb1, &["backup", "--config", &config, "--to", &file, "--passphrase-file", &secret])?;
        // A second machine that was made in its place, while it was only thought to be dead.
        let elsewhere = lab.machine("elsewhere", 99)?;
        // Its kernel claims nothing; what this test looks at is whether the command does.
        elsewhere.set("net/ipv4/conf/eth0/arp_ignore", "8")?;
        elsewhere.run("ip", &["address", "add", "10.77.0.11/24", "dev", "eth0"])?;
        let target = text(&elsewhere.file("fulcrum.yaml"));
        // And that does not see the other's lock.
        let mut command = Command::new("unshare");
        let script = "mount -t tmpfs none \"$1\" && shift && exec \"$@\"";
        command.args(["--mount", "sh", "-c", script, "sh"]).arg(pair.lb1.file("run")).arg(fulcrum_binary()?);
        command.args(["restore", &file, "--config", &target, "--passphrase-file", &secret]);
        let output = elsewhere.namespace().enter(move || command.output())??;
        let (done, said) = (output.status.success(), [output.stdout, output.stderr].concat());
        let said = String::from_utf8_lossy(&said).into_owned();
        assert!(!done && said.contains("has the addresses of lb1"), "{said}");
        assert!(!Path::new(&target).exists());
        assert!(has_link(&second, "lb1", "up"), "and it was not disturbed");
        assert_eq!(first.status()?.role(GROUP), Some("leader"));
        Ok(())
    });
}

#[test]
fn each_change_is_followed_by_a_backup_and_one_that_fails_is_an_alarm() {
    Lab::run(|lab| {
        let mut pair = Pair::new(lab)?;
        pair.plan = pair.plan.with_keys()?;
        let node = pair.start(&pair.lb1)?;
        node.wait_leader(GROUP)?;
        let first = serial(&node)?;
        wait_backup(&node, first)?;
        for port in 81..84 {
            pair.plan.services = vec![format!(
                "later: {{vip: 10.77.0.100, port: {port}, backends: [10.77.0.21:80], check: none}}"
            )];
            node.reload(&pair.plan.file(&pair.lb1))?;
            wait_backup(&node, serial(&node)?)?;
        }
        assert_eq!(backups(&node)?.len(), 4);
        let last = backups(&node)?.pop().unwrap_or_default();
        assert!(last["roles"][GROUP] == "leader" && last["key"] == "left out", "{last}");

        // A directory in the way of what is to be written: the reload goes on.
        let directory = pair.lb1.file("state").join("backups");
        std::fs::rename(&directory, pair.lb1.file("state").join("aside"))?;
        std::fs::write(&directory, "in the way")?;
        pair.plan.services = Vec::new();
        node.reload(&pair.plan.file(&pair.lb1))?;
        wait_until("an alarm", LONG, || {
            node.status()
                .is_ok_and(|it| it.alarms().iter().any(|alarm| alarm.contains("no backup could be made")))
        })?;
        std::fs::remove_file(&directory)?;
        node.reload(&pair.plan.file(&pair.lb1))?;
        wait_until("no alarm", LONG, || node.status().is_ok_and(|it| it.alarms().is_empty()))?;
        wait_backup(&node, serial(&node)?)?;
        Ok(())
    });
}

/// Power that fails in the middle, as far as a process can show it.
#[test]
fn a_backup_that_is_killed_at_any_moment_leaves_only_whole_ones() {
    Lab::run(|lab| {
        let mut pair = Pair::new(lab)?;
        pair.plan = pair.plan.with_keys()?;
        let secret = passphrase(lab)?;
        // How long one takes here, so that all of it is hit.
        let config = text(&pair.lb1.write("fulcrum.yaml", &pair.plan.file(&pair.lb1))?);
        let begun = now();
        run(&pair.lb1, &["backup", "--passphrase-file", &secret, "--config", &config])?;
        let takes = begun.elapsed();
        let mut killed = 0;
        for round in 0..24 {
            // Each says something else, so that each is one more.
            let file = format!("{}# {round}\n", pair.plan.file(&pair.lb1));
            let config = pair.lb1.write("fulcrum.yaml", &file)?;
            let mut command = Command::new(fulcrum_binary()?);
            command.args(["backup", "--passphrase-file", &secret, "--config"]).arg(&config);
            command.stdout(Stdio::null()).stderr(Stdio::null());
            let mut child = pair.lb1.namespace().enter(move || command.spawn())??;
            run_for(takes * round / 20);
            killed += u32::from(child.try_wait()?.is_none());
            child.kill()?;
            child.wait()?;
        }
        let config = text(&pair.lb1.file("fulcrum.yaml"));
        let said = run(&pair.lb1, &["backup", "--passphrase-file", &secret, "--config", &config])?;
        assert!(said.0, "{}", said.1);
        let kept: Vec<Value> = serde_json::from_str(&run(&pair.lb1, &["backups", "--json", &config])?.1)?;
        assert!(kept.iter().all(|it| it["damage"].is_null() && it["key"] == "encrypted"), "{kept:#?}");
        assert!(killed > 5 && !kept.is_empty() && kept.len() <= 10, "{killed} killed, {} kept", kept.len());
        let left = std::fs::read_dir(pair.lb1.file("state").join("backups"))?.count();
        assert_eq!(left, kept.len(), "nothing else is left");
        println!("{killed} of 24 killed, {} kept", kept.len());
        Ok(())
    });
}
