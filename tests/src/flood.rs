//! As much as one core can send: forged frames, or connections that are made and dropped.

use crate::LabError;
use crate::error::{Context, Result};
use crate::frames::open;
use crate::lab::Machine;
use pnet::packet::ip::IpNextHeaderProtocols;
use pnet::util::{MacAddr, checksum, ipv4_checksum};
use rustix::io::Errno;
use rustix::net::{self, AddressFamily, SocketFlags, SocketType, sockopt};
use std::collections::VecDeque;
use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::os::fd::OwnedFd;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::thread::JoinHandle;
use std::time::Duration;

/// Flags of TCP.
const SYN: u8 = 0x02;
const ACK: u8 = 0x10;
/// Connections that one flood has at a time.
const AT_ONCE: usize = 300;
/// Frames that are made beforehand, each from another address, and sent again and again.
const FRAMES: u32 = 50_000;

/// A SYN to `to` (IPv4), in a frame from `rogue` to `mac`, that says that it comes from somewhere in 198.18.0.0/15 (RFC 2544).
#[must_use]
pub fn forged_syn(rogue: &Machine, number: u32, to: SocketAddr, mac: &str) -> Vec<u8> {
    forged_segment(rogue, number, to, mac, SYN)
}

/// The same with what a client sends next, whoever answered.
#[must_use]
pub fn forged_ack(rogue: &Machine, number: u32, to: SocketAddr, mac: &str) -> Vec<u8> {
    forged_segment(rogue, number, to, mac, ACK)
}

fn forged_segment(rogue: &Machine, number: u32, to: SocketAddr, mac: &str, flags: u8) -> Vec<u8> {
    let (from, port, vip) = (forged(number), forged_port(number), octets(to.ip()));
    let mut tcp =
        [&port.to_be_bytes()[..], &to.port().to_be_bytes(), &number.to_be_bytes(), &[0; 4]].concat();
    tcp.extend([0x50, flags, 0x20, 0, 0, 0, 0, 0]);
    let sum = ipv4_checksum(&tcp, 8, &[], &from, &vip, IpNextHeaderProtocols::Tcp);
    tcp.splice(16..18, sum.to_be_bytes());
    frame(rogue, mac, from, vip, IpNextHeaderProtocols::Tcp.0, &tcp)
}

/// The same with a datagram that says nothing.
#[must_use]
pub fn forged_datagram(rogue: &Machine, number: u32, to: SocketAddr, mac: &str) -> Vec<u8> {
    let (from, port, vip) = (forged(number), forged_port(number), octets(to.ip()));
    // Without a checksum, as IPv4 allows.
    let udp = [&port.to_be_bytes()[..], &to.port().to_be_bytes(), &[0, 12, 0, 0], b"what"].concat();
    frame(rogue, mac, from, vip, IpNextHeaderProtocols::Udp.0, &udp)
}

fn forged(number: u32) -> Ipv4Addr {
    Ipv4Addr::from_bits(u32::from(Ipv4Addr::new(198, 18, 0, 0)) | number & 0x1_ffff)
}

fn forged_port(number: u32) -> u16 {
    u16::try_from(number % 50_000).unwrap_or_default().saturating_add(1024)
}

fn octets(address: IpAddr) -> Ipv4Addr {
    match address {
        IpAddr::V4(address) => address,
        IpAddr::V6(_) => Ipv4Addr::UNSPECIFIED,
    }
}

fn frame(rogue: &Machine, mac: &str, from: Ipv4Addr, to: Ipv4Addr, protocol: u8, payload: &[u8]) -> Vec<u8> {
    let [to_mac, own] = [mac, &rogue.mac()].map(|mac| mac.parse::<MacAddr>().unwrap_or(MacAddr::zero()));
    let length = u16::try_from(payload.len()).unwrap_or_default().saturating_add(20);
    let mut header = [0x45, 0, 0, 0, 0, 0, 0x40, 0, 64, protocol, 0, 0].to_vec();
    header.splice(2..4, length.to_be_bytes());
    header.extend([from.octets(), to.octets()].concat());
    let sum = checksum(&header, 5);
    header.splice(10..12, sum.to_be_bytes());
    [&to_mac.octets()[..], &own.octets(), &[8, 0], &header, payload].concat()
}

