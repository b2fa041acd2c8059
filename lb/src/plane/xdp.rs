//! Whether the plane works in an interface's driver: only where frames have been seen to pass there both ways.

use super::routes::forwards;
use crate::sys::{LinkFacts, link_facts};
use fulcrum_config::Xdp;
use fulcrum_ebpf::Plane;
use ping::{Echo, Pings};
use std::fs;
use std::net::Ipv4Addr;
use std::time::Duration;

mod ping;
#[cfg(test)]
mod tests;

/// Drivers whose native XDP others forward with in production. Not vmxnet3: frames were lost there, without a word.
const DRIVERS: [&str; 10] =
    ["virtio_net", "ixgbe", "ixgbevf", "i40e", "iavf", "ice", "igb", "igc", "mlx5_core", "bnxt_en"];
/// Never, whatever is asked.
const NEVER: [&str; 1] = ["vmxnet3"];

/// Bytes of the Ethernet header.
const HEADER: usize = 14;
/// Frames of these sizes must pass, and the longest that the interface takes: each stands for a bug that some driver had.
const FRAMES: [usize; 2] = [60, 300];
/// A neighbour answers sooner.
const PATIENCE: Duration = Duration::from_millis(300);
/// Some drivers stop for a while as a program is attached.
const TRIES: u32 = 5;
/// Neighbours that are asked whether they answer.
const NEIGHBOURS: usize = 4;

/// What was asked for, and what became of it.
#[derive(Debug)]
pub(crate) struct Drivers {
    wish: Xdp,
    /// This process has just started: nobody depends yet on what a driver that is reset would stop.
    starting: bool,
}

impl Drivers {
    pub(crate) fn new(wish: Xdp) -> Self {
        Self { wish, starting: true }
    }

    /// From now on this node may be live.
    pub(crate) fn handle_started(&mut self) {
        self.starting = false;
    }

    /// Puts the plane into the driver of an interface where it stands by tcx already, or says why not. `neighbours` are
    /// addresses behind it.
    ///
    /// It takes some milliseconds; where frames get lost, seconds.
    pub(crate) fn attach(
        &self,
        plane: &mut Plane,
        interface: &str,
        index: u32,
        neighbours: &[Ipv4Addr],
    ) -> Result<String, String> {
        let facts = link_facts(interface).map_err(|error| format!("its driver can't be asked: {error}"))?;
        let left = plane.is_left_by_xdp(index);
        let refusal = self.refusal(&facts.driver, left).or_else(|| not_forwarding(interface));
        let tried = refusal.map_or(Ok(()), Err).and_then(|()| {
            plane.attach_xdp(interface, index).map_err(|error| error.to_string())?;
            if !left {
                prove(plane, interface, index, &facts, neighbours)?;
            }
            plane.open_xdp(index, facts.mac).map_err(|error| error.to_string())
        });
        match tried {
            Ok(()) => Ok(format!("xdp ({}), tcx", facts.driver)),
            Err(why) => {
                plane.detach_xdp(index);
                Err(why)
            }
        }
    }

    fn refusal(&self, driver: &str, left: bool) -> Option<String> {
        if self.wish == Xdp::Off {
            Some("`xdp: off` is written".to_owned())
        } else if NEVER.contains(&driver) {
            Some(format!("the driver {driver} is known to lose frames then"))
        } else if left {
            None
        } else if !self.starting {
            Some(
                "this node may be leading, and some drivers stop for a moment: from the next start on"
                    .to_owned(),
            )
        } else if self.wish == Xdp::Auto && !DRIVERS.contains(&driver) {
            Some(format!(
                "the driver {driver} is none of those that are known to do it well; write `xdp: any` to try it"
            ))
        } else {
            None
        }
    }
}

/// Where the kernel forwards nothing, it does not say by XDP where neighbours are.
fn not_forwarding(interface: &str) -> Option<String> {
    let is_on = |family| forwards(family, interface) == Some(true);
    let is_off = !is_on("ipv4") && !is_on("ipv6");
    is_off.then(|| {
        "forwarding is off there, and XDP finds no way without: set net.ipv4.ip_forward=1".to_owned()
    })
}

/// Whether frames of each size get out by the driver and back in: a neighbour answers them.
fn prove(
    plane: &mut Plane,
    interface: &str,
    index: u32,
    facts: &LinkFacts,
    neighbours: &[Ipv4Addr],
) -> Result<(), String> {
    let lengths: Vec<usize> =
        FRAMES.iter().map(|frame| frame.saturating_sub(HEADER)).chain([facts.mtu]).collect();
    let pings = Pings::open(interface).map_err(|error| format!("ICMP can't be used there: {error}"))?;
    let candidates = neighbours.iter().copied().chain(known_neighbours(interface));
    let answers = |to: &Ipv4Addr| {
        lengths.iter().zip(0..).all(|(length, number)| {
            let echo = Echo::new(number, *length);
            (0..TRIES).any(|_| pings.send(*to, &echo).is_ok() && pings.hears(*to, &echo, PATIENCE))
        })
    };
    // By the kernel's own ways first: who does not answer then proves nothing by his silence.
    let Some(neighbour) = candidates.take(NEIGHBOURS).find(answers) else {
        return Err(format!(
            "no neighbour at {interface} answers ICMP echo of up to {} bytes, so it can't be tested",
            facts.mtu
        ));
    };
    let (Some(theirs), Ok(own)) = (mac_of(interface, neighbour), pings.address_towards(neighbour)) else {
        return Err(format!("the addresses of this node and of its neighbour {neighbour} are not known"));
    };
    for (length, number) in lengths.iter().zip(1_000..) {
        let echo = Echo::new(number, *length);
        let frame = echo.frame((facts.mac, own), (theirs, neighbour));
        let passes = (0..TRIES)
            .any(|_| plane.send_by_xdp(index, &frame).is_ok() && pings.hears(neighbour, &echo, PATIENCE));
        if !passes {
            return Err(format!(
                "by XDP {neighbour} answers no frames of {} bytes, which it answers otherwise",
                length.saturating_add(HEADER)
            ));
        }
    }
    Ok(())
}

/// The kernel's table of IPv4 neighbours: address, type, flags, hardware address, mask, interface.
fn arp(interface: &str) -> Vec<(Ipv4Addr, [u8; 6])> {
    let text = fs::read_to_string("/proc/thread-self/net/arp").unwrap_or_default();
    text.lines().filter_map(|line| entry(line, interface)).collect()
}

fn entry(line: &str, interface: &str) -> Option<(Ipv4Addr, [u8; 6])> {
    let [address, _, flags, mac, _, at] = line.split_whitespace().collect::<Vec<_>>()[..] else {
        return None;
    };
    let is_complete = u32::from_str_radix(flags.strip_prefix("0x")?, 16).ok()? & 2 != 0;
    let mut bytes = mac.split(':').map(|byte| u8::from_str_radix(byte, 16));
    let mut mac = [0; 6];
    for byte in &mut mac {
        *byte = bytes.next()?.ok()?;
    }
    (at == interface && is_complete).then_some((address.parse().ok()?, mac))
}

fn known_neighbours(interface: &str) -> impl Iterator<Item = Ipv4Addr> {
    arp(interface).into_iter().map(|(address, _)| address)
}

fn mac_of(interface: &str, neighbour: Ipv4Addr) -> Option<[u8; 6]> {
    arp(interface).into_iter().find(|(address, _)| *address == neighbour).map(|(_, mac)| mac)
}
