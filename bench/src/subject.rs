//! Who is measured: Fulcrum and its peers, each with the same three backends.

use crate::serve::{ECHO, SOURCE};
use crate::topology::{BACKENDS, Place, Running, Topology, VIP};
use std::fs;
use std::io;
use std::net::SocketAddr;
use std::path::Path;

/// Fulcrum's VIP, in the clients' network.
const FULCRUM_VIP: &str = "10.77.1.100";

/// A way from the clients to the backends.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub(crate) enum Subject {
    /// Routed by the kernel, nobody in between: the floor.
    Direct,
    /// nftables DNAT.
    Nftables,
    Fulcrum,
    FulcrumNat,
    FulcrumFullnat,
    HaproxySplice,
    HaproxyCopy,
    Nginx,
}

impl Subject {
    pub(crate) const TCP: [Self; 6] =
        [Self::Direct, Self::Nftables, Self::Fulcrum, Self::HaproxySplice, Self::HaproxyCopy, Self::Nginx];
    /// Those that forward packets.
    pub(crate) const FORWARDING: [Self; 4] =
        [Self::Direct, Self::Nftables, Self::FulcrumNat, Self::FulcrumFullnat];
    pub(crate) const ALL: [Self; 8] = [
        Self::Direct,
        Self::Nftables,
        Self::Fulcrum,
        Self::FulcrumNat,
        Self::FulcrumFullnat,
        Self::HaproxySplice,
        Self::HaproxyCopy,
        Self::Nginx,
    ];

    /// Whether it does UDP at all, and in another way than its like.
    pub(crate) fn does_udp(self) -> bool {
        !matches!(self, Self::HaproxySplice | Self::HaproxyCopy)
    }

    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::Direct => "direct",
            Self::Nftables => "nftables DNAT",
            Self::Fulcrum => "Fulcrum",
            Self::FulcrumNat => "Fulcrum, nat",
            Self::FulcrumFullnat => "Fulcrum, fullnat",
            Self::HaproxySplice => "HAProxy, splice",
            Self::HaproxyCopy => "HAProxy, copy",
            Self::Nginx => "nginx stream",
        }
    }

    /// Where clients connect.
    pub(crate) fn target(self, port: u16) -> SocketAddr {
        let ip = match self {
            Self::Direct => BACKENDS[0],
            Self::Fulcrum | Self::FulcrumNat | Self::FulcrumFullnat => FULCRUM_VIP,
            Self::Nftables | Self::HaproxySplice | Self::HaproxyCopy | Self::Nginx => VIP,
        };
        format!("{ip}:{port}").parse().unwrap_or_else(|_| SocketAddr::from(([0, 0, 0, 0], port)))
    }

    /// Starts it; `None` for those that are the kernel's own.
    ///
    /// # Errors
    /// It can't be started.
    pub(crate) fn start(self, topology: &Topology, directory: &Path) -> io::Result<Option<Running>> {
        let file = directory.join(format!("{self:?}.conf"));
        let path = file.to_string_lossy().into_owned();
        let place = Place::Balancer;
        match self {
            Self::Direct => Ok(None),
            Self::Nftables => {
                fs::write(&file, nftables())?;
                topology.run(place, "nft", &["-f", &path])?;
                Ok(None)
            }
            Self::Fulcrum | Self::FulcrumNat | Self::FulcrumFullnat => {
                fs::write(&file, fulcrum(self, directory))?;
                topology.start(place, &fulcrum_program()?, &["run", "--config", &path]).map(Some)
            }
            Self::HaproxySplice | Self::HaproxyCopy => {
                fs::write(&file, haproxy(self == Self::HaproxySplice))?;
                topology.start(place, "haproxy", &["-db", "-f", &path]).map(Some)
            }
            Self::Nginx => {
                fs::write(&file, nginx(directory))?;
                topology.start(place, "nginx", &["-c", &path, "-e", "/dev/null"]).map(Some)
            }
        }
    }

    /// Takes back what [`Subject::start`] left in the kernel.
    pub(crate) fn clear(self, topology: &Topology) {
        if self == Self::Nftables {
            let _ = topology.run(Place::Balancer, "nft", &["flush", "ruleset"]);
        }
    }
}

