//! When the certificates that the file names end.

use fulcrum_config::preflight::Line;
use fulcrum_config::{CheckKind, Config, TlsOptions, Witness};
use rustls::pki_types::CertificateDer;
use rustls::pki_types::pem::PemObject;
use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::time::{SystemTime, UNIX_EPOCH};
use x509_parser::prelude::{FromDer, X509Certificate};

#[cfg(test)]
mod tests;

const CHECK: &str = "certificates";
const DAY: i64 = 86_400;
/// Time enough to have new ones made.
const SOON: i64 = 30;

/// What a file is for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum Kind {
    /// Ours, with all that vouches for it: the first to end counts.
    Chain,
    /// Those that are trusted: one that is good will do.
    Authorities,
}

#[allow(
    clippy::disallowed_methods,
    reason = "certificates end by the wall clock; nothing else is decided by it"
)]
pub(super) fn certificates(config: &Config) -> Vec<Line> {
    let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default().as_secs();
    let now = i64::try_from(now).unwrap_or(i64::MAX);
    let files = files(config);
    if files.is_empty() {
        return vec![Line::not_applicable(CHECK, "files", "the file names no certificate")];
    }
    files.into_iter().map(|((path, kind), user)| line(&path, kind, &user, now)).collect()
}

/// Each file with who uses it.
fn files(config: &Config) -> BTreeMap<(PathBuf, Kind), String> {
    let mut files = BTreeMap::new();
    let mut add = |path: &Path, kind, user: String| {
        files.entry((path.to_owned(), kind)).or_insert(user);
    };
    if let Some(tcp) = &config.admin.tcp {
        add(&tcp.certificate, Kind::Chain, "admin.tcp".to_owned());
        add(&tcp.viewer_ca, Kind::Authorities, "admin.tcp".to_owned());
        add(&tcp.operator_ca, Kind::Authorities, "admin.tcp".to_owned());
    }
    for service in config.services.values() {
        let Some(options) = service.check.as_ref().and_then(|check| tls(&check.kind)) else { continue };
        let user = format!("the check of service {}", service.name);
        options.client.iter().for_each(|(path, _)| add(path, Kind::Chain, user.clone()));
        options.ca.iter().for_each(|path| add(path, Kind::Authorities, user.clone()));
    }
    if let Witness::Etcd(etcd) = &config.witness {
        etcd.client.iter().for_each(|(path, _)| add(path, Kind::Chain, "the witness".to_owned()));
        etcd.ca.iter().for_each(|path| add(path, Kind::Authorities, "the witness".to_owned()));
    }
    files
}

fn tls(kind: &CheckKind) -> Option<&TlsOptions> {
    match kind {
        CheckKind::Tls(options) | CheckKind::Https(_, options) => Some(options),
        CheckKind::Grpc { tls, .. } => tls.as_ref(),
        CheckKind::Tcp
        | CheckKind::Http(_)
        | CheckKind::Udp { .. }
        | CheckKind::Dns { .. }
        | CheckKind::Icmp
        | CheckKind::Script { .. } => None,
    }
}

fn line(path: &Path, kind: Kind, user: &str, now: i64) -> Line {
    let about = path.display();
    let spans = match spans(path) {
        Ok(spans) => spans,
        Err(why) => {
            return Line::failed(CHECK, about, format!("{why}; {user} needs it"), "put a PEM file there");
        }
    };
    let span = match kind {
        Kind::Chain => spans.into_iter().min_by_key(|(_, end)| *end),
        Kind::Authorities => spans.into_iter().max_by_key(|(_, end)| *end),
    };
    let Some((begin, end)) = span else {
        return Line::failed(
            CHECK,
            about,
            format!("there is no certificate in it; {user} needs it"),
            "put a PEM file there",
        );
    };
    let days = end.saturating_sub(now).div_euclid(DAY);
    let remedy = "have a new one made and put it in its place; it is read again by itself";
    if now >= end {
        let ago = now.saturating_sub(end).div_euclid(DAY);
        Line::failed(CHECK, about, format!("it ended {ago} days ago; {user} needs it"), remedy)
    } else if now < begin {
        let found = format!("it is not valid yet; {user} needs it");
        Line::failed(CHECK, about, found, "is the clock of this machine right ('timedatectl')?")
    } else if days < SOON {
        Line::warning(CHECK, about, format!("it ends in {days} days; {user} needs it"), remedy)
    } else {
        Line::ok(CHECK, about, format!("it is good for {days} days ({user})"))
    }
}

/// From when until when each certificate of a file is good, in seconds of Unix time.
fn spans(path: &Path) -> Result<Vec<(i64, i64)>, String> {
    let certificates =
        CertificateDer::pem_file_iter(path).map_err(|error| format!("it can't be read: {error}"))?;
    let span = |certificate: Result<CertificateDer<'_>, rustls::pki_types::pem::Error>| {
        let certificate = certificate.map_err(|error| format!("it can't be read: {error}"))?;
        let (_, parsed) = X509Certificate::from_der(&certificate)
            .map_err(|error| format!("a certificate in it makes no sense: {error}"))?;
        let validity = parsed.validity();
        Ok((validity.not_before.timestamp(), validity.not_after.timestamp()))
    };
    certificates.map(span).collect()
}
