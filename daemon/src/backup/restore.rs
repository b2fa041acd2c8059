//! Brings a node back from a backup: what is to be written and whether that may be, then the writing.
//!
//! The configuration file is written last: without it a node does not start, so that one whose restore broke off does not
//! run with half of what it needs.

use super::file::{Backup, SealedKey};
use super::gather::{self, CONFIG, STATE};
use super::seal::{self, Passphrase};
use super::shelf::put_file;
use crate::last_good::kept_as;
use crate::node::{ALLOCATIONS, SHARED};
use crate::node::{FIRST_SERIAL, host_name};
use fulcrum_config::last_good::{keep, recall};
use fulcrum_config::{Before, Config, NodeName};
use fulcrum_peer::alive::Known;
use std::io::{self, Write};
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;

#[cfg(test)]
mod tests;

/// What every file begins with that is kept in the state directory.
const OF_STATE: &[u8] = b"fulcrum last-good ";

/// What is in a backup, as this machine would run it.
#[derive(Debug)]
pub(crate) struct Restored {
    pub(crate) config: Arc<Config>,
    pub(crate) text: String,
    pub(crate) key: Option<String>,
    pub(crate) notes: Vec<String>,
}

/// Reads a backup as this machine's, which is called `host`. `key` is the passphrase, or none if the key is to stay out.
pub(crate) fn read(
    backup: &Backup,
    passphrase: Option<&Passphrase>,
    without_key: bool,
    force: bool,
) -> Result<Restored, String> {
    let text =
        backup.texts.get(CONFIG).ok_or("there is no configuration in it, so there is nothing to restore")?;
    let allocations = backup.texts.get(ALLOCATIONS).and_then(|text| serde_json::from_str(text).ok());
    let before =
        Before { allocations: Arc::new(allocations.unwrap_or_default()), give_up: true, ..Before::default() };
    let host = host_name();
    let parsed = fulcrum_config::parse_after(text, "the configuration in the backup", &host, &before)
        .map_err(|mistakes| format!("this version refuses what is in it:\n{mistakes}"))?;
    let config = Arc::new(parsed.config);
    is_of_this_machine(&config, &backup.node, &host, force)?;
    let key = match (&backup.key, passphrase) {
        (SealedKey::Encrypted { .. }, _) if without_key => None,
        (SealedKey::Encrypted { pin, age }, Some(passphrase)) => Some(opened(pin, age, passphrase)?),
        (SealedKey::Encrypted { .. }, None) => {
            return Err(format!(
                "the private key in it is encrypted\n  name the file of its passphrase: --passphrase-file FILE, or {} in \
                 the environment; or leave the key out: --without-key, and the node needs a new one",
                seal::VARIABLE
            ));
        }
        (SealedKey::LeftOut { .. } | SealedKey::None, _) => None,
    };
    Ok(Restored { notes: notes(&config, backup, key.is_some()), config, text: text.clone(), key })
}

fn opened(pin: &str, sealed: &str, passphrase: &Passphrase) -> Result<String, String> {
    let text =
        seal::open(sealed, passphrase).map_err(|why| format!("the private key in it can't be had: {why}"))?;
    match fulcrum_peer::key::pin_of_text(&text) {
        Ok(found) if found.to_string() == pin => Ok(text),
        Ok(_) | Err(_) => Err("the private key in it is not the one that it says".to_owned()),
    }
}

fn is_of_this_machine(config: &Config, of: &str, host: &str, force: bool) -> Result<(), String> {
    let node = &config.node;
    if *node.as_str() != *of {
        return Err(format!(
            "it is of node {of}, but its file names no `node`, and on this machine, which is called {host}, stands for \
             {node}: that would be a node with another's key\n  restore it where it was made, or on a machine of that name"
        ));
    }
    let is_other = |name: &NodeName| *name.as_str() == *host && name != node;
    if !force && config.nodes.keys().any(is_other) {
        return Err(format!(
            "it is of node {of}, and this machine is called {host}, which is another node of the same configuration: {of} \
             would be there twice\n  restore {host}'s own backup here; if this machine is to be {of} from now on: --force"
        ));
    }
    Ok(())
}

