//! What can be asked of the command.

pub(crate) mod drill;
pub(crate) mod replace;
pub(crate) mod roll;
pub(crate) mod source;

use clap::{Args, Parser, Subcommand, ValueEnum};
use fulcrum_config::init::NodeOption;
use fulcrum_config::{KeyPin, Weight};
use ipnet::IpNet;
use std::net::{IpAddr, SocketAddr};
use std::path::PathBuf;
use std::time::Duration;

/// Where the configuration is unless said otherwise.
pub(crate) const CONFIG_FILE: &str = "/etc/fulcrum/fulcrum.yaml";

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
    #[command(after_help = "\
Examples:
  fulcrum run
  fulcrum run /etc/fulcrum/test.yaml
  FULCRUM_LOG=debug fulcrum run

Signals: SIGTERM and SIGINT hand every VIP over and stop (a second one stops at once); SIGHUP reloads.")]
    Run(RunOptions),

    /// Shows who leads each group since when and why, services, and backends with the reason of their state.
    #[command(after_help = "\
Examples:
  fulcrum status
  fulcrum status --watch
  fulcrum status --json | jq '.groups[] | {name, role, since_seconds}'")]
    Status(StatusOptions),

    /// Reads the configuration again and applies the difference; a bad file is refused whole.
    #[command(after_help = "\
Examples:
  fulcrum check && fulcrum reload
  fulcrum reload --dry-run
  systemctl reload fulcrum

The peers whose links are up are asked first: it is applied on all of them or on none; their own files are left alone. A
peer that can't be reached catches up when it can.

Prints the difference that was applied, and how long that took. If the file is refused, here or by a peer, the running
configuration stays, the mistakes are printed and the exit code is 1.

A file that harms a group of class control-plane (takes away the group, an address, a service, its backends or its last
standby) is refused unless `--force` names that group.")]
    Reload(ReloadOptions),

    /// Checks a configuration file without applying it.
    #[command(after_help = "\
Examples:
  fulcrum check
  fulcrum check /tmp/new.yaml
  fulcrum check --json /tmp/new.yaml")]
    Check(CheckOptions),

    /// Tells in words who answers for a VIP or a service and why, and where its connections go.
    #[command(after_help = "\
Examples:
  fulcrum explain 10.0.0.100
  fulcrum explain shop
  fulcrum explain shop --json | jq -r '.chain[] | select(.about == \"backend\") | .text'

As this node knows it: its group and who leads that, the fence, the links to the peers, the service, and each backend with the
reason why none go there. Of a name that is not there those near it are told, and the exit code is 1.")]
    Explain(ExplainOptions),

    /// Looks whether a node with this configuration can go live on this machine: links, neighbours, peers, backends, clusters.
    #[command(after_help = "\
Examples:
  fulcrum preflight
  fulcrum preflight /tmp/new.yaml
  fulcrum preflight --json | jq -r '.lines[] | select(.state == \"failed\") | .found'

Works before the daemon was ever started, and beside one that runs. As root: it asks neighbours by ARP and ND, listens for
adverts, and asks each backend and each cluster once. It changes nothing, and takes five seconds at most.

Exit codes: 0 nothing failed (there may be warnings), 1 something failed, 2 the file is refused.")]
    Preflight(PreflightOptions),

    /// Shows packets of forwarded services as they come in and leave, and what becomes of each. As root.
    #[command(after_help = "\
Examples:
  fulcrum capture
  fulcrum capture web --count 20
  fulcrum capture web --seconds 10 --write web.pcapng
  fulcrum capture --write - | tshark -r - -V

For services in mode nat, dsr and fullnat, whose packets tcpdump does not see; on the node that leads. In a file each packet
is there as it came in, and once more as it left, with what became of it as its comment. Of what leaves, the link-layer
addresses are those of before. Without a service also packets that belong to none, such as ICMP errors, are captured.

At most 10,000 packets a second, and one capture at a time; what is too much is counted. A capture that is killed leaves
nothing switched on: the kernel ends it after two seconds.")]
    Capture(CaptureOptions),

    /// Writes all that this node needs to be what it is into one file: configuration, what it keeps, its key.
    #[command(after_help = "\
