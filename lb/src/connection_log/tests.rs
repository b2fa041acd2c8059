use super::*;
use std::sync::{Arc, Mutex, mpsc};

#[allow(clippy::disallowed_methods)] // Any fixed point will do; all times in these tests are offsets from it.
fn start() -> Instant {
    Instant::now()
}

fn record(bytes_in: u64) -> Record {
    Record {
        service: ServiceName::new("web"),
        protocol: Protocol::Tcp,
        client: "192.0.2.1:1234".parse().unwrap(),
        vip: "198.51.100.1:80".parse().unwrap(),
        backend: Some((BackendName::new("b1"), "10.0.0.1:8080".parse().unwrap())),
        connect: Some(Duration::from_millis(3)),
        duration: Duration::from_millis(1500),
        bytes_in,
        bytes_out: 20,
        retries: 1,
        end: End::Closed,
    }
}

/// A queue whose thread hands each record's `bytes_in` on.
fn collecting() -> (LogQueue, mpsc::Receiver<u64>) {
    let (sender, receiver) = mpsc::channel();
    let queue = LogQueue::start(move |record| sender.send(record.bytes_in).unwrap()).unwrap();
    (queue, receiver)
}

#[test]
fn one_of_so_many_is_logged() {
    let now = start();
    let (queue, lines) = collecting();
    let gate = LogGate::new(ConnectionLog { sample: 3, lines_per_second: 1000 }, now);
    for n in 0..10 {
        let expected = if n % 3 == 0 { Logged::Queued } else { Logged::NotSampled };
        assert_eq!(gate.log(&queue, now, || record(n)), expected);
    }
    drop(queue);
    assert_eq!(lines.iter().collect::<Vec<_>>(), [0, 3, 6, 9]);
}

#[test]
fn too_many_lines_a_second_are_dropped_and_said() {
    let now = start();
    let (queue, lines) = collecting();
    let gate = LogGate::new(ConnectionLog { sample: 1, lines_per_second: 5 }, now);
    let dropped = (0..100).filter(|n| gate.log(&queue, now, || record(*n)) == Logged::Dropped).count();
    assert_eq!(dropped, 95);
    let later = now + Duration::from_millis(200);
    assert_eq!(gate.log(&queue, later, || record(100)), Logged::Queued);
    assert_eq!(gate.log(&queue, later, || record(101)), Logged::Dropped);
    drop(queue);
    assert_eq!(lines.iter().collect::<Vec<_>>(), [0, 1, 2, 3, 4, 100]);
}

#[test]
fn a_writer_that_hangs_stops_nobody() {
    let now = start();
    let hang = Arc::new(Mutex::new(()));
    let held = hang.lock().unwrap();
    let (sender, lines) = mpsc::channel();
    let writer_hang = Arc::clone(&hang);
    let queue = LogQueue::start(move |record| {
        drop(writer_hang.lock().unwrap());
        sender.send(record.bytes_in).unwrap();
    })
    .unwrap();
    let gate = LogGate::new(ConnectionLog { sample: 1, lines_per_second: 1_000_000 }, now);
    let total = QUEUE as u64 + 100;
    let queued = (0..total).filter(|n| gate.log(&queue, now, || record(*n)) == Logged::Queued).count();
    // One may be in the writer's hands.
    assert!((QUEUE..=QUEUE + 1).contains(&queued), "{queued}");
    drop(held);
    drop(queue);
    assert_eq!(lines.iter().count(), queued, "what was queued is written after all");
}

/// Collects the fields of events, as a subscriber of `tracing` sees them.
struct Fields(Arc<Mutex<Vec<String>>>);

impl tracing::field::Visit for Fields {
    fn record_debug(&mut self, field: &tracing::field::Field, value: &dyn std::fmt::Debug) {
        self.0.lock().unwrap().push(format!("{}={value:?}", field.name()));
    }
}

struct Collector(Arc<Mutex<Vec<String>>>);

impl tracing::Subscriber for Collector {
    fn enabled(&self, _: &tracing::Metadata<'_>) -> bool {
        true
    }
    fn new_span(&self, _: &tracing::span::Attributes<'_>) -> tracing::span::Id {
        tracing::span::Id::from_u64(1)
    }
    fn record(&self, _: &tracing::span::Id, _: &tracing::span::Record<'_>) {}
    fn record_follows_from(&self, _: &tracing::span::Id, _: &tracing::span::Id) {}
    fn event(&self, event: &tracing::Event<'_>) {
        event.record(&mut Fields(Arc::clone(&self.0)));
    }
    fn enter(&self, _: &tracing::span::Id) {}
    fn exit(&self, _: &tracing::span::Id) {}
}

#[test]
fn a_line_says_what_haproxys_does() {
    let fields = Arc::new(Mutex::new(Vec::new()));
    tracing::subscriber::with_default(Collector(Arc::clone(&fields)), || {
        write(&record(10));
        write(&Record { backend: None, connect: None, end: End::NoBackend, ..record(0) });
    });
    let fields = fields.lock().unwrap().join(" ");
    assert_eq!(
        fields,
        "message=connection service=web protocol=\"tcp\" client=192.0.2.1:1234 vip=198.51.100.1:80 backend=b1 \
         backend_address=10.0.0.1:8080 connect_ms=3 duration_ms=1500 bytes_in=10 bytes_out=20 retries=1 \
         end=\"closed\" \
         message=connection service=web protocol=\"tcp\" client=192.0.2.1:1234 vip=198.51.100.1:80 \
         duration_ms=1500 bytes_in=0 bytes_out=20 retries=1 end=\"no-backend\""
    );
}
