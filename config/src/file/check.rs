//! `checks`.

use crate::model::ExpectStatus;
use crate::scalar::{AbsolutePath, CheckType, HeaderValue, Hex, HttpToken, Number, Record, Time, UrlPath};
use crate::table::{List, Named, Or, section};

/// Bytes, as text or in hexadecimal.
pub(crate) type Wire = Or<String, HexSection>;

section! {
    /// A health check.
    CheckSection {
        /// What is asked: tcp, tls, http, https, grpc, udp, dns, icmp or script.
        r#type: required CheckType,
        /// The port asked. Default: the backend's own.
        port: optional Number<1, 65_535>,
        /// Time between probes. Default: 2s.
        interval: optional Time<10, 3_600_000>,
        /// Time between probes while a change is being confirmed. Default: 500ms, at most `interval`.
        fast_interval: optional Time<10, 3_600_000>,
        /// A probe without an answer after this time has failed. Default: 1s, at most `interval`.
        timeout: optional Time<1, 3_600_000>,
        /// Successes in a row that bring a backend up. Default: 2.
        rise: optional Number<1, 1_000>,
        /// Failures in a row that take it down. Default: 3.
        fall: optional Number<1, 1_000>,
        /// Percent of the interval added or taken at random. Default: 10.
        jitter: optional Number<0, 50>,
        /// http, https: the method. Default: GET.
        method: optional HttpToken,
        /// http, https: the path. Default: /.
        path: optional UrlPath,
        /// http, https: the Host header. Default: the backend's address and port.
        host: optional HeaderValue,
        /// http, https: further headers.
        headers: optional Named<HttpToken, HeaderValue>,
        /// http, https: `status` and `body` expected. udp: text that the answer contains, or `hex`.
        expect: optional Or<String, ExpectSection>,
        /// tls, https, grpc: TLS. A grpc check without it speaks in the clear.
        tls: optional TlsSection,
        /// grpc: the service asked for. Default: the server as a whole.
        service: optional HeaderValue,
        /// udp: what is sent.
        send: optional Wire,
        /// dns: the name asked for.
        name: optional String,
        /// dns: the record type. Default: A.
        record: optional Record,
        /// script: the program, by its absolute path, and its first arguments. Address and port follow them.
        command: optional List<String>,
    }
}

section! {
    /// The answer that is expected.
    ExpectSection {
        /// http, https: statuses, such as [200, "300-399"]. Default: 200 to 399.
        status: optional List<ExpectStatus>,
        /// http, https: text that the first 64 KiB of the body contain.
        body: optional String,
        /// udp: bytes that the answer contains.
        hex: optional Hex,
    }
}

section! {
    /// Bytes.
    HexSection {
        /// Two hexadecimal digits for each.
        hex: required Hex,
    }
}

section! {
    /// What a TLS client checks and shows.
    TlsSection {
        /// Whether the certificate is verified; needs `ca`. Default: false, for a check asks for life, not for identity.
        verify: optional bool,
        /// PEM file of the authorities that are trusted.
        ca: optional AbsolutePath,
        /// PEM file of our certificate, if the server asks for one.
        client_certificate: optional AbsolutePath,
        /// PEM file of its key.
        client_key: optional AbsolutePath,
        /// The name asked for (SNI) and verified. Default: none, and the address.
        server_name: optional HeaderValue,
    }
}
