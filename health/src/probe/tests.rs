//! Every probe against a real server on loopback, good and bad ones.

mod dns;
mod grpc;
mod http;
mod icmp;
mod pki;
mod script;
mod tcp;
mod tls;
mod udp;

use super::*;
use crate::fixtures::target;
use std::net::SocketAddr;
use tokio::net::{TcpListener, TcpStream};

/// Probes once with the timeout of the test check (500 ms).
async fn run(address: SocketAddr, kind: CheckKind) -> Outcome {
    probe(&target(address, kind), &Tools::default()).await
}

/// A server that does `serve` with each connection until the test ends.
async fn server<F>(serve: impl Fn(TcpStream) -> F + Send + 'static) -> SocketAddr
where
    F: Future<Output = ()> + Send + 'static,
{
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    tokio::spawn(async move {
        while let Ok((stream, _)) = listener.accept().await {
            tokio::spawn(serve(stream));
        }
    });
    address
}

/// An address on which nobody listens.
async fn nobody() -> SocketAddr {
    TcpListener::bind("127.0.0.1:0").await.unwrap().local_addr().unwrap()
}

fn failed(reason: &str) -> Outcome {
    Outcome::Failed(reason.into())
}

fn timed_out(waiting: &str) -> Outcome {
    Outcome::TimedOut(format!("timed out after 500ms while {waiting}"))
}

#[test]
fn a_reason_is_bounded_and_on_one_line() {
    assert_eq!(bounded(" a\nb\u{1b}[31m "), "a b [31m");
    let long = bounded(&"é".repeat(1000));
    assert_eq!(long.chars().count(), REASON_LENGTH);
    assert!(long.ends_with('…'));
    assert_eq!(bounded(&"x".repeat(REASON_LENGTH)), "x".repeat(REASON_LENGTH));
}

#[test]
fn want_of_files_is_our_own_trouble() {
    let stage = Stage::default();
    for errno in [rustix::io::Errno::MFILE, rustix::io::Errno::NOBUFS, rustix::io::Errno::ADDRNOTAVAIL] {
        let outcome = Failure::from(io::Error::from(errno)).conclude(&stage);
        assert!(matches!(outcome, Outcome::NotMade(_)), "{outcome:?}");
    }
    let outcome = Failure::from(io::Error::from(rustix::io::Errno::HOSTUNREACH)).conclude(&stage);
    assert_eq!(outcome, failed("no route to host"));
}
