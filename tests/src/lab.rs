//! A switch with machines on it, each a network namespace.
//!
//! One flat network, 10.77.0.0/24 and fd77::/64. A machine has a number: machine 11 is 10.77.0.11, fd77::11
//! and 02:00:00:00:00:11. Its only interface is `eth0`.

mod anew;
mod classes;
mod cluster;
mod echo;
mod etcd;
mod forwarding;
mod frr;
mod fulcrum;
mod keepalived;
pub mod kubernetes;
mod linked;
mod memory;
mod namespace;
mod nginx;
mod pair;
mod partner;
mod pause;
mod process;
mod sweep;
mod switch;
mod systemd;
mod upgradable;

pub use anew::Anew;
pub use classes::{Attack, Carrier, Classes, LIMIT, WORKLOADS, attacked, moves};
pub use cluster::{Cluster, leaders, settled, spread, wait_settled};
pub use echo::Echo;
pub use etcd::Etcd;
pub use forwarding::{Family, Mode, add_to_loopback, by_xdp, forward, forwarding_pair};
pub use frr::Frr;
pub use fulcrum::{Fulcrum, Status, fulcrum_binary};
pub use keepalived::{Keepalived, VirtualRouter};
pub use linked::Linked;
pub use memory::MemoryLimit;
pub use namespace::Namespace;
pub use nginx::Nginx;
pub use pair::{GROUP, Pair, Plan, PlannedNode, make_key, wait_served_by};
pub use partner::{Kind, Partner};
pub use process::{Process, ip_batch, output, run};
pub use switch::{Fault, Switch};
pub use systemd::Systemd;
pub use upgradable::{Upgradable, install, install_first, script};

use crate::error::{Context, Result};
use std::any::Any;
use std::fs;
use std::io::Write;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::panic::AssertUnwindSafe;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};

/// How often a test is tried while the machine stands still.
const ATTEMPTS: u32 = 3;

static LABS: AtomicU32 = AtomicU32::new(0);

/// A switch, its machines and a directory for their files. Dropped, it takes everything with it.
#[derive(Debug)]
pub struct Lab {
    /// What every name of this lab begins with.
    prefix: String,
    directory: PathBuf,
    switch: Switch,
}

/// How a test failed.
struct Failed {
    panic: Box<dyn Any + Send>,
    /// The machine stood still while it ran.
    pause: Option<String>,
}

impl Lab {
    /// An empty switch. Also sweeps what dead processes left behind and, from the first lab on, cleans up
    /// when this process is told to end.
    ///
    /// # Errors
    /// Namespaces can't be made (not root?).
    pub fn new() -> Result<Self> {
        sweep::prepare()?;
        let prefix = sweep::prefix(std::process::id(), LABS.fetch_add(1, Ordering::Relaxed));
        let directory = std::env::temp_dir().join(&prefix);
        fs::create_dir_all(&directory).context(format!("create {}", directory.display()))?;
        let switch = Switch::new(Namespace::new(format!("{prefix}-switch"))?)?;
        Ok(Self { prefix, directory, switch })
    }

    /// Builds a lab and runs `test` in it. If the test fails, the end of each process's log is shown. If it fails
    /// and the machine stood still meanwhile, which moves leaders where a test expects none to move, it is run again in
    /// a new lab, and that is said.
    pub fn run(test: impl Fn(&Self) -> Result<()>) {
        for attempt in 1..=ATTEMPTS {
            match Self::try_once(&test) {
                Ok(()) => return,
                Err(Failed { pause: Some(pause), .. }) if attempt < ATTEMPTS => {
                    // Not by `eprintln`, which is not shown once the test passes.
                    let test = std::thread::current().name().unwrap_or_default().to_owned();
                    writeln!(std::io::stderr(), "{test}: the machine stood still: {pause}; once more").ok();
                }
                Err(failed) => std::panic::resume_unwind(failed.panic),
            }
        }
    }

    #[allow(clippy::panic, reason = "this is how a test fails")]
    fn try_once(test: &impl Fn(&Self) -> Result<()>) -> std::result::Result<(), Failed> {
        let lab = Self::new().unwrap_or_else(|error| panic!("{error}"));
        let watch = pause::Watch::start();
        let run = || test(&lab).unwrap_or_else(|error| panic!("{error}"));
        std::panic::catch_unwind(AssertUnwindSafe(run)).map_err(|panic| {
            lab.show_logs();
            Failed { panic, pause: watch.longest().or_else(|| pause::told_in(&lab.directory)) }
        })
    }

    /// The switch, to cut and to heal.
    #[must_use]
    pub fn switch(&self) -> &Switch {
        &self.switch
    }

    /// Where this lab's files are.
    #[must_use]
    pub fn directory(&self) -> &Path {
        &self.directory
    }

    /// Adds a machine.
    ///
    /// # Errors
    /// The namespace or its link can't be made.
    pub fn machine(&self, name: &str, number: u8) -> Result<Machine> {
        let namespace = Namespace::new(format!("{}-{name}", self.prefix))?;
        let machine = Machine {
            name: name.into(),
            number,
            namespace: Arc::new(namespace),
            directory: self.directory.clone(),
        };
        self.switch.plug_in(&machine)?;
        machine.configure()?;
        Ok(machine)
    }

    /// A limit on the memory of what is put into it.
    ///
    /// # Errors
    /// The kernel has no control groups for memory.
    pub fn memory_limit(&self, bytes: u64) -> Result<MemoryLimit> {
        MemoryLimit::new(&self.prefix, bytes)
    }

