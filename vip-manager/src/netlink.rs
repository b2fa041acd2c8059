//! Addresses and links over rtnetlink: requests that are answered before the call returns, and the kernel's
//! own messages about changes.
//!
//! The kernel works on a request inside the `sendmsg` that hands it over, so its answers wait in the
//! receive buffer afterwards: neither the loop nor the guard needs a task of its own for them.

mod messages;
mod monitor;
mod routes;
mod view;

pub(crate) use messages::{add_address, delete_address, device_delete, device_set_up, macvlan_add};
use messages::{dump_addresses, dump_links};
pub(crate) use monitor::{Change, Monitor};
pub(crate) use routes::Routes;
pub(crate) use view::{InterfaceState, View};

use crate::sys::set_int_option;
use netlink_packet_core::{
    NLM_F_ACK, NLM_F_DUMP, NLM_F_DUMP_INTR, NLM_F_REQUEST, NetlinkHeader, NetlinkMessage, NetlinkPayload,
};
use netlink_packet_route::RouteNetlinkMessage;
use netlink_sys::{Socket, SocketAddr, protocols::NETLINK_ROUTE};
use std::io;
use std::os::fd::AsFd;
use std::time::Duration;

/// Room for the answers to one batch, and for a dump's next part.
const RECEIVE_BUFFER_BYTES: i32 = 1 << 20;
/// Bytes of requests handed over in one call.
const BATCH_BYTES: usize = 32 * 1024;
/// The largest datagram the kernel sends in a dump.
const DATAGRAM_BYTES: usize = 64 * 1024;
/// The header of a netlink message.
const HEADER_BYTES: usize = 16;
/// The kernel answers at once; this is only so that a lost answer can't hold the loop for ever.
const ANSWER_TIMEOUT: Duration = Duration::from_millis(500);

/// One request: a message and the flags that say how it is meant (`NLM_F_CREATE`, ...).
pub(crate) type Request = (RouteNetlinkMessage, u16);

/// A socket for requests.
pub(crate) struct Netlink {
    socket: Socket,
    sequence: u32,
    buffer: Vec<u8>,
}

impl Netlink {
    pub(crate) fn open() -> io::Result<Self> {
        let mut socket = Socket::new(NETLINK_ROUTE)?;
        socket.bind_auto()?;
        socket.connect(&SocketAddr::new(0, 0))?;
        socket.set_cap_ack(true)?;
        socket2::SockRef::from(&socket).set_read_timeout(Some(ANSWER_TIMEOUT))?;
        enlarge(&socket);
        Ok(Self { socket, sequence: 0, buffer: Vec::with_capacity(DATAGRAM_BYTES) })
    }

    /// Makes each change; the results stand in the order of the requests.
    pub(crate) fn change(&mut self, requests: Vec<Request>) -> Vec<io::Result<()>> {
        let mut results = Vec::with_capacity(requests.len());
        let mut batch = Vec::new();
        let mut first = self.sequence.wrapping_add(1);
        let mut count = 0usize;
        for (message, flags) in requests {
            let bytes = self.serialize(message, flags | NLM_F_ACK);
            if batch.len().saturating_add(bytes.len()) > BATCH_BYTES {
                self.flush(&mut batch, first, count, &mut results);
                first = self.sequence;
                count = 0;
            }
            batch.extend_from_slice(&bytes);
            count = count.saturating_add(1);
        }
        self.flush(&mut batch, first, count, &mut results);
        results
    }

    /// Serializes requests whose answers nobody will read, in batches that the kernel takes.
    pub(crate) fn prepare(&mut self, requests: Vec<Request>) -> Vec<Vec<u8>> {
        let mut batches: Vec<Vec<u8>> = Vec::new();
        for (message, flags) in requests {
            let bytes = self.serialize(message, flags);
            match batches.last_mut() {
                Some(batch) if batch.len().saturating_add(bytes.len()) <= BATCH_BYTES => batch.extend(bytes),
                Some(_) | None => batches.push(bytes),
            }
        }
        batches
    }

    /// Sends one batch of what [`Netlink::prepare`] made; the kernel has done it when this returns.
    pub(crate) fn send_prepared(&self, requests: &[u8]) {
        // What can't be removed is gone already.
        let _ = self.socket.send(requests, 0);
    }

