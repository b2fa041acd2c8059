//! What can be asked of `fulcrum roll`.

use clap::Args;
use std::path::PathBuf;
use std::time::Duration;

pub(super) const HELP: &str = "\
Examples:
  fulcrum roll --inventory nodes.yaml --exec './recreate-vm {node}' --dry-run
  fulcrum roll --inventory nodes.yaml --exec './recreate-vm {node}'
  fulcrum roll --inventory nodes.yaml --resume
  fulcrum roll --inventory nodes.yaml --exec './vm {action} {node}' --surge 1

nodes.yaml says how `fulcrum` is run for each node, as words or as a list of words; no shell reads them:
  nodes:
    - name: lb-1
      fulcrum: ssh -o BatchMode=yes root@10.0.0.11 fulcrum
    - name: lb-2
      fulcrum: [ssh, -o, BatchMode=yes, root@10.0.0.12, fulcrum]

Those that lead fewest groups come first. Of each: all others are to be ready; preflight; backup; drain; its connections
finish; your command; it is to answer, ready and in sync; undrain; each group is to have one leader. Never two at once.

With --surge 1 a further node is made first by your command ({action} is create), and leads its part; then the others are changed
({action} is recreate); then it is emptied and removed ({action} is remove). In nodes.yaml it has `surge: true`; in `nodes` of
the configuration it stands all the time. For groups without `vrid`.

It stops at what goes wrong, with exit code 1, and --resume goes on there: how far it is stands in nodes.yaml.roll. A
command that was begun and did not end well is run again, so it must bear that. Ctrl-C stops it; a command that runs is
let end, unless it is pressed twice.";

/// What `roll` and `replace` have in common.
#[derive(Debug, Args)]
pub(crate) struct Common {
    /// The nodes, and how `fulcrum` is run for each.
    #[arg(long, value_name = "FILE")]
    pub(crate) inventory: PathBuf,

    /// What makes a node anew, as words; `{node}` stands for its name. It ends with 0 once the node is on its way.
    #[arg(long, value_name = "COMMAND")]
    pub(crate) exec: Option<String>,

    /// How long the command may take.
    #[arg(long, value_name = "TIME", default_value = "30m", value_parser = fulcrum_config::duration)]
    pub(crate) exec_deadline: Duration,

    /// How long a node that was made anew may take until it is ready and in sync.
    #[arg(long, value_name = "TIME", default_value = "10m", value_parser = fulcrum_config::duration)]
    pub(crate) ready_deadline: Duration,

    /// Go on with what stopped, or whose machine crashed; all else is as it was asked for then.
    #[arg(long)]
    pub(crate) resume: bool,

    /// Print the plan, and whether it would begin; do nothing.
    #[arg(long, conflicts_with = "resume")]
    pub(crate) dry_run: bool,

    /// Where it is kept how far it is [default: beside the inventory, with .roll or .replace].
    #[arg(long, value_name = "FILE")]
    pub(crate) journal: Option<PathBuf>,

    /// Print a JSON object in each line, for programs.
    #[arg(long)]
    pub(crate) json: bool,
}

#[derive(Debug, Args)]
pub(crate) struct RollOptions {
    #[command(flatten)]
    pub(crate) common: Common,

    /// How long proxied connections may go on before the node is changed all the same.
    #[arg(long, value_name = "TIME", default_value = "5m", value_parser = fulcrum_config::duration)]
    pub(crate) deadline: Duration,

    /// Make so many further nodes first (`surge: true` in the inventory), and remove them at the end: as many nodes are ready all
    /// the while as were before. `{action}` in the command says what is to be done: create, recreate or remove.
    #[arg(long, value_name = "N", default_value_t = 0, hide_default_value = true)]
    pub(crate) surge: u8,

    /// Do not ask `fulcrum preflight` of each node first.
    #[arg(long)]
    pub(crate) no_preflight: bool,
}
