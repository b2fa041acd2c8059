//! What can be asked of the commands that look and change nothing: `fulcrum status`, `explain`, `preflight`, `diagnose`
//! and `capture`.

use super::Connect;
use super::config::ConfigFile;
use clap::Args;
use std::path::PathBuf;

pub(super) const STATUS_HELP: &str = "\
Examples:
  fulcrum status
  fulcrum status --watch
  fulcrum status --json | jq '.groups[] | {name, role, since_seconds}'";

#[derive(Debug, Args)]
pub(crate) struct StatusOptions {
    #[command(flatten)]
    pub(crate) connect: Connect,

    /// Print JSON, for programs.
    #[arg(long)]
    pub(crate) json: bool,

    /// Show it again every second until Ctrl-C.
    #[arg(long, conflicts_with = "json")]
    pub(crate) watch: bool,
}

pub(super) const EXPLAIN_HELP: &str = "\
Examples:
  fulcrum explain 10.0.0.100
  fulcrum explain shop
  fulcrum explain shop --json | jq -r '.chain[] | select(.about == \"backend\") | .text'

As this node knows it: its group and who leads that, the fence, the links to the peers, the service, and each backend with the
reason why none go there. Of a name that is not there those near it are told, and the exit code is 1.";

#[derive(Debug, Args)]
pub(crate) struct ExplainOptions {
    /// A VIP, or the name of a service.
    #[arg(value_name = "VIP|SERVICE")]
    pub(crate) name: String,

    #[command(flatten)]
    pub(crate) connect: Connect,

    /// Print JSON, for programs.
    #[arg(long)]
    pub(crate) json: bool,
}

pub(super) const PREFLIGHT_HELP: &str = "\
Examples:
  fulcrum preflight
  fulcrum preflight /tmp/new.yaml
  fulcrum preflight --json | jq -r '.lines[] | select(.state == \"failed\") | .found'

Works before the daemon was ever started, and beside one that runs. As root: it asks neighbours by ARP and ND, listens for
adverts, and asks each backend and each cluster once. It changes nothing, and takes five seconds at most.

Exit codes: 0 nothing failed (there may be warnings), 1 something failed, 2 the file is refused.";

#[derive(Debug, Args)]
pub(crate) struct PreflightOptions {
    #[command(flatten)]
    pub(crate) config: ConfigFile,

    /// The admin socket of the daemon, if one runs [default: what the file says].
    #[arg(long, env = "FULCRUM_SOCKET", value_name = "PATH")]
    pub(crate) socket: Option<PathBuf>,

    /// Print JSON, for programs.
    #[arg(long)]
    pub(crate) json: bool,
}

pub(super) const DIAGNOSE_HELP: &str = "\
Examples:
  fulcrum diagnose
  fulcrum diagnose --to /tmp/for-support.tar.gz
  fulcrum diagnose --json --no-archive | jq -r '.findings[] | .text'

Prints what is broken, the worst first: configuration, peer, group, election, neighbour, plane, backend; then the daemon's alarms.
In the archive are that, status, metrics, the chain of each service, preflight, the configuration, the end of the log, addresses,
routes, neighbours, settings and versions. Keys, passwords, headers and what stands in files that the configuration names as secret
are not: they read REDACTED. Names and addresses are. Look into it before you send it.

Works without a daemon, too, and says so. As root; it changes nothing, and takes ten seconds at most.";

#[derive(Debug, Args)]
pub(crate) struct DiagnoseOptions {
    /// Write this archive [default: fulcrum-NODE-TIME.tar.gz here].
    #[arg(long, value_name = "FILE")]
    pub(crate) to: Option<PathBuf>,

    /// Only say what is broken.
    #[arg(long, conflicts_with = "to")]
    pub(crate) no_archive: bool,

    /// Print JSON, for programs.
    #[arg(long)]
    pub(crate) json: bool,

    #[command(flatten)]
    pub(crate) connect: Connect,
}

pub(super) const CAPTURE_HELP: &str = "\
Examples:
  fulcrum capture
  fulcrum capture web --count 20
  fulcrum capture web --seconds 10 --write web.pcapng
  fulcrum capture --write - | tshark -r - -V

For services in mode nat, dsr and fullnat, whose packets tcpdump does not see; on the node that leads. In a file each packet
is there as it came in, and once more as it left, with what became of it as its comment. Of what leaves, the link-layer
addresses are those of before. Without a service also packets that belong to none, such as ICMP errors, are captured.

At most 10,000 packets a second, and one capture at a time; what is too much is counted. A capture that is killed leaves
nothing switched on: the kernel ends it after two seconds.";

#[derive(Debug, Args)]
pub(crate) struct CaptureOptions {
    /// Only packets of this service.
    pub(crate) service: Option<String>,

    /// Write a pcapng file in place of lines; - is standard output.
    #[arg(long, short, value_name = "FILE")]
    pub(crate) write: Option<PathBuf>,

    /// End after so many packets.
    #[arg(long, short, value_parser = clap::value_parser!(u64).range(1..))]
    pub(crate) count: Option<u64>,

    /// End after so many seconds.
    #[arg(long, value_parser = clap::value_parser!(u64).range(1..))]
    pub(crate) seconds: Option<u64>,

    /// Capture at most so many bytes of each packet.
    #[arg(long, value_name = "BYTES", default_value_t = 2048, value_parser = clap::value_parser!(u32).range(1..=2048))]
    pub(crate) snaplen: u32,

    #[command(flatten)]
    pub(crate) connect: Connect,
}
