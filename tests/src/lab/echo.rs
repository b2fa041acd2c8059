//! Backends that answer datagrams.

use super::Machine;
use crate::error::Result;
use std::net::{SocketAddr, UdpSocket};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::JoinHandle;
use std::time::Duration;

/// The longest word that comes back.
const WORD: usize = 20;

/// Answers each datagram with its machine's name, how long it was and, if it is no longer than a number, what it said; until it
/// is dropped.
#[derive(Debug)]
pub struct Echo {
    stop: Arc<AtomicBool>,
    thread: Option<JoinHandle<()>>,
}

impl Echo {
    /// Starts it at one of its machine's addresses, from which it answers.
    ///
    /// # Errors
    /// The port is taken.
    pub fn start(machine: &Machine, at: SocketAddr) -> Result<Self> {
        let socket = machine.namespace().enter(|| UdpSocket::bind(at))??;
        socket.set_read_timeout(Some(Duration::from_millis(100)))?;
        let stop = Arc::new(AtomicBool::new(false));
        let (stopped, name) = (Arc::clone(&stop), machine.name().to_owned());
        let thread = std::thread::spawn(move || {
            let mut buffer = [0; 4096];
            while !stopped.load(Ordering::Relaxed) {
                let Ok((size, from)) = socket.recv_from(&mut buffer) else { continue };
                let said = buffer.get(..size).filter(|said| said.len() <= WORD).unwrap_or_default();
                let answer = format!("{name} {size} {}", String::from_utf8_lossy(said));
                // A client that is gone is no matter.
                socket.send_to(answer.as_bytes(), from).ok();
            }
        });
        Ok(Self { stop, thread: Some(thread) })
    }
}

impl Drop for Echo {
    fn drop(&mut self) {
        self.stop.store(true, Ordering::Relaxed);
        self.thread.take().and_then(|thread| thread.join().ok());
    }
}
