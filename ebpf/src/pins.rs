//! Where attachments outlive the process: the kernel's file system for BPF objects.

use crate::error::KernelError;
use crate::sys::has_lost_its_interface;
use rustix::fs::statfs;
use rustix::mount::{MountFlags, mount};
use std::collections::BTreeSet;
use std::fs;
use std::io;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::sync::{Mutex, MutexGuard, PoisonError};

/// Where it is mounted.
const ROOT: &str = "/sys/fs/bpf";
/// BPF_FS_MAGIC of linux/magic.h.
const MAGIC: i64 = 0xcafe_4a11;

/// This network namespace's own directory for pins.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Pins {
    directory: PathBuf,
}

impl Pins {
    /// Makes the directory, and mounts the file system if it is not.
    ///
    /// # Errors
    /// It can't be mounted or written to; said for people.
    pub fn open() -> Result<Self, String> {
        let _held = Self::lock();
        mounted().map_err(|error| format!("{ROOT} could not be mounted: {error}"))?;
        let parent = Path::new(ROOT).join("fulcrum");
        sweep(&parent);
        let directory = parent.join(namespace()?);
        fs::create_dir_all(&directory)
            .map_err(|error| format!("{} could not be made: {error}", directory.display()))?;
        Ok(Self { directory })
    }

    /// The directory, if there is one: of another process.
    ///
    /// # Errors
    /// There is none, or this user may not see it.
    pub(crate) fn find() -> Result<Self, KernelError> {
        let missing = |why| KernelError::Failed { what: "there is no forwarding plane here".to_owned(), why };
        let directory = Path::new(ROOT).join("fulcrum").join(namespace().map_err(missing)?);
        match fs::metadata(&directory) {
            Ok(_) => Ok(Self { directory }),
            Err(error) if error.kind() == io::ErrorKind::PermissionDenied => Err(KernelError::Forbidden),
            Err(_) => Err(missing(
                "it comes with the first service in mode nat, dsr or fullnat, in the network namespace of the daemon ('ip netns exec' hides it, 'nsenter --net' does not)"
                    .to_owned(),
            )),
        }
    }

    /// While it is held, no other thread of this process makes or removes what is pinned.
    pub(crate) fn lock() -> MutexGuard<'static, ()> {
        static ONE_AT_A_TIME: Mutex<()> = Mutex::new(());
        ONE_AT_A_TIME.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Makes the directory again, which another thread may have found empty.
    pub(crate) fn make(&self) {
        // If that fails, so does what is to be pinned, and says why.
        let _ = fs::create_dir_all(&self.directory);
    }

    /// The file of one attachment. Names have no dots, which this file system forbids, so interfaces go by number.
    pub(crate) fn path(&self, interface: u32, program: &str) -> PathBuf {
        self.directory.join(format!("{interface}-{program}"))
    }

    /// The file of one map. Its layout has a version, since another one's map can't be adopted.
    pub(crate) fn map(&self, map: &str, version: u32) -> PathBuf {
        self.directory.join(format!("map-{map}-{version}"))
    }

    /// The file of one map within a map.
    pub(crate) fn map_within(&self, map: &str, index: u32, version: u32) -> PathBuf {
        self.directory.join(format!("map-{map}{index}-{version}"))
    }

    /// Removes the pins of a program at all interfaces but these.
    pub(crate) fn retain(&self, program: &str, keep: impl Fn(u32) -> bool) {
        self.remove_where(|name| {
            let (index, pinned) = name.split_once('-')?;
            Some(pinned == program && !keep(index.parse().ok()?))
        });
    }

    /// Removes the pins of these maps, and of those within them.
    pub(crate) fn remove_maps(&self, maps: &[&str]) {
        self.remove_maps_but(maps, |_| false);
    }

    /// The same but for those of the versions to `keep`.
    pub(crate) fn remove_maps_but(&self, maps: &[&str], keep: impl Fn(u32) -> bool) {
        self.remove_where(|name| {
            let (map, version) = map_and_version(name)?;
            Some(maps.contains(&map) && !keep(version))
        });
    }

    /// Whether any of these maps, or of those within them, is pinned in this version.
    pub(crate) fn has_maps(&self, maps: &[&str], version: u32) -> bool {
        self.names().iter().any(|name| {
            map_and_version(name).is_some_and(|(map, known)| known == version && maps.contains(&map))
        })
    }

