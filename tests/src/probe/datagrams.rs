//! Flows of UDP with a datagram each millisecond: who answers, and for how long nobody does.

use crate::error::{Context, Result};
use crate::lab::Machine;
use std::collections::BTreeSet;
use std::net::{SocketAddr, UdpSocket};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

/// Time between two datagrams of a flow.
const EVERY: Duration = Duration::from_millis(1);

/// What is known of one flow.
#[derive(Debug, Clone, Default)]
struct Flow {
    /// When each datagram was sent, by its number.
    sent: Vec<Instant>,
    /// Which of them were answered.
    answered: BTreeSet<usize>,
    backends: BTreeSet<String>,
}

/// Flows from one machine, on a thread of their own. What answers is an [`Echo`](crate::lab::Echo).
#[derive(Debug)]
pub struct Datagrams {
    flows: Arc<Mutex<Vec<Flow>>>,
    stop: Arc<AtomicBool>,
    thread: Option<JoinHandle<()>>,
}

/// What was seen of all flows from one moment on.
#[derive(Debug, Clone)]
pub struct Seen {
    /// The backends that answered each flow, from its beginning.
    pub backends: Vec<BTreeSet<String>>,
    /// The longest that one was not answered: from the last datagram before it that was to the first after it.
    pub gap: Duration,
    /// The longest that the client itself did not send: a gap that is hardly longer says nothing.
    pub pause: Duration,
    /// Datagrams that were sent, and how many of them nobody answered.
    pub sent: usize,
    /// Those that nobody answered.
    pub lost: usize,
}

impl Datagrams {
    /// Begins to send on `count` flows.
    ///
    /// # Errors
    /// No socket can be made.
    pub fn start(machine: &Machine, target: SocketAddr, count: usize) -> Result<Self> {
        let open = || {
            let socket = UdpSocket::bind(if target.is_ipv4() { "0.0.0.0:0" } else { "[::]:0" })?;
            socket.connect(target)?;
            socket.set_nonblocking(true)?;
            Ok(socket)
        };
        let sockets = machine
            .namespace()
            .enter(|| (0..count).map(|_| open()).collect::<std::io::Result<Vec<_>>>())?
            .context("open sockets")?;
        let flows = Arc::new(Mutex::new(vec![Flow::default(); count]));
        let stop = Arc::new(AtomicBool::new(false));
        let (theirs, stopped) = (Arc::clone(&flows), Arc::clone(&stop));
        let work = move || {
            let mut next = Instant::now();
            while !stopped.load(Ordering::Relaxed) {
                let mut flows = theirs.lock().unwrap_or_else(PoisonError::into_inner);
                for (socket, flow) in sockets.iter().zip(flows.iter_mut()) {
                    flow.exchange(socket);
                }
                drop(flows);
                // After a pause it does not make up for what it missed.
                next = next.checked_add(EVERY).unwrap_or(next).max(Instant::now());
                std::thread::sleep(next.saturating_duration_since(Instant::now()));
            }
        };
        let thread = std::thread::Builder::new().name("datagrams".into()).spawn(work).context("start")?;
        Ok(Self { flows, stop, thread: Some(thread) })
    }

    /// Whether each flow was answered to a datagram that was sent after `since`.
    #[must_use]
    pub fn are_answered(&self, since: Instant) -> bool {
        let flows = self.flows.lock().unwrap_or_else(PoisonError::into_inner);
        flows.iter().all(|flow| {
            let last = flow.answered.last().and_then(|number| flow.sent.get(*number));
            last.is_some_and(|sent| *sent > since)
        })
    }

    /// What was seen from a moment on.
    #[must_use]
    pub fn seen(&self, since: Instant) -> Seen {
        let flows = self.flows.lock().unwrap_or_else(PoisonError::into_inner).clone();
        let mut seen = Seen {
            backends: flows.iter().map(|flow| flow.backends.clone()).collect(),
            gap: Duration::ZERO,
            pause: Duration::ZERO,
            sent: 0,
            lost: 0,
        };
        for flow in &flows {
            let answered: Vec<Instant> =
                flow.answered.iter().filter_map(|number| flow.sent.get(*number).copied()).collect();
            seen.gap = seen.gap.max(longest(&answered, since));
            seen.pause = seen.pause.max(longest(&flow.sent, since));
            let last = flow.answered.last().copied().unwrap_or_default();
            // What came after the last answer may be on its way.
            let sent = |number: &usize| flow.sent.get(*number).is_some_and(|sent| *sent >= since);
            let numbers: Vec<usize> = (0..last).filter(sent).collect();
            seen.sent = seen.sent.saturating_add(numbers.len());
            let lost = numbers.iter().filter(|number| !flow.answered.contains(*number)).count();
            seen.lost = seen.lost.saturating_add(lost);
        }
        seen
    }
}

impl Flow {
    fn exchange(&mut self, socket: &UdpSocket) {
        let number = self.sent.len();
        // A send may be refused while nobody answers for the address.
        socket.send(number.to_string().as_bytes()).ok();
        self.sent.push(Instant::now());
        let mut buffer = [0; 128];
        // What the network said of one that was sent before is no answer.
        for _ in 0..64 {
            match socket.recv(&mut buffer) {
                Ok(size) => self.hear(&String::from_utf8_lossy(buffer.get(..size).unwrap_or_default())),
                Err(error) if error.kind() == std::io::ErrorKind::WouldBlock => return,
                Err(_) => {}
            }
        }
    }

    fn hear(&mut self, answer: &str) {
        let mut words = answer.split(' ');
        if let (Some(backend), Some(_), Some(number)) = (words.next(), words.next(), words.next())
            && let Ok(number) = number.parse()
        {
            self.backends.insert(backend.to_owned());
            self.answered.insert(number);
        }
    }
}

/// The longest time between two moments that follow each other, of which the second is after `since`.
fn longest(moments: &[Instant], since: Instant) -> Duration {
    let pairs = moments.iter().zip(moments.iter().skip(1)).filter(|(_, next)| **next >= since);
    pairs.map(|(one, next)| next.saturating_duration_since(*one)).max().unwrap_or_default()
}

impl Drop for Datagrams {
    fn drop(&mut self) {
        self.stop.store(true, Ordering::Relaxed);
        if let Some(thread) = self.thread.take() {
            thread.join().ok();
        }
    }
}
