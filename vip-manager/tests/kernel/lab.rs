//! Namespaces joined by a bridge, with an engine in each: everything is removed when the lab is dropped.

use rustix::process::{Pid, Signal, kill_process};
use serde_json::Value;
use std::io::{BufRead, BufReader, Write};
use std::process::{Child, Command, Stdio};
use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

/// The client's number among the nodes.
pub const CLIENT: u8 = 200;
/// No event of these tests takes longer on a machine that does other things at the same time.
const PATIENCE: Duration = Duration::from_secs(20);

static LABS: AtomicU32 = AtomicU32::new(0);

/// Runs `ip` and gives what it prints.
fn ip(arguments: &str) -> String {
    let output = Command::new("ip").args(arguments.split_whitespace()).output().unwrap();
    let error = String::from_utf8_lossy(&output.stderr).into_owned();
    assert!(output.status.success(), "ip {arguments}: {error}");
    String::from_utf8_lossy(&output.stdout).into_owned()
}

/// A switch, a client, and nodes numbered from 1.
pub struct Lab {
    prefix: String,
    namespaces: Vec<String>,
}

impl Lab {
    pub fn new(nodes: u8) -> Self {
        let number = LABS.fetch_add(1, Ordering::Relaxed);
        let prefix = format!("vipm{}-{number}", std::process::id());
        let mut lab = Self { prefix, namespaces: Vec::new() };
        let switch = lab.add_namespace("switch");
        ip(&format!("-n {switch} link add br0 type bridge mcast_snooping 0"));
        ip(&format!("-n {switch} link set br0 up"));
        for node in (1..=nodes).chain([CLIENT]) {
            lab.add_namespace(&node.to_string());
            lab.connect(node);
        }
        lab
    }

    fn add_namespace(&mut self, name: &str) -> String {
        let name = format!("{}-{name}", self.prefix);
        ip(&format!("netns add {name}"));
        self.namespaces.push(name.clone());
        ip(&format!("-n {name} link set lo up"));
        // Link-local addresses can be used at once.
        let setting = "/proc/sys/net/ipv6/conf/default/dad_transmits";
        let script = format!("echo 0 > {setting}");
        let done = Command::new("ip").args(["netns", "exec", &name, "sh", "-c", &script]).status().unwrap();
        assert!(done.success(), "{setting}");
        name
    }

    fn namespace(&self, node: u8) -> String {
        format!("{}-{node}", self.prefix)
    }

    /// Makes the node's interface, `veth0`, with its addresses.
    pub fn connect(&self, node: u8) {
        let (namespace, switch) = (self.namespace(node), format!("{}-switch", self.prefix));
        ip(&format!("link add veth0 netns {namespace} type veth peer name port{node} netns {switch}"));
        ip(&format!("-n {switch} link set port{node} master br0 up"));
        self.ip(node, &format!("addr add 10.9.0.{node}/24 dev veth0"));
        self.ip(node, &format!("addr add fd09::{node}/64 dev veth0 nodad"));
        self.ip(node, "link set veth0 up");
        wait_until("the link-local address can be used", || {
            let shown = self.ip(node, "-6 addr show dev veth0 scope link");
            shown.contains("fe80") && !shown.contains("tentative")
        });
    }

    /// Runs `ip` inside the node.
    pub fn ip(&self, node: u8, arguments: &str) -> String {
        ip(&format!("-n {} {arguments}", self.namespace(node)))
    }

    /// A kernel setting of an interface of the node, below `net/ipv4/conf`.
    pub fn setting(&self, node: u8, name: &str) -> String {
        let path = format!("/proc/sys/net/ipv4/conf/{name}");
        let output = self.command(node, "cat").arg(&path).output().unwrap();
        String::from_utf8_lossy(&output.stdout).trim().to_owned()
    }

    /// Changes one.
    pub fn set(&self, node: u8, name: &str, value: &str) {
        let script = format!("echo {value} > /proc/sys/net/ipv4/conf/{name}");
        assert!(self.command(node, "sh").args(["-c", &script]).status().unwrap().success(), "{script}");
    }

