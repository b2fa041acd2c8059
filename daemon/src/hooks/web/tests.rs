#![allow(clippy::disallowed_methods, reason = "a server that answers as it is told")]

use super::*;
use fulcrum_config::{GroupName, Hook, HookCall, HookEvent, HookName, HookStyle, Policy, WebAddress};
use fulcrum_lifecycle::hooks::{Details, Occurrence};
use std::io::Write;
use std::net::TcpListener;
use std::sync::mpsc;
use std::time::Duration;

/// A server that reads one request and answers `answer`, by TLS if it has a certificate. Gives its port and what it read.
fn serve(answer: &'static [u8], tls: Option<Arc<rustls::ServerConfig>>) -> (u16, mpsc::Receiver<String>) {
    let listener = TcpListener::bind("127.0.0.1:0").expect("a port");
    let port = listener.local_addr().expect("a port").port();
    let (sender, receiver) = mpsc::channel();
    std::thread::spawn(move || {
        let (mut stream, _) = listener.accept().expect("a connection");
        match tls {
            None => drop(sender.send(exchange(&mut stream, answer))),
            Some(config) => {
                let mut server = rustls::ServerConnection::new(config).expect("a server");
                let mut stream = rustls::Stream::new(&mut server, &mut stream);
                drop(sender.send(exchange(&mut stream, answer)));
            }
        }
        // What is not answered stays open.
        std::thread::sleep(Duration::from_secs(if answer.is_empty() { 5 } else { 0 }));
    });
    (port, receiver)
}

fn exchange(stream: &mut (impl Read + Write), answer: &[u8]) -> String {
    let mut read = Vec::new();
    let mut buffer = [0; 4096];
    while !read.ends_with(b"}\n") {
        match stream.read(&mut buffer) {
            Ok(length @ 1..) => read.extend(&buffer[..length]),
            Ok(_) | Err(_) => break,
        }
    }
    let _ = stream.write_all(answer).and_then(|()| stream.flush());
    String::from_utf8_lossy(&read).into_owned()
}

fn web(tls: bool, port: u16) -> WebCall {
    let to = WebAddress { tls, host: "127.0.0.1".to_owned(), port };
    WebCall { to, path: "/hook/s3cret?a=b".to_owned(), ca: None, token: None }
}

async fn run(call_of: &WebCall) -> (Ending, String) {
    let hook = Hook {
        name: HookName::new("tell"),
        events: [HookEvent::ConfigApplied].into(),
        groups: std::collections::BTreeSet::<GroupName>::new(),
        does: HookCall::Web(call_of.clone()),
        style: HookStyle::Json,
        deadline: Duration::from_millis(800),
        on_failure: Policy::Ignore,
    };
    let occurrence = Occurrence {
        event: HookEvent::ConfigApplied,
        node: "lb1".to_owned(),
        details: Details::Config { generation: 1, serial: 2 },
    };
    call(&Start { ticket: 1, hook: Arc::new(hook), occurrence }, call_of).await
}

#[tokio::test]
async fn what_happened_is_posted_and_200_to_299_is_good() {
    let (port, read) = serve(b"HTTP/1.1 204 No Content\r\n\r\n", None);
    let (ending, _) = run(&web(false, port)).await;
    assert_eq!(ending, Ending { outcome: Outcome::Succeeded, said: None });
    let read = read.recv().expect("a request");
    assert!(read.starts_with("POST /hook/s3cret?a=b HTTP/1.1\r\n"), "{read}");
    assert!(read.contains("content-type: application/json\r\n"), "{read}");
    assert!(read.contains(&format!("host: 127.0.0.1:{port}\r\n")), "{read}");
    assert!(!read.contains("authorization"), "{read}");
    let json = read.split("\r\n\r\n").nth(1).expect("a body");
    let json: serde_json::Value = serde_json::from_str(json).expect("JSON");
    assert_eq!(
        json,
        serde_json::json!({"event": "config-applied", "node": "lb1", "generation": 1, "serial": 2})
    );
}

