//! What can be asked of `fulcrum backup`, `backups` and `restore`.

use super::Connect;
use super::config::{CONFIG_FILE, ConfigFile};
use crate::backup::seal::VARIABLE;
use clap::Args;
use std::path::PathBuf;

pub(super) const BACKUP_HELP: &str = "\
Examples:
  fulcrum backup
  fulcrum backup --to lb-1.backup --passphrase-file passphrase.txt
  fulcrum backups

Without --to it goes where the daemon keeps those that it makes after each change (`admin.backups` in the file): the
directory `backups` of the state directory. It is written beside, synced, read back and then given its name.

The private key of the peer link is encrypted by `age` with the first line of the passphrase's file; without a passphrase it
is left out, and that is said. The configuration stands in it as it is: the file is of mode 0600, keep it so.";

#[derive(Debug, Args)]
pub(crate) struct BackupOptions {
    /// Write this file, in place of one among those that are kept.
    #[arg(long, value_name = "FILE")]
    pub(crate) to: Option<PathBuf>,

    /// Encrypt the private key by the first line of this file [default: what the configuration says].
    #[arg(long, env = VARIABLE, value_name = "FILE")]
    pub(crate) passphrase_file: Option<PathBuf>,

    #[command(flatten)]
    pub(crate) connect: Connect,
}

pub(super) const BACKUPS_HELP: &str = "\
Examples:
  fulcrum backups
  fulcrum backups --json | jq -r '.[-1].file'";

#[derive(Debug, Args)]
pub(crate) struct BackupsOptions {
    #[command(flatten)]
    pub(crate) config: ConfigFile,

    /// Print JSON, for programs.
    #[arg(long)]
    pub(crate) json: bool,
}

pub(super) const RESTORE_HELP: &str = "\
Examples:
  fulcrum restore lb-1.backup --dry-run
  fulcrum restore lb-1.backup --passphrase-file passphrase.txt
  fulcrum restore /var/lib/fulcrum/backups/000007-lb-1-20260102T030405Z.backup --replace

Refused, and nothing is written: a file that is damaged; while a daemon runs here; on a machine that is another node of the same
configuration; if a peer, asked over the peer link, says that a node of this name lives; if symbolic links or foreign files
are in the way.

The node comes back as standby where another leads, and takes from its peers what is newer than the backup. To bring back an
older configuration to a cluster that runs, put the file in its place and say `fulcrum reload`.";

#[derive(Debug, Args)]
pub(crate) struct RestoreOptions {
    /// The backup.
    pub(crate) file: PathBuf,

    /// Where the configuration file is to stand.
    #[arg(long, value_name = "FILE", default_value = CONFIG_FILE)]
    pub(crate) config: PathBuf,

    /// Say what would be written, and what the peers say to it; write nothing.
    #[arg(long)]
    pub(crate) dry_run: bool,

    /// The first line of this file opens the private key.
    #[arg(long, env = VARIABLE, value_name = "FILE")]
    pub(crate) passphrase_file: Option<PathBuf>,

    /// Leave the private key out: the node needs a new one.
    #[arg(long)]
    pub(crate) without_key: bool,

    /// Replace files that are there and say something else; a backup of them is made first.
    #[arg(long)]
    pub(crate) replace: bool,

    /// Although a peer says that the node lives, or this machine has the name of another node.
    #[arg(long)]
    pub(crate) force: bool,
}
