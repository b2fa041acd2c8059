//! The peers: as the daemon that runs here sees them, or else asked by the link itself.
#![allow(clippy::disallowed_methods, reason = "it waits for the daemon's answer")]

use crate::cli::Connect;
use crate::client::Client;
use crate::commands::ask;
use crate::error::Failure;
use fulcrum_config::Config;
use fulcrum_config::preflight::Line;
use fulcrum_lifecycle::{Peer, Status};
use std::path::PathBuf;
use std::sync::{Arc, mpsc};
use std::time::Duration;

/// One that does not answer by then stands still.
const ANSWER: Duration = Duration::from_secs(1);
const VERSION: &str = env!("CARGO_PKG_VERSION");

pub(super) fn peers(config: &Arc<Config>, socket: PathBuf) -> Vec<Line> {
    let (tell, told) = mpsc::channel();
    let connect = Connect { socket: Some(socket), config: None };
    // Left alone if it waits for longer.
    std::thread::spawn(move || {
        let _ = tell.send(ask::<Status>(&Client::new(&connect)));
    });
    match told.recv_timeout(ANSWER) {
        Ok(Ok(status)) => {
            let mut lines = vec![daemon(config, &status)];
            lines.extend(by_status(config, &status));
            lines
        }
        Ok(Err(Failure::Unreachable { .. })) => fulcrum_peer::preflight::peers(config, VERSION),
        Ok(Err(failure)) => unusable(config, &failure.to_string()),
        Err(_) => unusable(config, "it does not answer"),
    }
}

/// A daemon is there, and its link is not to be disturbed by another of the same name.
fn unusable(config: &Config, why: &str) -> Vec<Line> {
    let remedy = "look at its log; 'fulcrum status' asks the same";
    let mut lines = vec![Line::warning("daemon", &config.node, format!("it can't be asked: {why}"), remedy)];
    lines.push(Line::not_applicable("peer", "link", "the daemon that runs here has it, and can't be asked"));
    lines
}

fn daemon(config: &Config, status: &Status) -> Line {
    const CHECK: &str = "daemon";
    let (node, version) = (&status.node, &status.version);
    if *node != *config.node.as_str() {
        let found = format!("the daemon that runs here is node {node}, the file is of {}", config.node);
        return Line::failed(
            CHECK,
            node,
            found,
            "bring the right file here, or name the right socket (--socket)",
        );
    }
    if status.peer_link.config_digest != config.shared.to_string() {
        let found = "it runs another configuration than the file says";
        return Line::warning(
            CHECK,
            node,
            found,
            "'fulcrum reload --dry-run' shows the difference, 'fulcrum reload' applies it",
        );
    }
    if version != VERSION {
        let found = format!("it runs fulcrum {version}, this is {VERSION}");
        return Line::warning(CHECK, node, found, "restart it once its groups are handed over");
    }
    Line::ok(CHECK, node, format!("fulcrum {version} runs here with this configuration"))
}

fn by_status(config: &Config, status: &Status) -> Vec<Line> {
    let link = &status.peer_link;
    if link.state == "on" {
        return link.peers.iter().map(|peer| of_peer(status, peer)).collect();
    }
    let missing = || {
        let why = link.why.clone().unwrap_or_else(|| link.state.clone());
        Line::failed("peer", "link", why, "'fulcrum peer-key' makes keys; `keys` in `nodes` lists their pins")
    };
    vec![fulcrum_peer::preflight::no_link(config).unwrap_or_else(missing)]
}

fn of_peer(status: &Status, peer: &Peer) -> Line {
    const CHECK: &str = "peer";
    let (name, version) = (&peer.name, peer.version.as_deref().unwrap_or("of unknown version"));
    if peer.state != "up" {
        let found = format!("the link to it is {}: {}", peer.state, peer.reason);
        return Line::failed(CHECK, name, found, "start it, or remove what is named");
    }
    if peer.config_agrees != Some(true) {
        let found = format!(
            "it runs another configuration (serial {}, here {})",
            peer.config_serial.unwrap_or(0),
            status.config.serial
        );
        return Line::warning(
            CHECK,
            name,
            found,
            "'fulcrum reload' on the node with the right file brings all to one",
        );
    }
    if version != status.version {
        let found = format!("it runs fulcrum {version}, the daemon here {}", status.version);
        return Line::warning(CHECK, name, found, "bring both to one version once the change is done");
    }
    Line::ok(
        CHECK,
        name,
        format!(
            "the link is up; it runs fulcrum {version} (and so the same seed) and the same configuration"
        ),
    )
}
