//! One thread of the leader hangs while the rest of its process runs.

use fulcrum_tests::error::Context;
use fulcrum_tests::lab::{Fulcrum, GROUP, Lab, Machine, Pair, wait_served_by};
use fulcrum_tests::wait::wait_until;
use fulcrum_tests::{LabError, Result};
use nix::sys::ptrace;
use nix::unistd::Pid;
use std::io::{Read, Write};
use std::os::unix::net::UnixStream;
use std::time::Duration;

const LONG: Duration = Duration::from_secs(15);

/// A thread that is held by a debugger. Only the thread of the test that made it may let it go.
struct Held(Pid);

impl Held {
    fn new(node: &Fulcrum, name: &str) -> Result<Self> {
        let tasks = format!("/proc/{}/task", node.process().pid());
        let named = |task: &std::fs::DirEntry| {
            std::fs::read_to_string(task.path().join("comm")).is_ok_and(|comm| comm.trim() == name)
        };
        let task = std::fs::read_dir(tasks)?
            .flatten()
            .find(named)
            .ok_or_else(|| LabError::new(format!("no thread {name}")))?;
        let thread = task.file_name().to_string_lossy().parse().context("the number of a thread")?;
        let thread = Pid::from_raw(thread);
        ptrace::seize(thread, ptrace::Options::empty()).context("seize")?;
        let held = Self(thread);
        ptrace::interrupt(thread).context("interrupt")?;
        Ok(held)
    }
}

impl Drop for Held {
    fn drop(&mut self) {
        // It stands by now; one that has ended needs nothing.
        let _ = ptrace::detach(self.0, None);
    }
}

/// The status line and the body of `/healthz`.
fn health(machine: &Machine) -> Result<String> {
    let mut stream = UnixStream::connect(Fulcrum::socket_of(machine))?;
    stream.set_read_timeout(Some(LONG))?;
    stream.write_all(b"GET /healthz HTTP/1.1\r\nhost: fulcrum\r\nconnection: close\r\n\r\n")?;
    let mut answer = String::new();
    stream.read_to_string(&mut answer)?;
    Ok(answer)
}

fn wait_health(machine: &Machine, status: &str, body: &str) -> Result<()> {
    let says = || health(machine).is_ok_and(|seen| seen.contains(status) && seen.contains(body));
    wait_until(&format!("{status} {body}"), LONG, says)
}

#[test]
fn a_worker_that_hangs_moves_the_group_and_is_named() {
    Lab::run(|lab| {
        let pair = Pair::new(lab)?;
        let (first, second) = pair.start_both()?;
        let probe = pair.probe()?;
        wait_served_by(&probe, &pair.lb1)?;
        wait_health(&pair.lb1, "200 OK", "ok")?;

        let held = Held::new(&first, "tcp-0")?;
        second.wait_leader(GROUP)?;
        wait_served_by(&probe, &pair.lb2)?;
        wait_health(&pair.lb1, "503", "tcp-0")?;
        let status = first.command(&["status"])?;
        assert!(status.contains("threads that move bytes do not run: tcp-0"), "{status}");

        drop(held);
        wait_health(&pair.lb1, "200 OK", "ok")?;
        // It may lead again, and does not take the group back by itself.
        first.wait_role(GROUP, "standby")?;
        wait_served_by(&probe, &pair.lb2)?;
        Ok(())
    });
}

#[test]
fn a_vip_manager_that_hangs_is_replaced_and_named() {
    Lab::run(|lab| {
        let pair = Pair::new(lab)?;
        let (first, second) = pair.start_both()?;
        let probe = pair.probe()?;
        wait_served_by(&probe, &pair.lb1)?;

        let held = Held::new(&first, "vip-manager")?;
        second.wait_leader(GROUP)?;
        wait_served_by(&probe, &pair.lb2)?;
        wait_health(&pair.lb1, "503", "vip-manager")?;

        drop(held);
        wait_health(&pair.lb1, "200 OK", "ok")?;
        first.wait_role(GROUP, "standby")?;
        wait_served_by(&probe, &pair.lb2)?;
        Ok(())
    });
}

#[test]
fn health_checks_that_hang_are_named() {
    Lab::run(|lab| {
        let pair = Pair::new(lab)?;
        let first = pair.start(&pair.lb1)?;
        first.wait_leader(GROUP)?;
        let held = Held::new(&first, "health")?;
        wait_health(&pair.lb1, "503", "the loop of health has not run")?;
        drop(held);
        wait_health(&pair.lb1, "200 OK", "ok")
    });
}
