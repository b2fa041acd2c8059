//! What can be asked of `fulcrum handover`.

use super::Connect;
use clap::Args;

pub(super) const HELP: &str = "\
Examples:
  fulcrum handover web
  fulcrum handover web --to lb-3
  fulcrum handover --all --wait

Refused before anything moves unless the node that would take the group is ready: link up, the same configuration, the same
backends passing its checks, tables and connections in sync. What is missing is named; it is waited for 3 s. Of nodes without a
peer link nothing is known: then that is said, and the group moves.

Resigns the group here, waits until a peer leads it, asks from outside whether it answers (by ARP or ND), and prints what
clients could have seen. If nobody takes it, this node leads it again and the exit code is 1.

Of class control-plane only one group is moved at a time: a second one waits until the first has a ready standby again, and
it goes only where a node is known to be ready. `--force` with its name moves a group all the same.";

#[derive(Debug, Args)]
pub(crate) struct HandoverOptions {
    /// The group.
    #[arg(required_unless_present = "all", conflicts_with = "all")]
    pub(crate) group: Option<String>,

    /// All groups that this node leads, one after the other, those of class control-plane last; stops at the first that is
    /// refused.
    #[arg(long)]
    pub(crate) all: bool,

    /// The node that is to lead: of a group with a VRID only the standby of the highest priority can.
    #[arg(long, value_name = "NODE")]
    pub(crate) to: Option<String>,

    /// The same name again: move this group although no ready standby is known, or another of class control-plane is moved.
    #[arg(long = "force", value_name = "GROUP")]
    pub(crate) forced: Vec<String>,

    /// Wait until this node has finished its proxied connections, or the time for that is over.
    #[arg(long)]
    pub(crate) wait: bool,

    /// Print the result as JSON, for programs.
    #[arg(long)]
    pub(crate) json: bool,

    #[command(flatten)]
    pub(crate) connect: Connect,
}
