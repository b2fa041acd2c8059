//! Single values of the file. Each knows how to be read, what to write instead, and its schema.

use crate::model::{
    AdvertInterval, Adverts, BackendAddress, Balance, Class, ExpectStatus, LogFormat, Mode, PortRange,
    Priority, Protocol, ProxyProtocolVersion, Rate, Vrid, Weight,
};
use crate::reader::{Problem, meant};
use crate::table::Scalar;
use ipnet::IpNet;
use serde_json::{Value as Json, json};
use std::net::{IpAddr, SocketAddr};
use std::path::PathBuf;
use std::time::Duration;

/// Words of which one is written.
macro_rules! words {
    ($type:ty, $what:literal, $($word:literal => $value:expr,)+) => {
        impl Scalar for $type {
            fn parse(text: &str) -> Result<Self, Problem> {
                match text {
                    $($word => Ok($value),)+
                    _ => Err(unknown_word(text, $what, &[$($word),+])),
                }
            }

            fn expected() -> String {
                one_of(&[$($word),+])
            }

            fn schema() -> Json {
                json!({ "enum": [$($word),+] })
            }
        }
    };
}

fn one_of(words: &[&str]) -> String {
    let words: Vec<String> = words.iter().map(|word| format!("`{word}`")).collect();
    match words.split_last() {
        Some((last, [])) => last.clone(),
        Some((last, others)) => format!("{} or {last}", others.join(", ")),
        None => String::new(),
    }
}

fn unknown_word(text: &str, what: &str, words: &[&str]) -> Problem {
    let mut problem = Problem::not(text, what, &one_of(words));
    if let Some(meant) = meant(text, words.iter().copied()) {
        problem.help = format!("did you mean `{meant}`?");
    }
    problem
}

words! { Class, "a class of VIP group", "control-plane" => Self::ControlPlane, "workload" => Self::Workload, }
words! { Adverts, "a way to send adverts", "multicast" => Self::Multicast, "unicast" => Self::Unicast, }
words! { Protocol, "a protocol", "tcp" => Self::Tcp, "udp" => Self::Udp, }
words! { LogFormat, "a format of log lines", "text" => Self::Text, "json" => Self::Json, }
words! { ProxyProtocolVersion, "a version of the PROXY protocol", "v1" => Self::V1, "v2" => Self::V2, }
words! { Balance, "a way to choose a backend",
    "maglev" => Self::Maglev,
    "round-robin" => Self::RoundRobin,
    "least-connections" => Self::LeastConnections,
    "random-two" => Self::RandomTwo,
    "source" => Self::Source,
}

/// What a check asks.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum CheckType {
    Tcp,
    Tls,
    Http,
    Https,
    Grpc,
    Udp,
    Dns,
    Icmp,
    Script,
}

words! { CheckType, "a type of check",
    "tcp" => Self::Tcp,
    "tls" => Self::Tls,
    "http" => Self::Http,
    "https" => Self::Https,
    "grpc" => Self::Grpc,
    "udp" => Self::Udp,
    "dns" => Self::Dns,
    "icmp" => Self::Icmp,
    "script" => Self::Script,
}

/// Timing profiles.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Profile {
    Default,
    Fast,
}

words! { Profile, "a timing profile", "default" => Self::Default, "fast" => Self::Fast, }

/// What happens to a dead backend's connections, in a word.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum OnDownWord {
    Reset,
    Drain,
}

words! { OnDownWord, "what happens to connections", "reset" => Self::Reset, "drain" => Self::Drain, }

/// What is tracked, in a word.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum TrackWord {
    DataPlane,
}

words! { TrackWord, "something to track", "data_plane" => Self::DataPlane, }

/// A DNS record type.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Record(pub(crate) &'static str);

words! { Record, "a record type",
    "A" => Self("A"),
    "AAAA" => Self("AAAA"),
    "CNAME" => Self("CNAME"),
    "MX" => Self("MX"),
    "NS" => Self("NS"),
    "PTR" => Self("PTR"),
    "SOA" => Self("SOA"),
    "SRV" => Self("SRV"),
    "TXT" => Self("TXT"),
}

