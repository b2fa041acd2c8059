//! What kube-proxy would do on a Kubernetes node, for pods that are processes of the node itself.

use crate::error::Result;
use crate::lab::Machine;
use crate::lab::process::feed;
use std::fmt::Write;
use std::net::IpAddr;
use std::ops::RangeInclusive;
use std::process::Command;

/// Redirects of a machine, by nftables, to backends that listen there.
#[derive(Debug)]
pub struct KubeProxy {
    machine: Machine,
    rules: Vec<String>,
}

impl KubeProxy {
    /// None yet.
    #[must_use]
    pub fn on(machine: &Machine) -> Self {
        Self { machine: machine.clone(), rules: Vec::new() }
    }

    /// A node port leads to a port of the machine's.
    ///
    /// # Errors
    /// The kernel refuses.
    pub fn node_port(&mut self, protocol: &str, node_port: u16, port: u16) -> Result<()> {
        self.rules.push(format!("fib daddr type local {protocol} dport {node_port} redirect to :{port}"));
        self.apply()
    }

    /// A range of node ports leads to a port of the machine's.
    ///
    /// # Errors
    /// The kernel refuses.
    pub fn node_ports(&mut self, protocol: &str, of: RangeInclusive<u16>, port: u16) -> Result<()> {
        let (first, last) = (of.start(), of.end());
        self.rules.push(format!("fib daddr type local {protocol} dport {first}-{last} redirect to :{port}"));
        self.apply()
    }

    /// A VIP in the status of a service, with `ipMode: VIP`, leads there too: packets to it that come to this machine, which
    /// has not got the VIP.
    ///
    /// # Errors
    /// The kernel refuses.
    pub fn ingress(&mut self, vip: IpAddr, protocol: &str, service_port: u16, port: u16) -> Result<()> {
        let family = if vip.is_ipv4() { "ip" } else { "ip6" };
        self.rules.push(format!("{family} daddr {vip} {protocol} dport {service_port} redirect to :{port}"));
        self.apply()
    }

    /// Takes all of them away.
    ///
    /// # Errors
    /// The kernel refuses.
    pub fn clear(&mut self) -> Result<()> {
        self.rules.clear();
        self.apply()
    }

    fn apply(&self) -> Result<()> {
        let mut text = String::from(
            "table inet kube-proxy\ndelete table inet kube-proxy\ntable inet kube-proxy {\n\
             chain nat { type nat hook prerouting priority dstnat;\n",
        );
        for rule in &self.rules {
            // Writing to a String does not fail.
            writeln!(text, "{rule}").ok();
        }
        text.push_str("}\n}\n");
        let mut command = Command::new("nft");
        command.args(["-f", "-"]);
        self.machine.namespace().enter(move || feed(command, &text))?
    }
}
