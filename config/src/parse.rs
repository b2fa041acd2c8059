//! The way in: text to [`Config`].

use crate::diagnostic::Diagnostics;
use crate::digest;
use crate::document::{Document, SIZE_LIMIT};
use crate::file::File;
use crate::fragment::{self, Fragment};
use crate::model::{Allocations, Config, Fragments, Overrides, UnixTime};
use crate::reader::Reader;
use crate::resolve::resolve;
use crate::table::{Decode, Definitions};
use serde_json::{Value as Json, json};
use std::io::Read;
use std::path::Path;
use std::sync::Arc;

#[cfg(test)]
mod tests;

/// A configuration that can be used, and what somebody should still look at.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Parsed {
    /// The configuration.
    pub config: Config,
    /// Warnings only.
    pub warnings: Diagnostics,
}

/// What was in force before.
#[derive(Debug, Clone, Default)]
pub struct Before {
    /// The addresses that services had from pools.
    pub allocations: Arc<Allocations>,
    /// Services may lose theirs and get others, if the pools do not have them any more.
    pub give_up: bool,
    /// What operators asked for over the file.
    pub overrides: Arc<Overrides>,
    /// What comes from outside the file. Nothing that is wrong there refuses the file.
    pub fragments: Arc<Fragments>,
    /// What the wall clock shows: deadlines of those may be over.
    pub now: UnixTime,
    /// Judges the programs of hooks.
    pub programs: Judge,
}

/// Judges the file of a program that a configuration would have run.
#[derive(Debug, Clone, Copy)]
pub struct Judge(pub fn(&Path) -> Judged);

/// What is to be said of it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Judged {
    /// Nothing.
    Good,
    /// It is not there, which may change: why.
    Missing(String),
    /// Somebody else could put anything in its place: how, and what to do.
    Unsafe(String, String),
}

/// Whatever stands there is good.
impl Default for Judge {
    fn default() -> Self {
        Self(|_| Judged::Good)
    }
}

/// Reads `text`, which came from `file`, on a host called `host_name` (the default of `node:`).
///
/// # Errors
/// Everything that is wrong, warnings included.
pub fn parse(text: &str, file: &str, host_name: &str) -> Result<Parsed, Diagnostics> {
    parse_after(text, file, host_name, &Before::default())
}

/// As [`parse`], where services had addresses from pools before: what they have, they keep.
///
/// # Errors
/// As those of [`parse`]; and a service would lose an address that it has.
pub fn parse_after(text: &str, file: &str, host_name: &str, before: &Before) -> Result<Parsed, Diagnostics> {
    let (document, faults) = Document::read(text);
    // What stands behind a fault of the YAML itself was not read: it must not look missing.
    let whole = faults.iter().all(|fault| fault.related.is_some());
    let outside = fragment::documents(&before.fragments);
    let documents = outside.iter().map(|(_, document, _)| document);
    let mut reader = Reader::new(&document, file, faults).with_fragments(documents);
    let mut config = None;
    if whole {
        let root = reader.root();
        let fragments: Vec<Fragment> = outside.iter().map(|it| Fragment::decode(&mut reader, it)).collect();
        config = File::decode(&mut reader, root)
            .and_then(|file| resolve(&mut reader, &file, &fragments, host_name, before));
        if let Some(config) = &mut config {
            config.shared =
                digest::shared(&document, &config.allocations, &config.overrides, &before.fragments);
        }
    }
    let refused = reader.refused();
    let diagnostics = reader.finish(text);
    match config {
        Some(config) if !refused => Ok(Parsed { config, warnings: diagnostics }),
        Some(_) | None => Err(diagnostics),
    }
}

/// Reads the text of a configuration file.
///
/// # Errors
/// It can't be opened, is too large or not UTF-8.
pub fn read(path: &Path) -> Result<String, Diagnostics> {
    let name = path.display().to_string();
    let refuse = |message: String, help: &str| Diagnostics::of_file(&name, &message, help);
    // To open a pipe would wait for whoever writes to it.
    if std::fs::metadata(path).is_ok_and(|meta| !meta.is_file()) {
        return Err(refuse(
            "this is not a regular file".to_owned(),
            "name a file; a pipe or directory can't be read again",
        ));
    }
    let file = std::fs::File::open(path).map_err(|error| {
        refuse(format!("the file can't be opened: {error}"), "check its path and permissions")
    })?;
    let mut bytes = Vec::new();
    let limit = u64::try_from(SIZE_LIMIT).unwrap_or(u64::MAX).saturating_add(1);
    file.take(limit)
        .read_to_end(&mut bytes)
        .map_err(|error| refuse(format!("the file can't be read: {error}"), "check that it is a file"))?;
    if bytes.len() > SIZE_LIMIT {
        return Err(refuse("the file is larger than 8 MiB".to_owned(), "split the load over several pairs"));
    }
    String::from_utf8(bytes).map_err(|error| {
        let good = error.utf8_error().valid_up_to();
        let line =
            error.as_bytes().iter().take(good).filter(|byte| **byte == b'\n').count().saturating_add(1);
        refuse(format!("line {line} is not UTF-8"), "save the file as UTF-8")
    })
}

/// Reads the file at `path`.
///
/// # Errors
/// Everything that is wrong, warnings included.
pub fn load(path: &Path, host_name: &str) -> Result<Parsed, Diagnostics> {
    parse(&read(path)?, &path.display().to_string(), host_name)
}

/// The JSON Schema of the file, for editors.
#[must_use]
pub fn schema() -> Json {
    let mut definitions = Definitions::new();
    let reference = File::schema(&mut definitions);
    json!({
        "$schema": "https://json-schema.org/draft/2020-12/schema",
        "title": "fulcrum.yaml",
        "$ref": reference.get("$ref"),
        "$defs": definitions,
    })
}
