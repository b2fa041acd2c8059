//! A process out of files makes no backend look dead. In a process of its own, for its limit on files.

// A test stops at what it did not expect.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::indexing_slicing, clippy::arithmetic_side_effects)]

use fulcrum_config::{Check, CheckKind};
use fulcrum_health::{Desired, Options, Verdict, start};
use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};
use socket2::{Domain, Socket, Type};
use std::fs::File;
use std::net::SocketAddr;
use std::time::Duration;
use tokio::sync::watch;

#[path = "../src/fixtures.rs"]
#[allow(dead_code)]
mod fixtures;

#[tokio::test]
async fn want_of_files_takes_no_backend_down() {
    // Never accepts, since that would need files of this process too: the kernel makes the connections.
    let alive = Socket::new(Domain::IPV4, Type::STREAM, None).unwrap();
    alive.bind(&SocketAddr::from(([127, 0, 0, 1], 0)).into()).unwrap();
    alive.listen(1024).unwrap();
    let address = alive.local_addr().unwrap().as_socket().unwrap();
    let check = Check { timeout: fixtures::SECOND, ..fixtures::fast_check(CheckKind::Tcp) };
    let web = fixtures::service("web", Some(check), &[address]);
    let (_sender, receiver) = watch::channel(fixtures::desired([web]));
    let mut observed = start(receiver, Options { files: Some(8) }).unwrap();
    let verdict = |observed: &fulcrum_health::Observed| {
        observed.services.values().flat_map(|service| service.backends.values()).map(|b| b.verdict).next()
    };
    let bound = Duration::from_secs(60);
    let up = observed.wait_for(|observed| verdict(observed) == Some(Verdict::Up));
    drop(tokio::time::timeout(bound, up).await.expect("in time").unwrap());

    let limit = getrlimit(Resource::Nofile);
    setrlimit(Resource::Nofile, Rlimit { current: Some(256), maximum: limit.maximum }).unwrap();
    let mut held = Vec::new();
    let out_of_files = async {
        while observed.borrow().counters.local_errors <= 20 {
            // Again and again, since a probe on its way gives its file back.
            held.extend(std::iter::from_fn(|| File::open("/dev/null").ok()));
            tokio::time::sleep(Duration::from_millis(1)).await;
            assert_ne!(verdict(&observed.borrow()), Some(Verdict::Down));
        }
    };
    tokio::time::timeout(bound, out_of_files).await.expect("in time");
    drop(held);
    let errors = observed.borrow().counters.local_errors;
    let probes = observed.borrow().counters.probes;
    let again = observed.wait_for(|observed| observed.counters.probes > probes + 10);
    let seen = tokio::time::timeout(bound, again).await.expect("in time").unwrap().clone();
    assert_eq!(verdict(&seen), Some(Verdict::Up));
    assert!(seen.counters.local_errors <= errors + 2, "only while there were no files");
}