    /// The pins of these maps, and of those within them, become those of another version, but where there are such
    /// already.
    pub(crate) fn rename_maps(&self, maps: &[&str], from: u32, to: u32) {
        for name in self.names() {
            let is_meant =
                map_and_version(&name).is_some_and(|(map, known)| known == from && maps.contains(&map));
            let Some((whole, _)) = name.rsplit_once('-').filter(|_| is_meant) else { continue };
            let new = self.directory.join(format!("{whole}-{to}"));
            if new.exists() {
                continue;
            }
            let old = self.directory.join(&name);
            if let Err(error) = fs::rename(&old, &new) {
                tracing::warn!(%error, "{} could not be renamed", old.display());
            }
        }
    }

    fn names(&self) -> Vec<String> {
        let entries = fs::read_dir(&self.directory).into_iter().flatten().flatten();
        entries.filter_map(|entry| entry.file_name().into_string().ok()).collect()
    }

    fn remove_where(&self, is_meant: impl Fn(&str) -> Option<bool>) {
        for name in self.names() {
            if is_meant(&name) == Some(true) {
                remove(&self.directory.join(name));
            }
        }
    }

    /// Removes the directory if nothing is pinned there.
    pub(crate) fn close(&self) {
        let _held = Self::lock();
        // One that is not empty stays, and so does the parent that others use.
        let _ = fs::remove_dir(&self.directory);
    }
}

/// Which map, or the one that it is within, a pin is of, in which version.
fn map_and_version(name: &str) -> Option<(&str, u32)> {
    let (map, version) = name.strip_prefix("map-")?.rsplit_once('-')?;
    Some((map.trim_end_matches(|letter: char| letter.is_ascii_digit()), version.parse().ok()?))
}

/// This network namespace's number.
fn namespace() -> Result<String, String> {
    let namespace = fs::metadata("/proc/thread-self/ns/net")
        .map_err(|error| format!("this network namespace has no number: {error}"))?;
    Ok(namespace.ino().to_string())
}

/// Removes what network namespaces that are gone have left: attachments without an interface, and the maps that only
/// such ones used, or that nobody uses.
fn sweep(parent: &Path) {
    let mut living_namespaces = None;
    for namespace in fs::read_dir(parent).into_iter().flatten().flatten() {
        let pins = fs::read_dir(namespace.path()).into_iter().flatten().flatten().map(|pin| pin.path());
        let is_map = |pin: &PathBuf| pin.file_name().is_some_and(|name| name.as_bytes().starts_with(b"map-"));
        let (maps, links): (Vec<PathBuf>, Vec<PathBuf>) = pins.partition(is_map);
        let (lost, living): (Vec<PathBuf>, Vec<PathBuf>) =
            links.into_iter().partition(|pin| has_lost_its_interface(pin).unwrap_or(false));
        lost.iter().for_each(|pin| remove(pin));
        let is_there = |name: &str| living_namespaces.get_or_insert_with(namespaces).contains(name);
        let number = namespace.file_name();
        // With clsact, and while a plane is being loaded, there are maps alone.
        if !living.is_empty() || (lost.is_empty() && number.to_str().is_none_or(is_there)) {
            continue;
        }
        maps.iter().for_each(|pin| remove(pin));
        let _ = fs::remove_dir(namespace.path());
    }
}

/// The numbers of the network namespaces that a thread is in, or that have a name.
fn namespaces() -> BTreeSet<String> {
    let processes = fs::read_dir("/proc").into_iter().flatten().flatten();
    let processes = processes
        .filter(|entry| entry.file_name().as_bytes().iter().all(u8::is_ascii_digit))
        .flat_map(|process| fs::read_dir(process.path().join("task")).into_iter().flatten().flatten())
        .map(|thread| thread.path().join("ns/net"));
    let named = fs::read_dir("/run/netns").into_iter().flatten().flatten().map(|entry| entry.path());
    let numbers = processes.chain(named).filter_map(|path| Some(fs::metadata(path).ok()?.ino().to_string()));
    numbers.collect()
}

/// Removes a pin; one that is not there is as good as removed.
pub(crate) fn remove(path: &Path) {
    match fs::remove_file(path) {
        Ok(()) => {}
        Err(error) if error.kind() == io::ErrorKind::NotFound => {}
        Err(error) => tracing::warn!(%error, "{} could not be removed", path.display()),
    }
}

fn mounted() -> io::Result<()> {
    if is_mounted() {
        return Ok(());
    }
    mount(
        "bpf",
        ROOT,
        "bpf",
        MountFlags::NOSUID | MountFlags::NODEV | MountFlags::NOEXEC,
        Some(c"mode=700"),
    )?;
    if is_mounted() { Ok(()) } else { Err(io::Error::other("it is still another file system")) }
}

fn is_mounted() -> bool {
    statfs(ROOT).is_ok_and(|found| found.f_type == MAGIC)
}
