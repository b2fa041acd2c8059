//! ICMP echo: one raw socket for each address family, whatever the number of targets.
//!
//! A task of its own reads the answers and hands each to the probe that waits for its token.

use super::echo::{Echo, Family, LENGTH};
use super::{Failure, Stage};
use socket2::{Domain, Protocol, SockFilter, Socket, Type};
use std::collections::HashMap;
use std::io;
use std::net::{IpAddr, SocketAddr};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;
use tokio::net::UdpSocket;
use tokio::sync::oneshot;

/// The kernel may grant less.
const RECEIVE_BUFFER: usize = 1024 * 1024;
/// After so many requests the answers are read before more are sent, or they would overflow the buffer.
const BURST: u32 = 64;
/// An error that stays must not keep the CPU busy.
const AFTER_ERROR: Duration = Duration::from_millis(10);
/// The longest IPv4 header, before our message.
const IPV4_HEADER: usize = 60;

/// The sockets, opened when the first target needs them.
#[derive(Debug, Default)]
pub(super) struct Icmp {
    v4: Mutex<Option<Arc<Pinger>>>,
    v6: Mutex<Option<Arc<Pinger>>>,
}

/// One socket and the probes that wait for an answer on it.
#[derive(Debug)]
struct Pinger {
    family: Family,
    /// A raw socket sends and receives datagrams just as a UDP socket does; tokio has no type of its own for it.
    socket: UdpSocket,
    identifier: u16,
    /// Requests sent so far.
    sent: tokio::sync::Mutex<u32>,
    waiting: Mutex<HashMap<u64, Waiting>>,
}

#[derive(Debug)]
struct Waiting {
    address: IpAddr,
    answered: oneshot::Sender<()>,
}

/// Sends an echo request and waits for its reply.
pub(super) async fn ask(address: SocketAddr, icmp: &Icmp, stage: &Stage) -> Result<(), Failure> {
    stage.set("sending an echo request");
    let pinger = icmp.pinger(address.ip())?;
    let (token, answer) = pinger.expect(address.ip());
    // Forgets the probe also if it is given up.
    let _waiting = Registered { pinger: &pinger, token };
    pinger.send(token, address).await?;
    stage.set("waiting for the echo reply");
    answer.await.map_err(|_| Failure::Local("the ICMP socket failed".into()))
}

impl Icmp {
    fn pinger(&self, address: IpAddr) -> Result<Arc<Pinger>, Failure> {
        let (slot, family) = if address.is_ipv4() { (&self.v4, Family::V4) } else { (&self.v6, Family::V6) };
        let mut slot = lock(slot);
        if let Some(pinger) = slot.as_ref() {
            return Ok(Arc::clone(pinger));
        }
        let pinger = Arc::new(Pinger::open(family).map_err(|error| cannot_open(&error))?);
        tokio::spawn(read_replies(Arc::clone(&pinger)));
        *slot = Some(Arc::clone(&pinger));
        Ok(pinger)
    }
}

fn cannot_open(error: &io::Error) -> Failure {
    Failure::Local(format!("no ICMP socket ({error}); the daemon needs CAP_NET_RAW"))
}

impl Pinger {
    fn open(family: Family) -> io::Result<Self> {
        let (domain, protocol) = match family {
            Family::V4 => (Domain::IPV4, Protocol::ICMPV4),
            Family::V6 => (Domain::IPV6, Protocol::ICMPV6),
        };
        let socket = Socket::new(domain, Type::RAW.nonblocking().cloexec(), Some(protocol))?;
        let identifier = fastrand::u16(..);
        socket.attach_filter(&only_replies(family, identifier))?;
        socket.set_recv_buffer_size(RECEIVE_BUFFER)?;
        let socket = UdpSocket::from_std(socket.into())?;
        Ok(Self {
            family,
            socket,
            identifier,
            sent: tokio::sync::Mutex::default(),
            waiting: Mutex::default(),
        })
    }

