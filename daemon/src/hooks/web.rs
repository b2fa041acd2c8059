//! One call by HTTP: what happened is posted as JSON. There are no redirects, no proxies, no cookies, and one connection each.

use super::process::{KEPT, first_line};
use bytes::Bytes;
use fulcrum_config::WebCall;
use fulcrum_health::certificates;
use fulcrum_lifecycle::hooks::{Ending, Outcome, Start};
use http_body_util::{BodyExt, Full};
use hyper::body::Incoming;
use hyper::header::{self, HeaderValue};
use hyper::{Method, Request, Response};
use hyper_util::rt::TokioIo;
use rustls::pki_types::ServerName;
use rustls::{ClientConfig, RootCertStore};
use std::io::Read;
use std::path::Path;
use std::sync::Arc;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::TcpStream;
use tokio_rustls::TlsConnector;

#[cfg(test)]
mod tests;

/// Where systems keep the authorities that they trust.
const SYSTEM: [&str; 3] =
    ["/etc/ssl/certs/ca-certificates.crt", "/etc/pki/tls/certs/ca-bundle.crt", "/etc/ssl/cert.pem"];
/// The longest token.
const TOKEN: u64 = 16 * 1024;
/// What stands in place of a token that a server sends back.
const REDACTED: &str = "REDACTED";

/// Makes the call. Gives also what was answered.
pub(super) async fn call(start: &Start, call: &WebCall) -> (Ending, String) {
    let (files, deadline) = (call.clone(), start.hook.deadline);
    let called = async {
        // The disk may hang.
        let read = tokio::task::spawn_blocking(move || Files::read(&files)).await;
        let files =
            read.map_err(|error| error.to_string()).and_then(|read| read).map_err(Outcome::NotStarted)?;
        let json = format!("{}\n", start.occurrence.json());
        let (status, body) = post(call, &files, json)
            .await
            .map_err(|why| Outcome::Failed(format!("{} can't be asked: {why}", call.to)))?;
        Ok((status, files.hide(&String::from_utf8_lossy(&body))))
    };
    let late =
        || Err(Outcome::Failed(format!("{} did not answer within {} s", call.to, deadline.as_secs_f64())));
    let answer = tokio::time::timeout(deadline, called).await.unwrap_or_else(|_| late());
    match answer {
        Ok((status, body)) => {
            let outcome = if status.is_success() {
                Outcome::Succeeded
            } else {
                Outcome::Failed(format!("{} answered {status}", call.to))
            };
            (Ending { outcome, said: first_line(body.as_bytes()) }, body.trim().to_owned())
        }
        Err(outcome) => (Ending { outcome, said: None }, String::new()),
    }
}

/// What a call needs from the disk.
struct Files {
    tls: Option<TlsConnector>,
    token: Option<String>,
}

impl Files {
    fn read(call: &WebCall) -> Result<Self, String> {
        let tls = if call.to.tls { Some(connector(call.ca.as_deref())?) } else { None };
        Ok(Self { tls, token: call.token.as_deref().map(token).transpose()? })
    }

    /// `text` without the token.
    fn hide(&self, text: &str) -> String {
        self.token.as_ref().map_or_else(|| text.to_owned(), |token| text.replace(token.as_str(), REDACTED))
    }
}

fn token(path: &Path) -> Result<String, String> {
    let mut token = String::new();
    let read = std::fs::File::open(path).and_then(|file| file.take(TOKEN).read_to_string(&mut token));
    read.map_err(|error| format!("the token in {} can't be read: {error}", path.display()))?;
    let token = token.trim().to_owned();
    if token.is_empty() {
        return Err(format!("{} is empty: write the token into it", path.display()));
    }
    Ok(token)
}

/// Trusts the authorities of a file, or else those of the system.
fn connector(ca: Option<&Path>) -> Result<TlsConnector, String> {
    let mut roots = RootCertStore::empty();
    match ca {
        Some(ca) => {
            for certificate in certificates(ca)? {
                roots.add(certificate).map_err(|error| format!("{}: {error}", ca.display()))?;
            }
        }
        None => {
            let system = SYSTEM.iter().find_map(|file| certificates(Path::new(file)).ok());
            let system = system.ok_or_else(|| {
                format!(
                    "this system has no authorities in {}: install them, or write `ca_file`",
                    SYSTEM.join(", ")
                )
            })?;
            roots.add_parsable_certificates(system);
        }
    }
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let config = ClientConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .map_err(|error| error.to_string())?
        .with_root_certificates(roots)
        .with_no_client_auth();
    Ok(TlsConnector::from(Arc::new(config)))
}

async fn post(call: &WebCall, files: &Files, json: String) -> Result<(hyper::StatusCode, Vec<u8>), String> {
    let to = &call.to;
    let stream = TcpStream::connect((to.host.as_str(), to.port)).await.map_err(|error| error.to_string())?;
    let response = match &files.tls {
        None => ask(stream, call, files, json).await,
        Some(tls) => {
            let name = ServerName::try_from(to.host.clone()).map_err(|error| error.to_string())?;
            let stream = tls.connect(name, stream).await.map_err(|error| error.to_string())?;
            ask(stream, call, files, json).await
        }
    };
    let (response, _connection) = response?;
    let status = response.status();
    Ok((status, beginning(response.into_body()).await))
}

async fn ask(
    stream: impl AsyncRead + AsyncWrite + Unpin + Send + 'static,
    call: &WebCall,
    files: &Files,
    json: String,
) -> Result<(Response<Incoming>, AbortOnDrop), String> {
    let words = |error: hyper::Error| error.to_string();
    let (mut sender, connection) =
        hyper::client::conn::http1::handshake(TokioIo::new(stream)).await.map_err(words)?;
    let connection = AbortOnDrop(tokio::spawn(async move { drop(connection.await) }));
    let mut request = Request::builder()
        .method(Method::POST)
        .uri(&call.path)
        .header(header::HOST, host(call))
        .header(header::USER_AGENT, concat!("fulcrum/", env!("CARGO_PKG_VERSION")))
        .header(header::CONTENT_TYPE, "application/json");
    if let Some(token) = &files.token {
        let mut value = HeaderValue::try_from(format!("Bearer {token}")).map_err(|_| {
            "the token can't stand in a header: it has to be one line of plain text".to_owned()
        })?;
        value.set_sensitive(true);
        request = request.header(header::AUTHORIZATION, value);
    }
    let request = request.body(Full::new(Bytes::from(json))).map_err(|error| error.to_string())?;
    Ok((sender.send_request(request).await.map_err(words)?, connection))
}

/// Without a port that goes without saying.
fn host(call: &WebCall) -> String {
    let shown = call.to.to_string();
    let host = shown.split_once("://").map_or(shown.as_str(), |(_, host)| host);
    let usual = if call.to.tls { ":443" } else { ":80" };
    host.strip_suffix(usual).unwrap_or(host).to_owned()
}

/// Of an answer as much as is kept; a server that sends on for ever is not listened to.
async fn beginning(mut body: Incoming) -> Vec<u8> {
    let mut kept = Vec::new();
    while kept.len() < KEPT
        && let Some(Ok(frame)) = body.frame().await
    {
        let room = KEPT.saturating_sub(kept.len());
        kept.extend(frame.data_ref().into_iter().flatten().take(room));
    }
    kept
}

/// What drives a connection ends with what uses it.
struct AbortOnDrop(tokio::task::JoinHandle<()>);

impl Drop for AbortOnDrop {
    fn drop(&mut self) {
        self.0.abort();
    }
}
