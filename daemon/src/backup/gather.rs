//! What goes into a backup.

use super::file::{Backup, SealedKey};
use super::seal::{self, Passphrase};
use crate::last_good::{LAST_GOOD, kept_as};
use crate::node::{ALLOCATIONS, SHARED};
use fulcrum_config::last_good::recall;
use std::collections::BTreeMap;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::time::SystemTime;

#[cfg(test)]
pub(super) mod tests;

/// The configuration file, among the texts.
pub(crate) const CONFIG: &str = "config";
/// All that is kept in the state directory and belongs into a backup, by the first part of its file's name.
pub(crate) const STATE: [&str; 3] = [LAST_GOOD, ALLOCATIONS, SHARED];

/// How often it is tried to read all files between two changes.
const TRIES: usize = 20;

/// Whose backup, and where that is.
#[derive(Debug, Clone)]
pub(crate) struct Source {
    pub(crate) node: String,
    pub(crate) config_file: PathBuf,
    pub(crate) state_dir: PathBuf,
    pub(crate) key: PathBuf,
    /// What is to be replaced is kept, whatever it is.
    pub(crate) may_lack_file: bool,
}

/// For people.
#[derive(Debug, Clone)]
pub(crate) struct Occasion {
    pub(crate) why: String,
    pub(crate) roles: BTreeMap<String, String>,
    pub(crate) at: SystemTime,
}

/// Reads all of it, as it was between two changes.
pub(crate) fn gather(
    source: &Source,
    occasion: Occasion,
    passphrase: Option<&Passphrase>,
) -> Result<Backup, String> {
    let (texts, missing) = texts(source)?;
    let mode = std::fs::metadata(&source.config_file).map_or(0o600, |found| found.mode() & 0o777);
    let shared = texts.get(SHARED).and_then(|text| serde_json::from_str::<serde_json::Value>(text).ok());
    let serial = shared.and_then(|shared| shared.get("serial")?.as_u64()).unwrap_or(1);
    let mut backup = Backup {
        node: source.node.clone(),
        made_at: humantime::format_rfc3339_seconds(occasion.at).to_string(),
        version: env!("CARGO_PKG_VERSION").to_owned(),
        why: occasion.why,
        config_file: source.config_file.display().to_string(),
        serial,
        roles: occasion.roles,
        texts,
        mode,
        key: SealedKey::None,
        missing,
    };
    seal_key(&mut backup, &source.key, passphrase)?;
    Ok(backup)
}

fn seal_key(backup: &mut Backup, path: &Path, passphrase: Option<&Passphrase>) -> Result<(), String> {
    if !path.exists() {
        return Ok(());
    }
    match fulcrum_peer::key::export(path) {
        Ok((text, pin)) => {
            let pin = pin.to_string();
            backup.key = match passphrase {
                Some(passphrase) => SealedKey::Encrypted { pin, age: seal::seal(&text, passphrase)? },
                None => SealedKey::LeftOut { pin },
            };
        }
        Err(error) => backup.missing.push(error.to_string()),
    }
    Ok(())
}

type Texts = (BTreeMap<String, String>, Vec<String>);

/// A change writes several files: all are read again until nothing has changed meanwhile.
fn texts(source: &Source) -> Result<Texts, String> {
    let mut last = read_texts(source)?;
    for _ in 0..TRIES {
        let again = read_texts(source)?;
        if again == last {
            return Ok(last);
        }
        last = again;
    }
    Err("the configuration changes all the time; try again".to_owned())
}

fn read_texts(source: &Source) -> Result<Texts, String> {
    let (mut texts, mut missing) = (BTreeMap::new(), Vec::new());
    match fulcrum_config::read(&source.config_file) {
        Ok(config) => drop(texts.insert(CONFIG.to_owned(), config)),
        Err(wrong) if source.may_lack_file => missing.push(wrong.to_string()),
        Err(wrong) => return Err(wrong.to_string()),
    }
    for kind in STATE {
        match recall(&kept_as(&source.state_dir, &source.config_file, kind)) {
            Ok(Some(text)) => drop(texts.insert(kind.to_owned(), text)),
            Ok(None) => {}
            Err(error) => missing.push(format!("{kind}: {error}")),
        }
    }
    Ok((texts, missing))
}