    /// Cuts the node's cable, or mends it.
    pub fn cable(&self, node: u8, whole: bool) {
        let state = if whole { "up" } else { "down" };
        ip(&format!("-n {}-switch link set port{node} {state}", self.prefix));
    }

    /// Keeps the two from hearing each other; everybody else still hears both.
    pub fn isolate(&self, one: u8, other: u8) {
        for node in [one, other] {
            ip(&format!("-n {}-switch link set port{node} type bridge_slave isolated on", self.prefix));
        }
    }

    /// The nodes of `nodes` that have `address` on their loopback.
    pub fn holders(&self, nodes: u8, address: &str) -> Vec<u8> {
        let has = |node: &u8| self.ip(*node, "-o addr show dev lo").contains(&format!(" {address}/"));
        (1..=nodes).filter(has).collect()
    }

    /// The MAC of the node's interface.
    pub fn mac(&self, node: u8) -> String {
        let shown = self.ip(node, "-o link show dev veth0");
        shown.split_whitespace().skip_while(|word| *word != "link/ether").nth(1).unwrap().to_owned()
    }

    /// Asks anew who has `address`, and gives the MAC that answered.
    pub fn asks(&self, address: &str) -> Option<String> {
        self.ip(CLIENT, "neigh flush dev veth0");
        self.pings(address);
        self.believes(address)
    }

    /// The MAC that the client's neighbour table has for `address`.
    pub fn believes(&self, address: &str) -> Option<String> {
        let shown = self.ip(CLIENT, &format!("neigh show {address} dev veth0"));
        shown.split_whitespace().skip_while(|word| *word != "lladdr").nth(1).map(str::to_owned)
    }

    /// Whether the client reaches `address`.
    pub fn pings(&self, address: &str) -> bool {
        self.command(CLIENT, "ping").args(["-c1", "-W1", address]).output().unwrap().status.success()
    }

    /// A program to be run inside the node.
    pub fn command(&self, node: u8, program: &str) -> Command {
        let mut command = Command::new("ip");
        command.args(["netns", "exec", &self.namespace(node), program]);
        command
    }

    /// Starts the engine on a node of `nodes`, which have priorities that fall with their numbers.
    pub fn start(&self, node: u8, nodes: u8, extra: &str) -> Engine {
        let described: Vec<String> = (1..=nodes)
            .map(|other| format!("n{other}=10.9.0.{other}+fd09::{other}/{}", 200 - u32::from(other)))
            .collect();
        let mut command = self.command(node, engine_program().to_str().unwrap());
        command
            .args([
                format!("node=n{node}"),
                "interface=veth0".into(),
                format!("nodes={}", described.join(",")),
            ])
            .arg("networks=10.9.0.0/24,fd09::/64")
            .args(extra.split_whitespace());
        Engine::start(command)
    }

    /// Runs the lines as one batch of `ip` inside the node.
    pub fn ip_batch(&self, node: u8, lines: &str) {
        let mut command = Command::new("ip");
        command.args(["-n", &self.namespace(node), "-batch", "-"]).stdin(Stdio::piped());
        let mut child = command.spawn().unwrap();
        child.stdin.take().unwrap().write_all(lines.as_bytes()).unwrap();
        assert!(child.wait().unwrap().success());
    }

    /// What the engine says when it starts without a capability.
    pub fn start_without(&self, capability: &str) -> String {
        let mut command = self.command(1, "setpriv");
        command.arg(format!("--bounding-set=-{capability}")).arg(engine_program());
        command.args(["node=n1", "interface=veth0", "nodes=n1=10.9.0.1/100", "networks=10.9.0.0/24"]);
        let output = command.arg("vips=10.9.0.100").output().unwrap();
        assert!(!output.status.success());
        String::from_utf8_lossy(&output.stderr).into_owned()
    }