Examples:
  fulcrum backup
  fulcrum backup --to lb-1.backup --passphrase-file passphrase.txt
  fulcrum backups

Without --to it goes where the daemon keeps those that it makes after each change (`admin.backups` in the file): the
directory `backups` of the state directory. It is written beside, synced, read back and then given its name.

The private key of the peer link is encrypted by `age` with the first line of the passphrase's file; without a passphrase it
is left out, and that is said. The configuration stands in it as it is: the file is of mode 0600, keep it so.")]
    Backup(BackupOptions),

    /// Lists the backups that are kept on this node, the newest last.
    #[command(after_help = "\
Examples:
  fulcrum backups
  fulcrum backups --json | jq -r '.[-1].file'")]
    Backups(BackupsOptions),

    /// Brings a node back from a backup, on a bare machine, too. As root, while no daemon runs.
    #[command(after_help = "\
Examples:
  fulcrum restore lb-1.backup --dry-run
  fulcrum restore lb-1.backup --passphrase-file passphrase.txt
  fulcrum restore /var/lib/fulcrum/backups/000007-lb-1-20260102T030405Z.backup --replace

Refused, and nothing is written: a file that is damaged; while a daemon runs here; on a machine that is another node of the same
configuration; if a peer, asked over the peer link, says that a node of this name lives; if symbolic links or foreign files
are in the way.

The node comes back as standby where another leads, and takes from its peers what is newer than the backup. To bring back an
older configuration to a cluster that runs, put the file in its place and say `fulcrum reload`.")]
    Restore(RestoreOptions),

    /// Names the broken link, and gathers all that somebody else needs to see it into one archive, without secrets.
    #[command(after_help = "\
Examples:
  fulcrum diagnose
  fulcrum diagnose --to /tmp/for-support.tar.gz
  fulcrum diagnose --json --no-archive | jq -r '.findings[] | .text'

Prints what is broken, the worst first: configuration, peer, group, election, neighbour, plane, backend; then the daemon's alarms.
In the archive are that, status, metrics, the chain of each service, preflight, the configuration, the end of the log, addresses,
routes, neighbours, settings and versions. Keys, passwords, headers and what stands in files that the configuration names as secret
are not: they read REDACTED. Names and addresses are. Look into it before you send it.

Works without a daemon, too, and says so. As root; it changes nothing, and takes ten seconds at most.")]
    Diagnose(DiagnoseOptions),

    /// Prints the JSON Schema of the configuration file, for editors.
    #[command(after_help = "\
Example:
  fulcrum schema > fulcrum.schema.json
  # first line of fulcrum.yaml: # yaml-language-server: $schema=./fulcrum.schema.json")]
    Schema,

    /// Makes the peer lead a group (before work on this node).
    #[command(after_help = "\
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
it goes only where a node is known to be ready. `--force` with its name moves a group all the same.")]
    Handover(HandoverOptions),

    /// Takes a node, a backend or a pool out of use gently: what is there ends by itself, nothing new comes.
    #[command(after_help = "\
Examples:
  fulcrum drain backend web-1 --deadline 5m --wait
  fulcrum drain backend shop/10.0.0.21:8080
  fulcrum drain backend 10.0.0.21
  fulcrum drain lb-node lb-1 --wait
  fulcrum drain pool public

A backend keeps its connections and gets no new ones; at the deadline those that are left are closed. It is named as SERVICE/BACKEND;
by its name or address alone it is meant in every service.

A node leaves all groups and takes none as long as another can lead them; those of class control-plane one after the other, each
when another node is ready. Its deadline says how long it finishes the connections that it proxies. A pool hands out no address.

