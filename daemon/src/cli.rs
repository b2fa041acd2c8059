//! What can be asked of the command.

pub(crate) mod backup;
pub(crate) mod config;
pub(crate) mod drill;
pub(crate) mod handover;
pub(crate) mod init;
pub(crate) mod inspect;
pub(crate) mod overrides;
pub(crate) mod replace;
pub(crate) mod roll;
pub(crate) mod source;
pub(crate) mod upgrade;

use clap::{Args, Parser, Subcommand};
use std::path::PathBuf;

const EXIT_CODES: &str = "\
Exit codes:
  0  done
  1  refused or failed; the message says what happened, what it affects and what to do
  2  the command line is wrong
  3  no daemon could be reached
  4  this user may not do that";

/// Answers for virtual addresses, in pairs, and spreads their connections over healthy servers.
#[derive(Debug, Parser)]
#[command(name = "fulcrum", version, after_help = EXIT_CODES, subcommand_required = true)]
pub(crate) struct Cli {
    #[command(subcommand)]
    pub(crate) command: Command,
}

#[derive(Debug, Subcommand)]
pub(crate) enum Command {
    /// Runs the daemon in the foreground.
    #[command(after_help = config::RUN_HELP)]
    Run(config::RunOptions),

    /// Shows who leads each group since when and why, services, and backends with the reason of their state.
    #[command(after_help = inspect::STATUS_HELP)]
    Status(inspect::StatusOptions),

    /// Reads the configuration again and applies the difference; a bad file is refused whole.
    #[command(after_help = config::RELOAD_HELP)]
    Reload(config::ReloadOptions),

    /// Checks a configuration file without applying it.
    #[command(after_help = config::CHECK_HELP)]
    Check(config::CheckOptions),

    /// Tells in words who answers for a VIP or a service and why, and where its connections go.
    #[command(after_help = inspect::EXPLAIN_HELP)]
    Explain(inspect::ExplainOptions),

    /// Looks whether a node with this configuration can go live on this machine: links, neighbours, peers, backends, clusters.
    #[command(after_help = inspect::PREFLIGHT_HELP)]
    Preflight(inspect::PreflightOptions),

    /// Shows packets of forwarded services as they come in and leave, and what becomes of each. As root.
    #[command(after_help = inspect::CAPTURE_HELP)]
    Capture(inspect::CaptureOptions),

    /// Writes all that this node needs to be what it is into one file: configuration, what it keeps, its key.
    #[command(after_help = backup::BACKUP_HELP)]
    Backup(backup::BackupOptions),

    /// Lists the backups that are kept on this node, the newest last.
    #[command(after_help = backup::BACKUPS_HELP)]
    Backups(backup::BackupsOptions),

    /// Brings a node back from a backup, on a bare machine, too. As root, while no daemon runs.
    #[command(after_help = backup::RESTORE_HELP)]
    Restore(backup::RestoreOptions),

    /// Names the broken link, and gathers all that somebody else needs to see it into one archive, without secrets.
    #[command(after_help = inspect::DIAGNOSE_HELP)]
    Diagnose(inspect::DiagnoseOptions),

    /// Prints the JSON Schema of the configuration file, for editors.
    #[command(after_help = "\
Example:
  fulcrum schema > fulcrum.schema.json
  # first line of fulcrum.yaml: # yaml-language-server: $schema=./fulcrum.schema.json")]
    Schema,

    /// Makes the peer lead a group (before work on this node).
    #[command(after_help = handover::HELP)]
    Handover(handover::HandoverOptions),

    /// Takes a node, a backend or a pool out of use gently: what is there ends by itself, nothing new comes.
    #[command(after_help = overrides::DRAIN_HELP)]
    Drain(overrides::DrainOptions),

    /// Takes back what `drain` or `disable` asked for.
    #[command(visible_alias = "enable", after_help = overrides::UNDRAIN_HELP)]
    Undrain(overrides::UndrainOptions),

    /// Takes a backend out of use at once: no new connections, and those that it has are closed within five seconds.
    #[command(after_help = overrides::DISABLE_HELP)]
    Disable(overrides::DisableOptions),

    /// Gives a backend another weight than the file says, or the file's again.
    #[command(after_help = overrides::WEIGHT_HELP)]
    Weight(overrides::WeightOptions),

    /// Replaces the installed binary by another version, without a failed request: another node leads meanwhile, or the new
    /// process takes over from the old one on this node.
    #[command(after_help = upgrade::UPGRADE_HELP)]
    UpgradeBinary(upgrade::UpgradeOptions),

    /// Runs this node's hooks before an upgrade that you make yourself, or has them told that it is over.
    #[command(after_help = upgrade::HOOK_HELP)]
    Hook(upgrade::HookOptions),

    /// Shows what operators have asked for over the file: who, since when, until when, and what is left.
    #[command(after_help = overrides::OVERRIDES_HELP)]
    Overrides(overrides::ListOptions),

    /// Shows and sets services that come from outside the file: from a controller or a script.
    #[command(after_help = source::HELP)]
    Source(source::SourceArguments),

    /// Changes all nodes, one after another: each is emptied, changed by your command, and waited for.
    #[command(after_help = roll::HELP)]
    Roll(roll::RollOptions),

    /// Replaces a node that was lost: it is made anew by your command, and waited for until it is ready and in sync.
    #[command(after_help = replace::HELP)]
    Replace(replace::ReplaceOptions),

    /// Makes a node lose its groups on purpose, and measures from a client's place what was lost.
    #[command(after_help = drill::HELP)]
    Drill(drill::DrillArguments),

    /// Makes this node's private key for the peer link if there is none, and prints its pin for `keys` in `nodes`.
    #[command(after_help = "\
Examples:
  fulcrum peer-key
  fulcrum peer-key /etc/fulcrum/peer.key.new

The file is of mode 0600 and never leaves the node; the pin is public. To replace a key without an outage:
  1. make the new one as above, write its pin beside the old one in the files of all nodes, reload
  2. mv /etc/fulcrum/peer.key.new /etc/fulcrum/peer.key && fulcrum reload
  3. take the old pin out of the files of all nodes, reload")]
    PeerKey {
        /// The file.
        #[arg(value_name = "FILE", default_value = fulcrum_config::PeerLink::KEY)]
        file: PathBuf,
    },

    /// Writes a commented, working configuration file and a private key for each node.
    #[command(subcommand)]
    Init(init::Init),

    /// Prints the version.
    Version,

    /// Prints a completion script for a shell.
    #[command(after_help = "\
Example:
  fulcrum completions bash > /etc/bash_completion.d/fulcrum")]
    Completions {
        /// The shell.
        shell: clap_complete::Shell,
    },
}

#[derive(Debug, Clone, Args)]
pub(crate) struct Connect {
    /// The daemon's admin socket [default: /run/fulcrum/admin.sock, or what --config says].
    #[arg(long, env = "FULCRUM_SOCKET", value_name = "PATH")]
    pub(crate) socket: Option<PathBuf>,

    /// Take the admin socket from this configuration file.
    #[arg(long, value_name = "FILE")]
    pub(crate) config: Option<PathBuf>,
}
