//! Whether the machine stood still: a host that is busy stops its guests for longer than peers wait for each other.

use super::process::FROZEN;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

/// How often the watch looks.
const EVERY: Duration = Duration::from_millis(10);
/// Two advert intervals: with less, no leader is missed.
const LONG: Duration = Duration::from_millis(200);

/// A thread that sees when it does not run.
#[derive(Debug)]
pub(super) struct Watch {
    /// Milliseconds.
    longest: Arc<AtomicU64>,
    ends: Arc<AtomicBool>,
    thread: Option<JoinHandle<()>>,
}

impl Watch {
    pub(super) fn start() -> Self {
        let (longest, ends) = (Arc::new(AtomicU64::new(0)), Arc::new(AtomicBool::new(false)));
        let (seen, end) = (Arc::clone(&longest), Arc::clone(&ends));
        let look = move || {
            while !end.load(Ordering::Relaxed) {
                let before = Instant::now();
                std::thread::sleep(EVERY);
                let late = before.elapsed().saturating_sub(EVERY);
                seen.fetch_max(late.as_millis().try_into().unwrap_or(u64::MAX), Ordering::Relaxed);
            }
        };
        Self { longest, ends, thread: Some(std::thread::spawn(look)) }
    }

    /// The longest that it did not run, if that was long.
    pub(super) fn longest(&self) -> Option<String> {
        let longest = Duration::from_millis(self.longest.load(Ordering::Relaxed));
        (longest >= LONG).then(|| format!("the test did not run for {longest:?}"))
    }
}

impl Drop for Watch {
    fn drop(&mut self) {
        self.ends.store(true, Ordering::Relaxed);
        if let Some(thread) = self.thread.take() {
            thread.join().ok();
        }
    }
}

/// What a node says of itself that the test did not freeze.
pub(super) fn told_in(directory: &Path) -> Option<String> {
    let files = std::fs::read_dir(directory).ok()?.flatten().map(|entry| entry.path());
    let logs = files.filter(|path| path.extension().is_some_and(|it| it == "log"));
    logs.filter(|log| !log.with_extension(FROZEN).exists()).find_map(|log| {
        let text = String::from_utf8_lossy(&std::fs::read(&log).ok()?).into_owned();
        text.lines().find(|line| line.contains("did not run for")).map(str::to_owned)
    })
}
