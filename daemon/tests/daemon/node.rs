//! One daemon under test.

use rustix::process::{Pid, Signal, kill_process};
use rustix::thread::{LinkNameSpaceType, move_into_link_name_space};
use serde_json::Value;
use std::fs::File;
use std::io::{Read, Write};
use std::net::{TcpListener, TcpStream};
use std::os::fd::AsFd;
use std::os::unix::fs::PermissionsExt;
use std::os::unix::net::UnixStream;
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Output, Stdio};
use std::time::{Duration, Instant};

/// Nothing here takes so long, even on a busy machine.
const PATIENCE: Duration = Duration::from_secs(30);

/// A node that leads alone; `admin` is added to its section.
pub(crate) fn config(admin: &str) -> String {
    format!(
        "\
node: lb-1
nodes:
  lb-1: {{addresses: [10.9.0.11], priority: 150}}
  lb-2: {{addresses: [10.9.0.12], priority: 100}}
interfaces:
  eth0: {{networks: [10.9.0.0/24]}}
groups:
  web: {{vrid: 60, vips: [10.9.0.100]}}
services:
  web: {{vip: 10.9.0.100, port: 80, check: {{type: tcp, interval: 1s, timeout: 1s}}, backends: [10.9.0.11:8081]}}
admin: {{{admin}socket: DIRECTORY/run/admin.sock, state_dir: DIRECTORY/state}}
"
    )
}

#[allow(clippy::disallowed_methods, reason = "the tests of a command start it")]
fn program(name: &str) -> Command {
    let mut command = Command::new(name);
    command.env_remove("FULCRUM_SOCKET").env_remove("NOTIFY_SOCKET").env_remove("STATE_DIRECTORY");
    command
}

pub(crate) fn said(output: &Output) -> String {
    String::from_utf8_lossy(&output.stderr).into_owned()
}

pub(crate) struct Node {
    directory: tempfile::TempDir,
    file: String,
    daemon: Child,
    /// A listener in its way.
    taken: Option<TcpListener>,
}

impl Drop for Node {
    fn drop(&mut self) {
        let _ = self.daemon.kill();
        let _ = self.daemon.wait();
        if std::thread::panicking() {
            eprintln!("--- the daemon's log ---\n{}", self.log());
        }
    }
}

impl Node {
    pub(crate) fn start(config: &str) -> Self {
        let directory = tempfile::tempdir().expect("a directory");
        // Other users' commands must reach the socket.
        std::fs::set_permissions(directory.path(), std::fs::Permissions::from_mode(0o755)).expect("our own");
        let file = directory.path().join("fulcrum.yaml").display().to_string();
        write(directory.path(), &file, config);
        let daemon = daemon(&file, &directory.path().join("log"));
        Self { directory, file, daemon, taken: None }
    }

    pub(crate) fn restart(&mut self) {
        self.daemon = daemon(&self.file, &self.directory.path().join("log"));
    }

    /// Stops it and starts it again in the same namespace, where another process now listens on `port`.
    pub(crate) fn restart_where_taken(&mut self, port: u16) {
        let namespace = self.hold_namespace();
        self.signal(Signal::TERM);
        assert_eq!(self.wait_for_end(), Some(0));
        let taken = namespace.enter(|| TcpListener::bind(("0.0.0.0", port)).expect("it is free"));
        let log = self.directory.path().join("log");
        let file = self.file.clone();
        self.daemon = namespace.enter(|| daemon_in(program("sh"), "true", &file, &log));
        self.taken = Some(taken);
    }

    /// The configuration that is kept.
    pub(crate) fn last_good(&self) -> Option<String> {
        let entries = std::fs::read_dir(self.directory.path().join("state")).ok()?;
        let mut paths = entries.flatten().map(|entry| entry.path());
        let kept = paths.find(|path| path.to_string_lossy().contains("last-good"))?;
        std::fs::read_to_string(kept).ok()
    }

