use super::*;
use crate::fixtures::http_check;
use fulcrum_config::{ExpectStatus, HttpCheck, ProxyProtocolVersion};
use std::time::Duration;
use tokio::io::{AsyncReadExt, AsyncWriteExt};

fn http(check: HttpCheck) -> CheckKind {
    CheckKind::Http(check)
}

fn expecting(body: &str) -> CheckKind {
    http(HttpCheck { body: Some(body.into()), ..http_check() })
}

async fn read_request(stream: &mut TcpStream) -> String {
    let mut request = Vec::new();
    while !request.ends_with(b"\r\n\r\n") {
        let Ok(byte) = stream.read_u8().await else { break };
        request.push(byte);
    }
    String::from_utf8(request).unwrap()
}

/// A server that answers each request with these bytes and closes.
async fn answering(answer: impl Into<Vec<u8>>) -> SocketAddr {
    let answer = answer.into();
    server(move |mut stream| {
        let answer = answer.clone();
        async move {
            read_request(&mut stream).await;
            let _ = stream.write_all(&answer).await;
            let _ = stream.shutdown().await;
            let _ = stream.read(&mut [0]).await;
        }
    })
    .await
}

#[tokio::test]
async fn status_decides() {
    let only = |first, last| vec![ExpectStatus { first, last }];
    let two = vec![ExpectStatus { first: 200, last: 299 }, ExpectStatus { first: 401, last: 401 }];
    for (status, expected, outcome) in [
        (200, vec![], Outcome::Passed),
        (302, vec![], Outcome::Passed),
        (503, vec![], failed("HTTP status 503, expected 200 to 399")),
        (401, only(401, 401), Outcome::Passed),
        (200, only(401, 401), failed("HTTP status 200, expected 401")),
        (401, two.clone(), Outcome::Passed),
        (500, two, failed("HTTP status 500, expected 200 to 299 or 401")),
    ] {
        let address = answering(format!("HTTP/1.1 {status} Whatever\r\nContent-Length: 0\r\n\r\n")).await;
        let kind = http(HttpCheck { status: expected, ..http_check() });
        assert_eq!(run(address, kind).await, outcome, "{status}");
    }
}

#[tokio::test]
async fn the_request_is_as_configured() {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    let check = HttpCheck {
        method: "HEAD".into(),
        path: "/readyz?verbose".into(),
        host: Some("web.example".into()),
        headers: vec![("X-Probe".into(), "yes".into())],
        ..http_check()
    };
    let (outcome, request) = tokio::join!(run(address, http(check)), async {
        let (mut stream, _) = listener.accept().await.unwrap();
        let request = read_request(&mut stream).await.to_lowercase();
        stream.write_all(b"HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\n").await.unwrap();
        request
    });
    assert_eq!(outcome, Outcome::Passed);
    assert!(request.starts_with("head /readyz?verbose http/1.1\r\n"), "{request}");
    for line in ["host: web.example", "x-probe: yes", "connection: close", "user-agent: fulcrum-health"] {
        assert_eq!(request.matches(&format!("\r\n{line}\r\n")).count(), 1, "{line} in {request}");
    }
}

#[tokio::test]
async fn the_host_is_the_address_by_default_and_can_be_given_as_a_header() {
    for (headers, expected) in
        [(vec![], None), (vec![("Host".to_string(), "own.example".to_string())], Some("own.example"))]
    {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let (_, request) = tokio::join!(run(address, http(HttpCheck { headers, ..http_check() })), async {
            let (mut stream, _) = listener.accept().await.unwrap();
            read_request(&mut stream).await.to_lowercase()
        });
        let expected = expected.map_or(address.to_string(), str::to_string);
        assert_eq!(request.matches("\r\nhost: ").count(), 1, "{request}");
        assert!(request.contains(&format!("\r\nhost: {expected}\r\n")), "{request}");
    }
}