impl Scalar for Mode {
    fn parse(text: &str) -> Result<Self, Problem> {
        match text {
            "auto" => Ok(Self::Auto),
            "proxy" => Ok(Self::Proxy),
            "nat" | "dsr" | "fullnat" => Err(Problem {
                message: format!("`{text}`: the forwarding plane is not in this version"),
                help: "use `proxy` or `auto`".to_owned(),
            }),
            _ => Err(unknown_word(text, "a mode", &["auto", "proxy"])),
        }
    }

    fn expected() -> String {
        one_of(&["auto", "proxy"])
    }

    fn schema() -> Json {
        json!({ "enum": ["auto", "proxy"] })
    }
}

impl Scalar for bool {
    fn parse(text: &str) -> Result<Self, Problem> {
        match text {
            "true" => Ok(true),
            "false" => Ok(false),
            _ => Err(Problem::not(text, "true or false", "`true` or `false`")),
        }
    }

    fn expected() -> String {
        "`true` or `false`".to_owned()
    }

    fn schema() -> Json {
        json!({ "type": "boolean" })
    }
}

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

/// A number that lies between bounds.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Number<const LOW: u32, const HIGH: u32>(pub(crate) u32);

fn bounded(text: &str, low: u32, high: u32) -> Option<u32> {
    let digits = !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_digit());
    text.parse().ok().filter(|number| digits && (low..=high).contains(number))
}

fn bounds(low: u32, high: u32) -> String {
    if high == u32::MAX {
        format!("a number of at least {low}")
    } else {
        format!("a number from {low} to {high}")
    }
}

impl<const LOW: u32, const HIGH: u32> Scalar for Number<LOW, HIGH> {
    fn parse(text: &str) -> Result<Self, Problem> {
        let expected = bounds(LOW, HIGH);
        bounded(text, LOW, HIGH).map(Self).ok_or_else(|| Problem::not(text, &expected, &expected))
    }

    fn expected() -> String {
        bounds(LOW, HIGH)
    }

    fn schema() -> Json {
        json!({ "type": "integer", "minimum": LOW, "maximum": HIGH })
    }
}

/// A number of the model, with the bounds that it has there.
macro_rules! number {
    ($type:ty, $what:literal, $low:literal, $high:literal) => {
        impl Scalar for $type {
            fn parse(text: &str) -> Result<Self, Problem> {
                bounded(text, $low, $high)
                    .and_then(|number| Self::new(number.try_into().ok()?).ok())
                    .ok_or_else(|| Problem::not(text, $what, &bounds($low, $high)))
            }

            fn expected() -> String {
                format!("{}: {}", $what, bounds($low, $high))
            }

            fn schema() -> Json {
                json!({ "type": "integer", "minimum": $low, "maximum": $high })
            }
        }
    };
}

number! { Vrid, "a VRID", 1, 255 }
number! { Priority, "a priority", 1, 255 }
number! { Weight, "a weight", 0, 256 }

/// A time with a unit, between bounds in milliseconds.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Time<const LOW: u64, const HIGH: u64>(pub(crate) Duration);

const DURATION: &str = "a number with a unit, such as 100ms, 30s, 5m or 1h";
const DURATION_PATTERN: &str = "^[0-9]+(ms|s|m|h|d)$";

fn parse_duration(text: &str) -> Result<Duration, Problem> {
    let digits = text.trim_end_matches(|character: char| !character.is_ascii_digit());
    let unit = text.get(digits.len()..).unwrap_or_default();
    let problem = || Problem::not(text, "a duration", DURATION);
    if !digits.is_empty() && unit.is_empty() && digits.bytes().all(|byte| byte.is_ascii_digit()) {
        return Err(Problem {
            message: format!("`{digits}` has no unit"),
            help: format!("write `{digits}s` for seconds or `{digits}ms` for milliseconds"),
        });
    }
    let milliseconds: u64 = match unit {
        "ms" => 1,
        "s" => 1_000,
        "m" => 60_000,
        "h" => 3_600_000,
        "d" => 86_400_000,
        _ => return Err(problem()),
    };
    let number: u64 = digits.parse().map_err(|_| problem())?;
    number.checked_mul(milliseconds).map(Duration::from_millis).ok_or_else(problem)
}

