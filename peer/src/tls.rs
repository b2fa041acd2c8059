//! What is spoken: QUIC with TLS 1.3 and raw public keys (RFC 7250), each side knowing the other by the pin of its key.
//!
//! No authority vouches for a key and no date ends it: the list of pins is all. Whether the other side holds the private
//! half is verified by rustls, as for any certificate.

use crate::key::{Key, pin_of};
use crate::message::WINDOW;
use fulcrum_config::KeyPin;
use quinn::crypto::rustls::{QuicClientConfig, QuicServerConfig};
use quinn::{AckFrequencyConfig, IdleTimeout, TransportConfig, VarInt};
use rustls::client::AlwaysResolvesClientRawPublicKeys;
use rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
use rustls::crypto::{CryptoProvider, WebPkiSupportedAlgorithms, verify_tls13_signature_with_raw_key};
use rustls::pki_types::{CertificateDer, ServerName, SubjectPublicKeyInfoDer, UnixTime};
use rustls::server::AlwaysResolvesServerRawPublicKeys;
use rustls::server::danger::{ClientCertVerified, ClientCertVerifier};
use rustls::version::TLS13;
use rustls::{
    CertificateError, ClientConfig, DigitallySignedStruct, DistinguishedName, Error, PeerIncompatible,
    ServerConfig, SignatureScheme,
};
use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::Duration;

/// The name of the protocol inside TLS (ALPN).
const PROTOCOL: &[u8] = b"fulcrum-peer/1";
/// Handshakes that are set up at a time; what comes beyond is dropped.
pub(crate) const HANDSHAKES_AT_MOST: usize = 16;
/// Messages that may be under way at a time from a peer.
const STREAMS: u32 = 8;
/// Bytes of heartbeats that wait to be sent or read: those of 10,000 elected groups, which are said all at once.
const DATAGRAMS: usize = 256 << 10;
/// What the way there and back takes at most while it is not measured: a lost packet of a handshake is sent again after
/// three of it (RFC 9002 section 6.2.2).
const ROUND_TRIP: Duration = Duration::from_millis(20);
/// Heartbeats are acknowledged with the next one that goes the other way, if there is one soon enough, not each by a packet
/// of its own (draft-ietf-quic-ack-frequency).
const ACKNOWLEDGED: Duration = Duration::from_millis(100);
/// Packets that may be unacknowledged until then.
const UNACKNOWLEDGED: u32 = 10;
/// QUIC's own idle timeout, in milliseconds; the link finds silence out much earlier.
const IDLE: u32 = 10_000;

/// Lets those through whose key is listed.
#[derive(Debug)]
struct Pinned {
    pins: BTreeSet<KeyPin>,
    algorithms: WebPkiSupportedAlgorithms,
}

impl Pinned {
    fn check(&self, public: &CertificateDer<'_>) -> Result<(), Error> {
        if self.pins.contains(&pin_of(public)) {
            Ok(())
        } else {
            Err(Error::InvalidCertificate(CertificateError::ApplicationVerificationFailure))
        }
    }

    fn signature(
        &self,
        message: &[u8],
        public: &CertificateDer<'_>,
        signature: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        let public = SubjectPublicKeyInfoDer::from(public.as_ref());
        verify_tls13_signature_with_raw_key(message, &public, signature, &self.algorithms)
    }
}

/// TLS 1.2 has no raw public keys here, and QUIC no TLS 1.2.
fn no_tls12() -> Result<HandshakeSignatureValid, Error> {
    Err(Error::PeerIncompatible(PeerIncompatible::Tls13RequiredForQuic))
}

impl ServerCertVerifier for Pinned {
    fn verify_server_cert(
        &self,
        public: &CertificateDer<'_>,
        _intermediates: &[CertificateDer<'_>],
        _server_name: &ServerName<'_>,
        _ocsp_response: &[u8],
        _now: UnixTime,
    ) -> Result<ServerCertVerified, Error> {
        self.check(public).map(|()| ServerCertVerified::assertion())
    }

    fn verify_tls12_signature(
        &self,
        _message: &[u8],
        _public: &CertificateDer<'_>,
        _signature: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        no_tls12()
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        public: &CertificateDer<'_>,
        signature: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        self.signature(message, public, signature)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.algorithms.supported_schemes()
    }

    fn requires_raw_public_keys(&self) -> bool {
        true
    }
}

impl ClientCertVerifier for Pinned {
    fn root_hint_subjects(&self) -> &[DistinguishedName] {
        &[]
    }

