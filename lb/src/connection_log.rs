//! One log line for each connection, sampled and bounded.
//!
//! A worker decides with two atomic numbers whether a connection is logged, and hands the record to a thread
//! that writes it. It never waits: what does not fit in the rate or in the queue is left out and counted.

#[cfg(test)]
#[allow(clippy::arithmetic_side_effects)] // Times and counts of tests are small.
mod tests;

use crate::connection::milliseconds;
use crate::limits::{Pace, SharedBucket, nanoseconds};
use fulcrum_config::{BackendName, ConnectionLog, Protocol, Rate, ServiceName};
use std::io;
use std::net::SocketAddr;
use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::mpsc::{Receiver, SyncSender, sync_channel};
use std::time::{Duration, Instant};

/// Records waiting to be written; about 1 MB.
const QUEUE: usize = 4096;

/// How a connection (UDP: a session) ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum End {
    /// Both sides closed in order; UDP: all the replies it may have have come.
    Closed,
    /// The client reset it.
    ClientReset,
    /// The backend reset it; UDP: the backend's port is closed.
    BackendReset,
    /// Neither side sent anything for too long.
    Idle,
    /// One side closed and the other did not in time.
    HalfClosed,
    /// It lasted as long as any may.
    MaxDuration,
    /// No backend could be connected to.
    ConnectFailed,
    /// There was no descriptor for the backend's socket.
    NoDescriptor,
    /// Its backend went down.
    BackendDown,
    /// There was no backend to try.
    NoBackend,
    /// Refused by the list of sources, a limit, a rate, or for its PROXY header.
    Refused,
    /// It made room for another (UDP).
    Evicted,
    /// Its service was removed, or the process stops.
    ServiceGone,
    /// The system failed it: no memory, no route, an error of a socket.
    Error,
}

impl End {
    /// The word in the log.
    pub(crate) fn as_str(self) -> &'static str {
        match self {
            Self::Closed => "closed",
            Self::ClientReset => "client-reset",
            Self::BackendReset => "backend-reset",
            Self::Idle => "idle-timeout",
            Self::HalfClosed => "half-close-timeout",
            Self::MaxDuration => "max-duration",
            Self::ConnectFailed => "connect-failed",
            Self::NoDescriptor => "no-descriptor",
            Self::BackendDown => "backend-down",
            Self::NoBackend => "no-backend",
            Self::Refused => "refused",
            Self::Evicted => "evicted",
            Self::ServiceGone => "service-gone",
            Self::Error => "error",
        }
    }
}

/// What one line says.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Record {
    /// The service.
    pub(crate) service: ServiceName,
    /// TCP or UDP.
    pub(crate) protocol: Protocol,
    /// The client, as its PROXY header says if there was one.
    pub(crate) client: SocketAddr,
    /// What it connected to.
    pub(crate) vip: SocketAddr,
    /// Who served it, if anybody.
    pub(crate) backend: Option<(BackendName, SocketAddr)>,
    /// Time until the backend had accepted.
    pub(crate) connect: Option<Duration>,
    /// Time from the first packet to the end.
    pub(crate) duration: Duration,
    /// From the client to the backend.
    pub(crate) bytes_in: u64,
    /// From the backend to the client.
    pub(crate) bytes_out: u64,
    /// How often another backend was tried.
    pub(crate) retries: u32,
    /// How it ended.
    pub(crate) end: End,
}

/// Writes one record as an event of `tracing`, so that it appears as text or JSON like all logs.
pub(crate) fn write(record: &Record) {
    let (backend, backend_address) = record.backend.as_ref().map(|(name, address)| (name, address)).unzip();
    tracing::info!(
        target: "fulcrum_lb::connections",
        service = %record.service,
        protocol = match record.protocol {
            Protocol::Tcp => "tcp",
            Protocol::Udp => "udp",
        },
        client = %record.client,
        vip = %record.vip,
        backend = backend.map(tracing::field::display),
        backend_address = backend_address.map(tracing::field::display),
        connect_ms = record.connect.map(milliseconds),
        duration_ms = milliseconds(record.duration),
        bytes_in = record.bytes_in,
        bytes_out = record.bytes_out,
        retries = record.retries,
        end = record.end.as_str(),
        "connection"
    );
}

/// Hands records to the thread that writes them; one for the process, cloned by each worker.
#[derive(Debug, Clone)]
pub(crate) struct LogQueue(SyncSender<Record>);

impl LogQueue {
    /// Starts the thread; it ends when the last clone of the queue is dropped and all is written.
    ///
    /// # Errors
    /// The system has no room for a thread.
    pub(crate) fn start(write: impl FnMut(&Record) + Send + 'static) -> io::Result<Self> {
        let (sender, receiver) = sync_channel(QUEUE);
        std::thread::Builder::new().name("connection-log".into()).spawn(move || drain(&receiver, write))?;
        Ok(Self(sender))
    }
}

fn drain(receiver: &Receiver<Record>, mut write: impl FnMut(&Record)) {
    while let Ok(record) = receiver.recv() {
        write(&record);
    }
}

/// Which connections of one service are logged. Shared by its workers.
#[derive(Debug)]
pub(crate) struct LogGate {
    sample: u32,
    pace: Pace,
    epoch: Instant,
    seen: AtomicU32,
    lines: SharedBucket,
}

impl LogGate {
    /// `epoch` is any time not after the first `now`.
    pub(crate) fn new(log: ConnectionLog, epoch: Instant) -> Self {
        let lines = log.lines_per_second.max(1);
        Self {
            sample: log.sample.max(1),
            pace: Pace::new(Rate { per_second: lines, burst: lines }),
            epoch,
            seen: AtomicU32::new(0),
            lines: SharedBucket::default(),
        }
    }

    /// Logs the record that `make` makes, if this connection is one of the sample. Says whether it was logged,
    /// dropped because there were too many, or not of the sample; never waits.
    pub(crate) fn log(&self, queue: &LogQueue, now: Instant, make: impl FnOnce() -> Record) -> Logged {
        if self.sample > 1 && !self.seen.fetch_add(1, Ordering::Relaxed).is_multiple_of(self.sample) {
            return Logged::NotSampled;
        }
        if !self.lines.take(self.pace, nanoseconds(self.epoch, now)) {
            return Logged::Dropped;
        }
        if queue.0.try_send(make()).is_err() { Logged::Dropped } else { Logged::Queued }
    }
}

/// What became of a connection's log line.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Logged {
    /// It will be written.
    Queued,
    /// There were too many; to be counted.
    Dropped,
    /// It is not one of the sample.
    NotSampled,
}
