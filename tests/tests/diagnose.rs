//! `fulcrum diagnose`: the broken link is named, and what leaves the machine has no secrets.
#![allow(
    clippy::disallowed_methods,
    clippy::indexing_slicing,
    reason = "runs commands and looks at what they said"
)]

use fulcrum_tests::Result;
use fulcrum_tests::lab::{GROUP, Lab, Machine, Pair, fulcrum_binary};
use fulcrum_tests::wait::wait_until;
use std::collections::BTreeMap;
use std::fs::{Permissions, set_permissions};
use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use std::process::Command;
use std::time::Duration;

const LONG: Duration = Duration::from_secs(20);

fn run(machine: &Machine, arguments: &[&str]) -> Result<String> {
    let mut command = Command::new(fulcrum_binary()?);
    command.args(arguments);
    let output = machine.namespace().enter(move || command.output())??;
    let said = [output.stdout, output.stderr].concat();
    Ok(String::from_utf8_lossy(&said).into_owned())
}

/// Each file in the archive by its name.
fn unpack(lab: &Lab, archive: &Path) -> Result<BTreeMap<String, String>> {
    let into = lab.directory().join("unpacked");
    let _ = std::fs::remove_dir_all(&into);
    std::fs::create_dir(&into)?;
    let status = Command::new("tar").arg("-xzf").arg(archive).arg("-C").arg(&into).status()?;
    assert!(status.success(), "tar reads it");
    let mut files = BTreeMap::new();
    let mut directories = vec![into];
    while let Some(directory) = directories.pop() {
        for entry in std::fs::read_dir(directory)? {
            let path = entry?.path();
            if path.is_dir() {
                directories.push(path);
            } else {
                let name =
                    path.file_name().map(|name| name.to_string_lossy().into_owned()).unwrap_or_default();
                files.insert(name, String::from_utf8_lossy(&std::fs::read(&path)?).into_owned());
            }
        }
    }
    Ok(files)
}

#[test]
fn an_archive_has_everything_but_secrets() {
    Lab::run(|lab| {
        let mut pair = Pair::new(lab)?;
        pair.plan = pair.plan.with_keys()?;
        let script = lab.directory().join("script");
        std::fs::write(&script, "#!/bin/sh\necho the password is planted-50; exit 1\n")?;
        set_permissions(&script, Permissions::from_mode(0o755))?;
        let script = script.display();
        let check = "check: {type: http, path: \"/?key=planted-51\", headers: {X-Key: planted-52, Authorization: Bearer planted-53}}";
        let backends = "backends: [10.77.0.21:80]";
        pair.plan.services = vec![
            format!("asked: {{vip: 10.77.0.100, port: 81, {backends}, {check}}}"),
            format!(
                "scripted: {{vip: 10.77.0.100, port: 82, {backends}, check: {{type: script, command: [{script}, planted-54, --key=planted-55]}}}}"
            ),
            format!(
                "sent: {{vip: 10.77.0.100, port: 83, protocol: udp, {backends}, check: {{type: udp, send: planted-56}}}}"
            ),
        ];
        pair.plan.top = vec![
            format!("hooks:\n  told: {{on: [after-leading], run: [{script}, planted-57]}}"),
            "# a comment with planted-58".into(),
        ];
        let first = pair.start(&pair.lb1)?;
        first.wait_leader(GROUP)?;
        wait_until("the hook", LONG, || {
            first.status().is_ok_and(|it| it.0.to_string().contains("planted-50"))
        })?;
        let (archive, config) = (lab.directory().join("a.tar.gz"), first.config().display().to_string());
        let to = archive.display().to_string();
        let said = run(&pair.lb1, &["diagnose", "--config", &config, "--to", &to])?;
        assert!(said.contains("weak") && said.contains("there is no link with lb2"), "{said}");
        let files = unpack(lab, &archive)?;
        for name in [
            "diagnosis.txt",
            "findings.json",
            "status.json",
            "metrics.txt",
            "config.json",
            "preflight.json",
            "web.txt",
            "addresses.txt",
            "routes.txt",
            "neighbours.txt",
            "settings.txt",
            "version.txt",
        ] {
            assert!(files.get(name).is_some_and(|text| !text.is_empty()), "{name}: {:?}", files.keys());
        }
        let key = std::fs::read_to_string(pair.lb1.file("peer.key"))?;
        let key = key.lines().nth(1).unwrap_or_default().to_owned();
        assert!(key.len() > 20, "there is a key");
        for (name, text) in files.iter().chain([(&"what it printed".to_owned(), &said)]) {
            assert!(!text.contains("planted-") && !text.contains(&key), "{name} has a secret: {text}");
        }
        // What is needed is there.
        let config = files.get("config.json").map(String::as_str).unwrap_or_default();
        assert!(config.contains("10.77.0.100") && config.contains("REDACTED"), "{config}");
        for name in ["config.json", "status.json", "preflight.json", "findings.json"] {
            let text = files.get(name).map(String::as_str).unwrap_or_default();
            serde_json::from_str::<serde_json::Value>(text)?;
        }
        Ok(())
    });
}

#[test]
fn the_broken_link_is_named_and_a_dead_daemon_is_no_obstacle() {
    Lab::run(|lab| {
        let mut pair = Pair::new(lab)?;
        pair.plan = pair.plan.with_keys()?;
        let (first, second) = pair.start_both()?;
        let config = first.config().display().to_string();
        let diagnose =
            |arguments: &[&str]| run(&pair.lb1, &[&["diagnose", "--config", &config], arguments].concat());
        wait_until("agreement", LONG, || first.status().is_ok_and(|status| status.agrees_with("lb2")))?;
        wait_until("nothing broken", LONG, || {
            diagnose(&["--no-archive"]).is_ok_and(|said| said.contains("nothing is broken"))
        })?;

        for web in &pair.web {
            web.machine.run("ip", &["link", "set", "eth0", "down"])?;
        }
        wait_until("the backends", LONG, || {
            diagnose(&["--no-archive"]).is_ok_and(|said| {
                said.contains("service web refuses every client because 0 of 3 backends are up")
            })
        })?;

        drop(second);
        pair.lb1.run("ip", &["link", "set", "eth0", "down"])?;
        wait_until("the link", LONG, || {
            diagnose(&["--no-archive"]).is_ok_and(|said| {
                let first = said.lines().nth(1).unwrap_or_default();
                first.contains("group web is led by nobody because")
                    && said.contains("no adverts can be sent on eth0")
            })
        })?;

        first.kill()?;
        let archive = lab.directory().join("dead.tar.gz").display().to_string();
        let said = diagnose(&["--to", &archive])?;
        assert!(said.contains("BROKEN  daemon"), "{said}");
        let files = unpack(lab, Path::new(&archive))?;
        assert!(
            files.get("missing.txt").is_some_and(|text| text.contains("the daemon can't be asked")),
            "{files:?}"
        );
        assert!(files.contains_key("preflight.json") && files.contains_key("addresses.txt"));
        Ok(())
    });
}
