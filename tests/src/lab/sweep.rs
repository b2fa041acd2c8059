//! Nothing of a lab outlives it.
//!
//! Names carry the process id of the lab's owner, so that what a killed owner left can be told from what
//! another living one uses. A process belongs to a lab if its network namespace does.

use super::namespace::DIRECTORY;
use super::{memory, output};
use crate::error::{Context, Result};
use rustix::process::{Pid, Signal, kill_process};
use signal_hook::consts::{SIGHUP, SIGINT, SIGTERM};
use std::collections::BTreeSet;
use std::fs;
use std::os::unix::fs::MetadataExt;
use std::path::Path;
use std::sync::OnceLock;

const MARK: &str = "fulcrum-lab";
/// Where a node keeps its fence, by its network namespace.
const FENCES: &str = "/sys/fs/bpf/fulcrum";

/// What the names of a process's lab begin with.
pub(super) fn prefix(owner: u32, lab: u32) -> String {
    format!("{MARK}-{owner}-{lab}")
}

/// Once in a process: sweeps the labs of dead ones and sees to it that ours go when we are told to end.
pub(super) fn prepare() -> Result<()> {
    static PREPARED: OnceLock<std::result::Result<(), String>> = OnceLock::new();
    PREPARED
        .get_or_init(|| prepare_once().map_err(|error| error.to_string()))
        .clone()
        .map_err(crate::LabError::new)
}

fn prepare_once() -> Result<()> {
    for owner in owners().into_iter().filter(|owner| !is_alive(*owner)) {
        remove(&format!("{MARK}-{owner}"));
    }
    let mut signals =
        signal_hook::iterator::Signals::new([SIGINT, SIGTERM, SIGHUP]).context("watch signals")?;
    std::thread::Builder::new()
        .name("lab-sweep".into())
        .spawn(move || {
            if let Some(signal) = signals.forever().next() {
                remove(&format!("{MARK}-{}", std::process::id()));
                std::process::exit(signal.saturating_add(128));
            }
        })
        .context("start a thread")?;
    Ok(())
}

/// Whether a process runs; one that was killed and that nobody has waited for does not.
fn is_alive(pid: u32) -> bool {
    let stat = fs::read_to_string(format!("/proc/{pid}/stat")).unwrap_or_default();
    let state = stat.rsplit_once(") ").and_then(|(_, rest)| rest.chars().next());
    state.is_some_and(|state| state != 'Z' && state != 'X')
}

/// The process ids in the names of all labs that exist.
fn owners() -> BTreeSet<u32> {
    let temporary = std::env::temp_dir();
    [Path::new(DIRECTORY).to_owned(), temporary]
        .into_iter()
        .chain(memory::directories())
        .flat_map(|directory| names(&directory))
        .filter_map(|name| name.strip_prefix(MARK)?.strip_prefix('-')?.split('-').next()?.parse().ok())
        .collect()
}

fn names(directory: &Path) -> Vec<String> {
    let entries = fs::read_dir(directory).into_iter().flatten().flatten();
    entries.filter_map(|entry| entry.file_name().into_string().ok()).collect()
}

/// Kills the processes, and removes the namespaces and files, of labs whose name is `prefix` or begins with it
/// and a hyphen.
pub(super) fn remove(prefix: &str) {
    let ours = |name: &String| {
        name.strip_prefix(prefix).is_some_and(|rest| rest.is_empty() || rest.starts_with('-'))
    };
    let namespaces: Vec<String> = names(Path::new(DIRECTORY)).into_iter().filter(ours).collect();
    let inodes: BTreeSet<u64> = namespaces
        .iter()
        .filter_map(|name| Some(fs::metadata(Path::new(DIRECTORY).join(name)).ok()?.ino()))
        .collect();
    // Twice: one may have started another while the first round went.
    for _ in 0..2 {
        for pid in processes_in(&inodes) {
            kill_process(pid, Signal::KILL).ok();
        }
    }
    // What silences a dead node's addresses outlives it; with its namespace gone it silences nothing.
    for inode in inodes {
        fs::remove_dir_all(Path::new(FENCES).join(inode.to_string())).ok();
    }
    for name in namespaces {
        output("ip", &["netns", "del", &name]).ok();
    }
    for groups in memory::directories() {
        names(&groups).into_iter().filter(ours).for_each(|name| memory::remove(&groups.join(name)));
    }
    if std::env::var_os("FULCRUM_LAB_KEEP").is_some() {
        return;
    }
    for name in names(&std::env::temp_dir()).into_iter().filter(ours) {
        fs::remove_dir_all(std::env::temp_dir().join(name)).ok();
    }
}

/// The processes whose network namespace is one of `inodes`.
fn processes_in(inodes: &BTreeSet<u64>) -> Vec<Pid> {
    let own = i32::try_from(std::process::id()).ok();
    let is_inside = |pid: &i32| {
        fs::metadata(format!("/proc/{pid}/ns/net")).is_ok_and(|namespace| inodes.contains(&namespace.ino()))
    };
    names(Path::new("/proc"))
        .into_iter()
        .filter_map(|name| name.parse().ok())
        .filter(|pid| Some(*pid) != own)
        .filter(is_inside)
        .filter_map(Pid::from_raw)
        .collect()
}
