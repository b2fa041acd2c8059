//! gRPC health checking protocol: `grpc.health.v1.Health/Check` over HTTP/2.
//!
//! <https://github.com/grpc/grpc/blob/master/doc/health-checking.md>

use super::{Failure, Stage};
use bytes::{BufMut, Bytes, BytesMut};
use h2::{RecvStream, client};
use hyper::http::{HeaderMap, Method, Request, Version};
use prost::Message;
use std::net::SocketAddr;
use std::time::Duration;
use tokio::io::{AsyncRead, AsyncWrite};

/// An answer of this protocol is 7 bytes; more than this is something else.
const ANSWER_LIMIT: usize = 1024;
/// Names and values of the answer's headers together.
const HEADER_LIMIT: u32 = 16 * 1024;
/// Before each message: a byte that says whether it is compressed, and its length.
const PREFIX: usize = 5;

/// `grpc.health.v1.HealthCheckRequest`
#[derive(Clone, PartialEq, prost::Message)]
struct HealthCheckRequest {
    #[prost(string, tag = "1")]
    service: String,
}

/// `grpc.health.v1.HealthCheckResponse`
#[derive(Clone, PartialEq, prost::Message)]
struct HealthCheckResponse {
    #[prost(int32, tag = "1")]
    status: i32,
}

/// What is asked, and of whom.
pub(super) struct Question<'a> {
    pub(super) address: SocketAddr,
    /// The name by which the server knows itself, if not its address.
    pub(super) authority: Option<&'a str>,
    pub(super) service: &'a str,
    pub(super) timeout: Duration,
    pub(super) over_tls: bool,
}

/// Asks over `stream`, which is plain or TLS.
pub(super) async fn ask<S>(stream: S, question: &Question<'_>, stage: &Stage) -> Result<(), Failure>
where
    S: AsyncRead + AsyncWrite + Unpin,
{
    let request = request(question)?;
    stage.set("opening HTTP/2");
    let (sender, connection) = client::Builder::new()
        .enable_push(false)
        .max_header_list_size(HEADER_LIMIT)
        .handshake::<_, Bytes>(stream)
        .await
        .map_err(|error| failure(&error))?;
    let exchange = async {
        let mut sender = sender.ready().await.map_err(|error| failure(&error))?;
        stage.set("waiting for the gRPC answer");
        let (answer, mut body) = sender.send_request(request, false).map_err(|error| failure(&error))?;
        body.send_data(message(question.service), true).map_err(|error| failure(&error))?;
        let answer = answer.await.map_err(|error| failure(&error))?;
        if answer.status() != 200 {
            return Err(Failure::Answer(format!("HTTP status {}, expected gRPC", answer.status().as_u16())));
        }
        // A server that has nothing to say sends its status with the headers.
        expect_ok(answer.headers(), question.service)?;
        expect_serving(answer.into_body(), question.service).await
    };
    tokio::pin!(exchange);
    tokio::select! {
        biased;
        result = &mut exchange => result,
        // The connection only moves the bytes; what came of them is told to the exchange.
        _ = connection => exchange.await,
    }
}

fn request(question: &Question<'_>) -> Result<Request<()>, Failure> {
    let authority = question.authority.map_or_else(|| question.address.to_string(), str::to_string);
    let scheme = if question.over_tls { "https" } else { "http" };
    Request::builder()
        .version(Version::HTTP_2)
        .method(Method::POST)
        .uri(format!("{scheme}://{authority}/grpc.health.v1.Health/Check"))
        .header("content-type", "application/grpc")
        .header("te", "trailers")
        .header("user-agent", "fulcrum-health")
        // At most 8 digits.
        .header("grpc-timeout", format!("{}m", question.timeout.as_millis().clamp(1, 99_999_999)))
        .body(())
        .map_err(|error| Failure::Local(format!("the gRPC request can't be made ({error})")))
}

fn message(service: &str) -> Bytes {
    let request = HealthCheckRequest { service: service.into() }.encode_to_vec();
    let mut framed = BytesMut::with_capacity(PREFIX.saturating_add(request.len()));
    framed.put_u8(0);
    framed.put_u32(u32::try_from(request.len()).unwrap_or(u32::MAX));
    framed.put_slice(&request);
    framed.freeze()
}

async fn expect_serving(mut body: RecvStream, service: &str) -> Result<(), Failure> {
    let mut answer = BytesMut::new();
    while let Some(data) = body.data().await {
        let data = data.map_err(|error| failure(&error))?;
        if answer.len().saturating_add(data.len()) > ANSWER_LIMIT {
            return Err(Failure::Answer("the gRPC answer is larger than 1 KiB".into()));
        }
        answer.extend_from_slice(&data);
        body.flow_control().release_capacity(data.len()).map_err(|error| failure(&error))?;
    }
    if let Some(trailers) = body.trailers().await.map_err(|error| failure(&error))? {
        expect_ok(&trailers, service)?;
    }
    match decode(&answer) {
        Some(1) => Ok(()),
        Some(2) => Err(Failure::Answer(format!("{} is NOT_SERVING", named(service)))),
        Some(0) => Err(Failure::Answer(format!("{} is in state UNKNOWN", named(service)))),
        Some(3) => Err(unknown_service(service)),
        Some(_) | None => Err(Failure::Answer("not an answer of gRPC health checking".into())),
    }
}

/// The status in a framed answer, if it is one.
pub(super) fn decode(answer: &[u8]) -> Option<i32> {
    let (prefix, message) = answer.split_at_checked(PREFIX)?;
    let (compressed, length) = prefix.split_first()?;
    let length = u32::from_be_bytes(length.try_into().ok()?);
    if *compressed != 0 || usize::try_from(length) != Ok(message.len()) {
        return None;
    }
    HealthCheckResponse::decode(message).ok().map(|response| response.status)
}

/// No status is no error here: it may still come with the trailers.
fn expect_ok(headers: &HeaderMap, service: &str) -> Result<(), Failure> {
    let text = |name| headers.get(name).and_then(|value| value.to_str().ok());
    match text("grpc-status") {
        None | Some("0") => Ok(()),
        Some("5") => Err(unknown_service(service)),
        Some("12") => Err(Failure::Answer("the gRPC server has no health service".into())),
        Some(code) => {
            let message = text("grpc-message").unwrap_or("no message");
            Err(Failure::Answer(format!("gRPC status {code}: {message}")))
        }
    }
}

fn unknown_service(service: &str) -> Failure {
    Failure::Answer(format!("the gRPC server does not know {}", named(service)))
}

fn named(service: &str) -> String {
    if service.is_empty() { "the gRPC server".into() } else { format!("gRPC service \"{service}\"") }
}

fn failure(error: &h2::Error) -> Failure {
    match error.get_io() {
        Some(error) => error.into(),
        None => Failure::Answer(format!("not an HTTP/2 answer ({error})")),
    }
}
