//! A connection that stays open, to see whether it lives through what happens to the lab.

use crate::LabError;
use crate::error::{Context, Result};
use crate::lab::Machine;
use std::io::{ErrorKind, Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::time::Duration;

pub(super) const QUESTION: &[u8] = b"GET / HTTP/1.1\r\nHost: lab\r\n\r\n";

/// The name of the backend, once its answer is whole.
pub(super) fn answered_by(answer: &[u8]) -> Option<String> {
    let text = String::from_utf8_lossy(answer);
    let (_, body) = text.split_once("\r\n\r\n")?;
    body.ends_with('\n').then(|| body.split(' ').next().unwrap_or_default().to_owned())
}

/// An HTTP connection from a machine, kept alive.
#[derive(Debug)]
pub struct Session {
    stream: TcpStream,
    backend: String,
}

/// How a session ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Ended {
    /// In order (FIN).
    Closed,
    /// By RST.
    Reset,
    /// Not at all.
    Open,
}

impl Session {
    /// Connects and asks once.
    ///
    /// # Errors
    /// No connection, or no answer in time.
    pub fn open(machine: &Machine, target: SocketAddr, timeout: Duration) -> Result<Self> {
        let stream = machine.namespace().enter(|| TcpStream::connect_timeout(&target, timeout))?;
        let mut session = Self { stream: stream.context("connect")?, backend: String::new() };
        session.stream.set_read_timeout(Some(timeout))?;
        session.backend = session.ask()?;
        Ok(session)
    }

    /// The backend that serves it.
    #[must_use]
    pub fn backend(&self) -> &str {
        &self.backend
    }

    /// Asks once more, and gives the name of the backend that answered.
    ///
    /// # Errors
    /// The connection is gone, or nothing comes in time.
    pub fn ask(&mut self) -> Result<String> {
        self.stream.write_all(QUESTION).context("ask")?;
        let mut answer = Vec::new();
        let mut buffer = [0; 1024];
        loop {
            let size = self.stream.read(&mut buffer).context("read the answer")?;
            answer.extend_from_slice(buffer.get(..size).unwrap_or_default());
            if let Some(backend) = answered_by(&answer) {
                return Ok(backend);
            }
            if size == 0 {
                return Err(LabError::new("closed before the whole answer"));
            }
        }
    }

    /// Waits for its end, without asking anything.
    ///
    /// # Errors
    /// The socket is unusable.
    pub fn wait_end(&mut self, deadline: Duration) -> Result<Ended> {
        self.stream.set_read_timeout(Some(deadline))?;
        let mut buffer = [0; 1024];
        match self.stream.read(&mut buffer) {
            Ok(0) => Ok(Ended::Closed),
            Ok(_) => Err(LabError::new("an answer that nobody asked for")),
            Err(error) if error.kind() == ErrorKind::ConnectionReset => Ok(Ended::Reset),
            Err(error) if matches!(error.kind(), ErrorKind::WouldBlock | ErrorKind::TimedOut) => {
                Ok(Ended::Open)
            }
            Err(error) => Err(error.into()),
        }
    }
}
