//! Frames of every size, with checksums that somebody looks at: what is sent comes back as it was, both ways.

use crate::scene::{Family, LONG, Mode, forwarding_pair};
use fulcrum_tests::error::Context;
use fulcrum_tests::lab::{Fulcrum, GROUP, Lab, Machine, Pair};
use fulcrum_tests::wait::wait_for;
use fulcrum_tests::{LabError, Result};
use std::io::{Read, Write};
use std::net::{IpAddr, Ipv4Addr, SocketAddr, TcpListener, TcpStream, UdpSocket};
use std::thread;
use std::time::Duration;

const PORT: u16 = 7007;
/// Bytes of frames, headers with them. Some drivers lose what is just above 128.
const FRAMES: [usize; 6] = [60, 127, 128, 129, 300, 1514];
const UDP_HEADERS: usize = 14 + 20 + 8;
/// Sent and echoed over one connection at a time.
const BULK: usize = 6 << 20;

/// Where checksums are made, which for veth is nobody unless it is asked.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Checksums {
    /// By those who send: the plane changes them, and who receives looks at them.
    BySenders,
    /// By the nodes, of packets that come without, 64 KiB at a time: they cut them to frames.
    ByNodes,
}

fn make(pair: &Pair, checksums: Checksums) -> Result<()> {
    let ends = [&pair.client].into_iter().chain(pair.web.iter().map(|web| &web.machine));
    let machines: Vec<&Machine> = match checksums {
        Checksums::BySenders => ends.collect(),
        Checksums::ByNodes => vec![&pair.lb1, &pair.lb2],
    };
    for machine in machines {
        machine.run("ethtool", &["-K", "eth0", "tx", "off"])?;
    }
    Ok(())
}

/// Sends back what comes, by UDP at `own` and by TCP, as long as this process lives.
fn echo(machine: &Machine, own: IpAddr) -> Result<()> {
    let datagrams = machine.namespace().enter(|| UdpSocket::bind((own, PORT)))??;
    let listener = machine.namespace().enter(|| TcpListener::bind((Ipv4Addr::UNSPECIFIED, PORT)))??;
    thread::spawn(move || {
        let mut buffer = [0; 2048];
        while let Ok((size, from)) = datagrams.recv_from(&mut buffer) {
            datagrams.send_to(&buffer[..size], from).ok();
        }
    });
    thread::spawn(move || {
        for mut stream in listener.incoming().flatten() {
            thread::spawn(move || std::io::copy(&mut stream.try_clone()?, &mut stream));
        }
    });
    Ok(())
}

fn random(size: usize) -> Vec<u8> {
    let mut bytes = vec![0; size];
    fastrand::fill(&mut bytes);
    bytes
}

/// By UDP a frame of each size, both ways.
fn frames_come_back(pair: &Pair, target: SocketAddr) -> Result<()> {
    for frame in FRAMES {
        let socket = pair.client.namespace().enter(|| UdpSocket::bind("0.0.0.0:0"))??;
        pair.client.namespace().enter(|| socket.connect(target))??;
        socket.set_read_timeout(Some(Duration::from_millis(300)))?;
        let sent = random(frame - UDP_HEADERS);
        let got = wait_for(&format!("a frame of {frame} bytes"), LONG, || {
            let mut buffer = [0; 2048];
            socket.send(&sent).ok()?;
            let size = socket.recv(&mut buffer).ok()?;
            Some(buffer[..size].to_vec())
        })?;
        assert!(got == sent, "a frame of {frame} bytes came back as another");
    }
    Ok(())
}

/// By TCP some megabytes, both ways at once.
fn bulk_comes_back(pair: &Pair, target: SocketAddr) -> Result<()> {
    let mut stream = pair.client.namespace().enter(|| TcpStream::connect_timeout(&target, LONG))??;
    stream.set_read_timeout(Some(LONG))?;
    let sent = random(BULK);
    let (mut writer, written) = (stream.try_clone()?, sent.clone());
    let writing = thread::spawn(move || {
        writer.write_all(&written)?;
        writer.shutdown(std::net::Shutdown::Write)
    });
    let mut got = Vec::with_capacity(BULK);
    stream.read_to_end(&mut got).context("read what was sent")?;
    writing.join().map_err(|_| LabError::new("the writer panicked"))??;
    assert!(got == sent, "{} of {BULK} bytes came back, or others", got.len());
    Ok(())
}

/// Packets that were not taken for their checksum, by TCP and UDP.
fn wrong_checksums(machine: &Machine) -> Result<u64> {
    let text = machine.namespace().enter(|| std::fs::read_to_string("/proc/thread-self/net/snmp"))??;
    let lines: Vec<&str> = text.lines().collect();
    let counts = lines.chunks_exact(2).filter_map(|pair| {
        let place = pair[0].split(' ').position(|name| name == "InCsumErrors")?;
        pair[1].split(' ').nth(place)?.parse::<u64>().ok()
    });
    Ok(counts.sum())
}

/// The mean length of what clients sent to the service for bulk.
fn bytes_each(node: &Fulcrum) -> Result<u64> {
    let status = node.status()?;
    let stats = status.service("bulk").map(|service| service["stats"].clone()).unwrap_or_default();
    let of = |name: &str| stats[name].as_u64().unwrap_or_default();
    Ok(of("bytes_in").checked_div(of("packets_in")).unwrap_or_default())
}

fn all_sizes(mode: Mode) {
    for checksums in [Checksums::BySenders, Checksums::ByNodes] {
        Lab::run(|lab| {
            let mut pair = forwarding_pair(lab, mode, Family::Ipv4)?;
            make(&pair, checksums)?;
            let (vip, word) = (pair.service().ip(), mode.name());
            for (name, protocol) in [("bulk", "tcp"), ("frames", "udp")] {
                let backends: Vec<String> =
                    pair.web.iter().map(|web| format!("'{}:{PORT}'", web.machine.ipv4())).collect();
                pair.plan.services.push(format!(
                    "{name}: {{vip: {vip}, protocol: {protocol}, port: {PORT}, mode: {word}, check: none, backends: [{}]}}",
                    backends.join(", ")
                ));
            }
            for web in &pair.web {
                // In mode dsr the answer comes from the VIP itself.
                echo(&web.machine, if mode == Mode::Dsr { vip } else { web.machine.ipv4() })?;
            }
            let node = pair.start(&pair.lb1)?;
            node.wait_leader(GROUP)?;
            let target = SocketAddr::new(vip, PORT);
            frames_come_back(&pair, target)?;
            for _ in 0..3 {
                bulk_comes_back(&pair, target)?;
            }
            for machine in pair.web.iter().map(|web| &web.machine).chain([&pair.client]) {
                assert_eq!(wrong_checksums(machine)?, 0, "{}", machine.name());
            }
            let mut each = 0;
            wait_for("what was forwarded to be counted", LONG, || {
                each = bytes_each(&node).ok()?;
                (each > 0).then_some(())
            })?;
            println!("{mode:?}, checksums {checksums:?}: {each} bytes in a packet");
            assert!(checksums == Checksums::BySenders || each > 2_000, "nothing came in one piece: {each}");
            Ok(())
        });
    }
}

#[test]
fn in_nat_frames_of_each_size_arrive_whole_and_with_their_checksums() {
    all_sizes(Mode::Nat);
}

#[test]
fn in_dsr_frames_of_each_size_arrive_whole_and_with_their_checksums() {
    all_sizes(Mode::Dsr);
}

#[test]
fn in_fullnat_frames_of_each_size_arrive_whole_and_with_their_checksums() {
    all_sizes(Mode::Fullnat);
}
