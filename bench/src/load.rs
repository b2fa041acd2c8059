//! Load generators: closed loops of a fixed number of clients for a fixed time.

use hdrhistogram::Histogram;
use serde::{Deserialize, Serialize};
use std::cell::RefCell;
use std::io;
use std::net::SocketAddr;
use std::rc::Rc;
use std::time::{Duration, Instant};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpStream, UdpSocket};

/// What the clients do.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, clap::ValueEnum)]
#[serde(rename_all = "lowercase")]
pub(crate) enum Kind {
    /// Connect, send 64 bytes, read 64 bytes, close.
    Connect,
    /// Connect, ask by HTTP, read the answer until the server closes.
    Http,
    /// 64 bytes there and back on connections that stay.
    Request,
    /// Read as fast as it comes.
    Bulk,
    /// 64-byte datagrams there and back.
    Udp,
}

/// What they saw.
#[derive(Debug, Clone, Default, Serialize, Deserialize)]
pub(crate) struct Outcome {
    /// Operations completed (connections, requests, datagrams); for bulk, reads.
    pub(crate) operations: u64,
    /// Operations that failed.
    pub(crate) errors: u64,
    /// Payload bytes received.
    pub(crate) bytes: u64,
    /// How long it ran.
    pub(crate) seconds: f64,
    /// Median latency of an operation in microseconds.
    pub(crate) p50_us: u64,
    /// 99th percentile.
    pub(crate) p99_us: u64,
}

/// One run of load.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Load {
    pub(crate) kind: Kind,
    pub(crate) target: SocketAddr,
    pub(crate) clients: usize,
    pub(crate) duration: Duration,
}

struct Tally {
    outcome: Outcome,
    latency: Histogram<u64>,
}

type Shared = Rc<RefCell<Tally>>;

const MESSAGE: [u8; 64] = [7; 64];
/// A lost datagram or a dead connection costs this long, and counts as an error.
const PATIENCE: Duration = Duration::from_secs(2);

/// Runs it on this thread.
///
/// # Errors
/// The clock's histogram or the runtime can't be made.
pub(crate) fn run(load: Load) -> io::Result<Outcome> {
    let latency = Histogram::new_with_bounds(1, 60_000_000, 3).map_err(io::Error::other)?;
    let tally = Rc::new(RefCell::new(Tally { outcome: Outcome::default(), latency }));
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    let local = tokio::task::LocalSet::new();
    let start = now();
    let end = start + load.duration;
    local.block_on(&runtime, async {
        let clients: Vec<_> = (0..load.clients)
            .map(|_| tokio::task::spawn_local(client(load, end, Rc::clone(&tally))))
            .collect();
        for each in clients {
            let _ = each.await;
        }
    });
    let tally = tally.borrow();
    let mut outcome = tally.outcome.clone();
    outcome.seconds = (now() - start).as_secs_f64();
    outcome.p50_us = tally.latency.value_at_quantile(0.5);
    outcome.p99_us = tally.latency.value_at_quantile(0.99);
    Ok(outcome)
}

async fn client(load: Load, end: Instant, tally: Shared) {
    while now() < end {
        let result = match load.kind {
            Kind::Connect => connect_once(load.target, &tally).await,
            Kind::Http => http_once(load.target, &tally).await,
            Kind::Request => requests(load.target, end, &tally).await,
            Kind::Bulk => bulk(load.target, end, &tally).await,
            Kind::Udp => datagrams(load.target, end, &tally).await,
        };
        if result.is_err() {
            tally.borrow_mut().outcome.errors += 1;
            tokio::time::sleep(Duration::from_millis(1)).await;
        }
    }
}

async fn connect_once(target: SocketAddr, tally: &Shared) -> io::Result<()> {
    let start = now();
    within(async {
        let mut stream = TcpStream::connect(target).await?;
        // The generator must not run out of ports in TIME_WAIT.
        socket2::SockRef::from(&stream).set_linger(Some(Duration::ZERO))?;
        exchange(&mut stream).await
    })
    .await?;
    done(tally, start, MESSAGE.len());
    Ok(())
}

async fn http_once(target: SocketAddr, tally: &Shared) -> io::Result<()> {
    let start = now();
    let mut answer = Vec::new();
    within(async {
        let mut stream = TcpStream::connect(target).await?;
        stream.write_all(b"GET / HTTP/1.1\r\nHost: bench\r\nConnection: close\r\n\r\n").await?;
        stream.read_to_end(&mut answer).await
    })
    .await?;
    if !answer.starts_with(b"HTTP/1.1 200 ") {
        return Err(io::Error::other("no answer, or another one"));
    }
    done(tally, start, answer.len());
    Ok(())
}

async fn requests(target: SocketAddr, end: Instant, tally: &Shared) -> io::Result<()> {
    let mut stream = within(TcpStream::connect(target)).await?;
    stream.set_nodelay(true)?;
    while now() < end {
        let start = now();
        exchange(&mut stream).await?;
        done(tally, start, MESSAGE.len());
    }
    Ok(())
}

async fn exchange(stream: &mut TcpStream) -> io::Result<()> {
    let mut answer = [0_u8; MESSAGE.len()];
    stream.write_all(&MESSAGE).await?;
    stream.read_exact(&mut answer).await?;
    if answer == MESSAGE { Ok(()) } else { Err(io::Error::other("wrong answer")) }
}

async fn bulk(target: SocketAddr, end: Instant, tally: &Shared) -> io::Result<()> {
    let mut stream = within(TcpStream::connect(target)).await?;
    let mut buffer = vec![0_u8; 256 * 1024];
    while now() < end {
        let count = within(stream.read(&mut buffer)).await?;
        if count == 0 {
            return Err(io::ErrorKind::UnexpectedEof.into());
        }
        let mut tally = tally.borrow_mut();
        tally.outcome.operations += 1;
        tally.outcome.bytes += count as u64;
    }
    Ok(())
}

async fn datagrams(target: SocketAddr, end: Instant, tally: &Shared) -> io::Result<()> {
    let socket = UdpSocket::bind("0.0.0.0:0").await?;
    socket.connect(target).await?;
    let mut answer = [0_u8; 128];
    while now() < end {
        let start = now();
        socket.send(&MESSAGE).await?;
        let count = within(socket.recv(&mut answer)).await?;
        done(tally, start, count);
    }
    Ok(())
}

fn done(tally: &Shared, start: Instant, bytes: usize) {
    let micros = u64::try_from((now() - start).as_micros()).unwrap_or(u64::MAX);
    let mut tally = tally.borrow_mut();
    tally.outcome.operations += 1;
    tally.outcome.bytes += bytes as u64;
    tally.latency.saturating_record(micros);
}

async fn within<T>(work: impl Future<Output = io::Result<T>>) -> io::Result<T> {
    tokio::time::timeout(PATIENCE, work).await.map_err(|_| io::Error::from(io::ErrorKind::TimedOut))?
}

/// Opens `count` connections, lets each echo once, and holds them until standard input ends.
///
/// # Errors
/// A connection can't be made.
pub(crate) fn hold(target: SocketAddr, count: usize) -> io::Result<()> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    let held = runtime.block_on(async {
        let mut held = Vec::with_capacity(count);
        for _ in 0..count {
            let mut stream = within(TcpStream::connect(target)).await?;
            exchange(&mut stream).await?;
            held.push(stream);
        }
        Ok::<_, io::Error>(held)
    })?;
    println!("{}", held.len());
    let mut line = String::new();
    io::stdin().read_line(&mut line).map(|_| ())
}

fn now() -> Instant {
    Instant::now()
}
