//! What can be asked of `fulcrum upgrade-binary`, and of `fulcrum hook`, for upgrades that something else does.

use super::Connect;
use super::overrides::deadline;
use clap::{Args, ValueEnum};
use std::path::PathBuf;
use std::time::Duration;

pub(super) const UPGRADE_HELP: &str = "\
Examples:
  fulcrum upgrade-binary ./fulcrum-0.2.0
  fulcrum upgrade-binary ./fulcrum-0.2.0 --deadline 30m
  fulcrum upgrade-binary ./fulcrum-0.2.0 --in-place
  fulcrum upgrade-binary ./fulcrum-0.2.0 --installed /opt/fulcrum/fulcrum --restart 'rc-service fulcrum restart'

On the node itself, as root, one node after the other:
  1. the new binary must run here and take the configuration file, else nothing is changed
  2. hooks with `before-upgrade` are run, which may hold it up or abort it; `after-upgrade` is told at the end, whatever came of it
  3. the node is drained: another leads each of its groups, and the connections that it proxies end by themselves, or at the
     deadline. Flows that the kernel forwards go on, at the other node
  4. the binary is replaced, and the daemon restarted
  5. it must answer with the new version, be ready and have its links up again; else the binary before is put back and
     restarted, and the exit code is 1
  6. the drain ends

If this command is killed the node stays drained, and the others serve: run it again, or 'fulcrum undrain lb-node NAME'.

With --in-place, and by itself where no other node could lead, 3 to 6 are instead:
  3. the binary is replaced, and the daemon starts the one that is installed where it was itself
  4. the new process reads the configuration, looks at every backend, gets all listening sockets, and leads beside the old one. If
     it ends, fails, or takes longer than --ready, it is killed: the binary before is put back, the exit code is 1, and the old
     process has missed nothing
  5. it takes all new clients. The old process finishes its connections, until --deadline at the latest; 'fulcrum status' shows
     them. Until then another upgrade in place is refused";

#[derive(Debug, Args)]
pub(crate) struct UpgradeOptions {
    /// The new binary.
    pub(crate) new: PathBuf,

    /// When connections that this node proxies still are cut: 30s, 5m, 1h.
    #[arg(long, value_name = "TIME", default_value = "5m", value_parser = deadline)]
    pub(crate) deadline: Duration,

    /// How long the new daemon may take until it is ready.
    #[arg(long, value_name = "TIME", default_value = "60s", value_parser = deadline)]
    pub(crate) ready: Duration,

    /// The new process takes over from the old one on this very node: no other node is needed, and what this one leads it
    /// goes on leading. By itself where no other node could lead.
    #[arg(long, conflicts_with_all = ["restart", "forced"])]
    pub(crate) in_place: bool,

    /// How the daemon is restarted; run by `sh -c`.
    #[arg(long, value_name = "COMMAND", default_value = "systemctl restart fulcrum")]
    pub(crate) restart: String,

    /// The binary that is installed [default: this one].
    #[arg(long, value_name = "FILE")]
    pub(crate) installed: Option<PathBuf>,

    /// Drain it even if that harms this group of class control-plane; several times.
    #[arg(long = "force", value_name = "GROUP")]
    pub(crate) forced: Vec<String>,

    #[command(flatten)]
    pub(crate) connect: Connect,
}

pub(super) const HOOK_HELP: &str = "\
Examples:
  fulcrum hook before-upgrade --cause 'new VM image'
  fulcrum hook after-upgrade --cause 'new VM image'

'before-upgrade' waits for the hooks, and fails if one holds it up or aborts it; 'after-upgrade' does not wait. 'fulcrum upgrade-binary'
and 'fulcrum roll' do both by themselves, and 'fulcrum drain' those around a drain.";

/// Around an upgrade.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(crate) enum UpgradeEvent {
    /// Nothing has changed yet.
    BeforeUpgrade,
    /// The node is ready again, or it was given up.
    AfterUpgrade,
}

#[derive(Debug, Args)]
pub(crate) struct HookOptions {
    /// What.
    pub(crate) event: UpgradeEvent,

    /// What does it, as hooks are told.
    #[arg(long, value_name = "TEXT", default_value = "operator")]
    pub(crate) cause: String,

    /// The version that is to run, or runs.
    #[arg(long, value_name = "VERSION")]
    pub(crate) to: Option<String>,

    /// Go on whatever the hooks say.
    #[arg(long)]
    pub(crate) force: bool,

    /// It was given up: what ran before runs.
    #[arg(long)]
    pub(crate) abandoned: bool,

    #[command(flatten)]
    pub(crate) connect: Connect,
}
