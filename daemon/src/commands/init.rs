//! `fulcrum init`: working files from a few options.

use crate::cli::{Init, SiteOptions};
use crate::commands::print;
use crate::error::Failure;
use fulcrum_config::init::{ControlPlaneOptions, PairOptions, Site, control_plane, pair};
use fulcrum_config::{Diagnostics, InterfaceName, NodeName, Vrid};
use std::fs::OpenOptions;
use std::io::{self, Write};
use std::path::{Path, PathBuf};
use std::process::ExitCode;

pub(crate) fn init(options: Init) -> Result<ExitCode, Failure> {
    let (site, files) = match options {
        Init::Pair { site, port, backends } => {
            let files = pair(&PairOptions { site: of(&site)?, port, backends });
            (site, files)
        }
        Init::ControlPlane { site, port, apiservers } => {
            let files = control_plane(&ControlPlaneOptions { site: of(&site)?, port, apiservers });
            (site, files)
        }
    };
    let refused = |mistakes: Diagnostics| {
        Failure::Refused(format!(
            "\n{mistakes}\nnothing was written: the lines above would have been in the files; correct the options \
             that they come from"
        ))
    };
    write(&site, &files.map_err(refused)?)
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

/// Writes all files, or none if one is there already.
fn write(options: &SiteOptions, files: &[(NodeName, String)]) -> Result<ExitCode, Failure> {
    let path = |node: &NodeName| options.directory.join(format!("{node}.yaml"));
    let there: Vec<String> = files
        .iter()
        .map(|(node, _)| path(node))
        .filter(|path| path.exists())
        .map(|p| p.display().to_string())
        .collect();
    if !there.is_empty() && !options.force {
        return Err(Failure::Refused(format!(
            "already there: {}; nothing was written\n  --force replaces, --directory writes elsewhere",
            there.join(", ")
        )));
    }
    std::fs::create_dir_all(&options.directory).map_err(|error| failed(&options.directory, error))?;
    let mut written: Vec<PathBuf> = Vec::new();
    for (node, text) in files {
        let path = path(node);
        write_file(&path, text, options.force).map_err(|error| failed(&path, error))?;
        written.push(path);
    }
    let lines: String = written.iter().map(|path| format!("wrote {}\n", path.display())).collect();
    print(&format!(
        "{lines}Copy each to its node as /etc/fulcrum/fulcrum.yaml, then 'fulcrum check' and 'fulcrum run'.\n"
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
