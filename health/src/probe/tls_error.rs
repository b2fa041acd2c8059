//! TLS errors in words, with what to do about them.

// Of another crate's many errors, only those that have a remedy have words of their own.
#![allow(clippy::wildcard_enum_match_arm)]

use rustls::{AlertDescription, CertificateError};

/// The TLS error inside an I/O error, in words.
pub(super) fn in_words(error: &std::io::Error) -> Option<String> {
    let error = error.get_ref()?.downcast_ref::<rustls::Error>()?;
    Some(match error {
        rustls::Error::InvalidCertificate(error) => certificate_error(error),
        rustls::Error::AlertReceived(alert) => refusal(*alert),
        rustls::Error::InvalidMessage(_) => "not a TLS answer".into(),
        error => format!("TLS: {error}"),
    })
}

fn certificate_error(error: &CertificateError) -> String {
    match error {
        CertificateError::Expired | CertificateError::ExpiredContext { .. } => {
            "the server's certificate has expired".into()
        }
        CertificateError::NotValidYet | CertificateError::NotValidYetContext { .. } => {
            "the server's certificate is not valid yet".into()
        }
        CertificateError::UnknownIssuer => {
            "the server's certificate is not from the authority in `ca`".into()
        }
        CertificateError::NotValidForName | CertificateError::NotValidForNameContext { .. } => {
            "the server's certificate is for another name; set `server_name`".into()
        }
        error => format!("the server's certificate is not accepted: {error}"),
    }
}

fn refusal(alert: AlertDescription) -> String {
    match alert {
        AlertDescription::CertificateRequired => {
            "the server asks for a client certificate; set `client_certificate`".into()
        }
        AlertDescription::HandshakeFailure => {
            "the server refused the TLS handshake (no common cipher, or it asks for a client certificate)"
                .into()
        }
        AlertDescription::UnrecognisedName => "the server does not know this name; set `server_name`".into(),
        alert => format!("the server refused the TLS handshake (alert {alert:?})"),
    }
}
