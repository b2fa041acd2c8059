//! The private key in a backup is encrypted by `age` with a passphrase, which stands in the first line of a file.
//!
//! Without this program: `tail -n +2 FILE | jq -r .key.age | base64 -d | age -d`.

use age::secrecy::{ExposeSecret, SecretString};
use age::{Decryptor, Encryptor, Identity, Recipient, scrypt};
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use std::io::{Read, Write};
use std::os::unix::fs::MetadataExt;
use std::path::Path;

#[cfg(test)]
mod tests;

/// Where the file of the passphrase is named, if nothing else names one.
pub(crate) const VARIABLE: &str = "FULCRUM_BACKUP_PASSPHRASE_FILE";

/// What it costs to try a passphrase, as a power of two: 32 MiB of memory, which a daemon can spare after a change.
const WORK: u8 = 15;
/// What a file may make us pay: 256 MiB.
const WORK_AT_MOST: u8 = 18;
/// Far more than a passphrase needs.
const FILE_LIMIT: u64 = 4096;
/// A shorter one is guessed.
const SHORTEST: usize = 8;
const TEXT_LIMIT: u64 = 64 << 10;
/// Others may not read it, the group may not change it.
const FORBIDDEN: u32 = 0o027;

/// A passphrase. Shown nowhere.
#[derive(Clone)]
pub(crate) struct Passphrase(SecretString);

impl Passphrase {
    /// The first line of `file`.
    pub(crate) fn read(file: &Path) -> Result<Self, String> {
        let what = |why: String| format!("the passphrase in {}: {why}", file.display());
        let found = std::fs::metadata(file).map_err(|error| what(error.to_string()))?;
        if !found.is_file() {
            return Err(what("it is not a regular file".to_owned()));
        }
        if found.mode() & FORBIDDEN != 0 {
            let mode = found.mode() & 0o7777;
            return Err(what(format!("its mode is {mode:04o}, so that others can read it; 'chmod 600' it")));
        }
        let mut text = String::new();
        let read = std::fs::File::open(file).and_then(|file| file.take(FILE_LIMIT).read_to_string(&mut text));
        read.map_err(|error| what(error.to_string()))?;
        Self::new(text.lines().next().unwrap_or_default()).map_err(what)
    }

    fn new(text: &str) -> Result<Self, String> {
        let text = text.trim();
        if text.len() < SHORTEST {
            return Err(format!(
                "it is shorter than {SHORTEST} characters; 'openssl rand -base64 24' makes a good one"
            ));
        }
        Ok(Self(SecretString::from(text.to_owned())))
    }
}

/// `text`, for those who know the passphrase.
pub(crate) fn seal(text: &str, passphrase: &Passphrase) -> Result<String, String> {
    let mut recipient = scrypt::Recipient::new(passphrase.0.clone());
    recipient.set_work_factor(WORK);
    let recipients = std::iter::once(&recipient as &dyn Recipient);
    let encryptor = Encryptor::with_recipients(recipients).map_err(|error| error.to_string())?;
    let mut sealed = Vec::new();
    let written = encryptor.wrap_output(&mut sealed).and_then(|mut writer| {
        writer.write_all(text.as_bytes())?;
        writer.finish()
    });
    written.map_err(|error| error.to_string())?;
    Ok(STANDARD.encode(sealed))
}

/// What was sealed.
pub(crate) fn open(sealed: &str, passphrase: &Passphrase) -> Result<String, String> {
    let bytes = STANDARD.decode(sealed).map_err(|error| error.to_string())?;
    let mut identity = scrypt::Identity::new(passphrase.0.clone());
    identity.set_max_work_factor(WORK_AT_MOST);
    let wrong = |error: age::DecryptError| {
        use age::DecryptError::{DecryptionFailed, KeyDecryptionFailed, NoMatchingKeys};
        let is_other = matches!(error, DecryptionFailed | KeyDecryptionFailed | NoMatchingKeys);
        if is_other { "the passphrase is another one".to_owned() } else { error.to_string() }
    };
    let reader = Decryptor::new_buffered(bytes.as_slice()).map_err(wrong)?;
    let reader = reader.decrypt(std::iter::once(&identity as &dyn Identity)).map_err(wrong)?;
    let mut text = String::new();
    reader.take(TEXT_LIMIT).read_to_string(&mut text).map_err(|error| error.to_string())?;
    Ok(text)
}

impl std::fmt::Debug for Passphrase {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Passphrase({} characters)", self.0.expose_secret().len())
    }
}
