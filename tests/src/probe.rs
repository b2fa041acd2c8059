//! A client that asks for service again and again, each time over a new connection with a short timeout, and
//! keeps the timeline of what it got.

mod crowd;
mod datagrams;
mod session;
mod timeline;

pub use crowd::Crowd;
pub use datagrams::{Datagrams, Seen};
pub use session::{Ended, Session};
pub use timeline::{Outage, Outcome, Sample, Timeline};

use crate::error::{Context, Result};
use crate::lab::Machine;
use crate::wait::wait_for;
use std::io;
use std::net::{IpAddr, SocketAddr};
use std::rc::Rc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpSocket;

/// How a probe asks.
#[derive(Debug, Clone, Copy)]
pub struct Options {
    /// Time between the starts of two requests.
    pub interval: Duration,
    /// A request without a whole answer after this time has failed.
    pub timeout: Duration,
    /// How many begin at once each time.
    pub at_once: u32,
}

impl Default for Options {
    fn default() -> Self {
        Self { interval: Duration::from_millis(1), timeout: Duration::from_millis(50), at_once: 1 }
    }
}

/// A probe at work, on a thread in its machine's namespace.
///
/// Each request is a new TCP connection, an HTTP request and its whole answer: the kernel of a node whose
/// process is frozen goes on to accept connections, so a connection alone proves nothing.
#[derive(Debug)]
pub struct Probe {
    stop: Arc<AtomicBool>,
    samples: Arc<Mutex<Vec<Sample>>>,
    thread: Mutex<Option<JoinHandle<()>>>,
    begun: Instant,
    timeout: Duration,
}

impl Probe {
    /// Starts to ask `target` from `machine`.
    ///
    /// # Errors
    /// The thread can't be started.
    pub fn start(machine: &Machine, target: SocketAddr, options: Options) -> Result<Self> {
        let stop = Arc::new(AtomicBool::new(false));
        let samples = Arc::new(Mutex::new(Vec::new()));
        // A thousand connections a second would soon use up the default range.
        machine.set("net/ipv4/ip_local_port_range", "1025 65000")?;
        let namespace = Arc::clone(machine.namespace());
        let (thread_stop, thread_samples) = (Arc::clone(&stop), Arc::clone(&samples));
        let begun = Instant::now();
        let thread = std::thread::Builder::new()
            .name("probe".into())
            .spawn(move || {
                if let Err(error) = namespace
                    .enter_thread()
                    .and_then(|()| ask(target, options, &thread_stop, &thread_samples))
                {
                    eprintln!("the probe of {target} stopped: {error}");
                }
            })
            .context("start the probe")?;
        Ok(Self { stop, samples, thread: Mutex::new(Some(thread)), begun, timeout: options.timeout })
    }

    /// Starts, and waits for an answer, at most for `patience`.
    ///
    /// # Errors
    /// The thread can't be started; no answer comes.
    pub fn start_answered(
        machine: &Machine,
        target: SocketAddr,
        options: Options,
        patience: Duration,
    ) -> Result<Self> {
        let probe = Self::start(machine, target, options)?;
        wait_for("a first answer", patience, || probe.answered_since(probe.begun))?;
        Ok(probe)
    }

    /// What has been seen until now.
    #[must_use]
    pub fn timeline(&self) -> Timeline {
        let samples = self.samples.lock().unwrap_or_else(PoisonError::into_inner).clone();
        Timeline::new(self.begun, samples)
    }

    /// What has been seen of the requests that began at or after a moment, which is not long ago.
    #[must_use]
    pub fn recent(&self, since: Instant) -> Timeline {
        // Samples are kept in the order in which they ended: one that began earlier may stand behind.
        let margin = self.timeout.saturating_mul(2).saturating_add(Duration::from_millis(100));
        let samples = self.samples.lock().unwrap_or_else(PoisonError::into_inner);
        let tail = samples.iter().rev().take_while(|sample| sample.begun.checked_add(margin) >= Some(since));
        Timeline::new(since, tail.cloned().collect()).since(since)
    }

    /// The last sample that began at or after `after` and was answered.
    #[must_use]
    pub fn answered_since(&self, after: Instant) -> Option<Sample> {
        let samples = self.samples.lock().unwrap_or_else(PoisonError::into_inner);
        samples.iter().rev().find(|sample| sample.begun >= after && sample.is_answer()).cloned()
    }

    /// Begins no more requests, and waits for those under way.
    pub fn stop(&self) {
        self.stop.store(true, Ordering::Relaxed);
        if let Some(thread) = self.thread.lock().unwrap_or_else(PoisonError::into_inner).take() {
            thread.join().ok();
        }
    }

    /// Stops and gives the whole timeline.
    #[must_use]
    pub fn finish(self) -> Timeline {
        self.stop();
        self.timeline()
    }
}

impl Drop for Probe {
    fn drop(&mut self) {
        self.stop();
    }
}

/// One request over a new connection.
///
/// # Errors
/// `machine` is gone.
pub fn request(machine: &Machine, target: SocketAddr, timeout: Duration) -> Result<Sample> {
    machine.namespace().enter(|| {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
        Ok(runtime.block_on(sample(target, timeout)))
    })?
}

fn ask(
    target: SocketAddr,
    options: Options,
    stop: &AtomicBool,
    samples: &Arc<Mutex<Vec<Sample>>>,
) -> Result<()> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    let local = tokio::task::LocalSet::new();
    local.block_on(&runtime, async {
        let mut ticks = tokio::time::interval(options.interval);
        ticks.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
        // One more than are under way.
        let under_way = Rc::new(());
        while !stop.load(Ordering::Relaxed) {
            ticks.tick().await;
            for _ in 0..options.at_once {
                let (samples, counted) = (Arc::clone(samples), Rc::clone(&under_way));
                tokio::task::spawn_local(async move {
                    let sample = sample(target, options.timeout).await;
                    samples.lock().unwrap_or_else(PoisonError::into_inner).push(sample);
                    drop(counted);
                });
            }
        }
        // Those under way end by their timeout at the latest.
        while Rc::strong_count(&under_way) > 1 {
            tokio::time::sleep(Duration::from_millis(1)).await;
        }
    });
    Ok(())
}

async fn sample(target: SocketAddr, timeout: Duration) -> Sample {
    let begun = Instant::now();
    let outcome = match tokio::time::timeout(timeout, exchange(target)).await {
        Ok(Ok(outcome)) => outcome,
        Ok(Err(error)) => Outcome::of_error(&error),
        Err(_) => Outcome::Timeout,
    };
    Sample { begun, took: begun.elapsed(), outcome }
}

async fn exchange(target: SocketAddr) -> io::Result<Outcome> {
    let socket = if target.is_ipv4() { TcpSocket::new_v4() } else { TcpSocket::new_v6() }?;
    // No TIME_WAIT on the client: its ports would run out.
    socket.set_zero_linger()?;
    let mut stream = socket.connect(target).await?;
    stream.write_all(b"GET / HTTP/1.0\r\n\r\n").await?;
    let mut answer = Vec::with_capacity(256);
    while stream.read_buf(&mut answer).await? > 0 {}
    Ok(parse_answer(&answer).unwrap_or(Outcome::Garbled))
}

/// The lab's nginx answers with its name and the address the request came from.
fn parse_answer(answer: &[u8]) -> Option<Outcome> {
    let (_, body) = std::str::from_utf8(answer).ok()?.split_once("\r\n\r\n")?;
    let (backend, via) = body.trim().split_once(' ')?;
    let via: IpAddr = via.parse().ok()?;
    Some(Outcome::Answer { backend: backend.into(), via: via.to_canonical() })
}
