//! One HTTP/1.1 request, and whether the answer is the expected one.

use super::{Failure, Stage};
use bytes::Bytes;
use fulcrum_config::{ExpectStatus, HttpCheck};
use http_body_util::{BodyExt, Empty};
use hyper::body::Incoming;
use hyper::client::conn::http1;
use hyper::{Request, StatusCode};
use hyper_util::rt::TokioIo;
use std::io;
use std::net::SocketAddr;
use tokio::io::{AsyncRead, AsyncWrite};

/// The head of an answer is at most so long.
const HEAD_LIMIT: usize = 64 * 1024;
/// The part of the body that is looked at.
const BODY_LIMIT: usize = 64 * 1024;

/// What counts as healthy if the check doesn't say.
const DEFAULT_STATUS: [ExpectStatus; 1] = [ExpectStatus { first: 200, last: 399 }];

/// Asks over `stream`, which is plain or TLS.
pub(super) async fn ask<S>(
    stream: S,
    address: SocketAddr,
    check: &HttpCheck,
    stage: &Stage,
) -> Result<(), Failure>
where
    S: AsyncRead + AsyncWrite + Unpin + Send + 'static,
{
    let request = request(address, check)?;
    stage.set("sending the HTTP request");
    let (mut sender, connection) = http1::Builder::new()
        .max_buf_size(HEAD_LIMIT)
        .handshake::<_, Empty<Bytes>>(TokioIo::new(stream))
        .await
        .map_err(|error| failure(&error))?;
    let exchange = async {
        stage.set("waiting for the HTTP answer");
        let answer = sender.send_request(request).await.map_err(|error| failure(&error))?;
        expect_status(answer.status(), &check.status)?;
        match check.body.as_deref() {
            Some(text) => expect_body(answer.into_body(), text, stage).await,
            None => Ok(()),
        }
    };
    tokio::pin!(exchange);
    tokio::select! {
        biased;
        result = &mut exchange => result,
        // The connection only moves the bytes; what came of them is told to the exchange.
        _ = connection => exchange.await,
    }
}

fn request(address: SocketAddr, check: &HttpCheck) -> Result<Request<Empty<Bytes>>, Failure> {
    let host = check.host.clone().unwrap_or_else(|| address.to_string());
    let defaults = [
        ("Host", host.as_str()),
        ("User-Agent", "fulcrum-health"),
        ("Accept", "*/*"),
        ("Connection", "close"),
    ];
    let is_given = |name: &str| check.headers.iter().any(|(given, _)| given.eq_ignore_ascii_case(name));
    let defaults = defaults.into_iter().filter(|(name, _)| !is_given(name));
    let given = check.headers.iter().map(|(name, value)| (name.as_str(), value.as_str()));
    let mut request = Request::builder().method(check.method.as_str()).uri(check.path.as_str());
    for (name, value) in defaults.chain(given) {
        request = request.header(name, value);
    }
    request.body(Empty::new()).map_err(|error| {
        Failure::Local(format!("the HTTP request can't be made ({error}); look at the check's fields"))
    })
}

fn expect_status(status: StatusCode, expected: &[ExpectStatus]) -> Result<(), Failure> {
    let expected = if expected.is_empty() { &DEFAULT_STATUS } else { expected };
    if expected.iter().any(|range| (range.first..=range.last).contains(&status.as_u16())) {
        return Ok(());
    }
    let ranges: Vec<String> = expected
        .iter()
        .map(|range| match range {
            ExpectStatus { first, last } if first == last => first.to_string(),
            ExpectStatus { first, last } => format!("{first} to {last}"),
        })
        .collect();
    Err(Failure::Answer(format!("HTTP status {}, expected {}", status.as_u16(), ranges.join(" or "))))
}

/// Reads until the text is found, the body ends, or the limit is reached.
async fn expect_body(mut body: Incoming, text: &str, stage: &Stage) -> Result<(), Failure> {
    stage.set("reading the HTTP body");
    let mut seen: Vec<u8> = Vec::new();
    let mut searched: usize = 0;
    loop {
        if contains(seen.get(searched..).unwrap_or_default(), text.as_bytes()) {
            return Ok(());
        }
        // The text may begin in what was searched and end in what comes.
        searched = seen.len().saturating_sub(text.len());
        let room = BODY_LIMIT.saturating_sub(seen.len());
        if room == 0 {
            break;
        }
        let Some(frame) = body.frame().await else { break };
        if let Ok(data) = frame.map_err(|error| failure(&error))?.into_data() {
            seen.extend(data.iter().take(room));
        }
    }
    let looked_at =
        if seen.len() >= BODY_LIMIT { "the first 64 KiB of the HTTP body do" } else { "the HTTP body does" };
    Err(Failure::Answer(format!("{looked_at} not contain \"{text}\"")))
}

fn contains(bytes: &[u8], text: &[u8]) -> bool {
    text.is_empty() || bytes.windows(text.len()).any(|window| window == text)
}

/// What went wrong below HTTP is told as such.
fn failure(error: &hyper::Error) -> Failure {
    let mut source = std::error::Error::source(error);
    while let Some(inner) = source {
        if let Some(io) = inner.downcast_ref::<io::Error>() {
            return io.into();
        }
        source = inner.source();
    }
    if error.is_incomplete_message() || error.is_canceled() || error.is_closed() {
        return io::Error::from(io::ErrorKind::UnexpectedEof).into();
    }
    if error.is_parse_too_large() {
        return Failure::Answer("the HTTP header is larger than 64 KiB".into());
    }
    Failure::Answer(format!("not an HTTP answer ({error})"))
}