    /// The processes that run in the node.
    pub fn processes(&self, node: u8) -> Vec<i32> {
        ip(&format!("netns pids {}", self.namespace(node))).lines().map(|pid| pid.parse().unwrap()).collect()
    }
}

impl Drop for Lab {
    fn drop(&mut self) {
        for namespace in &self.namespaces {
            let pids = Command::new("ip").args(["netns", "pids", namespace]).output().unwrap();
            for pid in String::from_utf8_lossy(&pids.stdout).lines() {
                signal(pid.parse().unwrap(), Signal::KILL);
            }
            let _ = Command::new("ip").args(["netns", "del", namespace]).status();
        }
    }
}

/// The example is built together with the tests, beside their directory.
fn engine_program() -> std::path::PathBuf {
    let test = std::env::current_exe().unwrap();
    test.parent().unwrap().parent().unwrap().join("examples/engine")
}

fn signal(pid: i32, signal: Signal) {
    let _ = kill_process(Pid::from_raw(pid).unwrap(), signal);
}

/// Waits until `condition` holds.
pub fn wait_until(what: &str, mut condition: impl FnMut() -> bool) {
    let end = Instant::now() + PATIENCE;
    while !condition() {
        assert!(Instant::now() < end, "{what}: not within {PATIENCE:?}");
        std::thread::sleep(Duration::from_millis(2));
    }
}

/// What an engine told, each with when it was read.
type Told = Arc<Mutex<Vec<(Instant, Value)>>>;

/// A running engine.
pub struct Engine {
    child: Child,
    told: Told,
}

impl Engine {
    fn start(mut command: Command) -> Self {
        let mut child = command.stdin(Stdio::piped()).stdout(Stdio::piped()).spawn().unwrap();
        let told = Told::default();
        let output = BufReader::new(child.stdout.take().unwrap());
        let sink = Arc::clone(&told);
        std::thread::spawn(move || {
            for line in output.lines().map_while(Result::ok) {
                sink.lock().unwrap().push((Instant::now(), serde_json::from_str(&line).unwrap()));
            }
        });
        Self { child, told }
    }

    /// The last thing it told.
    pub fn now(&self) -> Value {
        self.told.lock().unwrap().last().map_or(Value::Null, |(_, value)| value.clone())
    }

    pub fn role(&self) -> String {
        self.now()["groups"][0]["role"].as_str().unwrap_or_default().to_owned()
    }

    pub fn leads(&self) -> bool {
        self.role() == "leader"
    }

    /// How often its role was told to be `role` after `since`, and when first.
    pub fn became(&self, role: &str, since: Instant) -> Option<Instant> {
        let told = self.told.lock().unwrap();
        told.iter().find(|(at, value)| *at > since && value["groups"][0]["role"] == role).map(|(at, _)| *at)
    }

    /// Whether any of its words had `text`.
    pub fn ever_told(&self, text: &str) -> bool {
        self.told.lock().unwrap().iter().any(|(_, value)| value.to_string().contains(text))
    }

    pub fn say(&mut self, command: &str) {
        writeln!(self.child.stdin.as_mut().unwrap(), "{command}").unwrap();
    }

    pub fn signal(&self, which: Signal) {
        signal(i32::try_from(self.child.id()).unwrap(), which);
    }

    /// SIGKILL, and the moment of it.
    pub fn kill(&mut self) -> Instant {
        let now = Instant::now();
        self.signal(Signal::KILL);
        self.child.wait().unwrap();
        now
    }

    pub fn pid(&self) -> i32 {
        i32::try_from(self.child.id()).unwrap()
    }

    /// Waits for its end.
    pub fn ended(&mut self) -> bool {
        self.child.wait().unwrap().success()
    }
}

impl Drop for Engine {
    fn drop(&mut self) {
        if std::thread::panicking() {
            for (at, value) in self.told.lock().unwrap().iter() {
                println!("{} {:?} ago: {value}", self.child.id(), at.elapsed());
            }
        }
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}
