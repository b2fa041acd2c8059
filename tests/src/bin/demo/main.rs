//! Fulcrum in a lab. The pair: two nodes hold a VIP in front of three web servers, and the leader is killed, cut off,
//! frozen and relieved before your eyes. Ends with what the client saw. With `--nodes`, as many share the groups; with
//! `--kubernetes` they serve a Service of a cluster.
#![allow(clippy::disallowed_methods, reason = "shows real processes in real time")]

mod cluster;
mod kubernetes;
mod lasting;
mod picture;
mod report;
mod story;
mod view;

use clap::Parser;
use fulcrum_tests::error::Context;
use fulcrum_tests::lab::Lab;
use fulcrum_tests::{LabError, Result};
use std::io::IsTerminal;
use std::path::PathBuf;
use std::process::ExitCode;
use std::sync::Arc;

/// Two nodes hold a VIP; watch what a client sees while the leader is killed, cut off, frozen and relieved.
#[derive(Debug, Parser)]
struct Arguments {
    /// Ask for no key: plain lines of progress, for scripts.
    #[arg(long)]
    no_wait: bool,

    /// So many nodes that share the groups, instead of the pair: 3 to 9.
    #[arg(long, value_parser = clap::value_parser!(u8).range(3..=9))]
    nodes: Option<u8>,

    /// A Service of a Kubernetes cluster, with a real kube-apiserver, before two nodes or as many as `--nodes` says.
    #[arg(long)]
    kubernetes: bool,

    /// The file both nodes run on.
    #[arg(long, default_value = "config/examples/demo.yaml")]
    config: PathBuf,

    /// Where the picture goes.
    #[arg(long, default_value = "demo-out/takeover.svg")]
    picture: PathBuf,
}

fn main() -> ExitCode {
    match run(&Arguments::parse()) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("the demo failed: {error}");
            ExitCode::FAILURE
        }
    }
}

fn run(arguments: &Arguments) -> Result<()> {
    let live = !arguments.no_wait && std::io::stdout().is_terminal();
    if arguments.kubernetes {
        let nodes = arguments.nodes.unwrap_or(2);
        return kubernetes::tell(&Lab::new()?, nodes, live && std::io::stdin().is_terminal());
    }
    if let Some(nodes) = arguments.nodes {
        return cluster::tell(&Lab::new()?, nodes);
    }
    let text = std::fs::read_to_string(&arguments.config).context(format!(
        "read {} (run the demo from the project's directory)",
        arguments.config.display()
    ))?;
    println!("Building the lab: a switch, a client, two nodes, three web servers ...");
    let forwards = may_load_bpf();
    let text = if forwards { text } else { text.replace("mode: dsr", "mode: proxy") };
    if !forwards {
        println!("Only root may load BPF: without it no connection outlives its node, and none is shown.");
    }
    let lab = Arc::new(Lab::new()?);
    let stage = Arc::new(story::Stage::build(&lab, &text, forwards)?);
    let chapters =
        if live { view::show(&stage, &lab)? } else { story::tell(&stage, &lab, &|line| println!("{line}"))? };
    let seen = stage.finish();
    print!("{}", report::table(&chapters, &seen));
    if let Some(directory) = arguments.picture.parent() {
        std::fs::create_dir_all(directory)?;
    }
    std::fs::write(&arguments.picture, picture::svg(&chapters, &seen)).context("write the picture")?;
    println!("\nThe picture of it: {}", arguments.picture.display());
    let lost: Vec<&str> = chapters
        .iter()
        .filter(|chapter| chapter.leader_after == "nobody")
        .map(|chapter| chapter.title)
        .collect();
    if !lost.is_empty() {
        return Err(LabError::new(format!("nobody served after: {}", lost.join(", "))));
    }
    match stage.account() {
        None => Ok(()),
        Some(Ok(account)) => {
            println!("\n{account}");
            Ok(())
        }
        Some(Err(broken)) => Err(LabError::new(broken)),
    }
}

/// Whether this is root, and not only of a user namespace.
fn may_load_bpf() -> bool {
    let map = std::fs::read_to_string("/proc/self/uid_map").unwrap_or_default();
    rustix::process::geteuid().is_root() && map.split_whitespace().eq(["0", "0", "4294967295"])
}