    /// What a second daemon with the same file says, in a namespace without any interface.
    pub(crate) fn second(&self) -> Output {
        let run = [env!("CARGO_BIN_EXE_fulcrum"), "run", &self.file];
        program("timeout").args(["20", "unshare", "--net"]).args(run).output().expect("unshare")
    }

    /// What another daemon with a socket of its own says, in the same namespace.
    pub(crate) fn other_here(&self, config: &str) -> Output {
        let own = self.directory.path().join("other");
        std::fs::create_dir(&own).expect("room on the disk");
        let file = own.join("fulcrum.yaml").display().to_string();
        write(&own, &file, config);
        let run = ["20", env!("CARGO_BIN_EXE_fulcrum"), "run", &file];
        self.hold_namespace().enter(|| program("timeout").args(run).output().expect("it starts"))
    }

    pub(crate) fn pid(&self) -> u32 {
        self.daemon.id()
    }

    pub(crate) fn socket(&self) -> PathBuf {
        self.directory.path().join("run/admin.sock")
    }

    pub(crate) fn log(&self) -> String {
        std::fs::read_to_string(self.directory.path().join("log")).unwrap_or_default()
    }

    pub(crate) fn write(&self, config: &str) {
        write(self.directory.path(), &self.file, config);
    }

    pub(crate) fn signal(&self, signal: Signal) {
        let pid = i32::try_from(self.pid()).ok().and_then(Pid::from_raw).expect("a process");
        kill_process(pid, signal).expect("it lives");
    }

    /// Its exit code.
    pub(crate) fn wait_for_end(&mut self) -> Option<i32> {
        let mut code = None;
        let ended = poll(|| {
            let status = self.daemon.try_wait().expect("our own child");
            code = status.and_then(|status| status.code());
            status.is_some()
        });
        assert!(ended, "it does not end");
        code
    }

    fn socket_command(&self, mut command: Command, arguments: &[&str]) -> Output {
        command.args(arguments).env("FULCRUM_SOCKET", self.socket()).output().expect("it starts")
    }

    pub(crate) fn try_command(&self, arguments: &[&str]) -> Output {
        self.socket_command(program(env!("CARGO_BIN_EXE_fulcrum")), arguments)
    }

    /// As another user, who is in no group but the one of the same number.
    pub(crate) fn command_as(&self, user: u32, arguments: &[&str]) -> Output {
        // The build's directory may be closed to other users.
        let copy = self.directory.path().join("fulcrum");
        if !copy.exists() {
            // By another process: a child that is just being started may hold what this one writes, and then it can't be run.
            let copied = program("cp").arg(env!("CARGO_BIN_EXE_fulcrum")).arg(&copy).status();
            assert!(copied.is_ok_and(|status| status.success()), "room on the disk");
        }
        let mut command = program(copy.to_str().expect("a path"));
        command.uid(user).gid(user);
        self.socket_command(command, arguments)
    }

    /// What a command prints that must work.
    #[track_caller]
    pub(crate) fn command(&self, arguments: &[&str]) -> String {
        let output = self.try_command(arguments);
        assert_eq!(output.status.code(), Some(0), "{arguments:?}: {}", said(&output));
        String::from_utf8_lossy(&output.stdout).into_owned()
    }

    #[track_caller]
    pub(crate) fn status(&self) -> Value {
        serde_json::from_str(&self.command(&["status", "--json"])).expect("JSON")
    }

    /// Waits for a status.
    #[track_caller]
    pub(crate) fn wait(&self, what: &str, is_so: impl Fn(&Value) -> bool) -> Value {
        let mut last = Value::Null;
        let reached = poll(|| {
            let output = self.try_command(&["status", "--json"]);
            last = serde_json::from_slice(&output.stdout).unwrap_or_default();
            is_so(&last)
        });
        assert!(reached, "{what}: not within {PATIENCE:?}: {last:#}");
        last
    }

