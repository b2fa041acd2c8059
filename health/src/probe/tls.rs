//! TLS for probes: client configurations, read once and again when a file changes, and the handshake.

use super::verifier::AnyCertificate;
use super::{Failure, Stage, tls_error};
use fulcrum_config::TlsOptions;
use rustls::crypto::CryptoProvider;
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer, ServerName};
use rustls::{ClientConfig, RootCertStore};
use std::collections::HashMap;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, SystemTime};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio_rustls::TlsConnector;
use tokio_rustls::client::TlsStream;

/// In TLS 1.3 a server refuses our certificate only after our side of the handshake is done: it is given so
/// long to say so.
const REFUSAL_GRACE: Duration = Duration::from_millis(250);

/// Client configurations by what they were asked for.
#[derive(Debug, Default)]
pub(super) struct TlsStore(Mutex<HashMap<(TlsOptions, Protocol), Loaded>>);

/// What is spoken inside TLS, told to the server by ALPN.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(super) enum Protocol {
    /// Not told.
    Any,
    Http1,
    Http2,
}

#[derive(Debug)]
struct Loaded {
    config: Arc<ClientConfig>,
    stamps: Vec<Stamp>,
}

/// Tells a changed file from an unchanged one; `None` if it can't be read.
type Stamp = Option<(SystemTime, u64)>;

impl TlsStore {
    /// Forgets everything; what is still needed is read again.
    pub(super) fn clear(&self) {
        self.lock().clear();
    }

    fn get(&self, options: &TlsOptions, protocol: Protocol) -> Result<Arc<ClientConfig>, Failure> {
        let mut configs = self.lock();
        let stamps: Vec<Stamp> = files(options).map(|file| stamp(file)).collect();
        let key = (options.clone(), protocol);
        if let Some(loaded) = configs.get_mut(&key) {
            if loaded.stamps != stamps {
                loaded.stamps = stamps;
                match load(options, protocol) {
                    Ok(config) => loaded.config = config,
                    Err(error) => {
                        tracing::warn!(%error, "TLS files of a health check changed and can't be used; the ones read before stay");
                    }
                }
            }
            return Ok(Arc::clone(&loaded.config));
        }
        let config = load(options, protocol).map_err(Failure::Local)?;
        configs.insert(key, Loaded { config: Arc::clone(&config), stamps });
        Ok(config)
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, HashMap<(TlsOptions, Protocol), Loaded>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Makes `stream` a TLS stream.
pub(super) async fn handshake(
    stream: TcpStream,
    address: SocketAddr,
    options: &TlsOptions,
    protocol: Protocol,
    store: &TlsStore,
    stage: &Stage,
) -> Result<TlsStream<TcpStream>, Failure> {
    let config = store.get(options, protocol)?;
    let name = match &options.server_name {
        Some(name) => ServerName::try_from(name.clone())
            .map_err(|_| Failure::Local(format!("\"{name}\" is not a server name; write a host name")))?,
        // An address is never sent as SNI, only verified.
        None => ServerName::IpAddress(address.ip().into()),
    };
    stage.set("waiting for the TLS handshake");
    Ok(TlsConnector::from(config).connect(name, stream).await?)
}

/// The TLS check: the handshake is all, from the server's point of view too.
pub(super) async fn ask(mut stream: TlsStream<TcpStream>, stage: &Stage) -> Result<(), Failure> {
    stage.set("closing the TLS session");
    stream.shutdown().await?;
    let mut rest = [0; 256];
    let refusal = async {
        while stream.read(&mut rest).await? > 0 {}
        std::io::Result::Ok(())
    };
    match tokio::time::timeout(REFUSAL_GRACE, refusal).await {
        // Only an alert says that the handshake failed; how the server closes is its own business.
        Ok(Err(error)) if tls_error::in_words(&error).is_some() => Err(error.into()),
        Ok(Ok(()) | Err(_)) | Err(_) => Ok(()),
    }
}

fn files(options: &TlsOptions) -> impl Iterator<Item = &PathBuf> {
    let client = options.client.iter().flat_map(|(certificate, key)| [certificate, key]);
    options.ca.iter().chain(client)
}

fn stamp(file: &Path) -> Stamp {
    let metadata = std::fs::metadata(file).ok()?;
    Some((metadata.modified().ok()?, metadata.len()))
}

fn load(options: &TlsOptions, protocol: Protocol) -> Result<Arc<ClientConfig>, String> {
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let builder = ClientConfig::builder_with_provider(Arc::clone(&provider))
        .with_safe_default_protocol_versions()
        .map_err(|error| error.to_string())?;
    let builder = if options.verify {
        builder.with_root_certificates(authorities(options)?)
    } else {
        builder.dangerous().with_custom_certificate_verifier(any_certificate(&provider))
    };
    let mut config = match &options.client {
        Some((certificate, key)) => builder
            .with_client_auth_cert(certificates(certificate)?, private_key(key)?)
            .map_err(|error| format!("{} and {}: {error}", certificate.display(), key.display()))?,
        None => builder.with_no_client_auth(),
    };
    // A resumed session would pass without the certificates being looked at.
    config.resumption = rustls::client::Resumption::disabled();
    config.alpn_protocols = match protocol {
        Protocol::Any => Vec::new(),
        Protocol::Http1 => vec![b"http/1.1".to_vec()],
        Protocol::Http2 => vec![b"h2".to_vec()],
    };
    Ok(Arc::new(config))
}

fn any_certificate(provider: &CryptoProvider) -> Arc<AnyCertificate> {
    Arc::new(AnyCertificate::new(provider.signature_verification_algorithms.supported_schemes()))
}

fn authorities(options: &TlsOptions) -> Result<RootCertStore, String> {
    let Some(file) = &options.ca else {
        return Err("certificates are to be verified, but no authority is given; set `ca`".into());
    };
    let mut roots = RootCertStore::empty();
    for certificate in certificates(file)? {
        roots.add(certificate).map_err(|error| format!("{}: {error}", file.display()))?;
    }
    Ok(roots)
}

/// The certificates of a PEM file, one at least.
///
/// # Errors
/// It can't be read, or has none: with its name.
pub fn certificates(file: &Path) -> Result<Vec<CertificateDer<'static>>, String> {
    let read = || CertificateDer::pem_file_iter(file)?.collect::<Result<Vec<_>, _>>();
    match read() {
        Ok(certificates) if certificates.is_empty() => {
            Err(format!("{}: no certificate in it", file.display()))
        }
        Ok(certificates) => Ok(certificates),
        Err(error) => Err(format!("{}: {error}", file.display())),
    }
}

fn private_key(file: &Path) -> Result<PrivateKeyDer<'static>, String> {
    PrivateKeyDer::from_pem_file(file).map_err(|error| format!("{}: {error}", file.display()))
}
