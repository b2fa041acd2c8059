//! Files in memory, and a `.tar.gz` of them.

use super::redact::Redactor;
use crate::backup::shelf::put_file;
use flate2::Compression;
use flate2::write::GzEncoder;
use serde_json::Value;
use std::io::{self, Write};
use std::path::Path;
use tar::{Builder, Header};

#[cfg(test)]
mod tests;

/// The longest that one file may be: what is more is cut off.
const LIMIT: usize = 16 << 20;

/// What goes into the archive.
#[derive(Debug, Default)]
pub(crate) struct Archive {
    files: Vec<(String, String)>,
    documents: Vec<(String, Value)>,
}

impl Archive {
    pub(crate) fn add(&mut self, name: impl Into<String>, text: impl Into<String>) {
        let mut text = text.into();
        if text.len() > LIMIT {
            let end = (0..=LIMIT).rev().find(|at| text.is_char_boundary(*at)).unwrap_or(0);
            text.truncate(end);
            text.push_str("\n... cut off here\n");
        }
        self.files.push((name.into(), text));
    }

    pub(crate) fn add_document(&mut self, name: impl Into<String>, value: Value) {
        self.documents.push((name.into(), value));
    }

    /// Takes secrets out of every file: the last thing that is done to them.
    pub(crate) fn redact(&mut self, redactor: &Redactor) {
        for (_, text) in &mut self.files {
            *text = redactor.text(text);
        }
        for (_, value) in &mut self.documents {
            redactor.leaves(value);
        }
    }

    /// Writes it to `path`, which must not be there yet, with all files in a directory of this name.
    pub(crate) fn write(&self, path: &Path, directory: &str, seconds: u64) -> Result<(), String> {
        if path.symlink_metadata().is_ok() {
            return Err(format!("{} is there already; name another file: --to FILE", path.display()));
        }
        let pack = |file: &mut std::fs::File| self.pack(file, directory, seconds);
        put_file(path, 0o600, pack, |_| Ok(()))
            .map_err(|error| format!("{} can't be written: {error}", path.display()))
    }

    fn pack(&self, into: impl Write, directory: &str, seconds: u64) -> io::Result<()> {
        let mut builder = Builder::new(GzEncoder::new(into, Compression::default()));
        let documents = self.documents.iter().map(|(name, value)| (name, format!("{value:#}\n")));
        for (name, text) in self.files.iter().map(|(name, text)| (name, text.clone())).chain(documents) {
            let mut header = Header::new_gnu();
            header.set_size(u64::try_from(text.len()).unwrap_or(u64::MAX));
            header.set_mode(0o600);
            header.set_mtime(seconds);
            builder.append_data(&mut header, format!("{directory}/{name}"), text.as_bytes())?;
        }
        builder.into_inner()?.finish()?.flush()
    }
}
