//! UDP through the plane.

use crate::scene::{Family, LONG, Mode, forwarding_pair};
use crate::told::wait_held;
use fulcrum_tests::Result;
use fulcrum_tests::lab::{GROUP, Lab, Machine, Pair};
use fulcrum_tests::wait::{now, wait_for, wait_until};
use std::collections::BTreeSet;
use std::net::{SocketAddr, UdpSocket};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::JoinHandle;
use std::time::Duration;

const PORT: u16 = 5353;
const CLIENTS: usize = 30;

/// Answers each datagram with its machine's name, until it is dropped.
pub struct Echo {
    stop: Arc<AtomicBool>,
    thread: Option<JoinHandle<()>>,
}

impl Echo {
    /// In mode dsr the answer comes from the VIP itself.
    pub fn start(machine: &Machine, at: SocketAddr) -> Result<Self> {
        let socket = machine.namespace().enter(|| UdpSocket::bind(at))??;
        socket.set_read_timeout(Some(Duration::from_millis(100)))?;
        let stop = Arc::new(AtomicBool::new(false));
        let (stopped, name) = (Arc::clone(&stop), machine.name().to_owned());
        let thread = std::thread::spawn(move || {
            let mut buffer = [0; 4096];
            while !stopped.load(Ordering::Relaxed) {
                let Ok((size, from)) = socket.recv_from(&mut buffer) else { continue };
                let answer = format!("{name} {size}");
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

/// Who answered a datagram of `size` bytes, if anybody did in time. Only answers from the VIP get here.
fn ask(socket: &UdpSocket, size: usize) -> Option<String> {
    socket.send(&vec![7; size]).ok()?;
    let mut buffer = [0; 2048];
    let length = socket.recv(&mut buffer).ok()?;
    let answer = String::from_utf8_lossy(buffer.get(..length)?).into_owned();
    let (backend, seen) = answer.split_once(' ')?;
    (seen == size.to_string()).then(|| backend.to_owned())
}

fn client(pair: &Pair, target: SocketAddr) -> Result<UdpSocket> {
    let socket = pair.client.namespace().enter(|| UdpSocket::bind("0.0.0.0:0"))??;
    pair.client.namespace().enter(|| socket.connect(target))??;
    socket.set_read_timeout(Some(Duration::from_millis(300)))?;
    Ok(socket)
}

fn datagrams_keep_their_backend(mode: Mode, balance: &str) {
    Lab::run(|lab| {
        let mut pair = forwarding_pair(lab, mode, Family::Ipv4)?;
        let is_hashed = balance == "maglev";
        if !is_hashed {
            pair.plan = pair.plan.with_keys()?;
        }
        let vip = pair.service().ip();
        let backends: Vec<String> =
            pair.web.iter().map(|web| format!("'{}:{PORT}'", web.machine.ipv4())).collect();
        let word = mode.name();
        pair.plan.services.push(format!(
            "datagrams: {{vip: {vip}, protocol: udp, port: {PORT}, mode: {word}, balance: {balance}, backends: [{}]}}",
            backends.join(", ")
        ));
        let _echoes = pair
            .web
            .iter()
            .map(|web| {
                let own = if mode == Mode::Dsr { vip } else { web.machine.ipv4() };
                Echo::start(&web.machine, SocketAddr::new(own, PORT))
            })
            .collect::<Result<Vec<_>>>()?;
        let (first, second) = pair.start_both()?;
        let target = SocketAddr::new(vip, PORT);
        let probe = client(&pair, target)?;
        wait_until("a first answer", LONG, || ask(&probe, 10).is_some())?;
        let mut clients = Vec::new();
        for _ in 0..CLIENTS {
            let socket = client(&pair, target)?;
            let backend = wait_for("an answer", LONG, || ask(&socket, 100))?;
            clients.push((socket, backend));
        }
        let used: BTreeSet<&str> = clients.iter().map(|(_, backend)| backend.as_str()).collect();
        assert_eq!(used.len(), pair.web.len(), "{used:?}");
        // In pieces, which follow the first.
        for (socket, backend) in &clients {
            let answered = wait_for("an answer to pieces", LONG, || ask(socket, 3000))?;
            assert_eq!(&answered, backend, "in pieces");
        }
        if !is_hashed || mode == Mode::Fullnat {
            // Each has been told of with its second datagram.
            wait_held(&first, &second, CLIENTS as u64)?;
        }
        let event = now();
        first.kill()?;
        second.wait_leader(GROUP)?;
        for (socket, backend) in &clients {
            let answered = wait_for("an answer after the takeover", LONG, || ask(socket, 100))?;
            assert_eq!(&answered, backend);
        }
        println!("{mode:?}: all clients had an answer within {:?} of kill -9", event.elapsed());
        Ok(())
    });
}

#[test]
fn datagrams_of_nat_keep_their_backend_through_the_leaders_death() {
    datagrams_keep_their_backend(Mode::Nat, "maglev");
}

#[test]
fn datagrams_of_dsr_keep_their_backend_through_the_leaders_death() {
    datagrams_keep_their_backend(Mode::Dsr, "maglev");
}

#[test]
fn datagrams_of_fullnat_keep_their_backend_through_the_leaders_death() {
    datagrams_keep_their_backend(Mode::Fullnat, "maglev");
}

#[test]
fn in_nat_datagrams_of_round_robin_keep_their_backend_through_the_leaders_death() {
    datagrams_keep_their_backend(Mode::Nat, "round-robin");
}

#[test]
fn in_dsr_datagrams_of_least_connections_keep_their_backend_through_the_leaders_death() {
    datagrams_keep_their_backend(Mode::Dsr, "least-connections");
}

#[test]
fn in_fullnat_datagrams_of_round_robin_keep_their_backend_through_the_leaders_death() {
    datagrams_keep_their_backend(Mode::Fullnat, "round-robin");
}
