//! Words of which one is written.

use crate::model::{
    Adverts, Balance, Class, ClusterBackends, Family, HookEvent, LogFormat, Mode, OnFailure, OnSplit, Policy,
    Protocol, ProxyProtocolVersion, Xdp,
};
use crate::reader::{Problem, meant};
use crate::table::Scalar;
use serde_json::{Value as Json, json};

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
words! { OnFailure, "what comes of a leader that does not answer", "alarm" => Self::Alarm, "hand-over" => Self::HandOver, }
words! { OnSplit, "what is so while nodes do not hear each other", "serve" => Self::Serve, "one" => Self::One, }
words! { ClusterBackends, "where connections go", "node-ports" => Self::NodePorts, "pods" => Self::Pods, }
words! { Family, "an address family", "ipv4" => Self::Ipv4, "ipv6" => Self::Ipv6, }
words! { Protocol, "a protocol", "tcp" => Self::Tcp, "udp" => Self::Udp, }
words! { LogFormat, "a format of log lines", "text" => Self::Text, "json" => Self::Json, }
words! { ProxyProtocolVersion, "a version of the PROXY protocol", "v1" => Self::V1, "v2" => Self::V2, }
words! { Xdp, "a use of XDP", "auto" => Self::Auto, "off" => Self::Off, "any" => Self::Any, }
words! { Policy, "what comes of a hook that fails", "ignore" => Self::Ignore, "hold" => Self::Hold, "abort" => Self::Abort, }
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
            "nat" => Ok(Self::Nat),
            "dsr" => Ok(Self::Dsr),
            "fullnat" => Ok(Self::Fullnat),
            _ => Err(unknown_word(text, "a mode", MODES)),
        }
    }

    fn expected() -> String {
        one_of(MODES)
    }

    fn schema() -> Json {
        json!({ "enum": MODES })
    }
}

impl Scalar for HookEvent {
    fn parse(text: &str) -> Result<Self, Problem> {
        if let Some(event) = HOOK_EVENTS.iter().find(|event| event.as_str() == text) {
            return Ok(*event);
        }
        let words: Vec<&str> = HOOK_EVENTS.iter().map(|event| event.as_str()).collect();
        Err(unknown_word(text, "something that hooks are run after", &words))
    }

    fn expected() -> String {
        let words: Vec<&str> = HOOK_EVENTS.iter().map(|event| event.as_str()).collect();
        one_of(&words)
    }

    fn schema() -> Json {
        let words: Vec<&str> = HOOK_EVENTS.iter().map(|event| event.as_str()).collect();
        json!({ "enum": words })
    }
}

const HOOK_EVENTS: &[HookEvent] = &[
    HookEvent::BeforeLeading,
    HookEvent::AfterLeading,
    HookEvent::BeforeStandby,
    HookEvent::AfterStandby,
    HookEvent::BeforeDrain,
    HookEvent::AfterDrain,
    HookEvent::BeforeUpgrade,
    HookEvent::AfterUpgrade,
    HookEvent::ConfigApplied,
    HookEvent::BackendDown,
    HookEvent::Fault,
];

const MODES: &[&str] = &["auto", "proxy", "nat", "dsr", "fullnat"];

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
