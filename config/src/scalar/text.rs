//! Text of some form.

use crate::model::{self, KeyPin};
use crate::reader::Problem;
use crate::table::Scalar;
use serde_json::{Value as Json, json};
use std::path::PathBuf;

impl Scalar for String {
    fn parse(text: &str) -> Result<Self, Problem> {
        Ok(text.to_owned())
    }

    fn expected() -> String {
        "text".to_owned()
    }

    fn schema() -> Json {
        json!({ "type": ["string", "number", "boolean"] })
    }
}

/// A scalar that is text of some form.
macro_rules! text {
    ($(#[$doc:meta])* $name:ident($value:ty), $what:literal, $write:literal, $pattern:literal, $parse:expr) => {
        $(#[$doc])*
        #[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
        pub(crate) struct $name(pub(crate) $value);

        impl Scalar for $name {
            fn parse(text: &str) -> Result<Self, Problem> {
                let parse: fn(&str) -> Option<$value> = $parse;
                parse(text).map(Self).ok_or_else(|| Problem::not(text, $what, $write))
            }

            fn expected() -> String {
                $write.to_owned()
            }

            fn schema() -> Json {
                json!({ "type": ["string", "number", "boolean"], "pattern": $pattern })
            }
        }
    };
}

fn checked(text: &str, good: bool) -> Option<String> {
    good.then(|| text.to_owned())
}

text! {
    /// What things are called.
    Name(String), "a name", "1 to 63 letters, digits, `.`, `_` and `-`, the first a letter or digit",
    "^[A-Za-z0-9][A-Za-z0-9._-]{0,62}$",
    |text| {
        let inner = |byte: u8| byte.is_ascii_alphanumeric() || b"._-".contains(&byte);
        let first = text.bytes().next().is_some_and(|byte| byte.is_ascii_alphanumeric());
        checked(text, first && text.len() <= 63 && text.bytes().all(inner))
    }
}

text! {
    /// A name, or several.
    NamePattern(String), "a name or a pattern of names", "a name, in which `*` stands for any text",
    "^[A-Za-z0-9._*/:-]{1,256}$",
    |text| {
        let inner = |byte: u8| byte.is_ascii_alphanumeric() || b"._-*/:".contains(&byte);
        checked(text, (1..=256).contains(&text.len()) && text.bytes().all(inner))
    }
}

text! {
    /// The key or value of a label, as Kubernetes has them.
    Label(String), "the key or value of a label", "at most 317 letters, digits, `.`, `_`, `-` and `/`",
    "^[A-Za-z0-9._/-]{1,317}$",
    |text| {
        let inner = |byte: u8| byte.is_ascii_alphanumeric() || b"._-/".contains(&byte);
        checked(text, (1..=317).contains(&text.len()) && text.bytes().all(inner))
    }
}

text! {
    /// What the kernel calls an interface.
    LinkName(String), "the name of an interface", "its name as `ip link` shows it, at most 15 characters",
    "^[^/:\\s]{1,15}$",
    |text| {
        let bad = |character: char| character.is_whitespace() || character.is_control() || "/:".contains(character);
        checked(text, (1..=15).contains(&text.len()) && !text.contains(bad) && text != "." && text != "..")
    }
}

text! {
    /// A path that does not depend on where the daemon was started.
    AbsolutePath(PathBuf), "an absolute path", "the whole path, from `/` on", "^/",
    |text| (text.starts_with('/') && !text.contains('\0')).then(|| PathBuf::from(text))
}

text! {
    /// A path of a URL.
    UrlPath(String), "the path of a URL", "a path such as `/readyz?verbose`, without spaces", "^/[!-~]*$",
    |text| checked(text, text.starts_with('/') && text.bytes().all(|byte| byte.is_ascii_graphic()))
}

text! {
    /// A token of HTTP: a method, the name of a header (RFC 9110 section 5.6.2).
    HttpToken(String), "a word that HTTP allows here", "letters, digits and `-`", "^[A-Za-z0-9!#$%&'*+.^_`|~-]+$",
    |text| {
        let token = |byte: u8| byte.is_ascii_alphanumeric() || b"!#$%&'*+.^_`|~-".contains(&byte);
        checked(text, !text.is_empty() && text.bytes().all(token))
    }
}

text! {
    /// The value of a header.
    HeaderValue(String), "the value of a header", "printable ASCII on one line", "^[ -~]*$",
    |text| checked(text, text.bytes().all(|byte| byte == b' ' || byte.is_ascii_graphic()))
}

text! {
    /// Bytes in hexadecimal.
    Hex(Vec<u8>), "hexadecimal", "two hexadecimal digits for each byte, such as \"00ff\"",
    "^([0-9A-Fa-f]{2})*$",
    |text| {
        let digits: Option<Vec<u8>> = text
            .chars()
            .map(|digit| digit.to_digit(16).and_then(|value| u8::try_from(value).ok()))
            .collect();
        let pair = |pair: &[u8]| match pair {
            [high, low] => Some((high << 4) | low),
            _ => None,
        };
        digits?.chunks(2).map(pair).collect()
    }
}

impl Scalar for KeyPin {
    fn parse(text: &str) -> Result<Self, Problem> {
        text.parse().map_err(|()| Problem::not(text, "the pin of a key", &<Self as Scalar>::expected()))
    }

    fn expected() -> String {
        "`sha256:` and 44 characters of base64, as `fulcrum peer-key` prints it".to_owned()
    }

    fn schema() -> Json {
        json!({ "type": "string", "pattern": "^sha256:[A-Za-z0-9+/]{43}=$" })
    }
}

text! {
    /// A key in etcd.
    EtcdKey(String), "a key in etcd", "1 to 255 printable characters without spaces", "^[!-~]{1,255}$",
    |text| checked(text, (1..=255).contains(&text.len()) && text.bytes().all(|byte| byte.is_ascii_graphic()))
}

text! {
    /// Where a web server is.
    WebAddress(model::WebAddress), "an address of a web server", "http:// or https://, a host, `:` and a port",
    "^https?://[^/?#@]+:[0-9]{1,5}/?$",
    |text| {
        let uri: http::Uri = text.parse().ok()?;
        let tls = match uri.scheme_str()? {
            "https" => true,
            "http" => false,
            _ => return None,
        };
        let bare = uri.path() == "/" && uri.query().is_none() && !text.contains('@');
        let host = uri.host()?.trim_start_matches('[').trim_end_matches(']').to_owned();
        let port = uri.port_u16().filter(|port| *port > 0)?;
        bare.then_some(model::WebAddress { tls, host, port })
    }
}

text! {
    /// What is called by HTTP.
    WebUrl((model::WebAddress, String)), "a URL", "http:// or https://, a host, a path if it has one; no user, no fragment",
    "^https?://[^/?#@]+([/?][^#]*)?$",
    |text| {
        let uri: http::Uri = text.parse().ok()?;
        let tls = match uri.scheme_str()? {
            "https" => true,
            "http" => false,
            _ => return None,
        };
        let bare = !uri.authority()?.as_str().contains('@') && !text.contains('#');
        let host = uri.host()?.trim_start_matches('[').trim_end_matches(']').to_owned();
        let has_port = !uri.authority()?.as_str().ends_with(':');
        let port = uri.port_u16().or_else(|| uri.port().is_none().then_some(if tls { 443 } else { 80 }));
        let port = port.filter(|port| *port > 0 && has_port)?;
        let path = uri.path_and_query().map_or_else(|| "/".to_owned(), ToString::to_string);
        (bare && !host.is_empty()).then_some((model::WebAddress { tls, host, port }, path))
    }
}
