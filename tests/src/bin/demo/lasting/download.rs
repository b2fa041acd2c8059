//! The download: numbers in a row, so that a lost or doubled byte would be seen.

use super::Seen;
use fulcrum_tests::error::Context;
use fulcrum_tests::lab::Machine;
use fulcrum_tests::wait::now;
use fulcrum_tests::{LabError, Result};
use std::io::{Read, Write};
use std::net::{Ipv4Addr, SocketAddr, TcpListener, TcpStream};
use std::sync::Arc;
use std::time::Duration;

/// Sent at once, and how often: some 8 MB/s.
const PIECE: usize = 1 << 16;
const EVERY: Duration = Duration::from_millis(8);
/// Longer than anything that a connection should live through here.
const PATIENCE: Duration = Duration::from_secs(20);

/// Serves it on a machine for as long as this process lives.
pub(super) fn serve(machine: &Machine, port: u16) -> Result<()> {
    let listener = machine.namespace().enter(|| TcpListener::bind((Ipv4Addr::UNSPECIFIED, port)))?;
    let listener = listener.context(format!("listen on {}", machine.name()))?;
    std::thread::spawn(move || {
        for stream in listener.incoming().flatten() {
            // It ends when the client goes, as each health check does at once.
            std::thread::spawn(move || send(stream).ok());
        }
    });
    Ok(())
}

fn send(mut stream: TcpStream) -> std::io::Result<()> {
    let mut next: u64 = 0;
    loop {
        let mut piece = Vec::with_capacity(PIECE);
        while piece.len() < PIECE {
            piece.extend(next.to_be_bytes());
            next = next.wrapping_add(1);
        }
        stream.write_all(&piece)?;
        std::thread::sleep(EVERY);
    }
}

/// A download that goes on.
#[derive(Debug)]
pub(super) struct Download {
    seen: Arc<Seen>,
    stream: TcpStream,
}

impl Download {
    pub(super) fn start(client: &Machine, target: SocketAddr) -> Result<Self> {
        let stream = client.namespace().enter(|| TcpStream::connect_timeout(&target, PATIENCE))?;
        let stream = stream.context("begin the download")?;
        stream.set_read_timeout(Some(PATIENCE))?;
        let seen = Arc::new(Seen::default());
        let (reader, noted) = (stream.try_clone()?, Arc::clone(&seen));
        std::thread::spawn(move || {
            if let Err(error) = receive(reader, &noted) {
                noted.end(error.to_string());
            }
        });
        Ok(Self { seen, stream })
    }

    pub(super) fn seen(&self) -> &Seen {
        &self.seen
    }
}

fn receive(mut stream: TcpStream, seen: &Seen) -> Result<()> {
    let mut buffer = vec![0; PIECE];
    let (mut rest, mut expected) = (Vec::new(), 0_u64);
    loop {
        seen.wait(now());
        let size = stream.read(&mut buffer).context("read")?;
        if size == 0 {
            return Err(LabError::new("closed by the other side"));
        }
        seen.progress(u64::try_from(size).unwrap_or_default(), now());
        rest.extend_from_slice(buffer.get(..size).unwrap_or_default());
        let numbers = rest.chunks_exact(8);
        let left_over = numbers.remainder().to_vec();
        for number in numbers {
            if number != expected.to_be_bytes() {
                return Err(LabError::new(format!("number {expected} is missing")));
            }
            expected = expected.wrapping_add(1);
        }
        rest = left_over;
    }
}

impl Drop for Download {
    fn drop(&mut self) {
        self.stream.shutdown(std::net::Shutdown::Both).ok();
    }
}
