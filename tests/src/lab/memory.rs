//! A limit on the memory of processes, as `MemoryMax=` of a service manager sets it.

use super::output;
use crate::LabError;
use crate::error::{Context, Result};
use crate::wait::wait_until;
use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

/// A control group with a limit on memory. The lab's sweep removes it.
#[derive(Debug)]
pub struct MemoryLimit {
    path: PathBuf,
}

impl MemoryLimit {
    pub(super) fn new(name: &str, bytes: u64) -> Result<Self> {
        let hierarchy = hierarchy()?;
        let path = hierarchy.root.join(name);
        fs::create_dir(&path).context(format!("make {}", path.display()))?;
        let limit = path.join(hierarchy.limit);
        fs::write(&limit, bytes.to_string()).context(format!("write {}", limit.display()))?;
        Ok(Self { path })
    }

    /// Bytes that its processes, and the kernel for them, have now.
    ///
    /// # Errors
    /// The kernel does not say.
    pub fn used(&self) -> Result<u64> {
        let read = |name| fs::read_to_string(self.path.join(name)).ok()?.trim().parse().ok();
        let used = read("memory.current").or_else(|| read("memory.usage_in_bytes"));
        used.ok_or_else(|| LabError::new(format!("{} does not say what is used", self.path.display())))
    }

    /// Has a command run in it.
    pub fn hold(&self, command: &mut Command) {
        let mut held = Command::new("sh");
        let enter = format!("echo $$ > {}/cgroup.procs && exec \"$0\" \"$@\"", self.path.display());
        held.arg("-c").arg(enter).arg(command.get_program()).args(command.get_args());
        *command = held;
    }
}

struct Hierarchy {
    root: PathBuf,
    /// The file that takes the limit.
    limit: &'static str,
}

/// Where the kernel limits memory: version 1 or 2 of its control groups.
fn hierarchy() -> Result<Hierarchy> {
    let mounts = fs::read_to_string("/proc/mounts").context("read /proc/mounts")?;
    let mounts = || mounts.lines().map(|line| line.split(' ').collect::<Vec<_>>());
    let of_version_1 = mounts().find(|words| {
        words.get(2) == Some(&"cgroup")
            && words.get(3).is_some_and(|options| options.split(',').any(|option| option == "memory"))
    });
    if let Some(root) = of_version_1.and_then(|words| words.get(1).map(PathBuf::from)) {
        return Ok(Hierarchy { root, limit: "memory.limit_in_bytes" });
    }
    let root =
        unified().ok_or_else(|| LabError::new("no control groups are mounted: memory can't be limited"))?;
    let children = root.join("cgroup.subtree_control");
    fs::write(&children, "+memory").context(format!("write {}", children.display()))?;
    Ok(Hierarchy { root, limit: "memory.max" })
}

/// A control group of version 2 without limits. The lab's sweep removes it.
pub(super) fn control_group(name: &str) -> Result<PathBuf> {
    let root = unified().ok_or_else(|| LabError::new("no control groups of version 2 are mounted"))?;
    let path = root.join(name);
    fs::create_dir(&path).context(format!("make {}", path.display()))?;
    Ok(path)
}

/// Where the kernel has its control groups of version 2.
fn unified() -> Option<PathBuf> {
    let mounts = fs::read_to_string("/proc/mounts").ok()?;
    let words = mounts.lines().map(|line| line.split(' ').collect::<Vec<_>>());
    words.into_iter().find(|words| words.get(2) == Some(&"cgroup2"))?.get(1).map(PathBuf::from)
}

/// Where labs have control groups, each a directory by its name.
pub(super) fn directories() -> BTreeSet<PathBuf> {
    hierarchy().ok().map(|hierarchy| hierarchy.root).into_iter().chain(unified()).collect()
}

/// Removes one and those in it, once its processes are gone; those that were just killed take a moment.
pub(super) fn remove(path: &Path) {
    let find = [&path.display().to_string(), "-depth", "-type", "d", "-exec", "rmdir", "{}", ";"];
    wait_until("a control group to be empty", Duration::from_secs(5), || {
        output("find", &find).ok();
        !path.exists()
    })
    .ok();
}
