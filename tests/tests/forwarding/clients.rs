//! Programs that people use, each in the middle of its work when the leader dies: none of them notices more than a pause.

use crate::scene::{Family, LONG, Mode, forwarding_pair};
use crate::told::live;
use fulcrum_tests::error::Context;
use fulcrum_tests::lab::{GROUP, Lab, Machine, Pair, Process, output};
use fulcrum_tests::probe::request;
use fulcrum_tests::wait::{run_for, wait_for, wait_until};
use fulcrum_tests::{LabError, Result};
use serde_json::Value;
use std::fs;
use std::net::{SocketAddr, TcpStream};
use std::path::Path;
use std::process::Command;
use std::time::Duration;

const IPERF_PORT: u16 = 5201;
const SSH_PORT: u16 = 2222;
const WEBSOCKET_PORT: u16 = 8765;
/// Each works for some six seconds and more, and is not given up before this.
const PATIENCE: Duration = Duration::from_secs(60);
const WORDS: usize = 250;
const FILE_BYTES: usize = 48 << 20;

/// A client at work.
struct Client {
    name: &'static str,
    process: Process,
    /// Its connections, and the service that they are to.
    connections: (&'static str, u64),
    /// Says what it has done, or what is wrong with it.
    check: Box<Check>,
}

type Check = dyn FnOnce(&str) -> Result<String>;

/// A file that takes nginx six seconds to send, and whose checksum is compared.
fn download(pair: &Pair, _: &mut Vec<Process>) -> Result<Client> {
    let mut bytes = vec![0; FILE_BYTES];
    fastrand::fill(&mut bytes);
    for web in &pair.web {
        web.put("big", &bytes)?;
    }
    let (from, to) = (pair.web[0].path_of("big"), pair.client.file("big"));
    let mut command = Command::new("curl");
    command.args(["--silent", "--show-error", "--fail", "--output"]).arg(&to);
    command.arg(format!("http://{}/files/big", pair.service()));
    let check = move |_: &str| {
        let sum = |path: &Path| output("sha256sum", &["--binary", &path.display().to_string()]);
        let of = |said: String| said.split(' ').next().unwrap_or_default().to_owned();
        let (sent, got) = (of(sum(&from)?), of(sum(&to)?));
        if sent == got {
            Ok(format!("{FILE_BYTES} bytes, SHA-256 {got}"))
        } else {
            Err(LabError::new("another checksum"))
        }
    };
    Ok(Client {
        name: "curl",
        process: pair.client.spawn("curl", command)?,
        connections: ("web", 1),
        check: Box::new(check),
    })
}

/// A connection for its words, and one for the bytes; both must come to the same server.
fn iperf3(pair: &Pair, servers: &mut Vec<Process>) -> Result<Client> {
    for web in &pair.web {
        let mut command = Command::new("iperf3");
        command.args(["--server", "--port", &IPERF_PORT.to_string()]);
        servers.push(web.machine.spawn("iperf3", command)?);
        wait_listens(&web.machine, IPERF_PORT)?;
    }
    let mut command = Command::new("iperf3");
    command.args(["--client", &pair.service().ip().to_string(), "--port", &IPERF_PORT.to_string()]);
    command.args(["--time", "7", "--bitrate", "80M", "--json"]);
    let check = |said: &str| {
        let said: Value = serde_json::from_str(said).context(format!("read what iperf3 says: {said}"))?;
        let number = |name: &str| said["end"]["sum_received"][name].as_f64().unwrap_or_default();
        let intervals = said["intervals"].as_array().cloned().unwrap_or_default();
        let last = intervals.last().and_then(|last| last["sum"]["bytes"].as_f64()).unwrap_or_default();
        if said["error"].is_null() && number("seconds") >= 6.9 && last > 0.0 {
            Ok(format!("{:.1} s at {:.1} Mbit/s", number("seconds"), number("bits_per_second") / 1e6))
        } else {
            Err(LabError::new(said.to_string()))
        }
    };
    Ok(Client {
        name: "iperf3",
        process: pair.client.spawn("iperf3", command)?,
        connections: ("iperf", 2),
        check: Box::new(check),
    })
}

/// Words that are typed one by one, and come back.
fn ssh(pair: &Pair, servers: &mut Vec<Process>) -> Result<Client> {
    let directory = pair.client.file("ssh");
    fs::create_dir_all(&directory)?;
    let path = |name: &str| directory.join(name).display().to_string();
    for name in ["host", "client"] {
        output("ssh-keygen", &["-q", "-t", "ed25519", "-N", "", "-f", &path(name)])?;
    }
    fs::write(path("known"), format!("vip {}", fs::read_to_string(path("host.pub"))?))?;
    let config = format!(
        "Port {SSH_PORT}\nHostKey {}\nAuthorizedKeysFile {}\nPermitRootLogin prohibit-password\nPasswordAuthentication no\n\
         KbdInteractiveAuthentication no\nStrictModes no\nUsePAM no\nPidFile none\nPrintMotd no\nPrintLastLog no\nUseDNS no\n",
        path("host"),
        path("client.pub")
    );
    fs::write(path("config"), config)?;
    for web in &pair.web {
        // Its own /run, where it wants a directory, and its own /var/log: nothing of this is written down outside.
        let mut command = Command::new("unshare");
        command.args(["--mount", "sh", "-c"]);
        command.arg("mount -t tmpfs tmpfs /run && mkdir /run/sshd && mount -t tmpfs tmpfs /var/log && exec /usr/sbin/sshd -D -e -f \"$0\"");
        command.arg(path("config"));
        servers.push(web.machine.spawn("sshd", command)?);
        wait_listens(&web.machine, SSH_PORT)?;
    }
    let typed = format!("i=0; while [ $i -lt {WORDS} ]; do echo $i; i=$((i + 1)); sleep 0.025; done");
    let options = format!(
        "-q -F none -i {} -p {SSH_PORT} -o BatchMode=yes -o IdentitiesOnly=yes -o StrictHostKeyChecking=yes -o HostKeyAlias=vip \
         -o UserKnownHostsFile={}",
        path("client"),
        path("known")
    );
    let mut command = Command::new("sh");
    let there = "while read word; do echo \"heard $word\"; done";
    command.arg("-c").arg(format!("{{ {typed}; }} | ssh {options} root@{} '{there}'", pair.service().ip()));
    let check = |said: &str| {
        let expected: String = (0..WORDS).map(|number| format!("heard {number}\n")).collect();
        if said == expected { Ok(format!("{WORDS} words heard")) } else { Err(LabError::new(said)) }
    };
    Ok(Client {
        name: "ssh",
        process: pair.client.spawn("ssh", command)?,
        connections: ("ssh", 1),
        check: Box::new(check),
    })
}

const WEBSOCKET_SERVER: &str = "
import asyncio, sys, websockets

async def echo(socket):
    async for word in socket:
        await socket.send('heard ' + word)

async def serve():
    async with websockets.serve(echo, '0.0.0.0', int(sys.argv[1])):
        await asyncio.Future()

asyncio.run(serve())
";

const WEBSOCKET_CLIENT: &str = "
import asyncio, sys, websockets

async def talk():
    async with websockets.connect(sys.argv[1]) as socket:
        for number in range(int(sys.argv[2])):
            await socket.send(str(number))
            print(await socket.recv(), flush=True)
            await asyncio.sleep(0.025)

asyncio.run(talk())
";

/// Messages both ways in one WebSocket.
fn websocket(pair: &Pair, servers: &mut Vec<Process>) -> Result<Client> {
    // Debian's own, which has the library.
    let python = |script: &str, arguments: &[&str]| {
        let mut command = Command::new("/usr/bin/python3");
        command.args(["-c", script]).args(arguments);
        command
    };
    for web in &pair.web {
        let command = python(WEBSOCKET_SERVER, &[&WEBSOCKET_PORT.to_string()]);
        servers.push(web.machine.spawn("websocket", command)?);
        wait_listens(&web.machine, WEBSOCKET_PORT)?;
    }
    let target = format!("ws://{}:{WEBSOCKET_PORT}/", pair.service().ip());
    let check = |said: &str| {
        let expected: String = (0..WORDS).map(|number| format!("heard {number}\n")).collect();
        if said == expected { Ok(format!("{WORDS} messages heard")) } else { Err(LabError::new(said)) }
    };
    Ok(Client {
        name: "a WebSocket",
        process: pair.client.spawn("websocket", python(WEBSOCKET_CLIENT, &[&target, &WORDS.to_string()]))?,
        connections: ("websocket", 1),
        check: Box::new(check),
    })
}

fn wait_listens(machine: &Machine, port: u16) -> Result<()> {
    let target = SocketAddr::new(machine.ipv4(), port);
    wait_until(&format!("{} to listen on port {port}", machine.name()), LONG, || {
        machine.namespace().enter(|| TcpStream::connect(target).is_ok()).unwrap_or(false)
    })
}

fn clients_of(mode: Mode) {
    Lab::run(|lab| {
        let mut pair = forwarding_pair(lab, mode, Family::Ipv4)?;
        let (vip, word) = (pair.service().ip(), mode.name());
        for (name, port) in [("iperf", IPERF_PORT), ("ssh", SSH_PORT), ("websocket", WEBSOCKET_PORT)] {
            let backends: Vec<String> =
                pair.web.iter().map(|web| format!("'{}:{port}'", web.machine.ipv4())).collect();
            pair.plan.services.push(format!(
                "{name}: {{vip: {vip}, port: {port}, mode: {word}, balance: source, check: none, backends: [{}]}}",
                backends.join(", ")
            ));
        }
        let (first, second) = pair.start_both()?;
        wait_for("a first answer", LONG, || {
            request(&pair.client, pair.service(), LONG).ok().filter(|sample| sample.is_answer())
        })?;
        let mut servers = Vec::new();
        let clients = [download, iperf3, ssh, websocket]
            .into_iter()
            .map(|start| start(&pair, &mut servers))
            .collect::<Result<Vec<_>>>()?;
        if mode == Mode::Fullnat {
            wait_until("the other node to know all connections", LONG, || {
                clients.iter().all(|client| live(&second, client.connections.0).0 >= client.connections.1)
            })?;
        }
        run_for(Duration::from_millis(500));
        first.kill()?;
        second.wait_leader(GROUP)?;
        for client in &clients {
            assert!(
                client.process.ended().is_none(),
                "{} ended before: {}",
                client.name,
                client.process.log()
            );
        }
        for client in clients {
            let ended = client.process.wait(PATIENCE)?;
            let said = client.process.log();
            assert!(ended.success(), "{mode:?}: {}: {ended}: {said}", client.name);
            let done = (client.check)(&said).context(format!("{mode:?}: {}", client.name))?;
            println!("{mode:?}: {}: {done}", client.name);
        }
        Ok(())
    });
}

#[test]
fn real_clients_of_nat_live_through_the_leaders_death() {
    clients_of(Mode::Nat);
}

#[test]
fn real_clients_of_dsr_live_through_the_leaders_death() {
    clients_of(Mode::Dsr);
}

#[test]
fn real_clients_of_fullnat_live_through_the_leaders_death() {
    clients_of(Mode::Fullnat);
}
