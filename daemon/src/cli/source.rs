//! What can be asked of `fulcrum source`.

use super::Connect;
use clap::{Args, Subcommand};
use std::path::PathBuf;

pub(super) const HELP: &str = "\
Examples:
  fulcrum source list
  fulcrum source set shop services.yaml
  generate-services | fulcrum source set shop -
  fulcrum source list --json | jq '.[].set_aside'
  fulcrum source remove shop

A source is what makes services for Fulcrum outside the configuration file: a controller, a script. What it says has the key
`services:` and nothing else, as in the file, with names of the form SOURCE/NAMESPACE/NAME or SOURCE/NAMESPACE/NAME:PORT:

  services:
    shop/team-a/web: {vip: auto, port: 443, backends: [10.0.0.21:8443, 10.0.0.22:8443]}

It is in force on all nodes or on none, and stays so across reloads, restarts and takeovers until the source says something else.
The file comes first: a service that collides with it, asks for an address of the control plane, or is wrong in any other way is
set aside by itself, with the reason, and all others are in force.";

#[derive(Debug, Args)]
pub(crate) struct SourceArguments {
    #[command(subcommand)]
    pub(crate) what: SourceCommand,
}

#[derive(Debug, Subcommand)]
pub(crate) enum SourceCommand {
    /// Shows the sources: how many services each has, and which are set aside and why.
    List(SourceOptions),

    /// Prints what a source says.
    Show {
        /// The source.
        name: String,

        #[command(flatten)]
        connect: Connect,
    },

    /// Has a source say what stands in a file, in place of all that it said before.
    Set {
        /// The source.
        name: String,

        /// The file; `-` is the standard input.
        file: PathBuf,

        #[command(flatten)]
        options: SourceOptions,
    },

    /// Takes a source out, with all its services.
    Remove {
        /// The source.
        name: String,

        #[command(flatten)]
        options: SourceOptions,
    },
}

#[derive(Debug, Args)]
pub(crate) struct SourceOptions {
    #[command(flatten)]
    pub(crate) connect: Connect,

    /// Print JSON, for programs.
    #[arg(long)]
    pub(crate) json: bool,
}
