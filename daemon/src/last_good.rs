//! Where the last good configuration is kept: what is run at start if the file itself is bad.

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
