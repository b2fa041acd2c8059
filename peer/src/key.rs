//! Private keys: made, kept in a file of mode 0600, known by the pin of their public half.

use crate::error::KeyError;
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use fulcrum_config::KeyPin;
use ring::digest::{SHA256, digest};
use ring::rand::SystemRandom;
use ring::signature::Ed25519KeyPair;
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use rustls::sign::CertifiedKey;
use std::fmt::Write as _;
use std::fs::OpenOptions;
use std::io::{self, Read, Write};
use std::os::unix::fs::{MetadataExt, OpenOptionsExt};
use std::path::Path;
use std::sync::Arc;

#[cfg(test)]
mod tests;

/// Far more than a key of any kind needs.
const SIZE_LIMIT: u64 = 64 << 10;
/// Others may not read it, the group may not change it.
const FORBIDDEN: u32 = 0o027;

/// A private key that can be used.
#[derive(Debug, Clone)]
pub(crate) struct Key {
    pub(crate) certified: Arc<CertifiedKey>,
    pub(crate) pin: KeyPin,
}

/// The pin of the key in `path`; the file is made if there is none.
///
/// # Errors
/// It can't be made or read, or holds something else.
pub fn create_or_pin(path: &Path) -> Result<(KeyPin, bool), KeyError> {
    match create(path) {
        Err(KeyError::Write { source, .. }) if source.kind() == io::ErrorKind::AlreadyExists => {
            load(path).map(|key| (key.pin, false))
        }
        Err(error) => Err(error),
        Ok(pin) => Ok((pin, true)),
    }
}

/// The text of the key in `path`, and its pin: to be kept elsewhere, encrypted.
///
/// # Errors
/// It can't be read, or holds something else.
pub fn export(path: &Path) -> Result<(String, KeyPin), KeyError> {
    let key = load(path)?;
    let text =
        std::fs::read_to_string(path).map_err(|source| KeyError::Read { path: path.to_owned(), source })?;
    // As it is now: another may have come meanwhile.
    match pin_of_text(&text) {
        Ok(pin) if pin == key.pin => Ok((text, pin)),
        Ok(_) => {
            Err(KeyError::Content { path: path.to_owned(), what: "it changed at that moment".to_owned() })
        }
        Err(what) => Err(KeyError::Content { path: path.to_owned(), what }),
    }
}

/// The pin of a key, given as it stands in its file.
///
/// # Errors
/// It is none: why, for people.
pub fn pin_of_text(text: &str) -> Result<KeyPin, String> {
    of_text(text).map(|key| key.pin)
}

/// A key, given as it stands in its file.
pub(crate) fn of_text(text: &str) -> Result<Key, String> {
    parse(text.as_bytes())
}

/// Makes a key (Ed25519, PKCS #8 in PEM) in `path`, which must not be there yet.
fn create(path: &Path) -> Result<KeyPin, KeyError> {
    let failed = |source| KeyError::Write { path: path.to_owned(), source };
    let text = generate()?;
    let mut file = OpenOptions::new().write(true).create_new(true).mode(0o600).open(path).map_err(failed)?;
    let written = file.write_all(text.as_bytes()).and_then(|()| file.sync_all());
    if let Err(source) = written {
        // Half a key is none.
        let _ = std::fs::remove_file(path);
        return Err(failed(source));
    }
    load(path).map(|key| key.pin)
}

fn generate() -> Result<String, KeyError> {
    let der = Ed25519KeyPair::generate_pkcs8(&SystemRandom::new()).map_err(|_| KeyError::Make)?;
    let mut text = String::from("-----BEGIN PRIVATE KEY-----\n");
    for line in STANDARD.encode(der.as_ref()).as_bytes().chunks(64) {
        let _infallible = writeln!(text, "{}", String::from_utf8_lossy(line));
    }
    text.push_str("-----END PRIVATE KEY-----\n");
    Ok(text)
}

/// Reads the key in `path`.
pub(crate) fn load(path: &Path) -> Result<Key, KeyError> {
    let failed = |source| KeyError::Read { path: path.to_owned(), source };
    let content = |what: String| KeyError::Content { path: path.to_owned(), what };
    // To open a pipe would wait for whoever writes to it.
    let meta = std::fs::metadata(path).map_err(failed)?;
    if !meta.is_file() {
        return Err(content("it is not a regular file".to_owned()));
    }
    if meta.mode() & FORBIDDEN != 0 {
        return Err(KeyError::Open { path: path.to_owned(), mode: meta.mode() & 0o7777 });
    }
    let mut pem = Vec::new();
    std::fs::File::open(path).and_then(|file| file.take(SIZE_LIMIT).read_to_end(&mut pem)).map_err(failed)?;
    parse(&pem).map_err(content)
}

fn parse(pem: &[u8]) -> Result<Key, String> {
    let der = PrivateKeyDer::from_pem_slice(pem).map_err(|error| error.to_string())?;
    let signing = rustls::crypto::ring::sign::any_supported_type(&der).map_err(|error| error.to_string())?;
    let public = signing.public_key().ok_or("its public half can't be had")?;
    let pin = pin_of(&public);
    let certificate = CertificateDer::from(public.to_vec());
    Ok(Key { certified: Arc::new(CertifiedKey::new(vec![certificate], signing)), pin })
}

/// The pin of a public key, given as SubjectPublicKeyInfo in DER.
pub(crate) fn pin_of(public: &[u8]) -> KeyPin {
    let mut bytes = [0; 32];
    for (byte, of) in bytes.iter_mut().zip(digest(&SHA256, public).as_ref()) {
        *byte = *of;
    }
    KeyPin::new(bytes)
}