    /// All answers to a dump.
    ///
    /// # Errors
    /// What it shows changed meanwhile (`NLM_F_DUMP_INTR`), among others: it may lack something.
    pub(crate) fn dump(&mut self, request: RouteNetlinkMessage) -> io::Result<Vec<RouteNetlinkMessage>> {
        let bytes = self.serialize(request, NLM_F_DUMP);
        let sequence = self.sequence;
        self.socket.send(&bytes, 0)?;
        let mut answers = Vec::new();
        let mut interrupted = false;
        loop {
            self.buffer.clear();
            self.socket.recv(&mut self.buffer, 0)?;
            for message in parse(&self.buffer) {
                if message.header.sequence_number != sequence {
                    continue;
                }
                interrupted |= message.header.flags & NLM_F_DUMP_INTR != 0;
                match message.payload {
                    NetlinkPayload::InnerMessage(inner) => answers.push(inner),
                    NetlinkPayload::Done(_) if interrupted => {
                        return Err(io::Error::other("it changed while it was read"));
                    }
                    NetlinkPayload::Done(_) => return Ok(answers),
                    NetlinkPayload::Error(error) if error.code.is_some() => return Err(error.to_io()),
                    NetlinkPayload::Error(_) | NetlinkPayload::Noop | NetlinkPayload::Overrun(_) | _ => {}
                }
            }
        }
    }

    fn serialize(&mut self, message: RouteNetlinkMessage, flags: u16) -> Vec<u8> {
        self.sequence = self.sequence.wrapping_add(1);
        let mut header = NetlinkHeader::default();
        header.flags = NLM_F_REQUEST | flags;
        header.sequence_number = self.sequence;
        let mut message = NetlinkMessage::new(header, NetlinkPayload::from(message));
        message.finalize();
        let mut bytes = vec![0; message.buffer_len()];
        message.serialize(&mut bytes);
        // Messages of one datagram begin at multiples of four bytes.
        bytes.resize(bytes.len().next_multiple_of(4), 0);
        bytes
    }

    /// Sends `count` requests with sequence numbers from `first` on, and takes their answers.
    fn flush(&mut self, batch: &mut Vec<u8>, first: u32, count: usize, results: &mut Vec<io::Result<()>>) {
        if count == 0 {
            return;
        }
        let sent = self.socket.send(batch, 0);
        batch.clear();
        let mut answers: Vec<io::Result<()>> = Vec::new();
        answers.resize_with(count, || Err(io::Error::other("the kernel did not answer")));
        match sent {
            Ok(_) => self.acknowledgements(first, &mut answers),
            Err(error) => {
                answers.fill_with(|| Err(io::Error::from_raw_os_error(error.raw_os_error().unwrap_or(5))));
            }
        }
        results.append(&mut answers);
    }

    fn acknowledgements(&mut self, first: u32, answers: &mut [io::Result<()>]) {
        let mut missing = answers.len();
        while missing > 0 {
            self.buffer.clear();
            if self.socket.recv(&mut self.buffer, libc::MSG_DONTWAIT).is_err() {
                return;
            }
            for message in parse(&self.buffer) {
                let NetlinkPayload::Error(answer) = message.payload else { continue };
                let position = usize::try_from(message.header.sequence_number.wrapping_sub(first)).ok();
                let Some(slot) = position.and_then(|position| answers.get_mut(position)) else { continue };
                *slot = if answer.code.is_none() { Ok(()) } else { Err(answer.to_io()) };
                missing = missing.saturating_sub(1);
            }
        }
    }
}

/// All links and all addresses.
pub(crate) fn dump_all(netlink: &mut Netlink) -> io::Result<Vec<RouteNetlinkMessage>> {
    let mut messages = netlink.dump(dump_links())?;
    messages.extend(netlink.dump(dump_addresses())?);
    Ok(messages)
}

/// The messages of one datagram. One that can't be parsed is skipped: the kernel may be newer than the parser.
fn parse(mut bytes: &[u8]) -> Vec<NetlinkMessage<RouteNetlinkMessage>> {
    let mut messages = Vec::new();
    while let Some(length) = bytes.first_chunk::<4>() {
        let length = usize::try_from(u32::from_ne_bytes(*length)).unwrap_or(usize::MAX);
        let Some(message) = bytes.get(..length).filter(|message| message.len() >= HEADER_BYTES) else {
            break;
        };
        messages.extend(NetlinkMessage::<RouteNetlinkMessage>::deserialize(message));
        bytes = bytes.get(length.next_multiple_of(4)..).unwrap_or_default();
    }
    messages
}

/// A larger receive buffer; without the capability for it the default remains, which serves smaller groups.
fn enlarge(socket: &Socket) {
    let _ = set_int_option(socket.as_fd(), libc::SOL_SOCKET, libc::SO_RCVBUFFORCE, RECEIVE_BUFFER_BYTES);
}