    fn expect(&self, address: IpAddr) -> (u64, oneshot::Receiver<()>) {
        let (answered, answer) = oneshot::channel();
        let token = fastrand::u64(..);
        lock(&self.waiting).insert(token, Waiting { address, answered });
        (token, answer)
    }

    async fn send(&self, token: u64, to: SocketAddr) -> io::Result<()> {
        // The token is what names the probe; the sequence number is for people who look at packets.
        let sequence = u16::try_from(token & 0xffff).unwrap_or_default();
        let request = Echo { identifier: self.identifier, sequence, token }.request(self.family);
        let mut to = to;
        to.set_port(0);
        let mut sent = self.sent.lock().await;
        *sent = sent.wrapping_add(1);
        if sent.is_multiple_of(BURST) {
            tokio::task::yield_now().await;
        }
        self.socket.send_to(&request, to).await.map(drop)
    }

    fn handle_reply(&self, from: IpAddr, message: &[u8]) {
        let Some(echo) = Echo::parse_reply(self.family, message) else { return };
        let mut waiting = lock(&self.waiting);
        let is_asked = waiting.get(&echo.token).is_some_and(|probe| probe.address == from);
        if echo.identifier == self.identifier
            && is_asked
            && let Some(probe) = waiting.remove(&echo.token)
        {
            // A probe that was given up in this moment does not mind.
            let _ = probe.answered.send(());
        }
    }
}

/// A probe that waits; dropping it forgets it.
struct Registered<'a> {
    pinger: &'a Pinger,
    token: u64,
}

impl Drop for Registered<'_> {
    fn drop(&mut self) {
        lock(&self.pinger.waiting).remove(&self.token);
    }
}

/// Ends with the runtime.
async fn read_replies(pinger: Arc<Pinger>) {
    let mut buffer = [0; IPV4_HEADER + LENGTH + 1];
    loop {
        // An error here belongs to some datagram sent before, whose probe will time out.
        let Ok((length, from)) = pinger.socket.recv_from(&mut buffer).await else {
            tokio::time::sleep(AFTER_ERROR).await;
            continue;
        };
        let packet = buffer.get(..length).unwrap_or_default();
        if let Some(message) = payload(pinger.family, packet) {
            pinger.handle_reply(from.ip(), message);
        }
    }
}

/// A raw IPv4 socket gives the IP header too, a raw IPv6 socket does not.
fn payload(family: Family, packet: &[u8]) -> Option<&[u8]> {
    match family {
        Family::V4 => {
            let words = usize::from(packet.first()? & 0x0f);
            packet.get(words.checked_mul(4)?..)
        }
        Family::V6 => Some(packet),
    }
}

/// A raw socket hears all ICMP of the machine; the kernel is told to give us only replies to us.
fn only_replies(family: Family, identifier: u16) -> Vec<SockFilter> {
    // Classic BPF, linux/filter.h.
    const LOAD_BYTE: u16 = 0x50; // A = the byte at X + k
    const LOAD_HALF: u16 = 0x48; // A = the half word at X + k
    const LOAD_HEADER_LENGTH: u16 = 0xb1; // X = 4 * (the byte at k & 0x0f)
    const SET_X: u16 = 0x01; // X = k
    const IF_EQUAL: u16 = 0x15; // skips `jt` or `jf` instructions
    const RETURN: u16 = 0x06; // keeps k bytes
    let start = match family {
        Family::V4 => SockFilter::new(LOAD_HEADER_LENGTH, 0, 0, 0),
        Family::V6 => SockFilter::new(SET_X, 0, 0, 0),
    };
    vec![
        start,
        SockFilter::new(LOAD_BYTE, 0, 0, 0),
        SockFilter::new(IF_EQUAL, 0, 3, u32::from(family.reply_type())),
        SockFilter::new(LOAD_HALF, 0, 0, 4),
        SockFilter::new(IF_EQUAL, 0, 1, u32::from(identifier)),
        SockFilter::new(RETURN, 0, 0, u32::MAX),
        SockFilter::new(RETURN, 0, 0, 0),
    ]
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
