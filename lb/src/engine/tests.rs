use super::*;
use crate::{BackendState, BackendUse};
use fulcrum_config::{Backend, BackendAddress, BackendName, GroupName, Mode, Service};
use std::net::{Ipv4Addr, TcpListener, TcpStream};
use std::sync::atomic::AtomicBool;

#[test]
fn an_engine_whose_worker_ends_says_so_by_ending() {
    let (desired, receiver) = watch::channel(Desired::default());
    let options = Options { workers: Some(2), ..Options::default() };
    let (mut observed, shared) = begin(receiver, options, None).unwrap();
    // As its thread does in the end, whatever ends it.
    drop(shared.spawn("tcp-0".to_owned(), || {}));
    let runtime = tokio::runtime::Builder::new_current_thread().enable_time().build().unwrap();
    runtime.block_on(async {
        let ended = async { while observed.changed().await.is_ok() {} };
        tokio::time::timeout(Duration::from_secs(20), ended).await.unwrap();
    });
    drop(desired);
}

#[test]
fn the_revision_of_a_table_is_told_once_every_worker_has_it() {
    let (desired, seen) = watch::channel(Desired { revision: 7, ..Desired::default() });
    let mut observed = start(seen, Options::default()).unwrap();
    let runtime = tokio::runtime::Builder::new_current_thread().enable_time().build().unwrap();
    let mut told = |revision| {
        let told = observed.wait_for(|observed| observed.applied == revision);
        runtime
            .block_on(async { tokio::time::timeout(Duration::from_secs(20), told).await })
            .unwrap()
            .unwrap();
    };
    told(7);
    desired.send_modify(|desired| desired.revision = 8);
    told(8);
}

/// A service of one class whose only backend says nothing.
fn silent(backend: &TcpListener, protected: bool, revision: u64) -> Desired {
    let address = backend.local_addr().unwrap();
    let address = BackendAddress { ip: address.ip(), port: Some(address.port()) };
    let backend = Arc::new(Backend::new(BackendName::new("b"), address));
    let vip = Ipv4Addr::new(127, 88, 1, 1).into();
    let service = Service {
        mode: Mode::Proxy,
        backends: vec![Arc::clone(&backend)],
        ..Service::new(ServiceName::new("api"), GroupName::new("g"), vec![vip], 8443)
    };
    let backends = vec![BackendState { backend, usage: BackendUse::Live, weight: 100 }];
    let service =
        ServiceDesired { service: Arc::new(service), up: true, protected, backends, sources: vec![] };
    let services = [(ServiceName::new("api"), Arc::new(service))].into_iter().collect();
    Desired { services, revision, ..Desired::default() }
}

#[test]
#[allow(clippy::disallowed_methods, clippy::arithmetic_side_effects)] // Real clients, in real time; counts are small.
fn each_class_has_workers_of_its_own_and_a_service_that_changes_it_loses_nobody() {
    let backend = TcpListener::bind("127.88.1.2:0").unwrap();
    let (desired, seen) = watch::channel(silent(&backend, false, 1));
    let options = Options { workers: Some(2), ..Options::default() };
    let (mut observed, shared) = begin(seen, options, None).unwrap();
    let runtime = tokio::runtime::Builder::new_current_thread().enable_time().build().unwrap();
    let mut wait = |revision, open: u64| {
        let told = observed.wait_for(|it| it.ready && it.applied == revision && it.connections == open);
        runtime
            .block_on(async { tokio::time::timeout(Duration::from_secs(20), told).await })
            .unwrap()
            .unwrap();
    };
    let connect = |count: usize| -> Vec<TcpStream> {
        (0..count).map(|_| TcpStream::connect("127.88.1.1:8443").unwrap()).collect()
    };
    let of_class = |protected: bool| -> usize {
        let workers = shared.workers.get(shared.of_class(protected)).unwrap();
        workers.iter().map(|worker| worker.connections.load(Ordering::Relaxed)).sum()
    };
    wait(1, 0);
    let first = connect(20);
    wait(1, 20);
    assert_eq!((of_class(false), of_class(true)), (20, 0));

    // Clients come while it changes its class, there and back.
    let stop = AtomicBool::new(false);
    let (joined, lost) = std::thread::scope(|scope| {
        let clients = scope.spawn(|| {
            let (mut joined, mut lost) = (Vec::new(), 0);
            // So slowly that the backend's backlog has room for all.
            while !stop.load(Ordering::Relaxed) && joined.len() < 60 {
                std::thread::sleep(Duration::from_millis(2));
                match TcpStream::connect("127.88.1.1:8443") {
                    Ok(stream) => joined.push(stream),
                    Err(_) => lost += 1,
                }
            }
            (joined, lost)
        });
        for (protected, revision) in [true, false, true, false, true].into_iter().zip(2..) {
            desired.send(silent(&backend, protected, revision)).unwrap();
            std::thread::sleep(Duration::from_millis(20));
        }
        stop.store(true, Ordering::Relaxed);
        clients.join().unwrap()
    });
    assert_eq!(lost, 0, "of {}", joined.len());
    let before = 20 + joined.len() as u64;
    wait(6, before);
    let workloads = of_class(false);
    let later = connect(20);
    wait(6, before + 20);
    assert_eq!(of_class(false), workloads, "only workers of the control plane take its clients");
    drop((first, later, desired));
}
