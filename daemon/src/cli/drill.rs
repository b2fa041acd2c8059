//! What can be asked of `fulcrum drill`.

use clap::{Args, Subcommand};
use std::path::PathBuf;
use std::time::Duration;

pub(super) const HELP: &str = "\
Examples:
  fulcrum drill --inventory nodes.yaml --dry-run
  fulcrum drill --inventory nodes.yaml
  fulcrum drill api --kill --inventory nodes.yaml
  fulcrum drill api --cut --for 15s --inventory nodes.yaml --yes
  fulcrum drill history --inventory nodes.yaml

Run it where a client is: on a machine that reaches the VIPs as clients do, and is no node of the load balancer. nodes.yaml
says how `fulcrum` is run for each node, as for 'fulcrum roll'; list all nodes in it.

  --handover  a planned handover, as 'fulcrum handover': harmless
  --kill      the daemon of the node that leads is killed (SIGKILL); systemd starts it again
  --cut       that node sends and hears nothing by all interfaces of its configuration for a while; the kernel itself ends it

A client's TCP connections to each service of the group are opened every few milliseconds, ten are held open, and it is said
for how long none was answered, how many failed, and how many of those held broke. --kill and --cut hit every group that the
node leads. It is refused before anything is touched if a node is not ready, came up less than a minute ago, or is drained,
or while a roll or another drill is under way. Each drill is a line in nodes.yaml.drills.";

#[derive(Debug, Args)]
#[command(args_conflicts_with_subcommands = true, subcommand_negates_reqs = true)]
pub(crate) struct DrillArguments {
    #[command(subcommand)]
    pub(crate) other: Option<OtherDrill>,

    #[command(flatten)]
    pub(crate) options: DrillOptions,
}

#[derive(Debug, Args)]
pub(crate) struct DrillOptions {
    /// The group [default: all that the node leads].
    pub(crate) group: Option<String>,

    /// The nodes, and how `fulcrum` is run for each.
    #[arg(long, value_name = "FILE", required = true)]
    pub(crate) inventory: Option<PathBuf>,

    /// A planned handover; so it is unless another is named.
    #[arg(long, group = "kind")]
    pub(crate) handover: bool,

    /// The daemon of the node that leads is killed.
    #[arg(long, group = "kind")]
    pub(crate) kill: bool,

    /// The node that leads is cut off from its networks for a while.
    #[arg(long, group = "kind")]
    pub(crate) cut: bool,

    /// How long it is cut off: 1s to 60s.
    #[arg(long = "for", value_name = "TIME", default_value = "10s", value_parser = lasting)]
    pub(crate) lasts: Duration,

    /// The node that is struck, if no group is named and more than one node leads.
    #[arg(long, value_name = "NODE", conflicts_with = "group")]
    pub(crate) node: Option<String>,

    /// Time between two connections: 1ms to 1s.
    #[arg(long, value_name = "TIME", default_value = "1ms", value_parser = interval)]
    pub(crate) interval: Duration,

    /// A connection that is not open after this time has failed: 5ms to 500ms, well above the round trip.
    #[arg(long, value_name = "TIME", default_value = "200ms", value_parser = patience)]
    pub(crate) timeout: Duration,

    /// How long each node must have been up.
    #[arg(long, value_name = "TIME", default_value = "60s", value_parser = fulcrum_config::duration)]
    pub(crate) min_uptime: Duration,

    /// Although the moment is unsafe for this group; several times.
    #[arg(long = "force", value_name = "GROUP")]
    pub(crate) forced: Vec<String>,

    /// Say what would be done, and whether it is safe now; do nothing.
    #[arg(long)]
    pub(crate) dry_run: bool,

    /// Do not ask first.
    #[arg(long)]
    pub(crate) yes: bool,

    /// Print the result as JSON, for programs.
    #[arg(long)]
    pub(crate) json: bool,

    /// Where drills are kept [default: beside the inventory, with .drills].
    #[arg(long, value_name = "FILE")]
    pub(crate) history: Option<PathBuf>,
}

#[derive(Debug, Subcommand)]
pub(crate) enum OtherDrill {
    /// Shows the drills of before, the newest last, and the median and the worst of each kind.
    History(HistoryOptions),

    /// Run on the node by `fulcrum drill`: kills its daemon or cuts it off.
    #[command(hide = true)]
    Strike(StrikeOptions),
}

#[derive(Debug, Args)]
pub(crate) struct HistoryOptions {
    /// The nodes: the history is beside it.
    #[arg(long, value_name = "FILE", required_unless_present = "history")]
    pub(crate) inventory: Option<PathBuf>,

    /// The file that holds it.
    #[arg(long, value_name = "FILE")]
    pub(crate) history: Option<PathBuf>,

    /// Print JSON, for programs.
    #[arg(long)]
    pub(crate) json: bool,
}

#[derive(Debug, Args)]
pub(crate) struct StrikeOptions {
    /// Kill the daemon.
    #[arg(long, conflicts_with = "cut", required_unless_present = "cut")]
    pub(crate) kill: bool,

    /// Cut the node off for so long.
    #[arg(long, value_name = "TIME", value_parser = lasting)]
    pub(crate) cut: Option<Duration>,

    /// Although the moment is unsafe for this group; several times.
    #[arg(long = "force", value_name = "GROUP")]
    pub(crate) forced: Vec<String>,

    #[command(flatten)]
    pub(crate) connect: super::Connect,
}

fn lasting(text: &str) -> Result<Duration, String> {
    let time = between(text, Duration::from_secs(1), Duration::from_secs(60), "1s to 60s")?;
    if time.subsec_nanos() == 0 { Ok(time) } else { Err("write whole seconds".to_owned()) }
}

fn interval(text: &str) -> Result<Duration, String> {
    between(text, Duration::from_millis(1), Duration::from_secs(1), "1ms to 1s")
}

fn patience(text: &str) -> Result<Duration, String> {
    between(text, Duration::from_millis(5), Duration::from_millis(500), "5ms to 500ms")
}

fn between(text: &str, least: Duration, most: Duration, words: &str) -> Result<Duration, String> {
    let time = fulcrum_config::duration(text)?;
    if (least..=most).contains(&time) { Ok(time) } else { Err(format!("write {words}")) }
}
