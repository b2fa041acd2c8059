//! What can be asked of `fulcrum drain`, `undrain`, `disable`, `weight` and `overrides`.

use super::Connect;
use clap::{Args, ValueEnum};
use fulcrum_config::Weight;
use std::time::Duration;

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

pub(super) const DRAIN_HELP: &str = "\
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
would leave the control plane without a backend or without a node that is ready is refused unless `--force` names the group.";

#[derive(Debug, Args)]
pub(crate) struct DrainOptions {
    /// What.
    pub(crate) kind: Kind,

    /// Its name.
    pub(crate) name: String,

    /// When connections that are left are closed: 30s, 5m, 1h [default: never; of a node: what `drain` of its groups says].
    #[arg(long, value_name = "TIME", value_parser = deadline)]
    pub(crate) deadline: Option<Duration>,

    /// Show what is left, until nothing is.
    #[arg(long)]
    pub(crate) wait: bool,

    #[command(flatten)]
    pub(crate) options: OverrideOptions,
}

pub(super) const UNDRAIN_HELP: &str = "\
Examples:
  fulcrum undrain backend web-1
  fulcrum undrain lb-node lb-1";

#[derive(Debug, Args)]
pub(crate) struct UndrainOptions {
    /// What.
    pub(crate) kind: Kind,

    /// Its name, as for `drain`.
    pub(crate) name: String,

    #[command(flatten)]
    pub(crate) options: OverrideOptions,
}

pub(super) const DISABLE_HELP: &str = "\
Example:
  fulcrum disable backend shop/web-1

'fulcrum undrain backend shop/web-1' ends it. Its checks go on.";

#[derive(Debug, Args)]
pub(crate) struct DisableOptions {
    /// What.
    pub(crate) kind: OfBackend,

    /// Its name, as for `drain`.
    pub(crate) name: String,

    /// Show what is left, until nothing is.
    #[arg(long)]
    pub(crate) wait: bool,

    #[command(flatten)]
    pub(crate) options: OverrideOptions,
}

pub(super) const WEIGHT_HELP: &str = "\
Examples:
  fulcrum weight backend shop/web-1 5
  fulcrum weight backend shop/web-1          # that of the file again

Connections that are there stay where they are.";

#[derive(Debug, Args)]
pub(crate) struct WeightOptions {
    /// What.
    pub(crate) kind: OfBackend,

    /// Its name, as for `drain`.
    pub(crate) name: String,

    /// 0 to 256; without it, that of the file.
    #[arg(value_parser = weight)]
    pub(crate) weight: Option<Weight>,

    #[command(flatten)]
    pub(crate) options: OverrideOptions,
}

pub(super) const OVERRIDES_HELP: &str = "\
Examples:
  fulcrum overrides
  fulcrum overrides --json | jq -r '.[] | select(.connections > 0) | .of'";

#[derive(Debug, Args)]
pub(crate) struct ListOptions {
    #[command(flatten)]
    pub(crate) connect: Connect,

    /// Print JSON, for programs.
    #[arg(long)]
    pub(crate) json: bool,
}

/// At most a year, in whole seconds.
pub(super) fn deadline(text: &str) -> Result<Duration, String> {
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