    #[track_caller]
    pub(crate) fn wait_until(&self, what: &str, is_so: impl FnMut() -> bool) {
        assert!(poll(is_so), "{what}: not within {PATIENCE:?}");
    }

    pub(crate) fn hold_namespace(&self) -> Namespace {
        Namespace(File::open(format!("/proc/{}/ns/net", self.pid())).expect("it lives"))
    }

    /// The addresses of `lo` in its namespace.
    pub(crate) fn addresses(&self) -> String {
        self.hold_namespace().addresses()
    }

    /// Runs `ip` in its namespace.
    #[track_caller]
    pub(crate) fn ip(&self, arguments: &[&str]) {
        let status = self.hold_namespace().enter(|| program("ip").args(arguments).status().expect("ip"));
        assert!(status.success(), "ip {arguments:?}");
    }

    /// What the admin socket answers.
    pub(crate) fn get(&self, path: &str) -> String {
        let stream = UnixStream::connect(self.socket()).expect("it listens");
        exchange(stream, &format!("GET {path} HTTP/1.1\r\nHost: x\r\n\r\n"))
    }

    /// What is answered at `address` in its namespace.
    pub(crate) fn ask_tcp(&self, address: &str, request: &str) -> String {
        self.hold_namespace().enter(|| exchange(TcpStream::connect(address).expect("it listens"), request))
    }
}

/// A network namespace that lives for as long as this does.
pub(crate) struct Namespace(File);

impl Namespace {
    fn enter<T: Send>(&self, work: impl FnOnce() -> T + Send) -> T {
        std::thread::scope(|scope| {
            let inside = scope.spawn(|| {
                move_into_link_name_space(self.0.as_fd(), Some(LinkNameSpaceType::Network)).expect("root");
                work()
            });
            inside.join().expect("no panic inside")
        })
    }

    pub(crate) fn addresses(&self) -> String {
        let output =
            self.enter(|| program("ip").args(["address", "show", "dev", "lo"]).output().expect("ip"));
        String::from_utf8_lossy(&output.stdout).into_owned()
    }
}

fn write(directory: &Path, file: &str, config: &str) {
    let text = config.replace("DIRECTORY", &directory.display().to_string());
    std::fs::write(file, text).expect("room on the disk");
}

/// The daemon in a namespace without a name: it goes when the last process in it has gone.
fn daemon(file: &str, log: &Path) -> Child {
    let network = "ip link set lo up && ip link add eth0 type veth peer name other \
                   && ip link set eth0 up && ip link set other up && ip address add 10.9.0.11/24 dev eth0";
    let mut unshare = program("unshare");
    unshare.args(["--net", "sh"]);
    daemon_in(unshare, network, file, log)
}

fn daemon_in(mut shell: Command, before: &str, file: &str, log: &Path) -> Child {
    let log = File::options().create(true).append(true).open(log).expect("room on the disk");
    shell
        .args(["-c", &format!("{before} && exec \"$0\" run \"$1\"")])
        .args([env!("CARGO_BIN_EXE_fulcrum"), file])
        .stdin(Stdio::null())
        .stdout(log.try_clone().expect("a file"))
        .stderr(log)
        .spawn()
        .expect("it starts")
}

fn exchange(mut stream: impl Read + Write, request: &str) -> String {
    stream.write_all(request.as_bytes()).expect("it reads");
    let mut answer = Vec::new();
    // A refused request may end in a reset after its answer.
    let _ = stream.read_to_end(&mut answer);
    String::from_utf8_lossy(&answer).into_owned()
}

#[allow(clippy::disallowed_methods, reason = "the tests wait for a process")]
fn poll(mut is_so: impl FnMut() -> bool) -> bool {
    let end = Instant::now().checked_add(PATIENCE).expect("not the end of time");
    loop {
        if is_so() {
            return true;
        }
        if Instant::now() > end {
            return false;
        }
        std::thread::sleep(Duration::from_millis(50));
    }
}
