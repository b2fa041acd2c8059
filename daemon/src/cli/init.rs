//! What can be asked of `fulcrum init`.

use clap::{Args, Subcommand};
use fulcrum_config::KeyPin;
use fulcrum_config::init::NodeOption;
use ipnet::IpNet;
use std::net::{IpAddr, SocketAddr};
use std::path::PathBuf;

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

fn server(text: &str) -> Result<SocketAddr, String> {
    text.parse().map_err(|_| "write address:port, such as 10.0.0.21:8080 or [2001:db8::21]:8080".to_owned())
}

fn address(text: &str) -> Result<IpAddr, String> {
    text.parse().map_err(|_| "write an address, such as 10.0.0.100 or 2001:db8::100".to_owned())
}

fn network(text: &str) -> Result<IpNet, String> {
    text.parse().map_err(|_| "write a network and its length, such as 10.0.0.0/24".to_owned())
}
