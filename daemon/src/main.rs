//! The fulcrum command: the only binary.
//!
//! [`cli`] says what can be asked, `commands` does it. `fulcrum run` is the daemon: [`engines`] starts the
//! engines, [`node`] holds the running configuration, [`admin`] is how operators reach it, [`metrics`]
//! what others measure of it.

mod admin;
mod backup;
mod capture;
mod cli;
mod client;
mod commands;
mod diagnose;
mod engines;
mod error;
mod explain;
mod hooks;
mod inplace;
mod kubernetes;
mod last_good;
mod lock;
mod logging;
mod metrics;
mod node;
mod preflight;
mod program;
mod roll;
mod runs;
mod show;
mod sys;
mod systemd;
mod watch;
mod wire;
mod witness;

use clap::Parser;
use std::process::ExitCode;

fn main() -> ExitCode {
    // The guard must start fast and own nothing: no runtime, no command line, no log.
    if std::env::args_os().nth(1).is_some_and(|argument| argument == engines::GUARD) {
        return engines::guard_main();
    }
    commands::dispatch(cli::Cli::parse())
}
