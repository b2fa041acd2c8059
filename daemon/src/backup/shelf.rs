//! Where backups are kept: `backups` in the state directory, numbered, the oldest thrown away.
//!
//! Each is written beside, synced, read back and then given its name, so that what has the name of a backup is a whole one.

use super::file::{self, Backup, Damage};
use rustix::fs::{FlockOperation, flock};
use std::fs::{DirBuilder, File};
use std::io::{self, Write};
use std::os::unix::fs::{DirBuilderExt, PermissionsExt};
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

#[cfg(test)]
mod tests;

const ENDING: &str = ".backup";
/// What a crash may leave begins so.
const UNFINISHED: &str = ".unfinished-";
/// How long another process may hold the directory.
const WAIT: Duration = Duration::from_secs(5);
const LOOK: Duration = Duration::from_millis(20);

/// The directory in the state directory.
pub(crate) fn directory(state_dir: &Path) -> PathBuf {
    state_dir.join("backups")
}

/// A backup that is kept, the newest last.
#[derive(Debug)]
pub(crate) struct Kept {
    pub(crate) number: u64,
    pub(crate) path: PathBuf,
}

impl Kept {
    pub(crate) fn read(&self) -> Result<Backup, Damage> {
        file::read(&self.path)
    }
}

/// Those that are kept, the newest last.
pub(crate) fn list(directory: &Path) -> io::Result<Vec<Kept>> {
    let entries = match std::fs::read_dir(directory) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Vec::new()),
        entries => entries?,
    };
    let mut kept = Vec::new();
    for entry in entries {
        let path = entry?.path();
        let name = path.file_name().unwrap_or_default().to_string_lossy();
        let number = name.strip_suffix(ENDING).and_then(|name| name.split('-').next()?.parse().ok());
        if let Some(number) = number {
            kept.push(Kept { number, path });
        }
    }
    kept.sort_by_key(|kept| kept.number);
    Ok(kept)
}

/// Keeps `backup`, unless the last one says the same, and `keep` of them in all. Gives where it is, and whether it was
/// made.
pub(crate) fn put(state_dir: &Path, backup: &Backup, keep: usize) -> Result<(PathBuf, bool), String> {
    let directory = directory(state_dir);
    let what = |error: io::Error| format!("{}: {error}", directory.display());
    DirBuilder::new().recursive(true).mode(0o700).create(&directory).map_err(what)?;
    let _alone = hold(&directory).map_err(what)?;
    clear(&directory).map_err(what)?;
    let kept = list(&directory).map_err(what)?;
    if let Some(last) = kept.last()
        && last.read().is_ok_and(|last| last.is_same(backup))
    {
        return Ok((last.path.clone(), false));
    }
    let number = kept.last().map_or(0, |last| last.number).saturating_add(1);
    let at: String = backup.made_at.chars().filter(|it| !matches!(it, ':' | '-')).collect();
    let path = directory.join(format!("{number:06}-{}-{at}{ENDING}", backup.node));
    write(&path, backup)?;
    let surplus = kept.len().saturating_add(1).saturating_sub(keep.max(1));
    for old in kept.iter().take(surplus) {
        std::fs::remove_file(&old.path).map_err(what)?;
    }
    Ok((path, true))
}

/// One process at a time.
#[allow(clippy::disallowed_methods, reason = "off every loop; it waits for another process")]
fn hold(directory: &Path) -> io::Result<File> {
    let held = File::open(directory)?;
    let begun = Instant::now();
    loop {
        match flock(&held, FlockOperation::NonBlockingLockExclusive) {
            Ok(()) => return Ok(held),
            Err(_) if begun.elapsed() < WAIT => std::thread::sleep(LOOK),
            Err(_) => return Err(io::Error::other("another process makes a backup there, and does not end")),
        }
    }
}

/// Takes away what a crash left.
fn clear(directory: &Path) -> io::Result<()> {
    for entry in std::fs::read_dir(directory)? {
        let entry = entry?;
        if entry.file_name().to_string_lossy().starts_with(UNFINISHED) && entry.file_type()?.is_file() {
            std::fs::remove_file(entry.path())?;
        }
    }
    Ok(())
}

/// Writes `backup` to `path`: what is there is replaced only if it is a backup, too.
pub(crate) fn write(path: &Path, backup: &Backup) -> Result<(), String> {
    if let Ok(found) = path.symlink_metadata()
        && !(found.is_file() && is_replaceable(&file::read(path)))
    {
        return Err(format!(
            "{} is there and no backup; it is left alone: name another file",
            path.display()
        ));
    }
    let bytes = file::encode(backup)?;
    let write = |file: &mut File| file.write_all(&bytes);
    let check = |written: &Path| match file::read(written) {
        Ok(read) if read == *backup => Ok(()),
        Ok(_) => Err(io::Error::other("what is read back is something else")),
        Err(damage) => Err(io::Error::other(format!("what is read back is no backup: {damage}"))),
    };
    put_file(path, 0o600, write, check)
        .map_err(|error| format!("{} can't be written: {error}", path.display()))
}

/// A damaged backup is one.
fn is_replaceable(read: &Result<Backup, Damage>) -> bool {
    !matches!(read, Err(Damage::Read(_) | Damage::NotAFile | Damage::TooLarge | Damage::Foreign))
}

/// Gives a file its name once it is on disk and `check` has found it good. Never through a symbolic link: the name itself
/// is replaced.
pub(crate) fn put_file(
    path: &Path,
    mode: u32,
    write: impl FnOnce(&mut File) -> io::Result<()>,
    check: impl FnOnce(&Path) -> io::Result<()>,
) -> io::Result<()> {
    let directory = path.parent().filter(|parent| !parent.as_os_str().is_empty()).unwrap_or(Path::new("."));
    let mut file = tempfile::Builder::new().prefix(UNFINISHED).tempfile_in(directory)?;
    write(file.as_file_mut())?;
    file.as_file().set_permissions(std::fs::Permissions::from_mode(mode))?;
    file.as_file().sync_all()?;
    check(file.path())?;
    file.persist(path)?;
    // The rename itself is safe only once the directory is.
    File::open(directory)?.sync_all()
}
