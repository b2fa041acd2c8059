//! The last good configuration, kept on disk: what is run at start if the file itself is bad.

use std::io::{self, Write};
use std::path::{Path, PathBuf};

#[cfg(test)]
mod tests;

/// Where the last good copy of `config_file` is kept in `state_dir`. Each file has its own, so that several
/// nodes' states may share a directory.
pub(crate) fn path(state_dir: &Path, config_file: &Path) -> PathBuf {
    let absolute = std::path::absolute(config_file).unwrap_or_else(|_| config_file.to_owned());
    let name = absolute.to_string_lossy().trim_start_matches('/').replace('/', "-");
    state_dir.join(format!("last-good-{name}"))
}

/// Keeps `text`. A crash leaves the old copy or the new one, never half of one.
pub(crate) fn save(state_dir: &Path, config_file: &Path, text: &str) -> io::Result<()> {
    let path = path(state_dir, config_file);
    if std::fs::read_to_string(&path).is_ok_and(|kept| kept == text) {
        return Ok(());
    }
    std::fs::create_dir_all(state_dir)?;
    let mut file = tempfile::NamedTempFile::new_in(state_dir)?;
    file.write_all(text.as_bytes())?;
    file.as_file().sync_all()?;
    file.persist(&path)?;
    std::fs::File::open(state_dir)?.sync_all()
}

/// Where the state may be when `config_file`, which says so, can't be read as a whole: what systemd says,
/// what the file's line `state_dir:` says, the default.
pub(crate) fn candidates(config_file: &Path, from_systemd: Option<&str>) -> Vec<PathBuf> {
    let text = std::fs::read_to_string(config_file).unwrap_or_default();
    let lines = text.lines().filter(|line| !line.trim_start().starts_with('#'));
    let said =
        lines.filter_map(|line| line.split_once("state_dir:")).map(|(_, value)| value.trim_start()).next();
    let said = said.map(|value| value.trim_start_matches(['"', '\'']));
    let said = said.and_then(|value| value.split(['"', '\'', ',', '}', ' ']).next());
    let default = fulcrum_config::Admin::default().state_dir;
    said.into_iter()
        .chain(from_systemd)
        .filter(|directory| directory.starts_with('/'))
        .map(PathBuf::from)
        .chain([default])
        .collect()
}

/// The first copy of `config_file` that is found, and where.
pub(crate) fn find(config_file: &Path, directories: &[PathBuf]) -> Option<(PathBuf, String)> {
    directories.iter().find_map(|directory| {
        let path = path(directory, config_file);
        let text = std::fs::read_to_string(&path).ok()?;
        Some((path, text))
    })
}
