//! Asks for service from where it runs: TCP connections one after another, and some that are held open.
#![allow(clippy::disallowed_methods, reason = "a driver: it says when each connection began")]

use super::plan::Endpoint;
use super::timeline::Sample;
use crate::error::Failure;
use rustix::net::sockopt::{set_socket_keepalive, set_tcp_keepcnt, set_tcp_keepidle, set_tcp_keepintvl};
use std::io;
use std::net::SocketAddr;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};
use tokio::io::AsyncReadExt;
use tokio::net::{TcpSocket, TcpStream};
use tokio::task::{LocalSet, spawn_local};
use tokio::time::MissedTickBehavior;

/// Connections held open to one service of each group.
const HELD: usize = 10;
/// Their keepalives: without data, a dead one is known after so long at most (the first of them, and those unanswered).
const KEEPALIVE: Duration = Duration::from_secs(1);
const UNANSWERED: u32 = 3;
/// How long after the change a held connection that broke is known as that.
pub(crate) const KNOWN: Duration = Duration::from_secs(5);

/// How it asks.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Pace {
    pub(crate) interval: Duration,
    pub(crate) timeout: Duration,
}

/// What it saw of one endpoint.
#[derive(Debug, Default)]
struct Seen {
    samples: Mutex<Vec<Sample>>,
    held: AtomicUsize,
    broken: AtomicUsize,
    /// Connections that this machine itself could not open: no ports, no descriptors.
    own_faults: AtomicUsize,
}

/// A probe at work, on a thread of its own. Dropped, it ends.
#[derive(Debug)]
pub(crate) struct Probe {
    begun: Instant,
    seen: Vec<Arc<Seen>>,
    stop: Arc<AtomicBool>,
    thread: Option<JoinHandle<()>>,
}

impl Probe {
    /// Starts to ask all of them in turn.
    pub(crate) fn start(endpoints: &[Endpoint], pace: Pace) -> Result<Self, Failure> {
        let failed = |error| Failure::Io { what: "the measurement can't be started".to_owned(), error };
        let seen: Vec<Arc<Seen>> = endpoints.iter().map(|_| Arc::default()).collect();
        let stop = Arc::new(AtomicBool::new(false));
        let begun = Instant::now();
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().map_err(failed)?;
        let targets: Vec<Target> = endpoints
            .iter()
            .zip(&seen)
            .enumerate()
            .map(|(place, (endpoint, seen))| Target {
                address: endpoint.address,
                // The first of its group.
                is_held: endpoints.iter().position(|it| it.group == endpoint.group) == Some(place),
                seen: Arc::clone(seen),
            })
            .collect();
        let stopped = Arc::clone(&stop);
        let work = move || LocalSet::new().block_on(&runtime, ask(&targets, pace, begun, &stopped));
        let thread =
            std::thread::Builder::new().name("drill-probe".to_owned()).spawn(work).map_err(failed)?;
        Ok(Self { begun, seen, stop, thread: Some(thread) })
    }

    /// Since it began.
    pub(crate) fn now(&self) -> Duration {
        self.begun.elapsed()
    }

    /// What came of the connections to an endpoint, by its place.
    pub(crate) fn samples(&self, place: usize) -> Vec<Sample> {
        self.seen.get(place).map(|seen| locked(&seen.samples).clone()).unwrap_or_default()
    }

    /// Whether every endpoint was answered without a fault since `from`; the latest may still be under way.
    pub(crate) fn is_clean_since(&self, from: Duration) -> bool {
        self.seen.iter().all(|seen| super::timeline::is_clean_since(&locked(&seen.samples), from))
    }

    /// Connections held to an endpoint, and those of them that broke.
    pub(crate) fn held(&self, place: usize) -> (usize, usize) {
        let count = |count: &AtomicUsize| count.load(Ordering::Relaxed);
        self.seen.get(place).map_or((0, 0), |seen| (count(&seen.held), count(&seen.broken)))
    }