/// The `fulcrum` that is measured: `FULCRUM_BIN`, or the one beside this program.
///
/// # Errors
/// There is none.
pub(crate) fn fulcrum_program() -> io::Result<String> {
    let beside = std::env::current_exe()?.with_file_name("fulcrum");
    let path = std::env::var_os("FULCRUM_BIN").map_or(beside, Into::into);
    if path.exists() {
        return Ok(path.to_string_lossy().into_owned());
    }
    Err(io::Error::other(format!(
        "{} is missing; build it: cargo build --release -p fulcrum",
        path.display()
    )))
}

fn nftables() -> String {
    let map = |port: u16| {
        let of: Vec<String> = BACKENDS.iter().enumerate().map(|(i, b)| format!("{i} : {b}")).collect();
        format!("dnat to numgen inc mod 3 map {{ {} }}:{port}", of.join(", "))
    };
    format!(
        "table ip bench {{ chain pre {{ type nat hook prerouting priority dstnat;\n\
         ip daddr {VIP} tcp dport {ECHO} {echo}\nip daddr {VIP} udp dport {ECHO} {echo}\n\
         ip daddr {VIP} tcp dport {SOURCE} {source}\n}}\n}}\n",
        echo = map(ECHO),
        source = map(SOURCE),
    )
}

fn haproxy(splice: bool) -> String {
    let option = if splice { "option splice-auto" } else { "" };
    let mut text = format!(
        "global\n maxconn 9600\n maxpipes 200\n nbthread 2\ndefaults\n mode tcp\n {option}\n timeout connect 5s\n \
         timeout client 1h\n timeout server 1h\n"
    );
    for port in [ECHO, SOURCE] {
        text += &format!("listen p{port}\n bind {VIP}:{port} backlog 16384\n balance roundrobin\n");
        for (index, backend) in BACKENDS.iter().enumerate() {
            text += &format!(" server b{index} {backend}:{port}\n");
        }
    }
    text
}

fn nginx(directory: &Path) -> String {
    let mut servers = String::new();
    for port in [ECHO, SOURCE] {
        let backends: String = BACKENDS.iter().map(|backend| format!("server {backend}:{port}; ")).collect();
        servers += &format!(
            "upstream u{port} {{ {backends} }}\n\
             server {{ listen {VIP}:{port} reuseport backlog=16384; proxy_pass u{port}; proxy_half_close on; }}\n"
        );
    }
    servers +=
        &format!("server {{ listen {VIP}:{ECHO} udp reuseport; proxy_pass u{ECHO}; proxy_timeout 30s; }}\n");
    format!(
        "load_module /usr/lib/nginx/modules/ngx_stream_module.so;\ndaemon off;\nworker_processes 2;\n\
         worker_rlimit_nofile 20000;\nerror_log /dev/null;\npid {0}/nginx.pid;\n\
         events {{ worker_connections 20000; }}\nstream {{ {servers} }}\n",
        directory.display()
    )
}

fn fulcrum(subject: Subject, directory: &Path) -> String {
    let how = if subject == Subject::FulcrumNat {
        "mode: nat"
    } else if subject == Subject::FulcrumFullnat {
        "mode: fullnat"
    } else {
        "mode: proxy, balance: round-robin"
    };
    let pool = |port: u16| {
        let members: Vec<String> = BACKENDS.iter().map(|backend| format!("'{backend}:{port}'")).collect();
        format!("[{}]", members.join(", "))
    };
    format!(
        "node: lb-1\n\
         nodes:\n  lb-1: {{addresses: [10.77.1.1], priority: 200}}\n\
         interfaces:\n  c0: {{networks: [10.77.1.0/24]}}\n\
         groups:\n  bench: {{vrid: 7, vips: [{FULCRUM_VIP}]}}\n\
         services:\n  \
         echo: {{vip: {FULCRUM_VIP}, port: {ECHO}, {how}, backends: {echo}}}\n  \
         source: {{vip: {FULCRUM_VIP}, port: {SOURCE}, {how}, backends: {source}}}\n  \
         datagrams: {{vip: {FULCRUM_VIP}, protocol: udp, port: {ECHO}, {how}, backends: {echo}}}\n\
         admin: {{socket: {dir}/admin.sock, state_dir: {dir}/state}}\n",
        echo = pool(ECHO),
        source = pool(SOURCE),
        dir = directory.display(),
    )
}
