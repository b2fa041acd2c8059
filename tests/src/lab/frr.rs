//! FRR's vrrpd, the other partner.

use super::{Machine, Process, VirtualRouter, ip_batch};
use crate::error::{Context, Result};
use crate::wait::wait_until;
use std::fmt::Write;
use std::fs::Permissions;
use std::net::IpAddr;
use std::os::unix::fs::PermissionsExt;
use std::process::Command;
use std::time::Duration;

const PROGRAMS: &str = "/usr/lib/frr";

/// A running vrrpd with the zebra it needs. It answers with the virtual MAC, on a macvlan of its own.
#[derive(Debug)]
pub struct Frr {
    /// Where it runs.
    pub machine: Machine,
    // Dropped first: zebra dying under it would make it shut down in order.
    vrrpd: Process,
    _zebra: Process,
}

impl Frr {
    /// Starts it as a VRRPv3 router.
    ///
    /// # Errors
    /// It can't be started.
    pub fn start(machine: &Machine, router: &VirtualRouter) -> Result<Self> {
        let is_ipv6 = router.vips.iter().any(IpAddr::is_ipv6);
        let device = if is_ipv6 { "vrrp6" } else { "vrrp4" };
        let (family, prefix) = if is_ipv6 { (2, 64) } else { (1, 24) };
        let mut lines = format!(
            "link add {device} link eth0 type macvlan mode bridge\n\
             link set {device} address 00:00:5e:00:{family:02x}:{:02x}\n",
            router.vrid
        );
        for vip in &router.vips {
            let nodad = if is_ipv6 { " nodad" } else { "" };
            // Writing to a String does not fail.
            writeln!(lines, "addr add {vip}/{prefix} dev {device}{nodad}").ok();
        }
        writeln!(lines, "link set {device} up").ok();
        ip_batch(Some(machine.namespace()), &lines)?;

        // As FRR's manual says: else eth0 answers ARP for what the macvlan has.
        machine.set("net/ipv4/conf/all/arp_ignore", "1")?;
        machine.set("net/ipv4/conf/all/arp_announce", "2")?;
        machine.set("net/ipv4/conf/all/rp_filter", "0")?;

        // FRR's daemons give up being root, and keep their sockets here.
        let directory = machine.file("frr");
        std::fs::create_dir_all(&directory)?;
        std::fs::set_permissions(&directory, Permissions::from_mode(0o777))?;
        let path = machine.write("frr.conf", &config(router, if is_ipv6 { "ipv6" } else { "ip" }))?;
        let socket = directory.join("zserv.api");
        let start = |program: &str, config: &str| {
            let mut command = Command::new(format!("{PROGRAMS}/{program}"));
            command
                .args(["--log", "stdout", "--vty_port", "0", "-f", config, "-z"])
                .arg(&socket)
                .arg("-i")
                .arg(directory.join(format!("{program}.pid")))
                .arg("--vty_socket")
                .arg(&directory);
            machine.spawn(program, command)
        };
        let zebra = start("zebra", "/dev/null")?;
        wait_until("zebra's socket", Duration::from_secs(10), || socket.exists())?;
        let vrrpd = start("vrrpd", &path.display().to_string()).context("FRR")?;
        Ok(Self { machine: machine.clone(), vrrpd, _zebra: zebra })
    }

    /// The process of vrrpd.
    #[must_use]
    pub fn process(&self) -> &Process {
        &self.vrrpd
    }
}

fn config(router: &VirtualRouter, keyword: &str) -> String {
    let vrid = router.vrid;
    let milliseconds = u32::from(router.advert_centiseconds).saturating_mul(10);
    let mut text = format!(
        "interface eth0\n vrrp {vrid} version 3\n vrrp {vrid} priority {}\n \
         vrrp {vrid} advertisement-interval {milliseconds}\n",
        router.priority
    );
    if !router.preempt {
        writeln!(text, " no vrrp {vrid} preempt").ok();
    }
    for vip in &router.vips {
        writeln!(text, " vrrp {vrid} {keyword} {vip}").ok();
    }
    text
}
