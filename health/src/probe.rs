//! One probe of one target: asks, and ends within the check's timeout.

mod connect;
mod dns;
mod echo;
#[cfg(feature = "fuzzing")]
pub mod fuzzing;
mod grpc;
mod http;
mod icmp;
mod script;
mod stage;
mod tls;
mod tls_error;
mod udp;
mod verifier;

use fulcrum_config::{CheckKind, Target};
use stage::Stage;
use std::io;
use std::time::Duration;
use tls::Protocol;
pub use tls::certificates;

#[cfg(test)]
mod tests;

/// A reason is cut after so many characters.
const REASON_LENGTH: usize = 200;

/// How a probe ended.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Outcome {
    /// As it should.
    Passed,
    /// Otherwise; says why.
    Failed(String),
    /// Without an answer in time; says what was waited for.
    TimedOut(String),
    /// This node could not ask; says nothing about the target.
    NotMade(String),
}

/// Why a probe did not pass, before it is put into words.
#[derive(Debug)]
enum Failure {
    /// From the socket.
    Io(io::Error),
    /// The answer is not what it should be.
    Answer(String),
    /// This node could not ask.
    Local(String),
}

impl From<io::Error> for Failure {
    fn from(error: io::Error) -> Self {
        match tls_error::in_words(&error) {
            Some(reason) => Self::Answer(reason),
            None => Self::Io(error),
        }
    }
}

/// For an error that belongs to somebody else's error.
impl From<&io::Error> for Failure {
    fn from(error: &io::Error) -> Self {
        match (tls_error::in_words(error), error.raw_os_error()) {
            (Some(reason), _) => Self::Answer(reason),
            (None, Some(code)) => Self::Io(io::Error::from_raw_os_error(code)),
            (None, None) => Self::Io(io::Error::new(error.kind(), error.to_string())),
        }
    }
}

/// What all probes share.
#[derive(Debug, Default)]
pub(crate) struct Tools {
    tls: tls::TlsStore,
    icmp: icmp::Icmp,
}

impl Tools {
    /// The configuration changed: what was read for it is read again.
    pub(crate) fn forget(&self) {
        self.tls.clear();
    }
}

/// What a probe counts for in the budget of open files.
pub(crate) fn files_needed(kind: &CheckKind) -> u32 {
    match kind {
        // All share one socket.
        CheckKind::Icmp => 0,
        // Two pipes and the process itself; but processes are dear: of 4,096 files, 128 scripts at a time.
        CheckKind::Script { .. } => 32,
        CheckKind::Tcp
        | CheckKind::Tls(_)
        | CheckKind::Http(_)
        | CheckKind::Https(..)
        | CheckKind::Grpc { .. }
        | CheckKind::Udp { .. }
        | CheckKind::Dns { .. } => 1,
    }
}

/// Probes `target` once. The timeout is of the whole, so that an answer byte by byte doesn't prolong it.
pub(crate) async fn probe(target: &Target, tools: &Tools) -> Outcome {
    let stage = Stage::default();
    let timeout = target.check.timeout;
    match tokio::time::timeout(timeout, ask(target, tools, &stage)).await {
        Ok(Ok(())) => Outcome::Passed,
        Ok(Err(failure)) => failure.conclude(&stage),
        Err(_) => Outcome::TimedOut(timed_out(timeout, &stage)),
    }
}

async fn ask(target: &Target, tools: &Tools, stage: &Stage) -> Result<(), Failure> {
    // By what is said in the connection it is asked as clients ask.
    let address = target.seen_at();
    let connect = || connect::with_header(target, stage);
    let handshake = async |options, protocol| {
        tls::handshake(connect().await?, address, options, protocol, &tools.tls, stage).await
    };
    match &target.check.kind {
        // It ends before anything is said, so it needs no header either.
        CheckKind::Tcp => connect::tcp(target, stage).await.map(drop),
        CheckKind::Tls(options) => tls::ask(handshake(options, Protocol::Any).await?, stage).await,
        CheckKind::Http(check) => http::ask(connect().await?, address, check, stage).await,
        CheckKind::Https(check, options) => {
            http::ask(handshake(options, Protocol::Http1).await?, address, check, stage).await
        }
        CheckKind::Grpc { service, tls } => {
            let question = grpc::Question {
                address,
                authority: tls.as_ref().and_then(|tls| tls.server_name.as_deref()),
                service,
                timeout: target.check.timeout,
                over_tls: tls.is_some(),
            };
            match tls {
                Some(options) => {
                    grpc::ask(handshake(options, Protocol::Http2).await?, &question, stage).await
                }
                None => grpc::ask(connect().await?, &question, stage).await,
            }
        }
        CheckKind::Udp { send, expect } => udp::ask(target, send, expect, stage).await,
        CheckKind::Dns { name, record } => dns::ask(target, name, record, stage).await,
        CheckKind::Icmp => icmp::ask(target.address, &tools.icmp, stage).await,
        CheckKind::Script { command } => script::ask(target.address, command, stage).await,
    }
}

fn timed_out(timeout: Duration, stage: &Stage) -> String {
    format!("timed out after {} while {}", humantime::format_duration(timeout), stage.get())
}

impl Failure {
    fn conclude(self, stage: &Stage) -> Outcome {
        match self {
            Self::Io(error) if is_local(&error) => {
                Outcome::NotMade(bounded(&format!("this node could not ask: {error}")))
            }
            Self::Io(error) => Outcome::Failed(bounded(&sentence(&error, stage))),
            Self::Answer(reason) => Outcome::Failed(bounded(&reason)),
            Self::Local(reason) => Outcome::NotMade(bounded(&reason)),
        }
    }
}

/// Out of files, memory, buffers or ports: our own trouble.
fn is_local(error: &io::Error) -> bool {
    use rustix::io::Errno;
    error.raw_os_error().map(Errno::from_raw_os_error).is_some_and(|errno| {
        [Errno::MFILE, Errno::NFILE, Errno::NOMEM, Errno::NOBUFS, Errno::ADDRNOTAVAIL, Errno::AGAIN]
            .contains(&errno)
    })
}

/// Errors that people know by a shorter name.
const SENTENCES: [(io::ErrorKind, &str); 3] = [
    (io::ErrorKind::ConnectionReset, "connection reset"),
    (io::ErrorKind::BrokenPipe, "connection reset"),
    (io::ErrorKind::UnexpectedEof, "connection closed"),
];

/// Errors that say everything, whatever was being done.
const WHOLE_SENTENCES: [(io::ErrorKind, &str); 3] = [
    (io::ErrorKind::ConnectionRefused, "connection refused"),
    (io::ErrorKind::HostUnreachable, "no route to host"),
    (io::ErrorKind::NetworkUnreachable, "network unreachable from this node"),
];

fn sentence(error: &io::Error, stage: &Stage) -> String {
    let said = |table: &[(io::ErrorKind, &str)]| {
        table.iter().find(|(kind, _)| *kind == error.kind()).map(|(_, text)| text.to_string())
    };
    said(&WHOLE_SENTENCES).unwrap_or_else(|| {
        let what = said(&SENTENCES).unwrap_or_else(|| error.to_string());
        format!("{what} while {}", stage.get())
    })
}

/// Bounded, on one line, and without control characters: part of it may come from the target.
fn bounded(reason: &str) -> String {
    let clean = reason.trim().chars().map(|c| if c.is_control() { ' ' } else { c });
    let mut text: String = clean.take(REASON_LENGTH).collect();
    if reason.trim().chars().nth(REASON_LENGTH).is_some() {
        text.pop();
        text.push('…');
    }
    text
}
