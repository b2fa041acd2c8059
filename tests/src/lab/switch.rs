//! The switch: a bridge in a namespace of its own, whose ports can be cut, made lossy or unplugged.

use super::process::feed;
use super::{Machine, Namespace, ip_batch};
use crate::error::{Context, Result};
use crate::frames::Capture;
use std::collections::BTreeSet;
use std::net::IpAddr;
use std::process::Command;
use std::sync::{Mutex, PoisonError};

/// The switch.
#[derive(Debug)]
pub struct Switch {
    namespace: Namespace,
    faults: Mutex<BTreeSet<Fault>>,
}

/// Frames that the switch loses. A link that is cut like this keeps its carrier: nobody is told.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub enum Fault {
    /// All that come from this port.
    From(String),
    /// All that go to this port.
    To(String),
    /// All that come from the first port and go to the second.
    Between(String, String),
    /// Questions who has this address, by ARP or ND, that go to this port.
    QuestionsTo(String, IpAddr),
    /// All that come from this port and bear another MAC than this.
    ForeignMac(String, String),
    /// This share, in percent, of what goes to this port.
    LossTo(String, u8),
    /// This share, in percent, of what comes from this port.
    LossFrom(String, u8),
}

impl Fault {
    fn rule(&self) -> String {
        match self {
            Self::From(port) => format!("iifname \"{port}\" drop"),
            Self::To(port) => format!("oifname \"{port}\" drop"),
            Self::Between(from, to) => format!("iifname \"{from}\" oifname \"{to}\" drop"),
            Self::QuestionsTo(port, IpAddr::V4(address)) => {
                format!("oifname \"{port}\" ether type arp arp operation request arp daddr ip {address} drop")
            }
            Self::QuestionsTo(port, IpAddr::V6(address)) => {
                let [.., x, y, z] = address.octets();
                format!("oifname \"{port}\" ip6 daddr ff02::1:ff{x:02x}:{y:02x}{z:02x} drop")
            }
            Self::ForeignMac(port, mac) => format!("iifname \"{port}\" ether saddr != {mac} drop"),
            Self::LossTo(port, percent) => {
                format!("oifname \"{port}\" numgen random mod 100 < {percent} drop")
            }
            Self::LossFrom(port, percent) => {
                format!("iifname \"{port}\" numgen random mod 100 < {percent} drop")
            }
        }
    }
}

impl Switch {
    pub(super) fn new(namespace: Namespace) -> Result<Self> {
        // Multicast goes to every port, as on a switch that snoops properly and has members everywhere.
        ip_batch(
            Some(&namespace),
            "link add br0 type bridge stp_state 0 forward_delay 0 mcast_snooping 0\nlink set br0 up\n",
        )?;
        Ok(Self { namespace, faults: Mutex::default() })
    }

    /// Gives a machine its `eth0`, plugged into a port of its own. Also after the machine's interface vanished.
    ///
    /// # Errors
    /// `ip` refuses.
    pub fn plug_in(&self, machine: &Machine) -> Result<()> {
        let (port, namespace) = (machine.port(), machine.namespace().name());
        ip_batch(
            None,
            &format!(
                "link add eth0 netns {namespace} type veth peer name {port} netns {}\n",
                self.namespace.name()
            ),
        )?;
        ip_batch(Some(&self.namespace), &format!("link set {port} master br0\nlink set {port} up\n"))
    }

    /// Runs a program at the switch to its end and gives what it printed: ports go by [`Machine::port`].
    ///
    /// # Errors
    /// It can't be started, or ends with an error.
    pub fn run(&self, program: &str, arguments: &[&str]) -> Result<String> {
        let mut command = Command::new(program);
        command.args(arguments);
        self.namespace.enter(move || super::run(command))?
    }

    /// Loses every frame from and to this machine; its carrier stays.
    ///
    /// # Errors
    /// nft refuses.
    pub fn cut(&self, machine: &Machine) -> Result<()> {
        self.add([Fault::From(machine.port()), Fault::To(machine.port())])
    }

    /// Loses every frame between two machines, both ways.
    ///
    /// # Errors
    /// nft refuses.
    pub fn part(&self, one: &Machine, other: &Machine) -> Result<()> {
        self.add([Fault::Between(one.port(), other.port()), Fault::Between(other.port(), one.port())])
    }

    /// Adds faults, all at the same moment.
    ///
    /// # Errors
    /// nft refuses.
    pub fn add(&self, faults: impl IntoIterator<Item = Fault>) -> Result<()> {
        let mut present = self.faults.lock().unwrap_or_else(PoisonError::into_inner);
        present.extend(faults);
        self.apply(&present)
    }

    /// Ends every fault, at the same moment.
    ///
    /// # Errors
    /// nft refuses.
    pub fn heal(&self) -> Result<()> {
        let mut present = self.faults.lock().unwrap_or_else(PoisonError::into_inner);
        present.clear();
        self.apply(&present)
    }

    fn apply(&self, faults: &BTreeSet<Fault>) -> Result<()> {
        let rules: Vec<String> = faults.iter().map(Fault::rule).collect();
        let ruleset = format!(
            "table bridge lab {{}}\ndelete table bridge lab\ntable bridge lab {{\nchain forward {{\n\
             type filter hook forward priority 0;\n{}\n}}\n}}\n",
            rules.join("\n")
        );
        self.namespace.enter(|| {
            let mut command = Command::new("nft");
            command.args(["-f", "-"]);
            feed(command, &ruleset)
        })?
    }

    /// Watches the cable of a machine; keeps the frames, of both ways, that `wanted` wants.
    ///
    /// # Errors
    /// It is not plugged in.
    pub fn watch(
        &self,
        machine: &Machine,
        wanted: impl Fn(&[u8]) -> bool + Send + 'static,
    ) -> Result<Capture> {
        Capture::start(&self.namespace, &machine.port(), wanted)
    }

    /// Pulls the cable: the machine sees its carrier go.
    ///
    /// # Errors
    /// `ip` refuses.
    pub fn unplug(&self, machine: &Machine) -> Result<()> {
        ip_batch(Some(&self.namespace), &format!("link set {} down\n", machine.port()))
    }

    /// Puts it back.
    ///
    /// # Errors
    /// `ip` refuses.
    pub fn replug(&self, machine: &Machine) -> Result<()> {
        ip_batch(Some(&self.namespace), &format!("link set {} up\n", machine.port()))
    }

    /// Removes the machine's interface altogether; [`Switch::plug_in`] and [`Machine::configure`] bring it back.
    ///
    /// # Errors
    /// `ip` refuses.
    pub fn destroy_link(&self, machine: &Machine) -> Result<()> {
        ip_batch(Some(&self.namespace), &format!("link del {}\n", machine.port())).context("destroy a link")
    }
}
