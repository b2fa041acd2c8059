//! The binary that is installed, replaced as a whole or not at all.

use super::own_path;
use crate::error::Failure;
use std::fs::{self, File};
use std::io;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};

#[cfg(test)]
mod tests;

/// The binary that is installed.
#[derive(Debug)]
pub(super) struct Installed {
    pub(super) path: PathBuf,
    /// Where the one before is kept meanwhile.
    before: PathBuf,
}

impl Installed {
    pub(super) fn find(named: Option<&Path>) -> Result<Self, Failure> {
        let path = match named {
            Some(path) => path.to_owned(),
            None => own_path()?,
        };
        // What a link names is replaced, not the link.
        let path = fs::canonicalize(&path).map_err(|error| {
            Failure::Refused(format!("{}: {error}; name it by --installed", path.display()))
        })?;
        let mut before = path.clone().into_os_string();
        before.push(".before");
        Ok(Self { path, before: before.into() })
    }

    /// The one that was there.
    pub(super) fn before(&self) -> &Path {
        &self.before
    }

    /// Puts a copy of `new` in its place.
    pub(super) fn replace(&self, new: &Path) -> Result<(), String> {
        let failed = |what: &str, error: io::Error| format!("{}: {what}: {error}", self.path.display());
        let directory = self.path.parent().unwrap_or(Path::new("/"));
        let mut copy = tempfile::NamedTempFile::new_in(directory)
            .map_err(|error| failed("there is no room beside it", error))?;
        let mut source = File::open(new).map_err(|error| format!("{}: {error}", new.display()))?;
        io::copy(&mut source, copy.as_file_mut()).map_err(|error| failed("it can't be copied", error))?;
        let mode = fs::metadata(&self.path).map_or(0o755, |meta| meta.permissions().mode());
        copy.as_file()
            .set_permissions(fs::Permissions::from_mode(mode))
            .and_then(|()| copy.as_file().sync_all())
            .map_err(|error| failed("it can't be written", error))?;
        let _ = fs::remove_file(&self.before);
        fs::hard_link(&self.path, &self.before)
            .map_err(|error| failed("the one that is there can't be kept", error))?;
        copy.persist(&self.path).map_err(|error| failed("it can't be replaced", error.error))?;
        self.sync();
        Ok(())
    }

    /// Puts the one before back.
    pub(super) fn put_back(&self) -> Result<(), String> {
        fs::rename(&self.before, &self.path)
            .map_err(|error| format!("{} can't be put back: {error}", self.before.display()))?;
        self.sync();
        Ok(())
    }

    /// The new one has proved to work.
    pub(super) fn forget(&self) {
        let _ = fs::remove_file(&self.before);
    }

    fn sync(&self) {
        if let Some(directory) = self.path.parent() {
            let _ = File::open(directory).and_then(|it| it.sync_all());
        }
    }
}