/// What is to be done by hand.
fn notes(config: &Config, backup: &Backup, has_key: bool) -> Vec<String> {
    let (node, path) = (&config.node, config.peer.key.display());
    let mut notes: Vec<String> =
        backup.missing.iter().map(|what| format!("not in the backup: {what}")).collect();
    if !has_key && config.peer.pins.contains_key(node) && !config.peer.key.exists() {
        notes.push(format!(
            "the private key is not restored: 'fulcrum peer-key {path}' makes a new one; list the pin that it prints in \
             `keys` of {node} in the others' file, and reload there. Until then there is no link, and the groups go by \
             adverts alone"
        ));
    }
    let files = [
        config.admin.tcp.as_ref().map(|tcp| &tcp.certificate),
        config.admin.tcp.as_ref().map(|tcp| &tcp.key),
        config.admin.backups.passphrase_file.as_ref(),
    ];
    let missing = files.into_iter().flatten().filter(|file| !file.exists());
    notes.extend(
        missing.map(|file| format!("{} is named by the configuration, and not here", file.display())),
    );
    notes
}

/// What the peers make of it.
#[derive(Debug, Default)]
pub(crate) struct Verdict {
    pub(crate) notes: Vec<String>,
    /// A peer was asked: whatever it has is newer than what is in the backup.
    pub(crate) forget_serial: bool,
}

/// Whether the node may come back, by what its peers know of it. `serial` is that of the backup.
pub(crate) fn judge(
    node: &NodeName,
    serial: u64,
    known: &[(NodeName, Known)],
    force: bool,
) -> Result<Verdict, String> {
    let mut verdict = Verdict::default();
    for (peer, known) in known {
        let note = match known {
            Known::Alive if force => format!("{peer} has a link with {node}, which lives; --force"),
            Known::Alive => {
                return Err(format!(
                    "{peer} has a link with {node}: it lives on another machine, and this would be a second one with its \
                     addresses and its key; nothing was written\n  stop that one first, and say this again; if it is \
                     stopped and {peer} is wrong: --force"
                ));
            }
            Known::Gone { serial: theirs } => {
                verdict.forget_serial = true;
                if *theirs > serial {
                    format!(
                        "{peer} has no link with {node}, and runs serial {theirs}, the backup has {serial}: {node} catches up"
                    )
                } else {
                    format!("{peer} has no link with {node}, and runs serial {theirs}: that stays in force")
                }
            }
            Known::Silent { version } => format!(
                "{peer} runs fulcrum {version}, which can't say whether {node} lives elsewhere: make sure that it does not"
            ),
            Known::Unreached { why } => format!(
                "{peer} can't be asked whether {node} lives elsewhere ({why}): make sure that it does not"
            ),
        };
        verdict.notes.push(note);
    }
    Ok(verdict)
}

/// The same by what was heard on the links.
pub(crate) fn judge_links(node: &NodeName, doubles: &[String], force: bool) -> Result<Vec<String>, String> {
    match doubles {
        [] => Ok(Vec::new()),
        _ if force => {
            Ok(doubles.iter().map(|double| format!("{double}, an address of {node}; --force")).collect())
        }
        _ => Err(format!(
            "another machine has the addresses of {node} ({}): it lives, or somebody else is in its place; nothing was \
             written\n  stop that machine first, and say this again; if both are to have them for now: --force",
            doubles.join(", ")
        )),
    }
}

/// How a file is there now.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum How {
    Make,
    Same,
    Replace,
}

/// One file.
#[derive(Debug)]
pub(crate) struct Step {
    what: &'static str,
    path: PathBuf,
    text: String,
    mode: u32,
    pub(crate) how: How,
}

impl Step {
    pub(crate) fn words(&self) -> String {
        let how = match self.how {
            How::Make => "is made",
            How::Same => "is the same already",
            How::Replace => "is replaced",
        };
        format!("{} {how} ({})", self.path.display(), self.what)
    }
}

const KEY: &str = "the private key of the peer link";
const FILE: &str = "the configuration file";
const KEPT: &str = "what the node keeps";

