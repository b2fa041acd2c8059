//! The last good configuration on disk, so that a node boots even when its file has gone bad.
//!
//! The file is a header line (`fulcrum last-good v1 crc32 LENGTH`) and the text as it was. It is written
//! beside, synced and renamed, so that a crash leaves the old one or the new one; what a disk tore shows in
//! the checksum.

use std::io::{self, Read, Write};
use std::path::{Path, PathBuf};
use thiserror::Error;

#[cfg(test)]
mod tests;

const MAGIC: &str = "fulcrum last-good v1";
/// The largest text, and its header: what comes from outside the file may be 16 MiB, and grows when it is written in JSON.
const LIMIT: u64 = (48 << 20) as u64;

/// Why the last good configuration can't be had or kept.
#[derive(Debug, Error)]
pub enum LastGoodError {
    /// It could not be read.
    #[error("the last good configuration {path} can't be read: {source}; check the directory's permissions")]
    Read {
        /// The file.
        path: PathBuf,
        /// Why.
        source: io::Error,
    },
    /// It could not be written.
    #[error(
        "the last good configuration {path} can't be kept: {source}; check that its directory can be written \
         to: until then a bad file at boot means no service"
    )]
    Write {
        /// The file.
        path: PathBuf,
        /// Why.
        source: io::Error,
    },
    /// It is not what was written.
    #[error("the last good configuration {path} is damaged ({what}), and is not used")]
    Damaged {
        /// The file.
        path: PathBuf,
        /// What does not fit.
        what: &'static str,
    },
}

/// Keeps `text`, the text of a configuration that is in force now, at `path`. Its directory is made if need be.
///
/// # Errors
/// It can't be written; what was kept before is untouched then.
pub fn keep(path: &Path, text: &str) -> Result<(), LastGoodError> {
    if matches!(recall(path), Ok(Some(kept)) if kept == text) {
        return Ok(());
    }
    write(path, text).map_err(|source| LastGoodError::Write { path: path.to_owned(), source })
}

fn write(path: &Path, text: &str) -> io::Result<()> {
    let directory = path.parent().filter(|parent| !parent.as_os_str().is_empty()).unwrap_or(Path::new("."));
    std::fs::create_dir_all(directory)?;
    let mut file = tempfile::NamedTempFile::new_in(directory)?;
    let checksum = crc32fast::hash(text.as_bytes());
    writeln!(file, "{MAGIC} {checksum:08x} {}", text.len())?;
    file.write_all(text.as_bytes())?;
    file.as_file().sync_all()?;
    file.persist(path)?;
    // The rename itself is safe only once the directory is.
    std::fs::File::open(directory)?.sync_all()
}

/// The text that was kept last at `path`; `None` if none ever was.
///
/// # Errors
/// It can't be read, or is not what was written.
pub fn recall(path: &Path) -> Result<Option<String>, LastGoodError> {
    let mut bytes = Vec::new();
    let opened = std::fs::File::open(path).and_then(|file| file.take(LIMIT).read_to_end(&mut bytes));
    match opened {
        Ok(_) => {
            let damaged = |what| LastGoodError::Damaged { path: path.to_owned(), what };
            check(&bytes).map(Some).map_err(damaged)
        }
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
        Err(source) => Err(LastGoodError::Read { path: path.to_owned(), source }),
    }
}

fn check(bytes: &[u8]) -> Result<String, &'static str> {
    let end = bytes.iter().position(|byte| *byte == b'\n').ok_or("it has no header")?;
    let (header, text) = bytes.split_at_checked(end).ok_or("it has no header")?;
    let text = text.get(1..).unwrap_or_default();
    let header = std::str::from_utf8(header).map_err(|_| "its header is not text")?;
    let fields = header.strip_prefix(MAGIC).ok_or("its header is of another version")?;
    let (checksum, length) = fields.trim_start().split_once(' ').ok_or("its header is incomplete")?;
    if length.parse() != Ok(text.len()) {
        return Err("its length is wrong");
    }
    if u32::from_str_radix(checksum, 16) != Ok(crc32fast::hash(text)) {
        return Err("its checksum is wrong");
    }
    String::from_utf8(text.to_vec()).map_err(|_| "it is not UTF-8")
}
