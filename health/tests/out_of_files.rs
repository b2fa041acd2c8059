//! A process out of files makes no backend look dead. In a process of its own, for its limit on files.

// A test stops at what it did not expect.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::indexing_slicing, clippy::arithmetic_side_effects)]

use fulcrum_config::CheckKind;
use fulcrum_health::{Desired, Options, Verdict, start};
use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};
use std::fs::File;
use std::net::TcpListener;
use std::time::Duration;
use tokio::sync::watch;

#[path = "../src/fixtures.rs"]
#[allow(dead_code)]
mod fixtures;

#[tokio::test]
async fn want_of_files_takes_no_backend_down() {
    let alive = TcpListener::bind("127.0.0.1:0").unwrap();
    let http = CheckKind::Http(fixtures::http_check());
    let web = fixtures::service("web", Some(fixtures::fast_check(http)), &[alive.local_addr().unwrap()]);
    // Ends with the process. It has its files already: accepting needs one more, so it is done before they end.
    let (accepting, accepted) = (alive.try_clone().unwrap(), alive);
    std::thread::spawn(move || {
        for stream in accepting.incoming() {
            use std::io::{Read, Write};
            let Ok(mut stream) = stream else { continue };
            let _ = stream.read(&mut [0; 1024]);
            let _ = stream.write_all(b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n");
        }
    });
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
    while let Ok(file) = File::open("/dev/null") {
        held.push(file);
    }
    let out_of_files = observed.wait_for(|observed| {
        assert_ne!(verdict(observed), Some(Verdict::Down));
        observed.counters.local_errors > 20
    });
    drop(tokio::time::timeout(bound, out_of_files).await.expect("in time").unwrap());
    drop(held);
    drop(accepted);
    let errors = observed.borrow().counters.local_errors;
    let probes = observed.borrow().counters.probes;
    let again = observed.wait_for(|observed| observed.counters.probes > probes + 10);
    let seen = tokio::time::timeout(bound, again).await.expect("in time").unwrap().clone();
    assert_eq!(verdict(&seen), Some(Verdict::Up));
    assert!(seen.counters.local_errors <= errors + 2, "only while there were no files");
}