/// As the file has it: `100ms`, `30s`, `1h`.
pub(crate) fn show_duration(duration: Duration) -> String {
    let milliseconds = duration.as_millis();
    let whole = |(unit, name): (u128, &str)| {
        let count = milliseconds.checked_div(unit).filter(|count| *count > 0)?;
        milliseconds.is_multiple_of(unit).then(|| format!("{count}{name}"))
    };
    [(86_400_000, "d"), (3_600_000, "h"), (60_000, "m"), (1_000, "s")]
        .into_iter()
        .find_map(whole)
        .unwrap_or_else(|| format!("{milliseconds}ms"))
}

impl<const LOW: u64, const HIGH: u64> Scalar for Time<LOW, HIGH> {
    fn parse(text: &str) -> Result<Self, Problem> {
        let (low, high) = (Duration::from_millis(LOW), Duration::from_millis(HIGH));
        let duration = parse_duration(text)?;
        if duration < low || duration > high {
            let range = format!("{} to {}", show_duration(low), show_duration(high));
            return Err(Problem {
                message: format!("`{text}` is too {}", if duration < low { "short" } else { "long" }),
                help: format!("write a duration from {range}"),
            });
        }
        Ok(Self(duration))
    }

    fn expected() -> String {
        DURATION.to_owned()
    }

    fn schema() -> Json {
        json!({ "type": "string", "pattern": DURATION_PATTERN })
    }
}

impl Scalar for AdvertInterval {
    fn parse(text: &str) -> Result<Self, Problem> {
        let duration = parse_duration(text)?;
        Self::from_duration(duration).map_err(|error| Problem {
            message: format!("`{text}` is not {}", error.expected),
            help: "VRRP counts in hundredths of a second: write 10ms to 40950ms, in steps of 10ms".to_owned(),
        })
    }

    fn expected() -> String {
        "10ms to 40950ms, in steps of 10ms".to_owned()
    }

    fn schema() -> Json {
        json!({ "type": "string", "pattern": DURATION_PATTERN })
    }
}

impl Scalar for IpAddr {
    fn parse(text: &str) -> Result<Self, Problem> {
        let address: Self = text.parse().map_err(|_| {
            Problem::not(text, "an address", "an IPv4 or IPv6 address, without a prefix length")
        })?;
        match address {
            Self::V6(mapped) if mapped.to_ipv4_mapped().is_some() => Err(Problem {
                message: format!("`{text}` is an IPv4 address in IPv6 clothes"),
                help: format!("write `{}`", address.to_canonical()),
            }),
            Self::V4(_) | Self::V6(_) => Ok(address),
        }
    }

    fn expected() -> String {
        "an IPv4 or IPv6 address".to_owned()
    }

    fn schema() -> Json {
        json!({ "type": "string", "pattern": "^[0-9a-fA-F:.]+$" })
    }
}

fn parse_network(text: &str) -> Result<IpNet, Problem> {
    let network: IpNet = text
        .parse()
        .map_err(|_| Problem::not(text, "a network", "a network such as 10.0.0.0/24 or 2001:db8::/64"))?;
    if network != network.trunc() {
        return Err(Problem {
            message: format!("`{text}` has bits set beyond its prefix"),
            help: format!("write `{}`", network.trunc()),
        });
    }
    Ok(network)
}

impl Scalar for IpNet {
    fn parse(text: &str) -> Result<Self, Problem> {
        parse_network(text)
    }

    fn expected() -> String {
        "a network such as 10.0.0.0/24 or 2001:db8::/64".to_owned()
    }

    fn schema() -> Json {
        json!({ "type": "string", "pattern": "^[0-9a-fA-F:.]+/[0-9]{1,3}$" })
    }
}

/// A network, or one address.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Sources(pub(crate) IpNet);

impl Scalar for Sources {
    fn parse(text: &str) -> Result<Self, Problem> {
        if text.contains('/') {
            parse_network(text).map(Self)
        } else {
            IpAddr::parse(text).map(|ip| Self(ip.into()))
        }
    }

    fn expected() -> String {
        "a network such as 10.0.0.0/24, or an address".to_owned()
    }

    fn schema() -> Json {
        json!({ "type": "string", "pattern": "^[0-9a-fA-F:.]+(/[0-9]{1,3})?$" })
    }
}

