//! The command line's end of the admin socket.

use crate::cli::Connect;
use crate::error::Failure;
use crate::last_good;
use crate::wire::Refusal;
use bytes::Bytes;
use http_body_util::{BodyExt, Full, Limited};
use hyper::{Method, Request, StatusCode};
use hyper_util::rt::TokioIo;
use serde::de::DeserializeOwned;
use std::io;
use std::path::{Path, PathBuf};
use std::time::Duration;
use tokio::net::UnixStream;

/// An answer is at most so large: ten thousand services take some tens of megabytes.
const ANSWER_BYTES: usize = 256 * 1024 * 1024;
/// The longest handover (40.95 s adverts) takes less.
const TIMEOUT: Duration = Duration::from_secs(240);

/// The daemon at one socket.
#[derive(Debug)]
pub(crate) struct Client {
    socket: PathBuf,
}

/// What the daemon answered.
#[derive(Debug)]
pub(crate) enum Reply<T> {
    Done(T),
    Refused(Refusal),
}

/// Where the daemon of `file` listens. It runs whatever became of its file: a bad one is no reason not to ask.
fn socket_of(file: &Path) -> PathBuf {
    let mistakes = match crate::node::read(file) {
        Ok((_, parsed)) => return parsed.config.admin.socket,
        Err(mistakes) => mistakes,
    };
    let text = fulcrum_config::read(file).unwrap_or_default();
    if let Some(socket) = last_good::said(&text, "socket") {
        return PathBuf::from(socket);
    }
    let socket = fulcrum_config::Admin::default().socket;
    eprintln!(
        "{mistakes}\nnote: {} is bad and names no socket; asking at {}",
        file.display(),
        socket.display()
    );
    socket
}

impl Client {
    /// The daemon at `socket`, or where the configuration file says, or at the default place.
    pub(crate) fn new(connect: &Connect) -> Self {
        let socket = match (&connect.socket, &connect.config) {
            (Some(socket), _) => socket.clone(),
            (None, Some(file)) => socket_of(file),
            (None, None) => fulcrum_config::Admin::default().socket,
        };
        Self { socket }
    }

    /// Asks.
    pub(crate) fn ask<T: DeserializeOwned>(&self, method: Method, path: &str) -> Result<Reply<T>, Failure> {
        self.ask_with(method, path, String::new())
    }

    /// Asks, and sends `text`.
    pub(crate) fn ask_with<T: DeserializeOwned>(
        &self,
        method: Method,
        path: &str,
        text: String,
    ) -> Result<Reply<T>, Failure> {
        let runtime = tokio::runtime::Builder::new_current_thread()
            .enable_all()
            .build()
            .map_err(|error| Failure::Io { what: "no event loop".to_owned(), error })?;
        let answer = async {
            tokio::time::timeout(TIMEOUT, self.exchange(method, path, text))
                .await
                .unwrap_or_else(|_| Err(self.garbled(&format!("no answer within {} s", TIMEOUT.as_secs()))))
        };
        let (status, body) = runtime.block_on(answer)?;
        if status.is_success() {
            let done = serde_json::from_slice(&body).map_err(|error| self.garbled(&error.to_string()))?;
            return Ok(Reply::Done(done));
        }
        let refusal: Refusal =
            serde_json::from_slice(&body).map_err(|_| self.garbled(&status.to_string()))?;
        if status == StatusCode::FORBIDDEN {
            return Err(Failure::Forbidden { what: refusal.error });
        }
        Ok(Reply::Refused(refusal))
    }

    /// Asks for something that is no JSON, as it is.
    pub(crate) fn text(&self, path: &str) -> Result<String, Failure> {
        let runtime = tokio::runtime::Builder::new_current_thread()
            .enable_all()
            .build()
            .map_err(|error| Failure::Io { what: "no event loop".to_owned(), error })?;
        let (status, body) = runtime.block_on(self.exchange(Method::GET, path, String::new()))?;
        if status.is_success() {
            return Ok(String::from_utf8_lossy(&body).into_owned());
        }
        Err(match serde_json::from_slice::<Refusal>(&body) {
            Ok(refusal) => Failure::Refused(refusal.error),
            Err(_) => self.garbled(&status.to_string()),
        })
    }

    async fn exchange(
        &self,
        method: Method,
        path: &str,
        text: String,
    ) -> Result<(StatusCode, Bytes), Failure> {
        let stream = UnixStream::connect(&self.socket).await.map_err(|error| self.unreachable(error))?;
        let garbled = |error: hyper::Error| self.garbled(&error.to_string());
        let (mut sender, connection) =
            hyper::client::conn::http1::handshake(TokioIo::new(stream)).await.map_err(garbled)?;
        tokio::spawn(connection);
        let request = Request::builder()
            .method(method)
            .uri(path)
            .header("Host", "fulcrum")
            .body(Full::new(Bytes::from(text)))
            .map_err(|error| Failure::Refused(format!("{path} can't be asked for: {error}")))?;
        let answer = sender.send_request(request).await.map_err(garbled)?;
        let status = answer.status();
        let body = Limited::new(answer.into_body(), ANSWER_BYTES).collect().await;
        let body = body.map_err(|error| self.garbled(&error.to_string()))?;
        Ok((status, body.to_bytes()))
    }

    fn unreachable(&self, error: io::Error) -> Failure {
        let path = self.socket.clone();
        if error.kind() == io::ErrorKind::PermissionDenied {
            return Failure::Forbidden {
                what: format!("{}: this user may not ask the daemon", path.display()),
            };
        }
        Failure::Unreachable { path, error }
    }

    fn garbled(&self, what: &str) -> Failure {
        Failure::Garbled { path: self.socket.clone(), what: what.to_owned() }
    }
}
