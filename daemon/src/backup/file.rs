//! A backup as a file: a header line (`fulcrum backup v1 SHA256 LENGTH`) and JSON.

use ring::digest::{SHA256, digest};
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::io::{self, Read};
use std::path::Path;
use thiserror::Error;

#[cfg(test)]
mod tests;

const NAME: &str = "fulcrum backup ";
const VERSION: &str = "v1";
/// The largest that is read: the configuration may stand in it three times, and grows when it is written in JSON.
const LIMIT: u64 = 64 << 20;
/// The longest header.
const HEADER: usize = 128;

/// What is in it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Backup {
    /// The node that it is of.
    pub(crate) node: String,
    /// When it was made, by that machine's clock: for people.
    pub(crate) made_at: String,
    /// Of the fulcrum that made it.
    pub(crate) version: String,
    /// On what occasion.
    pub(crate) why: String,
    /// Where the configuration stood there.
    pub(crate) config_file: String,
    /// The serial number of the configuration that the nodes share.
    pub(crate) serial: u64,
    /// What the node was to each group then: for people.
    #[serde(default)]
    pub(crate) roles: BTreeMap<String, String>,
    /// Texts by what they are: the configuration file and what stood in the state directory.
    pub(crate) texts: BTreeMap<String, String>,
    /// The permissions of the configuration file.
    pub(crate) mode: u32,
    pub(crate) key: SealedKey,
    /// What could not be had, and why.
    #[serde(default)]
    pub(crate) missing: Vec<String>,
}

/// The private key of the peer link.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case", tag = "state")]
pub(crate) enum SealedKey {
    /// Encrypted by a passphrase: what `age` makes of it, in base64.
    Encrypted { pin: String, age: String },
    /// There is no passphrase to encrypt it with.
    LeftOut { pin: String },
    /// The node has none.
    None,
}

impl Backup {
    /// Whether a node would be the same by both.
    pub(crate) fn is_same(&self, other: &Self) -> bool {
        let pin = |key: &SealedKey| match key {
            SealedKey::Encrypted { pin, .. } => (true, pin.clone()),
            SealedKey::LeftOut { pin } => (false, pin.clone()),
            SealedKey::None => (false, String::new()),
        };
        (&self.node, &self.texts, self.mode) == (&other.node, &other.texts, other.mode)
            && pin(&self.key) == pin(&other.key)
    }
}

/// Why a file is not used.
#[derive(Debug, Error)]
pub(crate) enum Damage {
    #[error("it can't be read: {0}")]
    Read(#[from] io::Error),
    #[error("it is not a regular file")]
    NotAFile,
    #[error("it is larger than any backup is ({} MiB)", LIMIT >> 20)]
    TooLarge,
    #[error("it is empty")]
    Empty,
    #[error("it is no backup of fulcrum's: its first line is another one")]
    Foreign,
    #[error(
        "it is a backup of format {0}, this version knows {VERSION}; restore it by the version that made it"
    )]
    Version(String),
    #[error("its first line is damaged")]
    Header,
    #[error("it is cut off: {has} of {length} bytes are there")]
    Short { has: usize, length: usize },
    #[error("there are {more} bytes after its end")]
    Long { more: usize },
    #[error("its checksum is wrong: something in it was changed")]
    Checksum,
    #[error("what is in it makes no sense to this version: {0}")]
    Content(serde_json::Error),
}

/// As it is written.
pub(crate) fn encode(backup: &Backup) -> Result<Vec<u8>, String> {
    let body = serde_json::to_vec_pretty(backup).map_err(|error| error.to_string())?;
    let mut bytes = format!("{NAME}{VERSION} {} {}\n", checksum(&body), body.len()).into_bytes();
    bytes.extend(body);
    Ok(bytes)
}

/// What was written, if it is whole.
pub(crate) fn decode(bytes: &[u8]) -> Result<Backup, Damage> {
    if bytes.is_empty() {
        return Err(Damage::Empty);
    }
    let is_of_us = bytes.starts_with(NAME.as_bytes());
    let end = bytes.iter().take(HEADER).position(|byte| *byte == b'\n');
    let (header, body) = match end.and_then(|end| bytes.split_at_checked(end)) {
        Some((header, body)) if is_of_us => (header, body.get(1..).unwrap_or_default()),
        None if is_of_us => return Err(Damage::Header),
        Some(_) | None => return Err(Damage::Foreign),
    };
    let header = std::str::from_utf8(header).map_err(|_| Damage::Header)?;
    let fields: Vec<&str> = header.strip_prefix(NAME).unwrap_or_default().split(' ').collect();
    let &[version, sum, length] = fields.as_slice() else { return Err(Damage::Header) };
    if version != VERSION {
        return Err(Damage::Version(version.to_owned()));
    }
    let length: usize = length.parse().map_err(|_| Damage::Header)?;
    match body.len().checked_sub(length) {
        None => return Err(Damage::Short { has: body.len(), length }),
        Some(0) => {}
        Some(more) => return Err(Damage::Long { more }),
    }
    if checksum(body) != sum {
        return Err(Damage::Checksum);
    }
    serde_json::from_slice(body).map_err(Damage::Content)
}

/// The backup in `path`, if it is whole.
pub(crate) fn read(path: &Path) -> Result<Backup, Damage> {
    // To open a pipe would wait for whoever writes to it.
    if !std::fs::metadata(path)?.is_file() {
        return Err(Damage::NotAFile);
    }
    let mut bytes = Vec::new();
    std::fs::File::open(path)?.take(LIMIT.saturating_add(1)).read_to_end(&mut bytes)?;
    if u64::try_from(bytes.len()).is_ok_and(|length| length > LIMIT) {
        return Err(Damage::TooLarge);
    }
    decode(&bytes)
}

fn checksum(body: &[u8]) -> String {
    let mut text = String::with_capacity(64);
    for byte in digest(&SHA256, body).as_ref() {
        let _infallible = write!(text, "{byte:02x}");
    }
    text
}
