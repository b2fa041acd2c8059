//! `fulcrum init`: working files from a few options.

use crate::cli::init::{Init, JoinOptions, SiteOptions};
use crate::commands::print;
use crate::error::Failure;
use fulcrum_config::init::{ControlPlaneOptions, PairOptions, Site, control_plane, join, node_line, pair};
use fulcrum_config::{Diagnostics, InterfaceName, NodeName, PeerLink, Vrid};
use std::fs::OpenOptions;
use std::io::{self, Write};
use std::path::{Path, PathBuf};
use std::process::ExitCode;

pub(crate) fn init(options: Init) -> Result<ExitCode, Failure> {
    let (site, files) = match options {
        Init::Pair { mut site, port, backends } => {
            let make = |site| pair(&PairOptions { site, port, backends: backends.clone() });
            let files = with_keys(&mut site, make)?;
            (site, files)
        }
        Init::ControlPlane { mut site, port, apiservers } => {
            let make =
                |site| control_plane(&ControlPlaneOptions { site, port, apiservers: apiservers.clone() });
            let files = with_keys(&mut site, make)?;
            (site, files)
        }
        Init::Join(options) => return joins(options),
    };
    write(&site, &files)
}

/// The file and the key of a node that joins others, and what those need.
fn joins(options: JoinOptions) -> Result<ExitCode, Failure> {
    let JoinOptions { mut node, mut seed, seed_key, directory, force } = options;
    seed.key = Some(seed_key);
    let refused = |mistakes: Diagnostics| Failure::Refused(format!("\n{mistakes}\nnothing was written"));
    join(&node, &seed).map_err(refused)?;
    let path = directory.join(format!("{}.yaml", node.name));
    if path.exists() && !force {
        let path = path.display();
        return Err(Failure::Refused(format!(
            "{path} is there already; nothing was written\n  --force replaces it"
        )));
    }
    std::fs::create_dir_all(&directory).map_err(|error| failed(&directory, error))?;
    let key = directory.join(format!("{}.key", node.name));
    let (pin, _) =
        fulcrum_peer::key::create_or_pin(&key).map_err(|error| Failure::Refused(error.to_string()))?;
    node.key = Some(pin);
    let text = join(&node, &seed).map_err(refused)?;
    write_file(&path, &text, force).map_err(|error| failed(&path, error))?;
    print(&format!(
        "wrote {}\n{} is the private key of {name}\n\nAdd this to `nodes:` in the file of {seed}, and say 'fulcrum reload' \
         there:\n\n{line}\nThen copy the first to {name} as /etc/fulcrum/fulcrum.yaml, move the key there as {}, mode 0600, open \
         UDP port 4747 between the nodes, and say 'fulcrum run'.\n",
        path.display(),
        key.display(),
        PeerLink::KEY,
        name = node.name,
        seed = seed.name,
        line = node_line(&node),
    ))
}

type Files = Vec<(NodeName, String)>;

/// The files, with a key for each node. Nothing is written before everything else is known to be right.
fn with_keys(
    options: &mut SiteOptions,
    make: impl Fn(Site) -> Result<Files, Diagnostics>,
) -> Result<Files, Failure> {
    let refused = |mistakes: Diagnostics| {
        Failure::Refused(format!(
            "\n{mistakes}\nnothing was written: the lines above would have been in the files; correct the options \
             that they come from"
        ))
    };
    make(of(options)?).map_err(refused)?;
    there(options)?;
    std::fs::create_dir_all(&options.directory).map_err(|error| failed(&options.directory, error))?;
    for node in &mut options.nodes {
        let path = options.directory.join(format!("{}.key", node.name));
        let (pin, _) =
            fulcrum_peer::key::create_or_pin(&path).map_err(|error| Failure::Refused(error.to_string()))?;
        node.key = Some(pin);
    }
    make(of(options)?).map_err(refused)
}

/// Refuses to go on if a file is there that would be replaced.
fn there(options: &SiteOptions) -> Result<(), Failure> {
    let there: Vec<String> = options
        .nodes
        .iter()
        .map(|node| options.directory.join(format!("{}.yaml", node.name)))
        .filter(|path| path.exists())
        .map(|path| path.display().to_string())
        .collect();
    if there.is_empty() || options.force {
        return Ok(());
    }
    Err(Failure::Refused(format!(
        "already there: {}; nothing was written\n  --force replaces, --directory writes elsewhere",
        there.join(", ")
    )))
}

fn of(options: &SiteOptions) -> Result<Site, Failure> {
    if options.nodes.len() < 2 {
        return Err(Failure::Refused(
            "one node alone has no peer to take over; nothing was written\n  say --node NAME=ADDRESS for each node, \
             at least twice"
                .to_owned(),
        ));
    }
    Ok(Site {
        nodes: options.nodes.clone(),
        vips: options.vips.clone(),
        interface: InterfaceName::new(&options.interface),
        networks: options.networks.clone(),
        vrid: Vrid::new(options.vrid).map_err(|error| Failure::Refused(error.to_string()))?,
    })
}

/// Writes all files.
fn write(options: &SiteOptions, files: &[(NodeName, String)]) -> Result<ExitCode, Failure> {
    let path = |node: &NodeName| options.directory.join(format!("{node}.yaml"));
    let mut written: Vec<PathBuf> = Vec::new();
    for (node, text) in files {
        let path = path(node);
        write_file(&path, text, options.force).map_err(|error| failed(&path, error))?;
        written.push(path);
    }
    let mut lines: String = written.iter().map(|path| format!("wrote {}\n", path.display())).collect();
    for node in &options.nodes {
        let path = options.directory.join(format!("{}.key", node.name));
        lines.push_str(&format!("{} is the private key of {}\n", path.display(), node.name));
    }
    print(&format!(
        "{lines}Copy each to its node as /etc/fulcrum/fulcrum.yaml, move its private key there as \
         {}, mode 0600, and open UDP port 4747 between the nodes; then 'fulcrum check' and 'fulcrum run'.\n",
        PeerLink::KEY
    ))
}

fn write_file(path: &Path, text: &str, force: bool) -> io::Result<()> {
    let mut options = OpenOptions::new();
    options.write(true);
    let options = if force { options.create(true).truncate(true) } else { options.create_new(true) };
    options.open(path)?.write_all(text.as_bytes())
}

fn failed(path: &Path, error: io::Error) -> Failure {
    Failure::Io { what: format!("{} can't be written", path.display()), error }
}
