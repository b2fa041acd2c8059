//! UDP through the VIP.

use fulcrum_tests::lab::{Fulcrum, GROUP, Lab, Machine, Pair};
use fulcrum_tests::wait::{now, wait_for, wait_until};
use std::net::{SocketAddr, UdpSocket};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::JoinHandle;
use std::time::Duration;

const LONG: Duration = Duration::from_secs(15);
const PORT: u16 = 5353;

/// Answers each datagram with its machine's name and what the datagram said, until it is dropped.
struct Echo {
    stop: Arc<AtomicBool>,
    thread: Option<JoinHandle<()>>,
}

impl Echo {
    fn start(machine: &Machine) -> fulcrum_tests::Result<Self> {
        let socket = machine.namespace().enter(|| UdpSocket::bind(("::", PORT)))??;
        socket.set_read_timeout(Some(Duration::from_millis(100)))?;
        let stop = Arc::new(AtomicBool::new(false));
        let (stopped, name) = (Arc::clone(&stop), machine.name().to_owned());
        let thread = std::thread::spawn(move || {
            let mut buffer = [0; 2048];
            while !stopped.load(Ordering::Relaxed) {
                let Ok((size, from)) = socket.recv_from(&mut buffer) else { continue };
                let answer = [name.as_bytes(), b" ", buffer.get(..size).unwrap_or_default()].concat();
                // A client that is gone is no matter.
                socket.send_to(&answer, from).ok();
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

/// Who answered, if anybody did in time. Only answers from the VIP get to a connected socket.
fn ask(socket: &UdpSocket, text: &str) -> Option<String> {
    socket.send(text.as_bytes()).ok()?;
    let mut buffer = [0; 2048];
    let size = socket.recv(&mut buffer).ok()?;
    let answer = String::from_utf8_lossy(buffer.get(..size)?).into_owned();
    let (backend, said) = answer.split_once(' ')?;
    (said == text).then(|| backend.to_owned())
}

fn client(machine: &Machine, target: SocketAddr) -> fulcrum_tests::Result<UdpSocket> {
    let any = if target.is_ipv4() { "0.0.0.0:0" } else { "[::]:0" };
    let socket = machine.namespace().enter(|| UdpSocket::bind(any))??;
    machine.namespace().enter(|| socket.connect(target))??;
    socket.set_read_timeout(Some(Duration::from_millis(300)))?;
    Ok(socket)
}

#[test]
fn datagrams_are_answered_from_the_vip_and_a_client_keeps_its_backend_after_a_takeover() {
    Lab::run(|lab| {
        let mut pair = Pair::new(lab)?;
        pair.plan = pair.plan.dual_stack();
        let backends: Vec<String> =
            pair.web.iter().map(|web| format!("'{}:{PORT}'", web.machine.ipv4())).collect();
        let vips: Vec<String> = pair.plan.vips.iter().map(|vip| format!("'{vip}'")).collect();
        pair.plan.services.push(format!(
            "datagrams: {{vips: [{}], protocol: udp, port: {PORT}, backends: [{}]}}",
            vips.join(", "),
            backends.join(", ")
        ));
        let _echoes = pair.web.iter().map(|web| Echo::start(&web.machine)).collect::<Result<Vec<_>, _>>()?;
        let (first, second) = pair.start_both()?;
        let mut sessions = Vec::new();
        for vip in &pair.plan.vips {
            let target = SocketAddr::new(*vip, PORT);
            wait_until("a first answer", LONG, || {
                client(&pair.client, target).is_ok_and(|socket| ask(&socket, "hello").is_some())
            })?;
            for number in 0..20 {
                let socket = client(&pair.client, target)?;
                let backend = wait_for("an answer", LONG, || ask(&socket, &format!("first {number}")))?;
                assert_eq!(ask(&socket, "again").as_ref(), Some(&backend), "a session has one backend");
                sessions.push((socket, backend));
            }
        }
        let used: std::collections::BTreeSet<&String> = sessions.iter().map(|(_, backend)| backend).collect();
        assert!(used.len() > 1, "{used:?}");
        let before = now();
        first.process().kill_with_children()?;
        second.wait_leader(GROUP)?;
        for (socket, backend) in &sessions {
            let served = wait_for("an answer after the takeover", LONG, || ask(socket, "still there"))?;
            assert_eq!(&served, backend, "both nodes choose alike");
        }
        println!("all {} sessions answered {:?} after the kill", sessions.len(), before.elapsed());
        refused_without_backends(&pair, &second)
    });
}

/// ICMP port unreachable, which a connected socket sees as an error.
fn refused_without_backends(pair: &Pair, node: &Fulcrum) -> fulcrum_tests::Result<()> {
    // Nobody listens there for TCP: all backends go down.
    let check = "check: {type: tcp, interval: 100ms, timeout: 100ms, fall: 1}";
    let gone = pair.plan.file(&node.machine).replace("protocol: udp,", &format!("protocol: udp, {check},"));
    node.reload(&gone)?;
    let target = SocketAddr::new(pair.service().ip(), PORT);
    wait_until("a refusal", LONG, || {
        let Ok(socket) = client(&pair.client, target) else { return false };
        socket.send(b"anybody?").ok();
        socket.recv(&mut [0; 16]).is_err_and(|error| error.kind() == std::io::ErrorKind::ConnectionRefused)
    })
}