#[tokio::test]
async fn an_error_a_redirect_silence_and_nobody_are_failures_that_tell_no_secret() {
    let (port, _read) = serve(b"HTTP/1.1 503 Busy\r\nContent-Length: 12\r\n\r\nnot today\nno", None);
    let (ending, _) = run(&web(false, port)).await;
    let what = format!("http://127.0.0.1:{port} answered 503 Service Unavailable");
    assert_eq!(ending, Ending { outcome: Outcome::Failed(what), said: Some("not today".to_owned()) });
    let (port, _read) =
        serve(b"HTTP/1.1 302 Found\r\nLocation: http://127.0.0.1:1/\r\nContent-Length: 0\r\n\r\n", None);
    let (ending, _) = run(&web(false, port)).await;
    assert_eq!(ending.outcome, Outcome::Failed(format!("http://127.0.0.1:{port} answered 302 Found")));
    let (port, _read) = serve(b"", None);
    let (ending, _) = run(&web(false, port)).await;
    assert_eq!(
        ending.outcome,
        Outcome::Failed(format!("http://127.0.0.1:{port} did not answer within 0.8 s"))
    );
    let gone = TcpListener::bind("127.0.0.1:0").and_then(|it| it.local_addr()).expect("a port").port();
    let (ending, _) = run(&web(false, gone)).await;
    let Outcome::Failed(why) = ending.outcome else { panic!("nobody is there") };
    assert!(why.contains("can't be asked") && !why.contains("s3cret"), "{why}");
}

#[tokio::test]
async fn megabytes_are_not_kept() {
    let mut answer = b"HTTP/1.1 500 No\r\nContent-Length: 3000000\r\n\r\n".to_vec();
    answer.resize(3_000_000, b'x');
    let (port, _read) = serve(Box::leak(answer.into_boxed_slice()), None);
    let (ending, output) = run(&web(false, port)).await;
    assert_eq!((output.len(), ending.said.map(|said| said.len())), (KEPT, Some(200)));
}

#[tokio::test]
async fn by_https_the_server_is_verified_and_a_token_goes_to_it_alone() {
    let key = rcgen::generate_simple_self_signed(["127.0.0.1".to_owned()]).expect("a certificate");
    let directory = tempfile::tempdir().expect("room on the disk");
    let (ca, token) = (directory.path().join("ca.pem"), directory.path().join("token"));
    std::fs::write(&ca, key.cert.pem()).expect("room on the disk");
    std::fs::write(&token, "t0ken\n").expect("room on the disk");
    let private = rustls::pki_types::PrivateKeyDer::try_from(key.signing_key.serialize_der()).expect("a key");
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let server = rustls::ServerConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .expect("versions")
        .with_no_client_auth()
        .with_single_cert(vec![key.cert.der().clone()], private)
        .expect("a server");
    let server = Arc::new(server);
    let answer = b"HTTP/1.1 401 No\r\nContent-Length: 15\r\n\r\nt0ken is no good";
    let (port, read) = serve(answer, Some(Arc::clone(&server)));
    let mut call = WebCall { ca: Some(ca), token: Some(token.clone()), ..web(true, port) };
    let (ending, output) = run(&call).await;
    assert_eq!(ending.said.as_deref(), Some("REDACTED is no goo"));
    assert!(!output.contains("t0ken"), "{output}");
    let read = read.recv().expect("a request");
    assert!(read.contains("authorization: Bearer t0ken\r\n"), "{read}");

    // One that nobody vouches for gets nothing.
    let (port, read) = serve(answer, Some(server));
    let other = rcgen::generate_simple_self_signed(["127.0.0.1".to_owned()]).expect("a certificate");
    let stranger = directory.path().join("other.pem");
    std::fs::write(&stranger, other.cert.pem()).expect("room on the disk");
    (call.to.port, call.ca) = (port, Some(stranger));
    let (ending, _) = run(&call).await;
    assert!(matches!(ending.outcome, Outcome::Failed(_)), "{ending:?}");
    assert_eq!(read.recv().expect("an end"), "");
    std::fs::remove_file(token).expect("it is there");
    let (ending, _) = run(&call).await;
    let Outcome::NotStarted(why) = ending.outcome else { panic!("there is no token") };
    assert!(why.contains("token can't be read"), "{why}");
}
