//! The terminal: ssh, where it is installed, else a plain connection to a line-based server.

use super::Seen;
use fulcrum_tests::error::Context;
use fulcrum_tests::lab::{Machine, Process, output};
use fulcrum_tests::wait::{now, wait_until};
use fulcrum_tests::{LabError, Result};
use std::io::{BufRead, BufReader, Read, Write};
use std::net::{Ipv4Addr, SocketAddr, TcpListener, TcpStream};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

const SERVER: &str = "/usr/sbin/sshd";
/// Between two commands that are typed.
const TYPED_EVERY: Duration = Duration::from_millis(20);
const PATIENCE: Duration = Duration::from_secs(20);

/// What answers on each machine.
#[derive(Debug)]
pub(super) enum Shells {
    /// Servers of ssh, and the client's files.
    Ssh { _servers: Vec<Process>, directory: PathBuf },
    /// Lines that come back.
    Plain,
}

impl Shells {
    /// Starts them on each machine.
    pub(super) fn start(machines: &[Machine], port: u16) -> Result<Self> {
        match start_ssh(machines, port) {
            Ok(shells) => Ok(shells),
            Err(error) => {
                println!("ssh is not to be had ({error}): the terminal is a plain connection");
                machines.iter().try_for_each(|machine| serve_lines(machine, port))?;
                Ok(Self::Plain)
            }
        }
    }

    /// Opens a session and begins to type.
    pub(super) fn connect(&self, client: &Machine, target: SocketAddr) -> Result<Terminal> {
        let seen = Arc::new(Seen::default());
        let (kind, ending) = match self {
            Self::Ssh { directory, .. } => {
                let mut child = spawn_ssh(client, directory, target)?;
                let (input, answers) = (child.stdin.take(), child.stdout.take());
                let (Some(input), Some(answers)) = (input, answers) else {
                    return Err(LabError::new("ssh has no input or output"));
                };
                type_on(input, answers, &seen);
                ("ssh", Ending::Process(Mutex::new(child)))
            }
            Self::Plain => {
                let stream = client.namespace().enter(|| TcpStream::connect_timeout(&target, PATIENCE))?;
                let stream = stream.context("open the terminal")?;
                stream.set_nodelay(true)?;
                stream.set_read_timeout(Some(PATIENCE))?;
                type_on(stream.try_clone()?, stream.try_clone()?, &seen);
                ("a plain connection", Ending::Stream(stream))
            }
        };
        wait_until("the terminal's first answer", PATIENCE, || {
            seen.count.load(std::sync::atomic::Ordering::Relaxed) > 0 || seen.broken().is_some()
        })?;
        Ok(Terminal { seen, kind, ending })
    }
}

/// A session that goes on.
#[derive(Debug)]
pub(super) struct Terminal {
    seen: Arc<Seen>,
    kind: &'static str,
    ending: Ending,
}

#[derive(Debug)]
enum Ending {
    Process(Mutex<Child>),
    Stream(TcpStream),
}

impl Terminal {
    pub(super) fn seen(&self) -> &Seen {
        &self.seen
    }

    pub(super) fn kind(&self) -> &str {
        self.kind
    }
}

impl Drop for Terminal {
    fn drop(&mut self) {
        match &self.ending {
            Ending::Process(child) => {
                let mut child = child.lock().unwrap_or_else(PoisonError::into_inner);
                child.kill().ok();
                child.wait().ok();
            }
            Ending::Stream(stream) => {
                stream.shutdown(std::net::Shutdown::Both).ok();
            }
        }
    }
}

/// Types a command again and again, each when the one before was answered.
fn type_on(mut input: impl Write + Send + 'static, answers: impl Read + Send + 'static, seen: &Arc<Seen>) {
    let seen = Arc::clone(seen);
    std::thread::spawn(move || {
        let mut answers = BufReader::new(answers);
        for number in 0_u64.. {
            seen.wait(now());
            if let Err(error) = exchange(&mut input, &mut answers, number) {
                return seen.end(error.to_string());
            }
            seen.progress(1, now());
            std::thread::sleep(TYPED_EVERY);
        }
    });
}

fn exchange(input: &mut impl Write, answers: &mut impl BufRead, number: u64) -> Result<()> {
    input.write_all(format!("echo answer-{number}.\n").as_bytes()).context("type")?;
    input.flush().context("type")?;
    let expected = format!("answer-{number}.");
    loop {
        let mut line = String::new();
        if answers.read_line(&mut line).context("read")? == 0 {
            return Err(LabError::new("closed by the other side"));
        }
        // A prompt may stand before it.
        if line.trim_end().ends_with(&expected) {
            return Ok(());
        }
    }
}

