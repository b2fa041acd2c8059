//! Where the last good configuration is kept: what is run at start if the file itself is bad.

use fulcrum_config::last_good::{LastGoodError, keep};
use std::path::{Path, PathBuf};

#[cfg(test)]
mod tests;

/// What the last good copy is kept as.
pub(crate) const LAST_GOOD: &str = "last-good";

/// Where the last good copy of `config_file` is kept in `state_dir`.
pub(crate) fn path(state_dir: &Path, config_file: &Path) -> PathBuf {
    kept_as(state_dir, config_file, LAST_GOOD)
}

/// Where something of this `kind` is kept for the node of `config_file` in `state_dir`. Each file has its own, so that
/// several nodes' states may share a directory.
pub(crate) fn kept_as(state_dir: &Path, config_file: &Path, kind: &str) -> PathBuf {
    let absolute = std::path::absolute(config_file).unwrap_or_else(|_| config_file.to_owned());
    let name = absolute.to_string_lossy().trim_start_matches('/').replace('/', "-");
    state_dir.join(format!("{kind}-{name}"))
}

/// That path with something after it.
pub(crate) fn with_suffix(path: &Path, suffix: &str) -> PathBuf {
    let mut name = path.as_os_str().to_owned();
    name.push(suffix);
    name.into()
}

/// Whether `text` could be kept at `path` now, found out beside it.
pub(crate) fn try_out(path: &Path, text: &str) -> Result<(), LastGoodError> {
    let trial = with_suffix(path, ".trial");
    let kept = keep(&trial, text);
    let _ = std::fs::remove_file(&trial);
    kept
}

/// Where the state may be when `config_file`, which says so, can't be read as a whole: what systemd says,
/// what the file's line `state_dir:` says, the default.
pub(crate) fn candidates(config_file: &Path, from_systemd: Option<&str>) -> Vec<PathBuf> {
    // Not by opening whatever it is: a pipe would not end.
    let text = fulcrum_config::read(config_file).unwrap_or_default();
    let said = said(&text, "state_dir");
    let default = fulcrum_config::Admin::default().state_dir;
    said.into_iter()
        .chain(from_systemd)
        .filter(|directory| directory.starts_with('/'))
        .map(PathBuf::from)
        .chain([default])
        .collect()
}

/// The path that the first line `key: /...` of a file names, even if the file as a whole makes no sense.
pub(crate) fn said<'a>(text: &'a str, key: &str) -> Option<&'a str> {
    let lines = text.lines().filter(|line| !line.trim_start().starts_with('#'));
    let value = |line: &'a str, at: usize| {
        let (before, rest) = line.split_at_checked(at)?;
        let is_whole = before.chars().next_back().is_none_or(|last| " \t{,".contains(last));
        let value = rest.strip_prefix(key)?.strip_prefix(':').filter(|_| is_whole)?;
        value.trim_start().trim_start_matches(['"', '\'']).split(['"', '\'', ',', '}', ' ']).next()
    };
    let mut values =
        lines.flat_map(|line| line.match_indices(key).filter_map(move |(at, _)| value(line, at)));
    values.find(|value| value.starts_with('/'))
}