    /// Connections that this machine could not even try.
    pub(crate) fn own_faults(&self) -> usize {
        self.seen.iter().map(|seen| seen.own_faults.load(Ordering::Relaxed)).fold(0, usize::saturating_add)
    }

    /// Begins no more connections, and waits for those under way.
    pub(crate) fn stop(&mut self) {
        self.stop.store(true, Ordering::Relaxed);
        if let Some(thread) = self.thread.take() {
            let _ = thread.join();
        }
    }
}

impl Drop for Probe {
    fn drop(&mut self) {
        self.stop();
    }
}

fn locked(samples: &Mutex<Vec<Sample>>) -> std::sync::MutexGuard<'_, Vec<Sample>> {
    samples.lock().unwrap_or_else(PoisonError::into_inner)
}

#[derive(Debug)]
struct Target {
    address: SocketAddr,
    is_held: bool,
    seen: Arc<Seen>,
}

async fn ask(targets: &[Target], pace: Pace, begun: Instant, stop: &AtomicBool) {
    for target in targets.iter().filter(|target| target.is_held) {
        for _ in 0..HELD {
            let seen = Arc::clone(&target.seen);
            spawn_local(hold(target.address, seen, pace.timeout));
        }
    }
    let mut ticks = tokio::time::interval(pace.interval);
    ticks.set_missed_tick_behavior(MissedTickBehavior::Skip);
    for target in targets.iter().cycle() {
        if stop.load(Ordering::Relaxed) {
            break;
        }
        ticks.tick().await;
        let (address, seen) = (target.address, Arc::clone(&target.seen));
        spawn_local(sample(address, seen, pace.timeout, begun));
    }
    tokio::time::sleep(pace.timeout).await;
}

async fn sample(address: SocketAddr, seen: Arc<Seen>, timeout: Duration, begun: Instant) {
    let at = begun.elapsed();
    let is_answered = match tokio::time::timeout(timeout, open(address)).await {
        Ok(Ok(_)) => true,
        Ok(Err(error)) if is_own(&error) => {
            seen.own_faults.fetch_add(1, Ordering::Relaxed);
            return;
        }
        Ok(Err(_)) | Err(_) => false,
    };
    locked(&seen.samples).push(Sample { begun: at, is_answered });
}

async fn open(address: SocketAddr) -> io::Result<TcpStream> {
    let socket = if address.is_ipv4() { TcpSocket::new_v4() } else { TcpSocket::new_v6() }?;
    // Ended by RST: no port of this machine is kept waiting.
    socket.set_zero_linger()?;
    socket.connect(address).await
}

/// Not the service's fault: this machine has no ports or descriptors left.
fn is_own(error: &io::Error) -> bool {
    use rustix::io::Errno;
    let own = [Errno::MFILE, Errno::NFILE, Errno::ADDRNOTAVAIL, Errno::NOBUFS, Errno::NOMEM];
    own.iter().any(|errno| error.raw_os_error() == Some(errno.raw_os_error()))
}

/// Holds a connection open, and says nothing on it: what a service would make of words is not known. Keepalives find out
/// whether it lives.
async fn hold(address: SocketAddr, seen: Arc<Seen>, timeout: Duration) {
    let opened = tokio::time::timeout(timeout, open(address)).await;
    let Ok(Ok(mut stream)) = opened else { return };
    if keep_alive(&stream).is_err() {
        return;
    }
    seen.held.fetch_add(1, Ordering::Relaxed);
    let mut buffer = [0; 512];
    // Some services speak first.
    while let Ok(1..) = stream.read(&mut buffer).await {}
    seen.broken.fetch_add(1, Ordering::Relaxed);
}

fn keep_alive(stream: &TcpStream) -> io::Result<()> {
    set_socket_keepalive(stream, true)?;
    set_tcp_keepidle(stream, KEEPALIVE)?;
    set_tcp_keepintvl(stream, KEEPALIVE)?;
    Ok(set_tcp_keepcnt(stream, UNANSWERED)?)
}
