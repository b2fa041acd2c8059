//! What can be asked of `fulcrum run`, `check` and `reload`, which go by the configuration file.

use super::Connect;
use clap::Args;
use std::path::PathBuf;

/// Where the configuration is unless said otherwise.
pub(crate) const CONFIG_FILE: &str = "/etc/fulcrum/fulcrum.yaml";

#[derive(Debug, Args)]
pub(crate) struct ConfigFile {
    /// The configuration file.
    #[arg(value_name = "FILE", default_value = CONFIG_FILE)]
    pub(crate) file: PathBuf,

    /// The same, as an option.
    #[arg(long = "config", value_name = "FILE", conflicts_with = "file")]
    pub(crate) option: Option<PathBuf>,
}

impl ConfigFile {
    pub(crate) fn path(&self) -> &PathBuf {
        self.option.as_ref().unwrap_or(&self.file)
    }
}

pub(super) const RUN_HELP: &str = "\
Examples:
  fulcrum run
  fulcrum run /etc/fulcrum/test.yaml
  FULCRUM_LOG=debug fulcrum run

Signals: SIGTERM and SIGINT hand every VIP over and stop (a second one stops at once); SIGHUP reloads.";

#[derive(Debug, Args)]
pub(crate) struct RunOptions {
    #[command(flatten)]
    pub(crate) config: ConfigFile,

    /// Takes over from the daemon that has started this process.
    #[arg(long, hide = true)]
    pub(crate) take_over: bool,
}

pub(super) const CHECK_HELP: &str = "\
Examples:
  fulcrum check
  fulcrum check /tmp/new.yaml
  fulcrum check --json /tmp/new.yaml";

#[derive(Debug, Args)]
pub(crate) struct CheckOptions {
    #[command(flatten)]
    pub(crate) config: ConfigFile,

    /// Print the mistakes as JSON, for programs.
    #[arg(long)]
    pub(crate) json: bool,
}

pub(super) const RELOAD_HELP: &str = "\
Examples:
  fulcrum check && fulcrum reload
  fulcrum reload --dry-run
  systemctl reload fulcrum

The peers whose links are up are asked first: it is applied on all of them or on none; their own files are left alone. A
peer that can't be reached catches up when it can.

Prints the difference that was applied, and how long that took. If the file is refused, here or by a peer, the running
configuration stays, the mistakes are printed and the exit code is 1.

A file that harms a group of class control-plane (takes away the group, an address, a service, its backends or its last
standby) is refused unless `--force` names that group.";

#[derive(Debug, Args)]
pub(crate) struct ReloadOptions {
    #[command(flatten)]
    pub(crate) connect: Connect,

    /// Print what would change and what that would touch, and apply nothing.
    #[arg(long)]
    pub(crate) dry_run: bool,

    /// Apply it even if it harms this group of class control-plane; several times.
    #[arg(long = "force", value_name = "GROUP")]
    pub(crate) forced: Vec<String>,

    /// Apply it even if services lose addresses that they have from pools; they get others, which are named.
    #[arg(long)]
    pub(crate) give_up_addresses: bool,

    /// Apply it on this node alone, although its peers could be asked.
    #[arg(long)]
    pub(crate) local: bool,

    /// Print the answer as JSON, for programs.
    #[arg(long)]
    pub(crate) json: bool,
}