/// A flood under way, from one thread, until it is dropped.
#[derive(Debug)]
pub struct Flood {
    stop: Arc<AtomicBool>,
    sent: Arc<AtomicU64>,
    thread: Option<JoinHandle<()>>,
}

impl Flood {
    /// SYNs to `to` at `node` that come from everywhere.
    ///
    /// # Errors
    /// The thread can't be started.
    pub fn syns(rogue: &Machine, to: SocketAddr, node: &Machine) -> Result<Self> {
        let mac = node.mac();
        Self::frames(rogue, (0..FRAMES).map(|number| forged_syn(rogue, number, to, &mac)).collect())
    }

    /// Datagrams likewise.
    ///
    /// # Errors
    /// The same.
    pub fn datagrams(rogue: &Machine, to: SocketAddr, node: &Machine) -> Result<Self> {
        let mac = node.mac();
        Self::frames(rogue, (0..FRAMES).map(|number| forged_datagram(rogue, number, to, &mac)).collect())
    }

    fn frames(rogue: &Machine, frames: Vec<Vec<u8>>) -> Result<Self> {
        Self::start(rogue, move |stop, sent| {
            let (mut sender, _) = open("eth0")?;
            for frame in frames.iter().cycle() {
                if stop.load(Ordering::Relaxed) {
                    break;
                }
                let done = sender.send_to(frame, None);
                let done = done.ok_or_else(|| LabError::new("a frame that fits into no buffer"))?;
                // A full queue is what a flood meets.
                sent.fetch_add(u64::from(done.is_ok()), Ordering::Relaxed);
            }
            Ok(())
        })
    }

    /// Connections, of which the oldest is dropped for each that begins.
    ///
    /// # Errors
    /// The same.
    pub fn connections(rogue: &Machine, to: SocketAddr) -> Result<Self> {
        rogue.set("net/ipv4/ip_local_port_range", "1025 65000")?;
        Self::start(rogue, move |stop, sent| {
            let mut open = VecDeque::with_capacity(AT_ONCE);
            while !stop.load(Ordering::Relaxed) {
                open.push_back(connect(to)?);
                sent.fetch_add(1, Ordering::Relaxed);
                if open.len() >= AT_ONCE {
                    open.pop_front();
                }
            }
            Ok(())
        })
    }

    fn start(
        rogue: &Machine,
        work: impl FnOnce(&AtomicBool, &AtomicU64) -> Result<()> + Send + 'static,
    ) -> Result<Self> {
        let (stop, sent) = (Arc::new(AtomicBool::new(false)), Arc::new(AtomicU64::new(0)));
        let (stopped, counted, namespace) =
            (Arc::clone(&stop), Arc::clone(&sent), Arc::clone(rogue.namespace()));
        let run = move || {
            if let Err(error) = namespace.enter_thread().and_then(|()| work(&stopped, &counted)) {
                eprintln!("a flood stopped: {error}");
            }
        };
        let thread = std::thread::Builder::new().name("flood".into()).spawn(run).context("start a flood")?;
        Ok(Self { stop, sent, thread: Some(thread) })
    }

    /// Frames or connections sent so far.
    #[must_use]
    pub fn sent(&self) -> u64 {
        self.sent.load(Ordering::Relaxed)
    }
}

impl Drop for Flood {
    fn drop(&mut self) {
        self.stop.store(true, Ordering::Relaxed);
        if let Some(thread) = self.thread.take() {
            thread.join().ok();
        }
    }
}

/// Begins a connection that ends in RST when it is dropped, so that it leaves nothing on the client.
fn connect(to: SocketAddr) -> Result<OwnedFd> {
    let family = if to.is_ipv4() { AddressFamily::INET } else { AddressFamily::INET6 };
    let flags = SocketFlags::NONBLOCK | SocketFlags::CLOEXEC;
    let socket = net::socket_with(family, SocketType::STREAM, flags, None).map_err(std::io::Error::from)?;
    sockopt::set_socket_linger(&socket, Some(Duration::ZERO)).map_err(std::io::Error::from)?;
    match net::connect(&socket, &to) {
        // No port is free for a moment: the next attempt may find one.
        Ok(()) | Err(Errno::INPROGRESS | Errno::ADDRNOTAVAIL) => Ok(socket),
        Err(error) => Err(std::io::Error::from(error)).context(format!("connect to {to}")),
    }
}