#[tokio::test]
async fn a_proxy_header_comes_first_where_one_is_expected() {
    let v2 = b"\x0d\x0a\x0d\x0a\x00\x0d\x0a\x51\x55\x49\x54\x0a\x20\x00\x00\x00";
    for (version, header) in
        [(ProxyProtocolVersion::V1, &b"PROXY UNKNOWN\r\n"[..]), (ProxyProtocolVersion::V2, &v2[..])]
    {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let mut target = target(listener.local_addr().unwrap(), http(http_check()));
        target.proxy_protocol = Some(version);
        let tools = Tools::default();
        let (outcome, ()) = tokio::join!(probe(&target, &tools), async {
            let (mut stream, _) = listener.accept().await.unwrap();
            let mut seen = vec![0; header.len()];
            stream.read_exact(&mut seen).await.unwrap();
            assert_eq!(seen, header);
            assert!(read_request(&mut stream).await.starts_with("GET / "));
            stream.write_all(b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n").await.unwrap();
        });
        assert_eq!(outcome, Outcome::Passed);
    }
}

#[tokio::test]
async fn the_body_is_searched() {
    let answer = |body: &str| format!("HTTP/1.1 200 OK\r\nContent-Length: {}\r\n\r\n{body}", body.len());
    assert_eq!(run(answering(answer("all is ok now")).await, expecting("is ok")).await, Outcome::Passed);
    assert_eq!(
        run(answering(answer("maintenance")).await, expecting("ok")).await,
        failed("the HTTP body does not contain \"ok\"")
    );
    let late = "x".repeat(100_000) + "ok";
    assert_eq!(
        run(answering(answer(&late)).await, expecting("ok")).await,
        failed("the first 64 KiB of the HTTP body do not contain \"ok\"")
    );
    let just = "x".repeat(65_534) + "ok";
    assert_eq!(run(answering(answer(&just)).await, expecting("ok")).await, Outcome::Passed);
}

#[tokio::test]
async fn text_cut_by_chunks_is_found_without_waiting_for_the_end() {
    let address = server(|mut stream| async move {
        read_request(&mut stream).await;
        stream
            .write_all(b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n4\r\nxxhe\r\n")
            .await
            .unwrap();
        tokio::time::sleep(Duration::from_millis(50)).await;
        stream.write_all(b"5\r\nllozz\r\n").await.unwrap();
        std::future::pending().await
    })
    .await;
    assert_eq!(run(address, expecting("hello")).await, Outcome::Passed);
}

#[tokio::test]
async fn an_endless_body_does_no_harm() {
    let flood = || {
        server(|mut stream| async move {
            read_request(&mut stream).await;
            let _ = stream.write_all(b"HTTP/1.1 200 OK\r\n\r\n").await;
            while stream.write_all(&[b'x'; 16_384]).await.is_ok() {}
        })
    };
    assert_eq!(run(flood().await, http(http_check())).await, Outcome::Passed);
    assert_eq!(
        run(flood().await, expecting("ok")).await,
        failed("the first 64 KiB of the HTTP body do not contain \"ok\"")
    );
}

#[tokio::test]
async fn a_huge_header_fails() {
    let address = server(|mut stream| async move {
        read_request(&mut stream).await;
        let _ = stream.write_all(b"HTTP/1.1 200 OK\r\nX: ").await;
        while stream.write_all(&[b'x'; 16_384]).await.is_ok() {}
    })
    .await;
    assert_eq!(run(address, http(http_check())).await, failed("the HTTP header is larger than 64 KiB"));
}

#[tokio::test]
async fn an_answer_byte_by_byte_is_bounded_by_the_whole_timeout() {
    let address = server(|mut stream| async move {
        read_request(&mut stream).await;
        for byte in b"HTTP/1.1 200 OK\r\n".iter().chain(std::iter::repeat(&b'x')) {
            if stream.write_all(&[*byte]).await.is_err() {
                return;
            }
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    })
    .await;
    assert_eq!(run(address, http(http_check())).await, timed_out("waiting for the HTTP answer"));
}

#[tokio::test]
async fn bad_servers_say_why() {
    let silent = server(|stream| async move {
        let _held = stream;
        std::future::pending().await
    });
    assert_eq!(run(silent.await, http(http_check())).await, timed_out("waiting for the HTTP answer"));
    let resets = server(|mut stream| async move {
        read_request(&mut stream).await;
        socket2::SockRef::from(&stream).set_linger(Some(Duration::ZERO)).unwrap();
    });
    let reset = failed("connection reset while waiting for the HTTP answer");
    assert_eq!(run(resets.await, http(http_check())).await, reset);
    let closed = failed("connection closed while waiting for the HTTP answer");
    assert_eq!(run(answering("").await, http(http_check())).await, closed);
    assert_eq!(run(answering("HTTP/1.1 200 O").await, http(http_check())).await, closed);
    let Outcome::Failed(reason) = run(answering("SSH-2.0-OpenSSH\r\n\r\n").await, http(http_check())).await
    else {
        panic!("passed")
    };
    assert!(reason.starts_with("not an HTTP answer"), "{reason}");
    assert_eq!(run(nobody().await, http(http_check())).await, failed("connection refused"));
    let cut = "HTTP/1.1 200 OK\r\nContent-Length: 100\r\n\r\nhalf";
    assert_eq!(
        run(answering(cut).await, expecting("whole")).await,
        failed("connection closed while reading the HTTP body")
    );
}

#[tokio::test]
async fn a_server_that_half_closes_at_once_but_answers_passes() {
    let address = server(|mut stream| async move {
        read_request(&mut stream).await;
        stream.write_all(b"HTTP/1.0 204 No Content\r\n\r\n").await.unwrap();
        stream.shutdown().await.unwrap();
        std::future::pending().await
    })
    .await;
    assert_eq!(run(address, http(http_check())).await, Outcome::Passed);
}

#[tokio::test]
async fn a_request_that_cannot_be_made_is_our_own_trouble() {
    let kind = http(HttpCheck { path: "no path".into(), ..http_check() });
    let outcome = run(answering("").await, kind).await;
    assert!(matches!(&outcome, Outcome::NotMade(reason) if reason.contains("can't be made")), "{outcome:?}");
}
