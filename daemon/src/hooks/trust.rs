//! Whether nobody but root, and whom this process runs as, could put another program in a hook's place.

use fulcrum_config::{Judge, Judged};
use std::collections::VecDeque;
use std::ffi::OsString;
use std::fmt;
use std::fs::Metadata;
use std::os::unix::fs::MetadataExt;
use std::path::{Component, Path, PathBuf};

#[cfg(test)]
mod tests;

/// As many symbolic links as the kernel follows.
const LINKS: usize = 40;
const STICKY: u32 = 0o1000;
const GROUP_MAY_WRITE: u32 = 0o020;
const OTHERS_MAY_WRITE: u32 = 0o002;

/// Why a program is not run.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Distrust {
    /// It is not there, or is no file.
    Missing(String),
    /// Others could put anything in its place: how, and what to do.
    Unsafe(String, String),
}

impl fmt::Display for Distrust {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Missing(what) => f.write_str(what),
            Self::Unsafe(what, remedy) => write!(f, "{what}: {remedy}"),
        }
    }
}

/// Says so where a configuration is read.
pub(crate) const JUDGE: Judge = Judge(|program| match check(program) {
    Ok(()) => Judged::Good,
    Err(Distrust::Missing(what)) => Judged::Missing(what),
    Err(Distrust::Unsafe(what, remedy)) => Judged::Unsafe(what, remedy),
});

/// Looks at the file, each directory on the way to it and each symbolic link.
pub(super) fn check(program: &Path) -> Result<(), Distrust> {
    let missing =
        |path: &Path, error| Distrust::Missing(format!("{} can't be found: {error}", path.display()));
    let mut at = PathBuf::from("/");
    let mut left: VecDeque<OsString> = parts(program);
    let mut links = 0_usize;
    while let Some(part) = left.pop_front() {
        let next = if part == ".." { at.parent().unwrap_or(&at).to_owned() } else { at.join(&part) };
        let found = next.symlink_metadata().map_err(|error| missing(&next, error))?;
        if found.is_symlink() {
            // Where it lies only those may write who are trusted; with a sticky bit its owner counts.
            owner(&next, &found)?;
            links = links.saturating_add(1);
            if links > LINKS {
                return Err(Distrust::Missing(format!(
                    "{} is a circle of symbolic links",
                    program.display()
                )));
            }
            let target = std::fs::read_link(&next).map_err(|error| missing(&next, error))?;
            if target.is_absolute() {
                at = PathBuf::from("/");
            }
            parts(&target).into_iter().rev().for_each(|part| left.push_front(part));
            continue;
        }
        owner(&next, &found)?;
        writers(&next, &found)?;
        at = next;
    }
    let file = at.metadata().map_err(|error| missing(&at, error))?;
    if file.is_file() { Ok(()) } else { Err(Distrust::Missing(format!("{} is not a file", at.display()))) }
}

fn parts(path: &Path) -> VecDeque<OsString> {
    let part = |part| match part {
        Component::Normal(name) => Some(name.to_owned()),
        Component::ParentDir => Some(OsString::from("..")),
        Component::RootDir | Component::CurDir | Component::Prefix(_) => None,
    };
    path.components().filter_map(part).collect()
}

fn owner(path: &Path, found: &Metadata) -> Result<(), Distrust> {
    let own = rustix::process::geteuid().as_raw();
    if found.uid() == 0 || found.uid() == own {
        return Ok(());
    }
    let (path, owner) = (path.display(), found.uid());
    let what = format!("{path} belongs to user {owner}, who could put anything there");
    Err(Distrust::Unsafe(what, format!("chown root {path}")))
}

fn writers(path: &Path, found: &Metadata) -> Result<(), Distrust> {
    if found.is_dir() && found.mode() & STICKY != 0 {
        return Ok(());
    }
    let by_group = found.gid() != 0 && found.mode() & GROUP_MAY_WRITE != 0;
    if by_group || found.mode() & OTHERS_MAY_WRITE != 0 {
        let (path, mode) = (path.display(), found.mode() & 0o7777);
        let what = format!("others than root may write {path} (mode {mode:04o})");
        return Err(Distrust::Unsafe(what, format!("chmod go-w {path}")));
    }
    Ok(())
}