It is kept on all nodes, across reloads, restarts and takeovers, until 'fulcrum undrain'; 'fulcrum overrides' shows what is left. What
would leave the control plane without a backend or without a node that is ready is refused unless `--force` names the group.")]
    Drain {
        /// What.
        kind: Kind,

        /// Its name.
        name: String,

        /// When connections that are left are closed: 30s, 5m, 1h [default: never; of a node: what `drain` of its groups says].
        #[arg(long, value_name = "TIME", value_parser = deadline)]
        deadline: Option<Duration>,

        /// Show what is left, until nothing is.
        #[arg(long)]
        wait: bool,

        #[command(flatten)]
        options: OverrideOptions,
    },

    /// Takes back what `drain` or `disable` asked for.
    #[command(
        visible_alias = "enable",
        after_help = "\
Examples:
  fulcrum undrain backend web-1
  fulcrum undrain lb-node lb-1"
    )]
    Undrain {
        /// What.
        kind: Kind,

        /// Its name, as for `drain`.
        name: String,

        #[command(flatten)]
        options: OverrideOptions,
    },

    /// Takes a backend out of use at once: no new connections, and those that it has are closed within five seconds.
    #[command(after_help = "\
Example:
  fulcrum disable backend shop/web-1

'fulcrum undrain backend shop/web-1' ends it. Its checks go on.")]
    Disable {
        /// What.
        kind: OfBackend,

        /// Its name, as for `drain`.
        name: String,

        /// Show what is left, until nothing is.
        #[arg(long)]
        wait: bool,

        #[command(flatten)]
        options: OverrideOptions,
    },

    /// Gives a backend another weight than the file says, or the file's again.
    #[command(after_help = "\
Examples:
  fulcrum weight backend shop/web-1 5
  fulcrum weight backend shop/web-1          # that of the file again

Connections that are there stay where they are.")]
    Weight {
        /// What.
        kind: OfBackend,

        /// Its name, as for `drain`.
        name: String,

        /// 0 to 256; without it, that of the file.
        #[arg(value_parser = weight)]
        weight: Option<Weight>,

        #[command(flatten)]
        options: OverrideOptions,
    },

    /// Replaces the installed binary by another version, without a failed request: another node leads meanwhile, or the new
    /// process takes over from the old one on this node.
    #[command(after_help = "\
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
     them. Until then another upgrade in place is refused")]
    UpgradeBinary(UpgradeOptions),

    /// Runs this node's hooks before an upgrade that you make yourself, or has them told that it is over.
    #[command(after_help = "\
Examples:
  fulcrum hook before-upgrade --cause 'new VM image'
  fulcrum hook after-upgrade --cause 'new VM image'

'before-upgrade' waits for the hooks, and fails if one holds it up or aborts it; 'after-upgrade' does not wait. 'fulcrum upgrade-binary'
and 'fulcrum roll' do both by themselves, and 'fulcrum drain' those around a drain.")]
    Hook(HookOptions),

    /// Shows what operators have asked for over the file: who, since when, until when, and what is left.
    #[command(after_help = "\
Examples:
  fulcrum overrides
  fulcrum overrides --json | jq -r '.[] | select(.connections > 0) | .of'")]
    Overrides {
        #[command(flatten)]
        connect: Connect,

        /// Print JSON, for programs.
        #[arg(long)]
        json: bool,
    },

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
    Init(Init),

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

#[derive(Debug, Clone, Args)]
pub(crate) struct Connect {
    /// The daemon's admin socket [default: /run/fulcrum/admin.sock, or what --config says].
    #[arg(long, env = "FULCRUM_SOCKET", value_name = "PATH")]
    pub(crate) socket: Option<PathBuf>,

    /// Take the admin socket from this configuration file.
    #[arg(long, value_name = "FILE")]
    pub(crate) config: Option<PathBuf>,
}

/// What can be drained.
#[derive(Debug, Clone, Copy, ValueEnum)]
pub(crate) enum Kind {
    /// A backend of one service, or of all.
    Backend,
    /// A node of this load balancer.
    LbNode,
    /// A pool of addresses.
    Pool,
}

/// What has a weight and can be disabled.
#[derive(Debug, Clone, Copy, ValueEnum)]
pub(crate) enum OfBackend {
    /// A backend of one service, or of all.
    Backend,
}

