//! Log lines to standard error, as text or JSON.
//!
//! Whoever logs never waits for whoever reads: a journal that hangs must not stop an advert. Lines go through
//! a bounded queue to a thread of their own; what does not fit is counted and left out.

use fulcrum_config::LogFormat;
use std::io::{self, IsTerminal, Write};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::mpsc::{Receiver, SyncSender, sync_channel};
use std::time::Duration;
use tracing_subscriber::EnvFilter;
use tracing_subscriber::fmt::MakeWriter;

#[cfg(test)]
mod tests;

/// Lines that may wait.
const QUEUE: usize = 8192;
/// How long the end of the process waits for the lines before it.
const FLUSH: Duration = Duration::from_millis(500);

static LEFT_OUT: AtomicU64 = AtomicU64::new(0);

enum Item {
    Line(Vec<u8>),
    Flush(SyncSender<()>),
}

/// Writes what is queued before the process ends.
#[derive(Debug)]
pub(crate) struct Log {
    queue: SyncSender<Item>,
}

impl Log {
    /// Waits until what was logged so far is written, but not for long.
    pub(crate) fn flush(&self) {
        let (done, seen) = sync_channel(1);
        if self.queue.try_send(Item::Flush(done)).is_ok() {
            let _ = seen.recv_timeout(FLUSH);
        }
    }
}

impl Drop for Log {
    fn drop(&mut self) {
        self.flush();
    }
}

/// Log lines left out because nobody read the others.
pub(crate) fn left_out() -> u64 {
    LEFT_OUT.load(Ordering::Relaxed)
}

/// Starts logging. `FULCRUM_LOG` says what: `info` by default, `debug`, `warn,fulcrum_vip_manager=debug`, ...
pub(crate) fn start(format: LogFormat) -> io::Result<Log> {
    let (queue, lines) = sync_channel(QUEUE);
    std::thread::Builder::new().name("log".to_owned()).spawn(move || write(&lines, &mut io::stderr()))?;
    let filter = EnvFilter::try_from_env("FULCRUM_LOG").unwrap_or_else(|_| EnvFilter::new("info"));
    let builder = tracing_subscriber::fmt().with_env_filter(filter).with_writer(Queue(queue.clone()));
    let colour = io::stderr().is_terminal() && std::env::var_os("NO_COLOR").is_none();
    let set = match format {
        LogFormat::Text => tracing::subscriber::set_global_default(builder.with_ansi(colour).finish()),
        LogFormat::Json => {
            tracing::subscriber::set_global_default(builder.json().flatten_event(true).finish())
        }
    };
    set.map_err(io::Error::other)?;
    Ok(Log { queue })
}

/// A panic anywhere ends the process at once: the guard then resigns for it. It must not limp on with one
/// engine less.
pub(crate) fn end_at_panic() {
    let report = std::panic::take_hook();
    std::panic::set_hook(Box::new(move |info| {
        report(info);
        std::process::abort();
    }));
}

fn write(lines: &Receiver<Item>, to: &mut impl Write) {
    let mut told = 0;
    while let Ok(item) = lines.recv() {
        let left_out = left_out();
        if left_out > told {
            let _ = writeln!(
                to,
                "{} log lines were left out: they came faster than they were read",
                left_out.saturating_sub(told)
            );
            told = left_out;
        }
        match item {
            // An error of standard error can't be told to anyone.
            Item::Line(line) => drop(to.write_all(&line)),
            Item::Flush(done) => drop(done.try_send(())),
        }
    }
}

struct Queue(SyncSender<Item>);

impl<'a> MakeWriter<'a> for Queue {
    type Writer = Line<'a>;

    fn make_writer(&'a self) -> Line<'a> {
        Line { queue: &self.0, bytes: Vec::new() }
    }
}

/// One line in the making; it is queued when it is whole.
struct Line<'a> {
    queue: &'a SyncSender<Item>,
    bytes: Vec<u8>,
}

impl Write for Line<'_> {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.bytes.extend_from_slice(bytes);
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

impl Drop for Line<'_> {
    fn drop(&mut self) {
        if self.queue.try_send(Item::Line(std::mem::take(&mut self.bytes))).is_err() {
            LEFT_OUT.fetch_add(1, Ordering::Relaxed);
        }
    }
}
