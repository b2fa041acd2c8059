//! Backends and clients that misbehave, through a real node.

use fulcrum_tests::Result;
use fulcrum_tests::lab::{GROUP, Lab, Machine, Pair};
use fulcrum_tests::probe::{Ended, Session, request};
use fulcrum_tests::wait::{now, run_for, wait_until};
use std::io::{Read, Write};
use std::net::{Shutdown, SocketAddr, TcpListener, TcpStream};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

const LONG: Duration = Duration::from_secs(15);
const PORT: u16 = 8080;

/// What a backend does with each connection.
type Habit = fn(TcpStream) -> std::io::Result<Option<TcpStream>>;

/// A backend with a habit, on a machine of the lab.
struct Backend {
    stop: Arc<AtomicBool>,
    thread: Option<std::thread::JoinHandle<()>>,
}

impl Backend {
    fn start(machine: &Machine, habit: Habit) -> Result<Self> {
        let address = SocketAddr::new(machine.ipv4(), PORT);
        let listener = machine.namespace().enter(|| TcpListener::bind(address))??;
        listener.set_nonblocking(true)?;
        let stop = Arc::new(AtomicBool::new(false));
        let thread_stop = Arc::clone(&stop);
        let thread = std::thread::spawn(move || {
            let mut held = Vec::new();
            while !thread_stop.load(Ordering::Relaxed) {
                let Ok((stream, _)) = listener.accept() else {
                    run_for(Duration::from_millis(2));
                    continue;
                };
                if stream.set_nonblocking(false).is_ok()
                    && stream.set_read_timeout(Some(LONG)).is_ok()
                    && let Ok(Some(stream)) = habit(stream)
                {
                    held.push(stream);
                }
            }
        });
        Ok(Self { stop, thread: Some(thread) })
    }
}

impl Drop for Backend {
    fn drop(&mut self) {
        self.stop.store(true, Ordering::Relaxed);
        if let Some(thread) = self.thread.take() {
            thread.join().ok();
        }
    }
}

/// A node with a second service, whose only backend has this habit.
fn with(habit: Habit, more: &str, test: impl Fn(&Pair, SocketAddr) -> Result<()>) {
    Lab::run(|lab| {
        let mut pair = Pair::new(lab)?;
        let odd = lab.machine("odd", 30)?;
        let _backend = Backend::start(&odd, habit)?;
        pair.plan.services.push(format!(
            "odd: {{vip: 10.77.0.100, port: {PORT}, backends: [\"{}:{PORT}\"]{more}}}",
            odd.ipv4()
        ));
        let node = pair.start(&pair.lb1)?;
        node.wait_leader(GROUP)?;
        test(&pair, SocketAddr::new(pair.service().ip(), PORT))?;
        // Whatever it did, the other service is served.
        wait_until("the other service", LONG, || {
            request(&pair.client, pair.service(), LONG).is_ok_and(|sample| sample.is_answer())
        })?;
        assert!(node.process().ended().is_none());
        Ok(())
    });
}

fn connect(pair: &Pair, target: SocketAddr) -> Result<TcpStream> {
    let stream = pair.client.namespace().enter(|| TcpStream::connect_timeout(&target, LONG))??;
    stream.set_read_timeout(Some(LONG))?;
    Ok(stream)
}

#[test]
fn a_backend_that_accepts_and_never_answers_is_given_up_when_idle() {
    with(
        |stream| Ok(Some(stream)),
        ", timeouts: {idle: 500ms}",
        |pair, target| {
            let mut stream = connect(pair, target)?;
            stream.write_all(b"anybody there?")?;
            let asked = now();
            let mut buffer = [0; 16];
            let end = stream.read(&mut buffer);
            assert!(matches!(end, Ok(0)) || end.is_err_and(|error| error.raw_os_error() == Some(104)));
            println!("given up after {:?}", asked.elapsed());
            Ok(())
        },
    );
}

#[test]
fn a_backend_that_resets_is_passed_on() {
    fn reset(stream: TcpStream) -> std::io::Result<Option<TcpStream>> {
        socket2::SockRef::from(&stream).set_linger(Some(Duration::ZERO))?;
        let mut buffer = [0; 16];
        let _ = (&stream).read(&mut buffer)?;
        Ok(None)
    }
    with(reset, "", |pair, target| {
        let mut stream = connect(pair, target)?;
        stream.write_all(b"please")?;
        let error = stream.read(&mut [0; 16]).err().and_then(|error| error.raw_os_error());
        assert_eq!(error, Some(104), "a reset stays a reset");
        Ok(())
    });
}

#[test]
fn a_backend_that_half_closes_still_hears_the_client() {
    /// Says all it has first, then echoes what it hears after its own end.
    fn half(mut stream: TcpStream) -> std::io::Result<Option<TcpStream>> {
        stream.write_all(b"bye")?;
        stream.shutdown(Shutdown::Write)?;
        let mut heard = Vec::new();
        stream.read_to_end(&mut heard)?;
        assert_eq!(heard, b"still here");
        Ok(None)
    }
    with(half, "", |pair, target| {
        let mut stream = connect(pair, target)?;
        let mut said = Vec::new();
        stream.read_to_end(&mut said)?;
        assert_eq!(said, b"bye");
        stream.write_all(b"still here")?;
        stream.shutdown(Shutdown::Write)?;
        Ok(())
    });
}

#[test]
fn clients_that_never_send_and_never_read_hinder_nobody() {
    Lab::run(|lab| {
        let pair = Pair::new(lab)?;
        let node = pair.start(&pair.lb1)?;
        node.wait_leader(GROUP)?;
        let mut silent = Vec::new();
        for _ in 0..200 {
            silent.push(connect(&pair, pair.service())?);
        }
        let mut deaf = Vec::new();
        for _ in 0..20 {
            let mut stream = connect(&pair, pair.service())?;
            // Far more answers than fit into the buffers of a connection nobody reads.
            stream.set_write_timeout(Some(Duration::from_millis(20)))?;
            let requests = b"GET / HTTP/1.1\r\nHost: lab\r\n\r\n".repeat(2000);
            // Ends with the timeout when everything is full, as it should be.
            stream.write_all(&requests).ok();
            deaf.push(stream);
        }
        let mut session = Session::open(&pair.client, pair.service(), LONG)?;
        for _ in 0..50 {
            assert!(request(&pair.client, pair.service(), LONG)?.is_answer());
            assert_eq!(session.ask()?, session.backend());
        }
        assert_eq!(session.wait_end(Duration::from_millis(100))?, Ended::Open);
        assert!(node.process().ended().is_none());
        Ok(())
    });
}
