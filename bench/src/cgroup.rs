//! CPU time and memory of everything a measurement starts, exact to the microsecond and free of neighbours:
//! the processes live in a control group of their own, whose `cpu.stat` the kernel keeps.

use std::fs;
use std::io;
use std::path::{Path, PathBuf};

/// A control group (version 2). What still runs in it is ended when it is dropped, and it is removed.
pub(crate) struct Cgroup {
    path: PathBuf,
}

impl Cgroup {
    /// Makes one at the top of the unified hierarchy.
    ///
    /// # Errors
    /// There is no unified hierarchy, or it can't be written to.
    pub(crate) fn top(name: &str) -> io::Result<Self> {
        let mounts = fs::read_to_string("/proc/mounts")?;
        let root = mounts.lines().map(|line| line.split(' ').collect::<Vec<_>>());
        let root =
            root.filter(|words| words.get(2) == Some(&"cgroup2")).find_map(|words| words.get(1).copied());
        let root = root.ok_or_else(|| {
            io::Error::other("no cgroup2 is mounted; mount one: mount -t cgroup2 none /mnt")
        })?;
        Self::make(Path::new(root).join(name))
    }

    /// The group this process is in now, of the same hierarchy.
    ///
    /// # Errors
    /// The kernel does not say.
    pub(crate) fn home(&self) -> io::Result<PathBuf> {
        let text = fs::read_to_string("/proc/self/cgroup")?;
        let path = text.lines().find_map(|line| line.strip_prefix("0::/"));
        let path = path.ok_or_else(|| io::Error::other("this process is in no cgroup2"))?;
        Ok(self.path.parent().map(|root| root.join(path)).unwrap_or_default())
    }

    /// Makes one inside this one.
    ///
    /// # Errors
    /// As for [`Cgroup::top`].
    pub(crate) fn inside(&self, name: &str) -> io::Result<Self> {
        Self::make(self.path.join(name))
    }

    fn make(path: PathBuf) -> io::Result<Self> {
        fs::create_dir(&path)?;
        Ok(Self { path })
    }

    /// Runs `start` with this process in the group, so that what it starts is born there, and moves this
    /// process back to `home`.
    ///
    /// # Errors
    /// Those of `start`, or the kernel refuses the move.
    pub(crate) fn spawn_in<T>(&self, home: &Path, start: impl FnOnce() -> io::Result<T>) -> io::Result<T> {
        let me = std::process::id().to_string();
        fs::write(self.path.join("cgroup.procs"), &me)?;
        let started = start();
        fs::write(home.join("cgroup.procs"), &me)?;
        started
    }

    /// CPU time used so far, in microseconds, by this group and those inside it.
    ///
    /// # Errors
    /// The kernel's file can't be read.
    pub(crate) fn cpu_us(&self) -> io::Result<u64> {
        let stat = fs::read_to_string(self.path.join("cpu.stat"))?;
        let usage = stat.lines().find_map(|line| line.strip_prefix("usage_usec "));
        usage.and_then(|text| text.parse().ok()).ok_or_else(|| io::Error::other("cpu.stat has no usage_usec"))
    }

    /// Memory of the group's processes in bytes (proportional set size: shared pages are counted once).
    ///
    /// # Errors
    /// The kernel's files can't be read.
    pub(crate) fn memory(&self) -> io::Result<u64> {
        let mut total = 0;
        for pid in fs::read_to_string(self.path.join("cgroup.procs"))?.lines() {
            let rollup = fs::read_to_string(format!("/proc/{pid}/smaps_rollup"))?;
            let pss = rollup.lines().find_map(|line| line.strip_prefix("Pss:"));
            let kilobytes = pss.and_then(|text| text.trim().trim_end_matches(" kB").parse::<u64>().ok());
            total += kilobytes.unwrap_or(0) * 1024;
        }
        Ok(total)
    }
}

/// CPU time in microseconds of the kernel's threads that finish network work it could not do in the context
/// of the process that caused it.
///
/// # Errors
/// /proc can't be read.
pub(crate) fn softirq_threads_us() -> io::Result<u64> {
    let mut nanoseconds = 0;
    for entry in fs::read_dir("/proc")? {
        let path = entry?.path();
        let name = fs::read_to_string(path.join("comm")).unwrap_or_default();
        if name.starts_with("ksoftirqd/") {
            let text = fs::read_to_string(path.join("schedstat"))?;
            nanoseconds += text.split(' ').next().and_then(|word| word.parse::<u64>().ok()).unwrap_or(0);
        }
    }
    Ok(nanoseconds / 1000)
}

impl Drop for Cgroup {
    fn drop(&mut self) {
        let _ = fs::write(self.path.join("cgroup.kill"), "1");
        for _ in 0..100 {
            if fs::remove_dir(&self.path).is_ok() {
                return;
            }
            crate::pause(std::time::Duration::from_millis(20));
        }
        eprintln!("left behind: {} (its processes have not ended)", self.path.display());
    }
}
