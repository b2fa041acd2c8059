use super::pki::{Authority, tls_server};
use super::*;
use bytes::Bytes;
use fulcrum_config::TlsOptions;
use http_body_util::{BodyExt, StreamBody};
use hyper::body::{Frame, Incoming};
use hyper::http::HeaderMap;
use hyper::server::conn::http2;
use hyper::{Request, Response};
use hyper_util::rt::{TokioExecutor, TokioIo};
use proptest::prelude::*;
use std::convert::Infallible;
use tokio::io::{AsyncRead, AsyncWrite};

/// What a server answers.
#[derive(Clone, Copy)]
struct Answer {
    status: u16,
    /// Sent with the headers, for an answer without a body.
    early: Option<&'static str>,
    body: &'static [u8],
    grpc_status: &'static str,
}

const SERVING: Answer = Answer { status: 200, early: None, body: &[0, 0, 0, 0, 2, 8, 1], grpc_status: "0" };

fn grpc(service: &str, tls: Option<TlsOptions>) -> CheckKind {
    CheckKind::Grpc { service: service.into(), tls }
}

/// Serves HTTP/2 on one connection.
async fn serve(stream: impl AsyncRead + AsyncWrite + Unpin + Send + 'static, answer: Answer) {
    let service = hyper::service::service_fn(move |request: Request<Incoming>| async move {
        assert_eq!(request.uri().path(), "/grpc.health.v1.Health/Check");
        assert_eq!(request.headers()["content-type"], "application/grpc");
        assert_eq!(request.headers()["te"], "trailers");
        assert_eq!(request.headers()["grpc-timeout"], "500m");
        let asked = request.into_body().collect().await.unwrap().to_bytes();
        assert!([&b"\0\0\0\0\0"[..], b"\0\0\0\0\x05\x0a\x03web"].contains(&&asked[..]), "{asked:?}");
        let mut trailers = HeaderMap::new();
        trailers.insert("grpc-status", answer.grpc_status.parse().unwrap());
        let frames = [Frame::data(Bytes::from_static(answer.body)), Frame::trailers(trailers)];
        let body = StreamBody::new(futures_of(frames));
        let mut response =
            Response::builder().status(answer.status).header("content-type", "application/grpc");
        if let Some(early) = answer.early {
            response = response.header("grpc-status", early);
        }
        Ok::<_, Infallible>(response.body(body).unwrap())
    });
    let _ = http2::Builder::new(TokioExecutor::new()).serve_connection(TokioIo::new(stream), service).await;
}

fn futures_of(
    frames: [Frame<Bytes>; 2],
) -> impl futures_util::Stream<Item = Result<Frame<Bytes>, Infallible>> {
    futures_util::stream::iter(frames.map(Ok))
}

async fn answering(answer: Answer) -> SocketAddr {
    server(move |stream| serve(stream, answer)).await
}

#[tokio::test]
async fn the_answer_decides() {
    let odd = failed("not an answer of gRPC health checking");
    for (answer, service, outcome) in [
        (SERVING, "", Outcome::Passed),
        (SERVING, "web", Outcome::Passed),
        (
            Answer { body: &[0, 0, 0, 0, 2, 8, 2], ..SERVING },
            "web",
            failed("gRPC service \"web\" is NOT_SERVING"),
        ),
        (Answer { body: &[0, 0, 0, 0, 2, 8, 2], ..SERVING }, "", failed("the gRPC server is NOT_SERVING")),
        (Answer { body: &[0, 0, 0, 0, 0], ..SERVING }, "", failed("the gRPC server is in state UNKNOWN")),
        (
            Answer { body: &[0, 0, 0, 0, 2, 8, 3], ..SERVING },
            "web",
            failed("the gRPC server does not know gRPC service \"web\""),
        ),
        (
            Answer { early: Some("5"), body: &[], ..SERVING },
            "web",
            failed("the gRPC server does not know gRPC service \"web\""),
        ),
        (
            Answer { early: Some("12"), body: &[], ..SERVING },
            "",
            failed("the gRPC server has no health service"),
        ),
        (
            Answer { grpc_status: "12", body: &[], ..SERVING },
            "",
            failed("the gRPC server has no health service"),
        ),
        (Answer { grpc_status: "14", ..SERVING }, "", failed("gRPC status 14: no message")),
        (Answer { status: 503, ..SERVING }, "", failed("HTTP status 503, expected gRPC")),
        (Answer { body: &[1, 0, 0, 0, 2, 8, 1], ..SERVING }, "", odd.clone()),
        (Answer { body: &[0, 0, 0, 0, 9, 8, 1], ..SERVING }, "", odd.clone()),
        (Answer { body: &[0, 0], ..SERVING }, "", odd),
        (Answer { body: &[0; 4096], ..SERVING }, "", failed("the gRPC answer is larger than 1 KiB")),
    ] {
        assert_eq!(run(answering(answer).await, grpc(service, None)).await, outcome);
    }
}

#[tokio::test]
async fn over_tls_it_is_negotiated() {
    let authority = Authority::new();
    let identity = authority.issue(&["127.0.0.1"], |_| {});
    let mut config = authority.server(&identity, false);
    config.alpn_protocols = vec![b"h2".to_vec()];
    let address = tls_server(config, |stream| serve(stream, SERVING)).await;
    assert_eq!(run(address, grpc("web", Some(authority.trusted()))).await, Outcome::Passed);
    let other = Authority::new();
    let reason = "the server's certificate is not from the authority in `ca`";
    assert_eq!(run(address, grpc("web", Some(other.trusted()))).await, failed(reason));
}

#[tokio::test]
async fn servers_of_other_protocols_fail() {
    use tokio::io::{AsyncReadExt, AsyncWriteExt};
    let http1 = server(|mut stream| async move {
        let _ = stream.read(&mut [0; 1024]).await;
        let _ = stream.write_all(b"HTTP/1.1 400 Bad Request\r\nConnection: close\r\n\r\n").await;
    });
    let Outcome::Failed(reason) = run(http1.await, grpc("", None)).await else { panic!("passed") };
    assert!(reason.starts_with("not an HTTP/2 answer"), "{reason}");
    let silent = server(|stream| async move {
        let _held = stream;
        std::future::pending().await
    });
    assert_eq!(run(silent.await, grpc("", None)).await, timed_out("waiting for the gRPC answer"));
    assert_eq!(run(nobody().await, grpc("", None)).await, failed("connection refused"));
}

proptest! {
    #[test]
    fn garbage_is_no_answer_and_no_panic(mut bytes in prop::collection::vec(any::<u8>(), 0..64), framed: bool) {
        if framed && bytes.len() >= 5 {
            let length = u32::try_from(bytes.len() - 5).unwrap().to_be_bytes();
            bytes[0] = 0;
            bytes[1..5].copy_from_slice(&length);
        }
        let is_framed = bytes.len() >= 5 && bytes[0] == 0 && bytes[1..5] == u32::try_from(bytes.len() - 5).unwrap().to_be_bytes();
        prop_assert!(is_framed || super::super::grpc::decode(&bytes).is_none());
    }
}