#[derive(Debug, Args)]
pub(crate) struct OverrideOptions {
    #[command(flatten)]
    pub(crate) connect: Connect,

    /// Do it even if it harms this group of class control-plane; several times.
    #[arg(long = "force", value_name = "GROUP")]
    pub(crate) forced: Vec<String>,

    /// Print the answer as JSON, for programs.
    #[arg(long)]
    pub(crate) json: bool,
}

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

#[derive(Debug, Args)]
pub(crate) struct RunOptions {
    #[command(flatten)]
    pub(crate) config: ConfigFile,

    /// Takes over from the daemon that has started this process.
    #[arg(long, hide = true)]
    pub(crate) take_over: bool,
}

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

/// At most a year, in whole seconds.
fn deadline(text: &str) -> Result<Duration, String> {
    let time = fulcrum_config::duration(text)?;
    if time.subsec_millis() > 0 || time > Duration::from_secs(365 * 86_400) {
        return Err("write whole seconds, a year at most".to_owned());
    }
    Ok(time)
}

fn weight(text: &str) -> Result<Weight, String> {
    let number = text.parse::<u16>().ok().and_then(|number| Weight::new(number).ok());
    number.ok_or_else(|| "write a number from 0 to 256".to_owned())
}

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

#[derive(Debug, Args)]
pub(crate) struct CheckOptions {
    #[command(flatten)]
    pub(crate) config: ConfigFile,

    /// Print the mistakes as JSON, for programs.
    #[arg(long)]
    pub(crate) json: bool,
}

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

#[derive(Debug, Args)]
pub(crate) struct BackupOptions {
    /// Write this file, in place of one among those that are kept.
    #[arg(long, value_name = "FILE")]
    pub(crate) to: Option<PathBuf>,

    /// Encrypt the private key by the first line of this file [default: what the configuration says].
    #[arg(long, env = crate::backup::seal::VARIABLE, value_name = "FILE")]
    pub(crate) passphrase_file: Option<PathBuf>,

    #[command(flatten)]
    pub(crate) connect: Connect,
}

#[derive(Debug, Args)]
pub(crate) struct BackupsOptions {
    #[command(flatten)]
    pub(crate) config: ConfigFile,

    /// Print JSON, for programs.
    #[arg(long)]
    pub(crate) json: bool,
}

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
    #[arg(long, env = crate::backup::seal::VARIABLE, value_name = "FILE")]
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

#[derive(Debug, Subcommand)]
pub(crate) enum Init {
    /// Two (or more) nodes in front of servers.
    #[command(after_help = "\
Example:
  fulcrum init pair --node lb-1=10.0.0.11 --node lb-2=10.0.0.12 --vip 10.0.0.100 --interface eth0 \\
      --port 80 --backend 10.0.0.21:8080 --backend 10.0.0.22:8080

Writes lb-1.yaml and lb-2.yaml; copy each to its node as /etc/fulcrum/fulcrum.yaml. Writes lb-1.key and lb-2.key, the
private keys of the link between the nodes; move each to its node as /etc/fulcrum/peer.key. Keys that are there are
kept.")]
    Pair {
        #[command(flatten)]
        site: SiteOptions,

        /// The port that clients connect to.
        #[arg(long, default_value_t = 80, value_parser = clap::value_parser!(u16).range(1..))]
        port: u16,

        /// A server, as address:port; several times.
        #[arg(long = "backend", value_name = "ADDRESS:PORT", required = true, value_parser = server)]
        backends: Vec<SocketAddr>,
    },