    fn verify_client_cert(
        &self,
        public: &CertificateDer<'_>,
        _intermediates: &[CertificateDer<'_>],
        _now: UnixTime,
    ) -> Result<ClientCertVerified, Error> {
        self.check(public).map(|()| ClientCertVerified::assertion())
    }

    fn verify_tls12_signature(
        &self,
        _message: &[u8],
        _public: &CertificateDer<'_>,
        _signature: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        no_tls12()
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        public: &CertificateDer<'_>,
        signature: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        self.signature(message, public, signature)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.algorithms.supported_schemes()
    }

    fn requires_raw_public_keys(&self) -> bool {
        true
    }
}

fn provider() -> Arc<CryptoProvider> {
    Arc::new(rustls::crypto::ring::default_provider())
}

fn pinned(provider: &CryptoProvider, pins: BTreeSet<KeyPin>) -> Arc<Pinned> {
    Arc::new(Pinned { pins, algorithms: provider.signature_verification_algorithms })
}

/// Takes connections from whoever has one of `pins`.
pub(crate) fn server(key: &Key, pins: BTreeSet<KeyPin>) -> Result<quinn::ServerConfig, String> {
    let provider = provider();
    let verifier = pinned(&provider, pins);
    let mut config = ServerConfig::builder_with_provider(provider)
        .with_protocol_versions(&[&TLS13])
        .map_err(|error| error.to_string())?
        .with_client_cert_verifier(verifier)
        .with_cert_resolver(Arc::new(AlwaysResolvesServerRawPublicKeys::new(Arc::clone(&key.certified))));
    config.alpn_protocols = vec![PROTOCOL.to_vec()];
    // A resumed session would pass without its key being looked at.
    config.send_tls13_tickets = 0;
    let config = QuicServerConfig::try_from(config).map_err(|error| error.to_string())?;
    let mut config = quinn::ServerConfig::with_crypto(Arc::new(config));
    config.transport_config(transport());
    config.migration(false);
    config.max_incoming(HANDSHAKES_AT_MOST);
    config.incoming_buffer_size(16 << 10);
    config.incoming_buffer_size_total(256 << 10);
    Ok(config)
}

/// Connects to whoever has one of `pins`.
pub(crate) fn client(key: &Key, pins: BTreeSet<KeyPin>) -> Result<quinn::ClientConfig, String> {
    let provider = provider();
    let verifier = pinned(&provider, pins);
    let mut config = ClientConfig::builder_with_provider(provider)
        .with_protocol_versions(&[&TLS13])
        .map_err(|error| error.to_string())?
        .dangerous()
        .with_custom_certificate_verifier(verifier)
        .with_client_cert_resolver(Arc::new(AlwaysResolvesClientRawPublicKeys::new(Arc::clone(
            &key.certified,
        ))));
    config.alpn_protocols = vec![PROTOCOL.to_vec()];
    config.resumption = rustls::client::Resumption::disabled();
    config.enable_sni = false;
    let config = QuicClientConfig::try_from(config).map_err(|error| error.to_string())?;
    let mut config = quinn::ClientConfig::new(Arc::new(config));
    config.transport_config(transport());
    Ok(config)
}

/// What bounds the memory that a peer can hold.
fn transport() -> Arc<TransportConfig> {
    let mut transport = TransportConfig::default();
    let mut acknowledged = AckFrequencyConfig::default();
    acknowledged.ack_eliciting_threshold(VarInt::from_u32(UNACKNOWLEDGED)).max_ack_delay(Some(ACKNOWLEDGED));
    transport
        .max_concurrent_bidi_streams(VarInt::from_u32(0))
        .max_concurrent_uni_streams(VarInt::from_u32(STREAMS))
        .stream_receive_window(VarInt::from_u32(WINDOW))
        .receive_window(VarInt::from_u32(WINDOW.saturating_mul(2)))
        .send_window(1 << 20)
        .datagram_receive_buffer_size(Some(DATAGRAMS))
        .datagram_send_buffer_size(DATAGRAMS)
        .initial_rtt(ROUND_TRIP)
        .ack_frequency_config(Some(acknowledged))
        .max_idle_timeout(Some(IdleTimeout::from(VarInt::from_u32(IDLE))));
    Arc::new(transport)
}
