//! Three namespaces in a row: clients, the load balancer, backends. Removed when dropped.
//!
//! ```text
//! cli 10.77.1.2 ── 10.77.1.1 lb 10.77.2.1 ── 10.77.2.2, .3, .4 be
//! ```

use std::io;
use std::process::{Child, Command, Stdio};

/// Where clients connect through a subject; the port says what they get.
pub(crate) const VIP: &str = "10.77.1.1";
/// The backends.
pub(crate) const BACKENDS: [&str; 3] = ["10.77.2.2", "10.77.2.3", "10.77.2.4"];

/// One more, for services with four.
pub(crate) const FOURTH: &str = "10.77.2.5";

/// The namespaces.
pub(crate) struct Topology {
    prefix: String,
}

/// One of the three places.
#[derive(Debug, Clone, Copy)]
pub(crate) enum Place {
    Clients,
    Balancer,
    Backends,
}

impl Place {
    fn suffix(self) -> &'static str {
        match self {
            Self::Clients => "cli",
            Self::Balancer => "lb",
            Self::Backends => "be",
        }
    }
}

impl Topology {
    /// Makes the namespaces and the links between them.
    ///
    /// # Errors
    /// A command failed; what was made is removed.
    pub(crate) fn new() -> io::Result<Self> {
        let topology = Self { prefix: format!("fb{}", std::process::id()) };
        for place in [Place::Clients, Place::Balancer, Place::Backends] {
            run("ip", &["netns", "add", &topology.namespace(place)])?;
            topology.ip(place, "link set lo up")?;
        }
        topology.connect(Place::Clients, "10.77.1.2/24", "c0", "10.77.1.1/24")?;
        topology.connect(Place::Backends, "10.77.2.2/24", "b0", "10.77.2.1/24")?;
        for other in BACKENDS[1..].iter().chain(&[FOURTH]) {
            topology.ip(Place::Backends, &format!("addr add {other}/24 dev eth0"))?;
        }
        topology.ip(Place::Clients, "route add default via 10.77.1.1")?;
        topology.ip(Place::Backends, "route add default via 10.77.2.1")?;
        let settings = ["net.ipv4.ip_forward=1", "net.ipv4.ip_local_port_range=1024 65535"];
        topology.run(Place::Balancer, "sysctl", &["-qw", settings[0], settings[1]])?;
        topology.run(Place::Clients, "sysctl", &["-qw", settings[1]])?;
        for place in [Place::Clients, Place::Balancer, Place::Backends] {
            topology.run(place, "sysctl", &["-qw", "net.core.somaxconn=16384"])?;
        }
        Ok(topology)
    }

    /// The namespace's name.
    pub(crate) fn namespace(&self, place: Place) -> String {
        format!("{}-{}", self.prefix, place.suffix())
    }

    /// A command that will run there.
    pub(crate) fn command(&self, place: Place, program: &str) -> Command {
        let mut command = Command::new("ip");
        command.args(["netns", "exec", &self.namespace(place), program]);
        command
    }

    /// Runs a command there to its end.
    ///
    /// # Errors
    /// It can't be started, or fails: its standard error is in the message.
    pub(crate) fn run(&self, place: Place, program: &str, arguments: &[&str]) -> io::Result<String> {
        output(self.command(place, program).args(arguments))
    }

    /// Starts a process there; the caller owns it. What it says on standard error is shown.
    ///
    /// # Errors
    /// It can't be started.
    pub(crate) fn start(&self, place: Place, program: &str, arguments: &[&str]) -> io::Result<Running> {
        let child = self
            .command(place, program)
            .args(arguments)
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .spawn()?;
        Ok(Running(child))
    }

    fn ip(&self, place: Place, words: &str) -> io::Result<String> {
        let words: Vec<&str> = words.split(' ').collect();
        self.run(place, "ip", &words)
    }

    fn connect(&self, place: Place, address: &str, peer: &str, peer_address: &str) -> io::Result<()> {
        let (here, there) = (self.namespace(place), self.namespace(Place::Balancer));
        let veth =
            ["link", "add", "eth0", "netns", &here, "type", "veth", "peer", "name", peer, "netns", &there];
        run("ip", &veth)?;
        self.ip(place, &format!("addr add {address} dev eth0"))?;
        self.ip(place, "link set eth0 up")?;
        self.ip(Place::Balancer, &format!("addr add {peer_address} dev {peer}"))?;
        self.ip(Place::Balancer, &format!("link set {peer} up"))?;
        Ok(())
    }
}

impl Drop for Topology {
    fn drop(&mut self) {
        for place in [Place::Clients, Place::Balancer, Place::Backends] {
            let _ = run("ip", &["netns", "del", &self.namespace(place)]);
        }
    }
}

/// A process that ends with this value.
pub(crate) struct Running(pub(crate) Child);

impl Running {
    /// Asks it to end, so that it leaves nothing in the kernel, and waits.
    ///
    /// # Errors
    /// It can't be asked.
    pub(crate) fn stop(mut self) -> io::Result<()> {
        run("kill", &["-TERM", &self.0.id().to_string()])?;
        for _ in 0..100 {
            if self.0.try_wait()?.is_some() {
                break;
            }
            crate::pause(std::time::Duration::from_millis(50));
        }
        Ok(())
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

fn run(program: &str, arguments: &[&str]) -> io::Result<String> {
    output(Command::new(program).args(arguments))
}

fn output(command: &mut Command) -> io::Result<String> {
    let output = command.stdin(Stdio::null()).output()?;
    if output.status.success() {
        return Ok(String::from_utf8_lossy(&output.stdout).into_owned());
    }
    let error = String::from_utf8_lossy(&output.stderr);
    Err(io::Error::other(format!("{command:?} failed: {}", error.trim())))
}