/// A server that does as the only command asks that is ever typed.
fn serve_lines(machine: &Machine, port: u16) -> Result<()> {
    let listener = machine.namespace().enter(|| TcpListener::bind((Ipv4Addr::UNSPECIFIED, port)))?;
    let listener = listener.context(format!("listen on {}", machine.name()))?;
    std::thread::spawn(move || {
        for stream in listener.incoming().flatten() {
            std::thread::spawn(move || answer_lines(stream).ok());
        }
    });
    Ok(())
}

fn answer_lines(stream: TcpStream) -> std::io::Result<()> {
    stream.set_nodelay(true)?;
    let mut answers = stream.try_clone()?;
    for line in BufReader::new(stream).lines() {
        let line = line?;
        answers.write_all(format!("{}\n", line.trim_start_matches("echo ")).as_bytes())?;
    }
    Ok(())
}

fn start_ssh(machines: &[Machine], port: u16) -> Result<Shells> {
    if !Path::new(SERVER).exists() {
        return Err(LabError::new(format!("{SERVER} is not installed")));
    }
    let first = machines.first().ok_or_else(|| LabError::new("no machine"))?;
    let directory = first.file("ssh");
    std::fs::create_dir_all(&directory)?;
    let path = |name: &str| directory.join(name).display().to_string();
    for name in ["host", "client"] {
        output("ssh-keygen", &["-q", "-t", "ed25519", "-N", "", "-f", &path(name)])?;
    }
    let public = std::fs::read_to_string(path("host.pub"))?;
    std::fs::write(path("known"), format!("demo {public}"))?;
    let config = format!(
        "Port {port}\nHostKey {}\nAuthorizedKeysFile {}\nPermitRootLogin prohibit-password\nPasswordAuthentication no\n\
         KbdInteractiveAuthentication no\nStrictModes no\nUsePAM no\nPidFile none\nPrintMotd no\nPrintLastLog no\nUseDNS no\n",
        path("host"),
        path("client.pub")
    );
    std::fs::write(path("config"), config)?;
    let mut servers = Vec::new();
    for machine in machines {
        // Its own /run, where it wants a directory, and its own /var/log: nothing of this is written down outside.
        let mut command = Command::new("unshare");
        command.args(["--mount", "sh", "-c"]);
        command.arg(
            "mount -t tmpfs tmpfs /run && mkdir /run/sshd && mount -t tmpfs tmpfs /var/log && exec \"$0\" -D -e -f \"$1\"",
        );
        command.arg(SERVER).arg(path("config"));
        servers.push(machine.spawn("sshd", command)?);
    }
    // As the demo will use it, straight to a server: a machine where nobody may log in so is found out now.
    let target = SocketAddr::new(first.ipv4(), port);
    wait_connected(first, &servers, target)?;
    let mut tried = spawn_ssh(first, &directory, target)?;
    let answered = try_ssh(&mut tried);
    tried.kill().ok();
    tried.wait().ok();
    answered.map(|()| Shells::Ssh { _servers: servers, directory })
}

fn wait_connected(machine: &Machine, servers: &[Process], target: SocketAddr) -> Result<()> {
    let connects = || machine.namespace().enter(|| TcpStream::connect(target).is_ok()).unwrap_or(false);
    let ended = || servers.iter().find(|server| server.ended().is_some());
    wait_until("sshd to listen", PATIENCE, || connects() || ended().is_some())?;
    match ended() {
        Some(server) => Err(LabError::new(format!("sshd ended: {}", server.log().trim()))),
        None => Ok(()),
    }
}

fn try_ssh(child: &mut Child) -> Result<()> {
    match (child.stdin.take(), child.stdout.take()) {
        (Some(mut input), Some(answers)) => exchange(&mut input, &mut BufReader::new(answers), 0),
        _ => Err(LabError::new("ssh has no input or output")),
    }
}

/// A shell on a terminal there.
fn spawn_ssh(client: &Machine, directory: &Path, target: SocketAddr) -> Result<Child> {
    let path = |name: &str| directory.join(name).display().to_string();
    let mut command = Command::new("ssh");
    command.args(["-tt", "-q", "-F", "none", "-i", &path("client"), "-p", &target.port().to_string()]);
    for option in [
        "BatchMode=yes".to_owned(),
        "IdentitiesOnly=yes".to_owned(),
        "StrictHostKeyChecking=yes".to_owned(),
        "HostKeyAlias=demo".to_owned(),
        "ConnectTimeout=10".to_owned(),
        format!("UserKnownHostsFile={}", path("known")),
    ] {
        command.args(["-o", &option]);
    }
    command.arg(format!("root@{}", target.ip())).arg("stty -echo; PS1= exec sh");
    let log = std::fs::File::create(path("client.log"))?;
    command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(log);
    client.namespace().enter(move || command.spawn())?.context("start ssh")
}
