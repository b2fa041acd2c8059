//! What can be asked of `fulcrum replace`.

use super::roll::Common;
use clap::Args;
use std::path::PathBuf;

pub(super) const HELP: &str = "\
Examples:
  fulcrum replace lb-2 --inventory nodes.yaml --exec './recreate-vm {node}' --dry-run
  fulcrum replace lb-2 --inventory nodes.yaml --exec './recreate-vm {node}'
  fulcrum replace lb-2 --inventory nodes.yaml --exec './recreate-vm {node} {backup}' --backup /var/backups/fulcrum
  fulcrum replace lb-2 --inventory nodes.yaml --resume

nodes.yaml is that of `fulcrum roll`, and the command, too: it makes the machine anew with its address, its configuration file
and its key, and must bear that nothing is left of it. With --backup it is given one (`{backup}`), to say `fulcrum restore`
there before it starts the daemon.

All other nodes are to be ready; nobody may hear the lost one any more; your command; it is to answer, ready and in sync with
the others; each group is to have one leader. It says how long that took, and which groups had no standby meanwhile.

A node that is only silent to this machine may live. So may one that is cut off from all others: then it leads for those that
it reaches. The command is to make sure that the old machine is off.

It stops at what goes wrong, with exit code 1, and --resume goes on there: how far it is stands in nodes.yaml.replace.";

#[derive(Debug, Args)]
pub(crate) struct ReplaceOptions {
    /// The node that was lost.
    #[arg(value_name = "NODE")]
    pub(crate) node: String,

    #[command(flatten)]
    pub(crate) common: Common,

    /// A backup of it, which `{backup}` stands for in the command; of a directory the newest of that node.
    #[arg(long, value_name = "PATH")]
    pub(crate) backup: Option<PathBuf>,

    /// Replace it even if it lives; connections that it proxies break.
    #[arg(long)]
    pub(crate) force: bool,
}
