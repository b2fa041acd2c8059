use super::*;

/// Fails as the system might: the descriptor is none that can be waited on.
#[test]
#[allow(clippy::disallowed_methods)] // A real thread runs in real time.
fn a_worker_that_cannot_wait_for_events_tells_that_it_has_ended() {
    let shared = Arc::new(Shared::new(1).unwrap());
    let log = LogQueue::start(|_| {}).unwrap();
    let mut worker = Worker::new(0, Arc::clone(&shared), log, 1, Instant::now()).unwrap();
    worker.epoll = std::fs::File::open("/dev/null").unwrap().into();
    shared.spawn("tcp-0".to_owned(), move || worker.run()).unwrap().join().unwrap();
    let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
    runtime.block_on(shared.ended.notified());
}