/// What is to be written, in that order. Refused if something is in the way that is not this node's.
pub(crate) fn plan(
    backup: &Backup,
    restored: &Restored,
    config_file: &Path,
    forget_serial: bool,
) -> Result<Vec<Step>, String> {
    let mut steps = Vec::new();
    let state_dir = &restored.config.admin.state_dir;
    for kind in STATE {
        let Some(text) = backup.texts.get(kind) else { continue };
        let path = kept_as(state_dir, config_file, kind);
        let text = if kind == SHARED && forget_serial { forgotten(text) } else { text.clone() };
        let how = standing(
            &path,
            || recall(&path).is_ok_and(|kept| kept.as_ref() == Some(&text)),
            |bytes| bytes.starts_with(OF_STATE),
        )?;
        steps.push(Step { what: KEPT, path, text, mode: 0o600, how });
    }
    if let Some(text) = &restored.key {
        let path = restored.config.peer.key.clone();
        let is_key = |bytes: &[u8]| {
            std::str::from_utf8(bytes).is_ok_and(|text| fulcrum_peer::key::pin_of_text(text).is_ok())
        };
        let how = standing(&path, || is_text(&path, text), is_key)?;
        steps.push(Step { what: KEY, path, text: text.clone(), mode: 0o600, how });
    }
    let how = standing(config_file, || is_text(config_file, &restored.text), |_| true)?;
    let mode = (backup.mode & 0o644) | 0o600;
    steps.push(Step { what: FILE, path: config_file.to_owned(), text: restored.text.clone(), mode, how });
    Ok(steps)
}

/// So that whatever a peer runs is newer.
fn forgotten(shared: &str) -> String {
    let changed = serde_json::from_str::<serde_json::Value>(shared).ok().and_then(|mut shared| {
        *shared.get_mut("serial")? = FIRST_SERIAL.into();
        serde_json::to_string(&shared).ok()
    });
    changed.unwrap_or_else(|| shared.to_owned())
}

fn is_text(path: &Path, text: &str) -> bool {
    std::fs::read_to_string(path).is_ok_and(|found| found == text)
}

/// How `path` is there; refused if it is something that is not ours to replace.
fn standing(path: &Path, is_same: impl Fn() -> bool, is_ours: impl Fn(&[u8]) -> bool) -> Result<How, String> {
    let left = |why: &str| {
        format!(
            "{} {why}: it is left alone, and nothing was written\n  move it away, and try again",
            path.display()
        )
    };
    let found = match path.symlink_metadata() {
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(How::Make),
        Err(error) => return Err(left(&format!("can't be looked at ({error})"))),
        Ok(found) => found,
    };
    if found.is_symlink() {
        return Err(left("is a symbolic link"));
    }
    if !found.is_file() {
        return Err(left("is not a regular file"));
    }
    if found.nlink() > 1 {
        return Err(left("is a file that has other names, too"));
    }
    let own = rustix::process::geteuid().as_raw();
    if found.uid() != own && found.uid() != 0 {
        return Err(left(&format!("belongs to user {}", found.uid())));
    }
    if is_same() {
        return Ok(How::Same);
    }
    let bytes = std::fs::read(path).map_err(|error| left(&format!("can't be read ({error})")))?;
    if is_ours(&bytes) { Ok(How::Replace) } else { Err(left("is there and not of fulcrum")) }
}

/// Writes what is to be written.
pub(crate) fn write(steps: &[Step]) -> Result<(), String> {
    for step in steps.iter().filter(|step| step.how != How::Same) {
        let failed = |error: String| {
            format!(
                "{} can't be written: {error}; what comes before it in the list above is written, the rest is not\n  \
                 remove the cause, and say the same again with --replace",
                step.path.display()
            )
        };
        if let Some(parent) = step.path.parent() {
            std::fs::create_dir_all(parent).map_err(|error| failed(error.to_string()))?;
        }
        if step.what == KEPT {
            keep(&step.path, &step.text).map_err(|error| failed(error.to_string()))?;
            continue;
        }
        if step.what == KEY && step.how == How::Replace {
            // It may be in no backup.
            let mut old = step.path.clone().into_os_string();
            old.push(".before-restore");
            let bytes = std::fs::read(&step.path).map_err(|error| failed(error.to_string()))?;
            put(Path::new(&old), &bytes, 0o600).map_err(|error| failed(error.to_string()))?;
        }
        put(&step.path, step.text.as_bytes(), step.mode).map_err(|error| failed(error.to_string()))?;
    }
    Ok(())
}

fn put(path: &Path, bytes: &[u8], mode: u32) -> io::Result<()> {
    let check = |written: &Path| {
        let is_same = std::fs::read(written)? == bytes;
        if is_same { Ok(()) } else { Err(io::Error::other("what is read back is something else")) }
    };
    put_file(path, mode, |file| file.write_all(bytes), check)
}

/// Whose files are replaced, for the backup that is made of them before.
pub(crate) fn source(restored: &Restored, config_file: &Path) -> gather::Source {
    gather::Source {
        node: restored.config.node.to_string(),
        config_file: config_file.to_owned(),
        state_dir: restored.config.admin.state_dir.clone(),
        key: restored.config.peer.key.clone(),
        may_lack_file: true,
    }
}
