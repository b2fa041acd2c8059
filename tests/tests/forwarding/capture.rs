//! `fulcrum capture` beside a node that forwards.
#![allow(clippy::panic, clippy::expect_used, reason = "a test ends by it")]

use crate::scene::{Family, LONG, Mode, forwarding_pair};
use fulcrum_tests::Result;
use fulcrum_tests::lab::{Fulcrum, GROUP, Lab, Machine, Pair, Process, fulcrum_binary};
use fulcrum_tests::probe::request;
use fulcrum_tests::wait::{run_for, wait_for, wait_until};
use rustix::process::Signal;
use std::path::Path;
use std::process::Command;
use std::time::Duration;

fn command(node: &Machine, arguments: &[&str]) -> Result<Command> {
    let mut command = Command::new(fulcrum_binary()?);
    command.arg("capture").args(arguments).arg("--socket").arg(Fulcrum::socket_of(node));
    Ok(command)
}

fn start(node: &Machine, name: &str, arguments: &[&str]) -> Result<Process> {
    node.spawn(name, command(node, arguments)?)
}

/// A pair's first node, which leads and serves.
fn leading(pair: &Pair) -> Result<Fulcrum> {
    let node = pair.start(&pair.lb1)?;
    node.wait_leader(GROUP)?;
    ask(pair)?;
    Ok(node)
}

fn ask(pair: &Pair) -> Result<()> {
    wait_until("an answer", LONG, || {
        request(&pair.client, pair.service(), Duration::from_secs(1)).is_ok_and(|sample| sample.is_answer())
    })
}

fn names_what_became_of_each(mode: Mode, backend: &str, replies: bool) {
    Lab::run(|lab| {
        let pair = forwarding_pair(lab, mode, Family::Ipv4)?;
        let _node = leading(&pair)?;
        let capture = start(&pair.lb1, "capture", &["web", "--count", "12"])?;
        wait_until("12 packets", LONG, || {
            ask(&pair).is_ok() && capture.ended().is_some_and(|status| status.success())
        })?;
        let log = capture.log();
        assert!(log.contains("12 packets captured"), "{log}");
        assert!(log.contains(backend) && log.contains(" of web") && log.contains("left as"), "{log}");
        assert!(log.contains(&format!("> {} tcp SYN", pair.service())), "{log}");
        assert_eq!(log.contains("reply of web"), replies, "{log}");
        Ok(())
    });
}

#[test]
fn in_nat_each_packet_is_shown_with_what_became_of_it() {
    names_what_became_of_each(Mode::Nat, ": forwarded to web", true);
}

#[test]
fn in_dsr_each_packet_is_shown_with_what_became_of_it() {
    names_what_became_of_each(Mode::Dsr, ": forwarded to web", false);
}

#[test]
fn in_fullnat_each_packet_is_shown_with_what_became_of_it() {
    names_what_became_of_each(Mode::Fullnat, ": forwarded to web", true);
}

#[test]
fn a_file_is_what_others_can_read() {
    Lab::run(|lab| {
        let mut pair = forwarding_pair(lab, Mode::Nat, Family::Ipv4)?;
        pair.plan.service.push("limits: {rate_per_client: {per_second: 1, burst: 3}}".into());
        let _node = leading(&pair)?;
        let path = pair.lb1.file("packets.pcapng");
        let capture =
            start(&pair.lb1, "capture", &["--seconds", "3", "--write", &path.display().to_string()])?;
        wait_until("the file", LONG, || path.exists())?;
        for _ in 0..10 {
            request(&pair.client, pair.service(), Duration::from_millis(100))?;
        }
        assert!(capture.wait(LONG)?.success(), "{}", capture.log());
        // The block types, in the order of the file; the rest is for a reader that is not ours.
        assert_eq!(kinds(&path)?.get(..3), Some(&[0x0a0d_0d0a, 1, 6][..]));
        let text = String::from_utf8_lossy(&std::fs::read(&path)?).into_owned();
        for said in ["dropped (client_rate) of web", "forwarded to web", "reply of web"] {
            assert!(text.contains(said), "{said} is not in the file");
        }
        let mode = std::os::unix::fs::PermissionsExt::mode(&std::fs::metadata(&path)?.permissions());
        assert_eq!(mode & 0o777, 0o600);
        Ok(())
    });
}

fn kinds(path: &Path) -> Result<Vec<u32>> {
    let bytes = std::fs::read(path)?;
    let mut rest = bytes.as_slice();
    let mut kinds = Vec::new();
    while let Some((head, _)) = rest.split_first_chunk::<8>() {
        let [a, b, c, d, e, f, g, h] = *head;
        kinds.push(u32::from_ne_bytes([a, b, c, d]));
        let length = usize::try_from(u32::from_ne_bytes([e, f, g, h])).unwrap_or(usize::MAX);
        rest = rest.get(length..).expect("whole blocks");
    }
    Ok(kinds)
}

#[test]
fn one_that_is_killed_leaves_nothing_behind_and_the_next_may_begin() {
    Lab::run(|lab| {
        let pair = forwarding_pair(lab, Mode::Nat, Family::Ipv4)?;
        let _node = leading(&pair)?;
        let killed = start(&pair.lb1, "killed", &[])?;
        wait_until("its first packet", LONG, || ask(&pair).is_ok() && killed.log().contains("forwarded"))?;
        let second = pair.lb1.spawn("second", command(&pair.lb1, &["--count", "1"])?)?;
        assert!(!second.wait(LONG)?.success());
        assert!(second.log().contains("somebody else captures here"), "{}", second.log());
        killed.signal(Signal::KILL)?;
        killed.wait(LONG)?;
        // The kernel ends it by itself; what it has put aside until then is not the next one's.
        for _ in 0..3 {
            ask(&pair)?;
            run_for(Duration::from_secs(1));
        }
        let third = start(&pair.lb1, "third", &["--seconds", "1"])?;
        assert!(third.wait(LONG)?.success());
        assert!(
            third.log().contains("0 packets captured") || !third.log().contains(" SYN,"),
            "{}",
            third.log()
        );
        Ok(())
    });
}

#[test]
fn what_can_not_be_captured_is_said() {
    Lab::run(|lab| {
        let mut pair = forwarding_pair(lab, Mode::Nat, Family::Ipv4)?;
        pair.plan.services.push(format!(
            "proxied: {{vip: {}, port: 81, backends: ['{}:80']}}",
            pair.service().ip(),
            pair.lb2.ipv4()
        ));
        let said = |name: &str, arguments: &[&str]| {
            let process = start(&pair.lb1, name, arguments)?;
            let ended = wait_for("the refusal", LONG, || process.ended())?;
            assert_eq!(ended.code(), Some(1), "{}", process.log());
            Ok::<_, fulcrum_tests::LabError>(process.log())
        };
        let none = said("none", &[])?;
        assert!(none.contains("no forwarding plane here"), "{none}");
        let _node = leading(&pair)?;
        let unknown = said("unknown", &["nothing"])?;
        assert!(unknown.contains("there is no service nothing"), "{unknown}");
        let proxied = said("proxied", &["proxied"])?;
        assert!(proxied.contains("tcpdump"), "{proxied}");
        Ok(())
    });
}