    /// Two (or more) nodes in front of the Kubernetes API; works before the first apiserver exists.
    #[command(after_help = "\
Example:
  fulcrum init control-plane --node lb-1=10.0.0.11 --node lb-2=10.0.0.12 \\
      --vip 10.0.0.100 --interface eth0 \\
      --apiserver 10.0.0.21 --apiserver 10.0.0.22 --apiserver 10.0.0.23

Writes lb-1.yaml and lb-2.yaml; copy each to its node as /etc/fulcrum/fulcrum.yaml. Writes lb-1.key and lb-2.key, the
private keys of the link between the nodes; move each to its node as /etc/fulcrum/peer.key. Keys that are there are
kept.")]
    ControlPlane {
        #[command(flatten)]
        site: SiteOptions,

        /// The port of the VIP and of the apiservers.
        #[arg(long, default_value_t = 6443, value_parser = clap::value_parser!(u16).range(1..))]
        port: u16,

        /// A machine with an apiserver; several times. It need not exist yet.
        #[arg(long = "apiserver", value_name = "ADDRESS", required = true, value_parser = address)]
        apiservers: Vec<IpAddr>,
    },

    /// A node that joins others, by the address and the key of one of them.
    #[command(after_help = "\
Example:
  fulcrum init join --node lb-6=10.0.0.16 --seed lb-1=10.0.0.11 \\
      --seed-key sha256:lXmoZ1C3sy9NRGzHkvNSlTxCk9vVNZ9VTWK6a0NO9mY=

Writes lb-6.yaml, its file, and lb-6.key, its private key (one that is there is kept), and prints the line that the others'
file needs: add it on one of them, and say `fulcrum reload` there. The new node gets all else from them.")]
    Join(JoinOptions),
}

/// A node that is to join others.
#[derive(Debug, Args)]
pub(crate) struct JoinOptions {
    /// The new node and its own address (or one of each family).
    #[arg(long, value_name = "NAME=ADDRESS[,ADDRESS6]")]
    pub(crate) node: NodeOption,

    /// A node that is there, by the name that it has in the file.
    #[arg(long, value_name = "NAME=ADDRESS")]
    pub(crate) seed: NodeOption,

    /// The key of that one, as `fulcrum peer-key` prints it there.
    #[arg(long, value_name = "sha256:...", value_parser = key_pin)]
    pub(crate) seed_key: KeyPin,

    /// Where the files are written.
    #[arg(long, value_name = "DIRECTORY", default_value = ".")]
    pub(crate) directory: PathBuf,

    /// Replace the file if it is there.
    #[arg(long)]
    pub(crate) force: bool,
}

fn key_pin(text: &str) -> Result<KeyPin, String> {
    text.parse().map_err(|()| "write sha256: and the digest, as `fulcrum peer-key` prints it".to_owned())
}

#[derive(Debug, Args)]
pub(crate) struct SiteOptions {
    /// A node and its own address (or one of each family); the first leads. At least twice.
    #[arg(long = "node", value_name = "NAME=ADDRESS[,ADDRESS6]", required = true)]
    pub(crate) nodes: Vec<NodeOption>,

    /// An address that moves between them; several times.
    #[arg(long = "vip", value_name = "ADDRESS", required = true, value_parser = address)]
    pub(crate) vips: Vec<IpAddr>,

    /// The interface that the VIPs live behind.
    #[arg(long)]
    pub(crate) interface: String,

    /// A network on it [default: the /24 or /64 around each VIP]; several times.
    #[arg(long = "network", value_name = "NETWORK", value_parser = network)]
    pub(crate) networks: Vec<IpNet>,

    /// The virtual router identifier, one that no other router on the network uses.
    #[arg(long, default_value_t = 51, value_parser = clap::value_parser!(u8).range(1..))]
    pub(crate) vrid: u8,

    /// Where the files are written.
    #[arg(long, value_name = "DIRECTORY", default_value = ".")]
    pub(crate) directory: PathBuf,

    /// Replace files that are there.
    #[arg(long)]
    pub(crate) force: bool,
}

fn server(text: &str) -> Result<SocketAddr, String> {
    text.parse().map_err(|_| "write address:port, such as 10.0.0.21:8080 or [2001:db8::21]:8080".to_owned())
}

fn address(text: &str) -> Result<IpAddr, String> {
    text.parse().map_err(|_| "write an address, such as 10.0.0.100 or 2001:db8::100".to_owned())
}

fn network(text: &str) -> Result<IpNet, String> {
    text.parse().map_err(|_| "write a network and its length, such as 10.0.0.0/24".to_owned())
}
