//! Who is who to an apiserver: an authority, certificates, and the key of service accounts.

use crate::error::{Context, Result};
use crate::lab::Machine;
use rcgen::{
    BasicConstraints, CertificateParams, CertifiedIssuer, DnType, ExtendedKeyUsagePurpose, IsCa, KeyPair,
    KeyUsagePurpose,
};
use std::net::IpAddr;
use std::path::{Path, PathBuf};

/// Names of the API inside of the cluster, and its service's addresses.
const INSIDE: [&str; 7] = [
    "kubernetes",
    "kubernetes.default",
    "kubernetes.default.svc",
    "kubernetes.default.svc.cluster.local",
    "localhost",
    "127.0.0.1",
    "10.96.0.1",
];

/// The authority of a cluster, and where its files are.
pub(super) struct Authority {
    issuer: CertifiedIssuer<'static, KeyPair>,
    home: Machine,
}

/// How somebody says who he is; files.
#[derive(Debug, Clone)]
pub(super) enum Credentials {
    /// By a certificate and its key.
    Certificate(PathBuf, PathBuf),
    /// By a token.
    Token(PathBuf),
}

impl std::fmt::Debug for Authority {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Authority").field("home", &self.home.name()).finish_non_exhaustive()
    }
}

impl Authority {
    /// With a certificate for all of these machines and addresses; its files are those of `home`.
    pub(super) fn new(home: &Machine, machines: &[Machine], further: &[IpAddr]) -> Result<Self> {
        let mut params = CertificateParams::default();
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        params.key_usages = vec![KeyUsagePurpose::KeyCertSign, KeyUsagePurpose::DigitalSignature];
        // Each cluster's is told from the others' by its name.
        params.distinguished_name.push(DnType::CommonName, format!("CA of {}", home.name()));
        let issuer = CertifiedIssuer::self_signed(params, KeyPair::generate().context("a key")?)
            .context("a certificate")?;
        let authority = Self { issuer, home: home.clone() };
        home.write("ca.pem", &authority.issuer.as_ref().pem())?;
        let addresses = machines.iter().flat_map(|machine| [machine.ipv4(), machine.ipv6()]);
        let addresses = addresses.chain(further.iter().copied()).map(|address| address.to_string());
        let names: Vec<String> = addresses.chain(INSIDE.map(str::to_owned)).collect();
        let params = CertificateParams::new(names).context("a certificate's names")?;
        authority.issue("apiserver", params, ExtendedKeyUsagePurpose::ServerAuth, "kube-apiserver", None)?;
        let accounts = KeyPair::generate().context("a key")?;
        home.write("accounts.key", &accounts.serialize_pem())?;
        home.write("accounts.pub", &accounts.public_key_pem())?;
        Ok(authority)
    }

    fn issue(
        &self,
        file: &str,
        mut params: CertificateParams,
        purpose: ExtendedKeyUsagePurpose,
        name: &str,
        group: Option<&str>,
    ) -> Result<(PathBuf, PathBuf)> {
        params.extended_key_usages = vec![purpose];
        params.key_usages = vec![KeyUsagePurpose::DigitalSignature];
        params.distinguished_name.push(DnType::CommonName, name);
        if let Some(group) = group {
            params.distinguished_name.push(DnType::OrganizationName, group);
        }
        let key = KeyPair::generate().context("a key")?;
        let certificate = params.signed_by(&key, &self.issuer).context("a certificate")?;
        let certificate = self.home.write(&format!("{file}.pem"), &certificate.pem())?;
        let key = self.home.write(&format!("{file}.key"), &key.serialize_pem())?;
        Ok((certificate, key))
    }

    /// A certificate for somebody. Asked for again, the same files get a new one.
    pub(super) fn client(&self, name: &str, group: Option<&str>) -> Result<Credentials> {
        let purpose = ExtendedKeyUsagePurpose::ClientAuth;
        let file = format!("user-{name}");
        let (certificate, key) = self.issue(&file, CertificateParams::default(), purpose, name, group)?;
        Ok(Credentials::Certificate(certificate, key))
    }

    /// A token in a file, which is replaced as a whole, as kubelets do it.
    pub(super) fn token(&self, name: &str, token: &str) -> Result<Credentials> {
        let path = self.home.file(&format!("user-{name}.token"));
        let new = self.home.write(&format!("user-{name}.token.new"), token)?;
        std::fs::rename(&new, &path).context("replace a token")?;
        Ok(Credentials::Token(path))
    }

    /// The authority's own certificate.
    pub(super) fn ca(&self) -> PathBuf {
        self.home.file("ca.pem")
    }

    /// The apiservers' certificate and its key.
    pub(super) fn of_servers(&self) -> (PathBuf, PathBuf) {
        (self.home.file("apiserver.pem"), self.home.file("apiserver.key"))
    }

    /// The public key that tokens of service accounts are verified with, and the one that signs them.
    pub(super) fn of_accounts(&self) -> (PathBuf, PathBuf) {
        (self.home.file("accounts.pub"), self.home.file("accounts.key"))
    }
}

/// A kubeconfig for these credentials at this server.
pub(super) fn kubeconfig(server: &str, ca: &Path, name: &str, credentials: &Credentials) -> String {
    let user = match credentials {
        Credentials::Certificate(certificate, key) => {
            format!("client-certificate: {}, client-key: {}", certificate.display(), key.display())
        }
        Credentials::Token(token) => format!("tokenFile: {}", token.display()),
    };
    format!(
        "apiVersion: v1\nkind: Config\ncurrent-context: lab\n\
         contexts: [{{name: lab, context: {{cluster: lab, user: \"{name}\"}}}}]\n\
         clusters: [{{name: lab, cluster: {{server: \"{server}\", certificate-authority: {ca}}}}}]\n\
         users: [{{name: \"{name}\", user: {{{user}}}}}]\n",
        ca = ca.display(),
    )
}
