//! Connections that stay open and ask all the time, to see whether they all live through what happens to the lab.

use super::session::{QUESTION, answered_by};
use crate::LabError;
use crate::error::{Context, Result};
use crate::lab::Machine;
use crate::wait::{wait_for, wait_until};
use std::collections::BTreeSet;
use std::io;
use std::net::SocketAddr;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

/// What is known of one of them.
#[derive(Debug, Clone, Default)]
struct Member {
    /// The backend that answered first, as all others must.
    backend: String,
    /// When the last question was asked that was answered.
    asked: Option<Instant>,
    /// The longest that an answer took since [`Crowd::mark`].
    longest: Duration,
    /// Why it is no more.
    error: Option<String>,
}

/// HTTP connections from a machine, kept alive on a thread of their own.
#[derive(Debug)]
pub struct Crowd {
    members: Arc<Mutex<Vec<Member>>>,
    stop: Arc<AtomicBool>,
    thread: Option<JoinHandle<()>>,
    patience: Duration,
}

impl Crowd {
    /// Opens `count` of them, each of which asks again `every` so often, and waits until all were answered. No answer may take
    /// longer than `patience`.
    ///
    /// # Errors
    /// One has no connection, or no answer.
    pub fn open(
        machine: &Machine,
        target: SocketAddr,
        count: usize,
        every: Duration,
        patience: Duration,
    ) -> Result<Self> {
        let members = Arc::new(Mutex::new(vec![Member::default(); count]));
        let stop = Arc::new(AtomicBool::new(false));
        let (namespace, stopped) = (Arc::clone(machine.namespace()), Arc::clone(&stop));
        let theirs = Arc::clone(&members);
        let work = move || {
            let done = namespace.enter_thread().and_then(|()| {
                run(target, count, Pace { every, patience }, &stopped, &theirs).context("run the crowd")
            });
            if let Err(error) = done {
                eprintln!("the crowd at {target} stopped: {error}");
            }
        };
        let thread = std::thread::Builder::new().name("crowd".into()).spawn(work).context("start a crowd")?;
        let crowd = Self { members, stop, thread: Some(thread), patience };
        wait_for("every connection of the crowd", patience, || match crowd.failed() {
            Some(error) => Some(Err(error)),
            None => crowd.members().iter().all(|member| member.asked.is_some()).then_some(Ok(())),
        })??;
        Ok(crowd)
    }

    /// The backends that serve them.
    #[must_use]
    pub fn backends(&self) -> BTreeSet<String> {
        self.members().into_iter().map(|member| member.backend).collect()
    }

    /// From here on it is counted how long answers take.
    pub fn mark(&self) {
        let mut members = self.members.lock().unwrap_or_else(PoisonError::into_inner);
        members.iter_mut().for_each(|member| member.longest = Duration::ZERO);
    }

    /// Waits until each was answered to a question that it asked after this moment. Gives the longest that an answer took since
    /// [`Crowd::mark`].
    ///
    /// # Errors
    /// One is gone, was answered by another backend, or not in time.
    pub fn wait_answered(&self) -> Result<Duration> {
        let since = Instant::now();
        let waits = |member: &Member| member.asked.is_none_or(|asked| asked < since);
        wait_until("answers to the whole crowd", self.patience.saturating_mul(2), || {
            self.failed().is_some() || !self.members().iter().any(waits)
        })?;
        if let Some(error) = self.failed() {
            return Err(error);
        }
        Ok(self.members().into_iter().map(|member| member.longest).max().unwrap_or_default())
    }

    /// How many of them are no more.
    #[must_use]
    pub fn lost(&self) -> usize {
        self.members().iter().filter(|member| member.error.is_some()).count()
    }

    fn members(&self) -> Vec<Member> {
        self.members.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    fn failed(&self) -> Option<LabError> {
        let members = self.members();
        let failed: Vec<_> = members
            .iter()
            .enumerate()
            .filter_map(|(number, member)| {
                Some(format!("{number} on {}: {}", member.backend, member.error.as_ref()?))
            })
            .collect();
        let first = failed.first()?;
        let (failed, all) = (failed.len(), members.len());
        Some(LabError::new(format!("{failed} of {all} connections failed, the first: {first}")))
    }
}

impl Drop for Crowd {
    fn drop(&mut self) {
        self.stop.store(true, Ordering::Relaxed);
        if let Some(thread) = self.thread.take() {
            thread.join().ok();
        }
    }
}

#[derive(Debug, Clone, Copy)]
struct Pace {
    every: Duration,
    patience: Duration,
}

fn run(
    target: SocketAddr,
    count: usize,
    pace: Pace,
    stop: &AtomicBool,
    members: &Arc<Mutex<Vec<Member>>>,
) -> io::Result<()> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    let local = tokio::task::LocalSet::new();
    local.block_on(&runtime, async {
        for number in 0..count {
            let members = Arc::clone(members);
            tokio::task::spawn_local(async move {
                let note = |change: &dyn Fn(&mut Member)| {
                    let mut members = members.lock().unwrap_or_else(PoisonError::into_inner);
                    members.get_mut(number).map(change);
                };
                if let Err(error) = live(target, pace, &note).await {
                    note(&|member| member.error = Some(error.to_string()));
                }
            });
        }
        while !stop.load(Ordering::Relaxed) {
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    });
    Ok(())
}

async fn live(target: SocketAddr, pace: Pace, note: &impl Fn(&dyn Fn(&mut Member))) -> io::Result<()> {
    let late = |what: &str| io::Error::new(io::ErrorKind::TimedOut, format!("no {what} in time"));
    let connected = tokio::time::timeout(pace.patience, TcpStream::connect(target)).await;
    let mut stream = connected.map_err(|_| late("connection"))??;
    let mut first: Option<String> = None;
    loop {
        let begun = Instant::now();
        let answer = tokio::time::timeout(pace.patience, ask(&mut stream)).await;
        let backend = answer.map_err(|_| late("answer"))??;
        let took = begun.elapsed();
        if first.get_or_insert_with(|| backend.clone()) != &backend {
            return Err(io::Error::other(format!("answered by {backend}")));
        }
        note(&|member| {
            member.backend.clone_from(&backend);
            member.asked = Some(begun);
            member.longest = member.longest.max(took);
        });
        tokio::time::sleep(pace.every).await;
    }
}

async fn ask(stream: &mut TcpStream) -> io::Result<String> {
    stream.write_all(QUESTION).await?;
    let mut answer = Vec::with_capacity(256);
    loop {
        if stream.read_buf(&mut answer).await? == 0 {
            return Err(io::Error::new(io::ErrorKind::UnexpectedEof, "closed before the whole answer"));
        }
        if let Some(backend) = answered_by(&answer) {
            return Ok(backend);
        }
    }
}
