use super::*;
use rcgen::{BasicConstraints, CertificateParams, CertifiedIssuer, IsCa, KeyPair};
use rustls::ClientConfig;
use rustls::pki_types::{PrivatePkcs8KeyDer, ServerName};
use std::path::PathBuf;
use std::time::Duration;
use tokio::net::TcpListener;
use tokio_rustls::TlsConnector;

type Authority = CertifiedIssuer<'static, KeyPair>;

fn authority() -> Authority {
    let mut params = CertificateParams::default();
    params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
    CertifiedIssuer::self_signed(params, KeyPair::generate().expect("a key")).expect("a certificate")
}

struct Pair {
    certificate: rcgen::Certificate,
    key: KeyPair,
}

fn issued(by: &Authority) -> Pair {
    let params = CertificateParams::new(vec!["fulcrum.test".to_owned()]).expect("a name");
    let key = KeyPair::generate().expect("a key");
    let certificate = params.signed_by(&key, by).expect("a certificate");
    Pair { certificate, key }
}

struct Place {
    directory: tempfile::TempDir,
    server: Authority,
    viewers: Authority,
    operators: Authority,
}

impl Place {
    fn new() -> Self {
        let directory = tempfile::tempdir().expect("a directory");
        let place = Self { directory, server: authority(), viewers: authority(), operators: authority() };
        place.write_server();
        std::fs::write(place.path("viewers.pem"), place.viewers.pem()).expect("room");
        std::fs::write(place.path("operators.pem"), place.operators.pem()).expect("room");
        place
    }

    fn path(&self, name: &str) -> PathBuf {
        self.directory.path().join(name)
    }

    fn write_server(&self) {
        let pair = issued(&self.server);
        std::fs::write(self.path("server.pem"), pair.certificate.pem()).expect("room");
        std::fs::write(self.path("server.key"), pair.key.serialize_pem()).expect("room");
    }

    fn files(&self) -> TcpAdmin {
        TcpAdmin {
            listen: "127.0.0.1:0".parse().expect("an address"),
            certificate: self.path("server.pem"),
            key: self.path("server.key"),
            viewer_ca: self.path("viewers.pem"),
            operator_ca: self.path("operators.pem"),
        }
    }

    /// Writes a file, later than all before.
    fn rewrite(&self, name: &str, text: &str, after: u64) {
        std::fs::write(self.path(name), text).expect("room");
        let newer = std::fs::File::options().append(true).open(self.path(name)).expect("the file");
        #[allow(clippy::disallowed_methods, reason = "the files' own clock")]
        let later = SystemTime::now().checked_add(Duration::from_secs(after)).expect("a time");
        newer.set_modified(later).expect("our own file");
    }

    /// What `tls` makes of a client with `pair`, and the server's certificate that the client saw.
    async fn connect(&self, tls: &Tls, pair: Option<Pair>) -> Result<(Role, Vec<u8>), String> {
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("loopback");
        let address = listener.local_addr().expect("bound");
        let mut roots = RootCertStore::empty();
        roots.add(self.server.der().clone()).expect("an authority");
        let provider = Arc::new(rustls::crypto::ring::default_provider());
        let config = ClientConfig::builder_with_provider(provider)
            .with_safe_default_protocol_versions()
            .expect("versions")
            .with_root_certificates(roots);
        let config = match pair {
            Some(pair) => {
                let key = PrivatePkcs8KeyDer::from(pair.key.serialize_der()).into();
                config.with_client_auth_cert(vec![pair.certificate.der().clone()], key).expect("a pair")
            }
            None => config.with_no_client_auth(),
        };
        let client = async {
            let stream = TcpStream::connect(address).await.expect("loopback");
            let name = ServerName::try_from("fulcrum.test").expect("a name");
            let stream = TlsConnector::from(Arc::new(config)).connect(name, stream).await.ok()?;
            Some(stream.get_ref().1.peer_certificates()?.first()?.to_vec())
        };
        let server = async {
            let (stream, from) = listener.accept().await.expect("the client");
            tls.accept(stream, from).await.map(|(_, caller)| caller.role)
        };
        let both = async { tokio::join!(server, client) };
        let (role, seen) = tokio::time::timeout(Duration::from_secs(20), both).await.expect("in time");
        Ok((role?, seen.unwrap_or_default()))
    }
}

#[tokio::test]
async fn the_authority_says_the_role() {
    let place = Place::new();
    let tls = Tls::new(place.files()).expect("good files");
    let role = async |pair| place.connect(&tls, pair).await.map(|(role, _)| role);
    assert_eq!(role(Some(issued(&place.operators))).await, Ok(Role::Operator));
    assert_eq!(role(Some(issued(&place.viewers))).await, Ok(Role::Viewer));
    role(Some(issued(&authority()))).await.expect_err("a stranger");
    role(None).await.expect_err("nobody");
}

#[tokio::test]
async fn certificates_are_read_again_when_they_change() {
    let place = Place::new();
    let tls = Tls::new(place.files()).expect("good files");
    let seen = async || place.connect(&tls, Some(issued(&place.viewers))).await.expect("a viewer").1;
    let first = seen().await;
    place.write_server();
    // The next tick of a coarse file system clock would do; the tests do not wait for one.
    let newer = std::fs::File::options().append(true).open(place.path("server.pem")).expect("the file");
    #[allow(clippy::disallowed_methods, reason = "the files' own clock")]
    let later = SystemTime::now().checked_add(Duration::from_secs(10)).expect("a time");
    newer.set_modified(later).expect("our own file");
    let second = seen().await;
    assert_ne!(first, second);
    std::fs::write(place.path("server.pem"), "garbage").expect("room");
    assert_eq!(seen().await, second, "files that can't be used leave the old ones in force");
}

#[tokio::test]
async fn two_authorities_are_trusted_while_one_takes_the_place_of_the_other() {
    let place = Place::new();
    let tls = Tls::new(place.files()).expect("good files");
    let next = authority();
    let role = async |by: &Authority| place.connect(&tls, Some(issued(by))).await.map(|(role, _)| role);
    role(&next).await.expect_err("a stranger still");
    place.rewrite("operators.pem", &(place.operators.pem() + &next.pem()), 10);
    assert_eq!(role(&place.operators).await, Ok(Role::Operator));
    assert_eq!(role(&next).await, Ok(Role::Operator));
    assert_eq!(role(&place.viewers).await, Ok(Role::Viewer));
    place.rewrite("operators.pem", &next.pem(), 20);
    assert_eq!(role(&next).await, Ok(Role::Operator));
    role(&place.operators).await.expect_err("its time is over");
}

#[test]
fn a_missing_file_is_named() {
    let place = Place::new();
    std::fs::remove_file(place.path("operators.pem")).expect("our own file");
    let error = Tls::new(place.files()).expect_err("a file is missing");
    assert!(error.contains("operators.pem"), "{error}");
}
