use super::pki::{Authority, Named, expired, tls_server};
use super::*;
use crate::fixtures::http_check;
use fulcrum_config::TlsOptions;
use std::time::Duration;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio_rustls::server::TlsStream;

const ANY: TlsOptions = TlsOptions { ca: None, verify: false, client: None, server_name: None };

/// Answers one request.
async fn serve(mut stream: TlsStream<TcpStream>) {
    let mut request = [0; 1024];
    let _ = stream.read(&mut request).await;
    let _ = stream.write_all(b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok").await;
    let _ = stream.shutdown().await;
}

/// Both checks that use TLS on a server of HTTP must say the same.
async fn both(address: SocketAddr, options: &TlsOptions) -> Outcome {
    let tls = run(address, CheckKind::Tls(options.clone())).await;
    let https = run(address, CheckKind::Https(http_check(), options.clone())).await;
    assert_eq!(tls, https);
    tls
}

#[tokio::test]
async fn a_certificate_of_the_authority_passes() {
    let authority = Authority::new();
    let identity = authority.issue(&["127.0.0.1"], |_| {});
    let address = tls_server(authority.server(&identity, false), serve).await;
    assert_eq!(both(address, &authority.trusted()).await, Outcome::Passed);
    assert_eq!(both(address, &ANY).await, Outcome::Passed);
}

#[tokio::test]
async fn bad_certificates_fail_only_if_they_are_verified() {
    let (authority, other) = (Authority::new(), Authority::new());
    let not_yet =
        |params: &mut rcgen::CertificateParams| params.not_before = rcgen::date_time_ymd(3000, 1, 1);
    let foreign = "the server's certificate is not from the authority in `ca`";
    for (identity, options, reason) in [
        (authority.issue(&["127.0.0.1"], |_| {}), other.trusted(), foreign),
        (
            authority.issue(&["127.0.0.1"], expired),
            authority.trusted(),
            "the server's certificate has expired",
        ),
        (
            authority.issue(&["127.0.0.1"], not_yet),
            authority.trusted(),
            "the server's certificate is not valid yet",
        ),
        (
            authority.issue(&["192.0.2.7"], |_| {}),
            authority.trusted(),
            "the server's certificate is for another name; set `server_name`",
        ),
    ] {
        let address = tls_server(authority.server(&identity, false), serve).await;
        assert_eq!(both(address, &options).await, failed(reason));
        assert_eq!(both(address, &ANY).await, Outcome::Passed);
    }
}

#[tokio::test]
async fn the_server_name_is_sent_and_verified() {
    let authority = Authority::new();
    let identity = authority.issue(&["web.example"], |_| {});
    let mut config = authority.server(&identity, false);
    config.cert_resolver = std::sync::Arc::new(Named("web.example", config.cert_resolver));
    let address = tls_server(config, serve).await;
    let named = |name: &str| TlsOptions { server_name: Some(name.into()), ..authority.trusted() };
    assert_eq!(both(address, &named("web.example")).await, Outcome::Passed);
    let refused = "the server refused the TLS handshake (alert AccessDenied)";
    assert_eq!(both(address, &named("other.example")).await, failed(refused));
    assert_eq!(both(address, &ANY).await, failed(refused), "an address is not sent as a name");
}

#[tokio::test]
async fn a_client_certificate_is_shown_to_those_who_ask() {
    let (authority, other) = (Authority::new(), Authority::new());
    let identity = authority.issue(&["127.0.0.1"], |_| {});
    let address = tls_server(authority.server(&identity, true), serve).await;
    assert_eq!(both(address, &authority.trusted_with_client()).await, Outcome::Passed);
    let without = failed("the server asks for a client certificate; set `client_certificate`");
    assert_eq!(both(address, &authority.trusted()).await, without);
    let foreign = TlsOptions { client: other.trusted_with_client().client, ..authority.trusted() };
    let Outcome::Failed(reason) = both(address, &foreign).await else { panic!("passed") };
    assert!(reason.starts_with("the server refused the TLS handshake"), "{reason}");
}

#[tokio::test]
async fn files_are_read_again_when_they_change_and_kept_when_they_break() {
    let authority = Authority::new();
    let identity = authority.issue(&["127.0.0.1"], |_| {});
    let address = tls_server(authority.server(&identity, true), serve).await;
    let options = authority.trusted_with_client();
    let (certificate, key) = options.client.clone().unwrap();
    let good = (std::fs::read(&certificate).unwrap(), std::fs::read(&key).unwrap());
    std::fs::remove_file(&key).unwrap();
    let tools = Tools::default();
    let target = target(address, CheckKind::Tls(options));
    let outcome = probe(&target, &tools).await;
    assert!(
        matches!(&outcome, Outcome::NotMade(reason) if reason.contains("client.key")),
        "a missing file is this node's trouble: {outcome:?}"
    );
    std::fs::write(&key, &good.1).unwrap();
    assert_eq!(probe(&target, &tools).await, Outcome::Passed);
    std::fs::write(&certificate, "half a file").unwrap();
    assert_eq!(probe(&target, &tools).await, Outcome::Passed, "what was read before stays");
    let foreign = Authority::new().issue(&["client"], |_| {});
    std::fs::write(&certificate, foreign.certificate).unwrap();
    std::fs::write(&key, foreign.key).unwrap();
    assert!(matches!(probe(&target, &tools).await, Outcome::Failed(_)), "the new one is shown, and refused");
}

#[tokio::test]
async fn files_that_hold_nothing_are_our_own_trouble() {
    let authority = Authority::new();
    let empty = authority.file("empty.pem", "");
    let options = TlsOptions { ca: Some(empty), ..authority.trusted() };
    let address = server(|_| std::future::ready(())).await;
    let outcome = run(address, CheckKind::Tls(options)).await;
    assert!(
        matches!(&outcome, Outcome::NotMade(reason) if reason.ends_with("no certificate in it")),
        "{outcome:?}"
    );
}

#[tokio::test]
async fn servers_that_speak_no_tls_fail() {
    let plain = server(|mut stream| async move {
        let _ = stream.write_all(b"220 mail.example ESMTP\r\n").await;
        let _ = stream.read(&mut [0; 1024]).await;
        std::future::pending().await
    });
    assert_eq!(run(plain.await, CheckKind::Tls(ANY)).await, failed("not a TLS answer"));
    let silent = server(|stream| async move {
        let _held = stream;
        std::future::pending().await
    });
    assert_eq!(run(silent.await, CheckKind::Tls(ANY)).await, timed_out("waiting for the TLS handshake"));
    let closes = server(|mut stream| async move {
        let _ = stream.read(&mut [0; 4096]).await;
    });
    let outcome = run(closes.await, CheckKind::Tls(ANY)).await;
    assert_eq!(outcome, failed("connection closed while waiting for the TLS handshake"));
}

#[tokio::test]
async fn a_server_that_never_closes_passes() {
    let authority = Authority::new();
    let identity = authority.issue(&["127.0.0.1"], |_| {});
    let address = tls_server(authority.server(&identity, false), |stream| async move {
        let _held = stream;
        tokio::time::sleep(Duration::from_secs(60)).await;
    })
    .await;
    assert_eq!(run(address, CheckKind::Tls(authority.trusted())).await, Outcome::Passed);
}
