//! Mutual TLS: which of two authorities vouches for a client says what it may do.

use crate::admin::caller::{Caller, Role};
use fulcrum_config::TcpAdmin;
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer, UnixTime};
use rustls::server::WebPkiClientVerifier;
use rustls::server::danger::ClientCertVerifier;
use rustls::{RootCertStore, ServerConfig};
use std::fmt;
use std::net::SocketAddr;
use std::path::Path;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::SystemTime;
use tokio::net::TcpStream;
use tokio_rustls::TlsAcceptor;
use tokio_rustls::server::TlsStream;

#[cfg(test)]
mod tests;

/// The listener's certificates, read again when their files change.
pub(crate) struct Tls {
    files: TcpAdmin,
    loaded: Mutex<Loaded>,
}

#[derive(Clone)]
struct Loaded {
    changed: Vec<Option<SystemTime>>,
    acceptor: TlsAcceptor,
    operators: Arc<dyn ClientCertVerifier>,
}

impl fmt::Debug for Tls {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Tls").field("files", &self.files).finish_non_exhaustive()
    }
}

impl Tls {
    /// Reads the files.
    ///
    /// # Errors
    /// One is missing or holds something else, for people.
    pub(crate) fn new(files: TcpAdmin) -> Result<Self, String> {
        let loaded = Mutex::new(load(&files)?);
        Ok(Self { files, loaded })
    }

    /// Shakes hands, and says who the client is.
    ///
    /// # Errors
    /// Why not, for people.
    pub(crate) async fn accept(
        &self,
        stream: TcpStream,
        from: SocketAddr,
    ) -> Result<(TlsStream<TcpStream>, Caller), String> {
        let loaded = self.current();
        let stream = loaded.acceptor.accept(stream).await.map_err(|error| error.to_string())?;
        let chain = stream.get_ref().1.peer_certificates().unwrap_or_default();
        let (own, intermediates) = chain.split_first().ok_or("it showed no certificate")?;
        let is_operator = loaded.operators.verify_client_cert(own, intermediates, UnixTime::now()).is_ok();
        let role = if is_operator { Role::Operator } else { Role::Viewer };
        let caller = Caller { role, who: format!("certificate {} from {from}", fingerprint(own)) };
        Ok((stream, caller))
    }

    /// What the files hold now; if they can't be read any more, what they held before.
    fn current(&self) -> Loaded {
        let mut loaded = self.loaded.lock().unwrap_or_else(PoisonError::into_inner);
        if loaded.changed != changed(&self.files) {
            match load(&self.files) {
                Ok(new) => {
                    tracing::info!(target: "audit", "admin.tcp: the certificates were read again");
                    *loaded = new;
                }
                Err(error) => {
                    tracing::error!(%error, "admin.tcp: the new certificates can't be used; the old ones stay");
                    loaded.changed = changed(&self.files);
                }
            }
        }
        loaded.clone()
    }
}

fn changed(files: &TcpAdmin) -> Vec<Option<SystemTime>> {
    let of = |path: &Path| std::fs::metadata(path).and_then(|meta| meta.modified()).ok();
    [&files.certificate, &files.key, &files.viewer_ca, &files.operator_ca].map(|path| of(path)).to_vec()
}

fn load(files: &TcpAdmin) -> Result<Loaded, String> {
    // Before the reading: what changes while we read is read again.
    let changed = changed(files);
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let verifier = |paths: &[&Path]| {
        let mut roots = RootCertStore::empty();
        for path in paths {
            for certificate in certificates(path)? {
                roots.add(certificate).map_err(|error| said(path, &error))?;
            }
        }
        WebPkiClientVerifier::builder_with_provider(Arc::new(roots), Arc::clone(&provider))
            .build()
            .map_err(|error| format!("admin.tcp: {error}"))
    };
    let operators = verifier(&[&files.operator_ca])?;
    let all = verifier(&[&files.viewer_ca, &files.operator_ca])?;
    let key = PrivateKeyDer::from_pem_file(&files.key).map_err(|error| said(&files.key, &error))?;
    let config = ServerConfig::builder_with_provider(Arc::clone(&provider))
        .with_safe_default_protocol_versions()
        .map_err(|error| format!("admin.tcp: {error}"))?
        .with_client_cert_verifier(all)
        .with_single_cert(certificates(&files.certificate)?, key)
        .map_err(|error| said(&files.certificate, &error))?;
    Ok(Loaded { changed, acceptor: TlsAcceptor::from(Arc::new(config)), operators })
}

fn certificates(path: &Path) -> Result<Vec<CertificateDer<'static>>, String> {
    let read: Result<Vec<_>, _> = CertificateDer::pem_file_iter(path).and_then(Iterator::collect);
    let certificates = read.map_err(|error| said(path, &error))?;
    if certificates.is_empty() {
        return Err(format!("admin.tcp: {} holds no certificate; it must be PEM", path.display()));
    }
    Ok(certificates)
}

fn said(path: &Path, error: &dyn fmt::Display) -> String {
    format!("admin.tcp: {} can't be used: {error}", path.display())
}

/// The first bytes of the certificate's SHA-256, enough to tell clients apart in the log.
fn fingerprint(certificate: &CertificateDer<'_>) -> String {
    let digest = rustls::crypto::ring::default_provider();
    let hash = digest.cipher_suites.iter().find_map(|suite| match suite {
        rustls::SupportedCipherSuite::Tls13(suite) => Some(suite.common.hash_provider),
        rustls::SupportedCipherSuite::Tls12(_) => None,
    });
    let Some(hash) = hash else { return String::new() };
    hash.hash(certificate).as_ref().iter().take(8).map(|byte| format!("{byte:02x}")).collect()
}
