//! One request to a web server that speaks JSON: a connection for each, for there are few.

use bytes::Bytes;
use fulcrum_config::{Etcd, WebAddress};
use fulcrum_health::certificates;
use http_body_util::{BodyExt, Full, Limited};
use hyper::{Method, Request, StatusCode, header};
use hyper_util::rt::TokioIo;
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{PrivateKeyDer, ServerName};
use rustls::{ClientConfig, RootCertStore};
use serde_json::Value;
use std::sync::Arc;
use std::time::Duration;
use thiserror::Error;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::TcpStream;
use tokio_rustls::TlsConnector;

/// For the whole of a request. The lock is to be had before a leader's time is over.
const PATIENCE: Duration = Duration::from_secs(1);
/// What answers have at most.
const ANSWER_BYTES: usize = 64 * 1024;

/// Why there is no good answer.
#[derive(Debug, Error)]
pub(super) enum Failure {
    /// None came, or none that is understood.
    #[error("{0}")]
    Unreachable(String),
    /// The server refused.
    #[error("it answers {status}: {message}")]
    Refused {
        /// The HTTP status.
        status: StatusCode,
        /// What it says.
        message: String,
    },
}

impl Failure {
    pub(super) fn of(error: impl std::fmt::Display) -> Self {
        Self::Unreachable(error.to_string())
    }

    /// Whether another member of the same cluster may answer better.
    pub(super) fn is_of_this_member(&self) -> bool {
        match self {
            Self::Unreachable(_) => true,
            Self::Refused { status, .. } => status.is_server_error(),
        }
    }
}

/// Posts `body` to `path` there.
pub(super) async fn post(
    to: &WebAddress,
    path: &str,
    token: Option<&str>,
    tls: Option<&TlsConnector>,
    body: &Value,
) -> Result<Value, Failure> {
    let asked = async {
        let stream = TcpStream::connect((to.host.as_str(), to.port)).await.map_err(Failure::of)?;
        let _ = stream.set_nodelay(true);
        match tls.filter(|_| to.tls) {
            None => ask(stream, to, path, token, body).await,
            Some(tls) => {
                let name = ServerName::try_from(to.host.clone()).map_err(Failure::of)?;
                ask(tls.connect(name, stream).await.map_err(Failure::of)?, to, path, token, body).await
            }
        }
    };
    let late = || Failure::Unreachable(format!("no answer within {} s", PATIENCE.as_secs()));
    tokio::time::timeout(PATIENCE, asked).await.map_err(|_| late())?
}

async fn ask(
    stream: impl AsyncRead + AsyncWrite + Unpin + Send + 'static,
    to: &WebAddress,
    path: &str,
    token: Option<&str>,
    body: &Value,
) -> Result<Value, Failure> {
    let (mut sender, connection) =
        hyper::client::conn::http1::handshake(TokioIo::new(stream)).await.map_err(Failure::of)?;
    let _connection = AbortOnDrop(tokio::spawn(connection));
    let mut request = Request::builder()
        .method(Method::POST)
        .uri(path)
        .header(header::HOST, format!("{}:{}", to.host, to.port))
        .header(header::CONTENT_TYPE, "application/json");
    if let Some(token) = token {
        request = request.header(header::AUTHORIZATION, token);
    }
    let request = request.body(Full::new(Bytes::from(body.to_string()))).map_err(Failure::of)?;
    let response = sender.send_request(request).await.map_err(Failure::of)?;
    let status = response.status();
    let body = Limited::new(response.into_body(), ANSWER_BYTES).collect().await.map_err(Failure::of)?;
    let answer: Result<Value, _> = serde_json::from_slice(&body.to_bytes());
    if status.is_success() {
        return answer.map_err(|error| Failure::Unreachable(format!("its answer is no JSON: {error}")));
    }
    let said = answer.ok().and_then(|answer| Some(answer.get("error")?.as_str()?.to_owned()));
    Err(Failure::Refused { status, message: said.unwrap_or_default() })
}

/// What drives a connection ends with what uses it.
struct AbortOnDrop<T>(tokio::task::JoinHandle<T>);

impl<T> Drop for AbortOnDrop<T> {
    fn drop(&mut self) {
        self.0.abort();
    }
}

/// Reads the files that TLS needs, if it is spoken.
pub(super) fn tls(etcd: &Etcd) -> Result<Option<TlsConnector>, String> {
    let Some(ca) = etcd.ca.as_ref().filter(|_| etcd.endpoints.iter().any(|it| it.tls)) else {
        return Ok(None);
    };
    let mut roots = RootCertStore::empty();
    for certificate in certificates(ca)? {
        roots.add(certificate).map_err(|error| format!("{}: {error}", ca.display()))?;
    }
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let builder = ClientConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .map_err(|error| error.to_string())?
        .with_root_certificates(roots);
    let config = match &etcd.client {
        None => builder.with_no_client_auth(),
        Some((certificate, key)) => {
            let private =
                PrivateKeyDer::from_pem_file(key).map_err(|error| format!("{}: {error}", key.display()))?;
            builder
                .with_client_auth_cert(certificates(certificate)?, private)
                .map_err(|error| format!("{} and {}: {error}", certificate.display(), key.display()))?
        }
    };
    Ok(Some(TlsConnector::from(Arc::new(config))))
}