impl Scalar for SocketAddr {
    fn parse(text: &str) -> Result<Self, Problem> {
        text.parse()
            .ok()
            .filter(|address: &Self| address.port() != 0)
            .ok_or_else(|| Problem::not(text, "an address with a port", &<Self as Scalar>::expected()))
    }

    fn expected() -> String {
        "an address and a port, such as 127.0.0.1:9127 or [::1]:9127".to_owned()
    }

    fn schema() -> Json {
        json!({ "type": "string", "pattern": "^[\\[\\]0-9a-fA-F:.]+:[0-9]{1,5}$" })
    }
}

/// `10.0.0.21:6443`, `[2001:db8::21]:6443`, or an address alone for the port that the client connected to.
impl Scalar for BackendAddress {
    fn parse(text: &str) -> Result<Self, Problem> {
        if text.parse::<IpAddr>().is_ok() {
            return Ok(Self { ip: IpAddr::parse(text)?, port: None });
        }
        match text.parse::<SocketAddr>() {
            Ok(address) if address.port() != 0 => {
                Ok(Self { ip: IpAddr::parse(&address.ip().to_string())?, port: Some(address.port()) })
            }
            Ok(_) | Err(_) => Err(Problem::not(text, "a backend", &<Self as Scalar>::expected())),
        }
    }

    fn expected() -> String {
        "an address and a port, such as 10.0.0.21:6443 or [2001:db8::21]:6443".to_owned()
    }

    fn schema() -> Json {
        json!({ "type": "string", "pattern": "^[\\[\\]0-9a-fA-F:.]+$" })
    }
}

fn parse_range(text: &str, low: u32, high: u32) -> Option<(u16, u16)> {
    let (first, last) = text.split_once('-').unwrap_or((text, text));
    let first = u16::try_from(bounded(first.trim(), low, high)?).ok()?;
    let last = u16::try_from(bounded(last.trim(), low, high)?).ok()?;
    (first <= last).then_some((first, last))
}

/// Ports of one service, at most: each has a listener in each worker, for each of the service's addresses.
const MAX_PORTS: u16 = 1024;

impl Scalar for PortRange {
    fn parse(text: &str) -> Result<Self, Problem> {
        let (first, last) = parse_range(text, 1, 65_535)
            .ok_or_else(|| Problem::not(text, "a port or a range of ports", &<Self as Scalar>::expected()))?;
        if last.saturating_sub(first) >= MAX_PORTS {
            let what = format!("a range of at most {MAX_PORTS} ports: each has sockets of its own");
            return Err(Problem::not(text, &what, "a smaller range"));
        }
        Ok(Self { first, last })
    }

    fn expected() -> String {
        "a port from 1 to 65535, or a range such as \"30000-30100\"".to_owned()
    }

    fn schema() -> Json {
        json!({ "anyOf": [
            { "type": "integer", "minimum": 1, "maximum": 65_535 },
            { "type": "string", "pattern": "^[0-9]{1,5}( *- *[0-9]{1,5})?$" },
        ] })
    }
}

impl Scalar for ExpectStatus {
    fn parse(text: &str) -> Result<Self, Problem> {
        parse_range(text, 100, 599)
            .map(|(first, last)| Self { first, last })
            .ok_or_else(|| Problem::not(text, "an HTTP status", &<Self as Scalar>::expected()))
    }

    fn expected() -> String {
        "a status from 100 to 599, or a range such as \"200-399\"".to_owned()
    }

    fn schema() -> Json {
        json!({ "anyOf": [
            { "type": "integer", "minimum": 100, "maximum": 599 },
            { "type": "string", "pattern": "^[0-9]{3}( *- *[0-9]{3})?$" },
        ] })
    }
}

/// `100/s`: the burst is as large.
impl Scalar for Rate {
    fn parse(text: &str) -> Result<Self, Problem> {
        text.strip_suffix("/s")
            .and_then(|number| bounded(number.trim(), 1, u32::MAX))
            .map(|number| Self { per_second: number, burst: number })
            .ok_or_else(|| Problem::not(text, "a rate", &<Self as Scalar>::expected()))
    }

    fn expected() -> String {
        "a rate such as `100/s`".to_owned()
    }

    fn schema() -> Json {
        json!({ "type": "string", "pattern": "^[0-9]+ */s$" })
    }
}