    /// Prints the end of every log, for a failed test.
    pub fn show_logs(&self) {
        let mut paths: Vec<PathBuf> = fs::read_dir(&self.directory)
            .into_iter()
            .flatten()
            .flatten()
            .map(|entry| entry.path())
            .filter(|path| path.extension().is_some_and(|extension| extension == "log"))
            .collect();
        paths.sort();
        for path in paths {
            let text = String::from_utf8_lossy(&fs::read(&path).unwrap_or_default()).into_owned();
            let lines: Vec<&str> = text.lines().collect();
            let end = lines.iter().skip(lines.len().saturating_sub(40));
            if lines.is_empty() {
                continue;
            }
            eprintln!("--- {}", path.display());
            end.for_each(|line| eprintln!("{line}"));
        }
    }
}

impl Drop for Lab {
    fn drop(&mut self) {
        if std::thread::panicking() {
            self.show_logs();
        }
        sweep::remove(&self.prefix);
    }
}

/// A machine on the switch.
#[derive(Debug, Clone)]
pub struct Machine {
    name: String,
    number: u8,
    namespace: Arc<Namespace>,
    directory: PathBuf,
}

impl Machine {
    /// Its name.
    #[must_use]
    pub fn name(&self) -> &str {
        &self.name
    }

    /// Its IPv4 address.
    #[must_use]
    pub fn ipv4(&self) -> IpAddr {
        ipv4(self.number)
    }

    /// Its IPv6 address.
    #[must_use]
    pub fn ipv6(&self) -> IpAddr {
        ipv6(self.number)
    }

    /// The MAC address of its interface.
    #[must_use]
    pub fn mac(&self) -> String {
        format!("02:00:00:00:00:{:02}", self.number)
    }

    /// The switch's port it is plugged into.
    #[must_use]
    pub fn port(&self) -> String {
        format!("p-{}", self.name)
    }

    /// Its namespace.
    #[must_use]
    pub fn namespace(&self) -> &Arc<Namespace> {
        &self.namespace
    }

    /// The path of one of its files.
    #[must_use]
    pub fn file(&self, name: &str) -> PathBuf {
        self.directory.join(format!("{}-{name}", self.name))
    }

    /// Writes one of its files.
    ///
    /// # Errors
    /// The file can't be written.
    pub fn write(&self, name: &str, text: &str) -> Result<PathBuf> {
        let path = self.file(name);
        fs::write(&path, text).context(format!("write {}", path.display()))?;
        Ok(path)
    }

    /// Starts a program here; its output goes to the file `<machine>-<name>.log`.
    ///
    /// # Errors
    /// It can't be started.
    pub fn spawn(&self, name: &str, command: Command) -> Result<Process> {
        Process::spawn(&self.namespace, self.file(&format!("{name}.log")), command)
    }

    /// Runs a program here to its end and gives what it printed.
    ///
    /// # Errors
    /// It can't be started, or ends with an error: says what it printed.
    pub fn run(&self, program: &str, arguments: &[&str]) -> Result<String> {
        let mut command = Command::new(program);
        command.args(arguments);
        self.namespace.enter(move || run(command))?
    }

    /// Sets a kernel setting of this machine, such as `net/ipv4/ip_forward`.
    ///
    /// # Errors
    /// There is no such setting.
    pub fn set(&self, key: &str, value: &str) -> Result<()> {
        let path = format!("/proc/sys/{key}");
        let value = value.to_owned();
        self.namespace.enter(move || fs::write(&path, value).context(format!("write {path}")))?
    }

    /// Reads a kernel setting of this machine.
    ///
    /// # Errors
    /// There is no such setting.
    pub fn get(&self, key: &str) -> Result<String> {
        let path = format!("/proc/sys/{key}");
        self.namespace
            .enter(move || Ok(fs::read_to_string(&path).context(format!("read {path}"))?.trim().to_owned()))?
    }

    /// Whether `address` is on one of its interfaces.
    ///
    /// # Errors
    /// `ip` does not run.
    pub fn has_address(&self, address: IpAddr) -> Result<bool> {
        let text = self.run("ip", &["-o", "addr", "show"])?;
        let found = text.split_whitespace().filter_map(|word| word.split('/').next()?.parse::<IpAddr>().ok());
        Ok(found.into_iter().any(|found| found == address))
    }

    /// Gives the interface its addresses (again, after it was made anew).
    ///
    /// # Errors
    /// `ip` refuses.
    pub fn configure(&self) -> Result<()> {
        ip_batch(
            Some(&self.namespace),
            &format!(
                "link set lo up\n\
                 link set eth0 address {} up\n\
                 addr add {}/24 dev eth0\n\
                 addr add {}/64 dev eth0 nodad\n",
                self.mac(),
                self.ipv4(),
                self.ipv6(),
            ),
        )
    }
}

/// 10.77.0.`number`.
#[must_use]
pub fn ipv4(number: u8) -> IpAddr {
    IpAddr::V4(Ipv4Addr::new(10, 77, 0, number))
}

/// fd77::`number`, with the number's decimal digits, so that it reads like the IPv4 address.
#[must_use]
pub fn ipv6(number: u8) -> IpAddr {
    let digits = u16::from_str_radix(&number.to_string(), 16).unwrap_or_default();
    IpAddr::V6(Ipv6Addr::new(0xfd77, 0, 0, 0, 0, 0, 0, digits))
}
