//! Values in the words of the file.

use crate::model::{
    AddressRange, AdvertInterval, Adverts, BackendAddress, Backups, Balance, Check, CheckKind, Class,
    ClusterAccess, ClusterBackends, ConnectionLog, DomainName, Election, GroupName, HookCall, HookEvent,
    HookStyle, KeyPin, LogFormat, Mode, NodeKind, NodeName, OnDown, OnFailure, OnSplit, Policy, PortRange,
    Preempt, Priority, Proof, Protocol, ProxyProtocolVersion, Quorum, Rate, TcpAdmin, Track, TrackEffect,
    Vip, Weight, Witness, Xdp,
};
use crate::scalar::show_duration;
use ipnet::IpNet;
use std::net::{IpAddr, SocketAddr};
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

/// How a value reads.
pub(super) trait Words {
    fn words(&self) -> String;
}

macro_rules! displayed {
    ($($type:ty),+) => {$(
        impl Words for $type {
            fn words(&self) -> String {
                self.to_string()
            }
        }
    )+};
}

displayed! { ClusterAccess, ClusterBackends, HookCall, bool, u16, u32, KeyPin, IpAddr, IpNet, SocketAddr, String, NodeName, GroupName, DomainName, Election, Priority, Witness }

/// Enums whose serialised form is the word that the file has.
macro_rules! serialised {
    ($($type:ty),+) => {$(
        impl Words for $type {
            fn words(&self) -> String {
                serde_json::to_value(self).ok().and_then(|word| Some(word.as_str()?.to_owned())).unwrap_or_default()
            }
        }
    )+};
}

serialised! { Adverts, Balance, Class, HookEvent, HookStyle, Mode, NodeKind, OnSplit, Policy, Protocol, ProxyProtocolVersion }

impl<T: Words> Words for Option<T> {
    fn words(&self) -> String {
        self.as_ref().map_or_else(|| "none".to_owned(), Words::words)
    }
}

impl<T: Words> Words for Arc<T> {
    fn words(&self) -> String {
        T::words(self)
    }
}

impl<T: Words> Words for Vec<T> {
    fn words(&self) -> String {
        let words: Vec<String> = self.iter().map(Words::words).collect();
        if words.is_empty() { "none".to_owned() } else { words.join(", ") }
    }
}

impl Words for AddressRange {
    fn words(&self) -> String {
        if self.first == self.last { self.first.to_string() } else { format!("{}-{}", self.first, self.last) }
    }
}

impl Words for Duration {
    fn words(&self) -> String {
        show_duration(*self)
    }
}

impl Words for Proof {
    fn words(&self) -> String {
        let ports = if self.ports { "" } else { ", without ports" };
        let failure = match self.on_failure {
            OnFailure::Alarm => "",
            OnFailure::HandOver => ", handed over if it fails",
        };
        format!("every {}{ports}{failure}", self.interval.words())
    }
}

impl Words for AdvertInterval {
    fn words(&self) -> String {
        self.duration().words()
    }
}

impl Words for Weight {
    fn words(&self) -> String {
        self.get().to_string()
    }
}

impl Words for PathBuf {
    fn words(&self) -> String {
        self.display().to_string()
    }
}

impl Words for Xdp {
    fn words(&self) -> String {
        let word = match self {
            Self::Auto => "auto",
            Self::Off => "off",
            Self::Any => "any",
        };
        word.to_owned()
    }
}

impl Words for LogFormat {
    fn words(&self) -> String {
        match self {
            Self::Text => "text".to_owned(),
            Self::Json => "json".to_owned(),
        }
    }
}

impl Words for Backups {
    fn words(&self) -> String {
        let file = self.passphrase_file.as_ref();
        let key =
            file.map_or("without the key".to_owned(), |file| format!("encrypted by {}", file.display()));
        format!("{} kept, {key}", self.keep)
    }
}

impl Words for TcpAdmin {
    fn words(&self) -> String {
        self.listen.to_string()
    }
}

impl Words for Vip {
    fn words(&self) -> String {
        format!("{} on {}", self.address, self.interface)
    }
}

impl Words for Preempt {
    fn words(&self) -> String {
        match self {
            Self::Never => "false".to_owned(),
            Self::After(delay) => format!("after {}", delay.words()),
        }
    }
}

impl Words for TrackEffect {
    fn words(&self) -> String {
        match self {
            Self::Lower(amount) => format!("lowers by {amount}"),
            Self::Ineligible => "makes ineligible".to_owned(),
        }
    }
}

impl Words for Track {
    fn words(&self) -> String {
        match self {
            Self::Link { interface, effect } => format!("link {interface} ({})", effect.words()),
            Self::Gateway { address, interface, interval, fall, rise, effect } => format!(
                "gateway {address} on {interface} (every {}, rise {rise}, fall {fall}, {})",
                interval.words(),
                effect.words()
            ),
            Self::DataPlane { effect } => format!("data plane ({})", effect.words()),
        }
    }
}

impl Words for PortRange {
    fn words(&self) -> String {
        if self.first == self.last { self.first.to_string() } else { format!("{}-{}", self.first, self.last) }
    }
}

impl Words for BackendAddress {
    fn words(&self) -> String {
        match self.port {
            Some(port) => SocketAddr::new(self.ip, port).to_string(),
            None => self.ip.to_string(),
        }
    }
}

impl Words for Check {
    fn words(&self) -> String {
        let kind = match &self.kind {
            CheckKind::Tcp => "tcp",
            CheckKind::Tls(_) => "tls",
            CheckKind::Http(_) => "http",
            CheckKind::Https(..) => "https",
            CheckKind::Grpc { .. } => "grpc",
            CheckKind::Udp { .. } => "udp",
            CheckKind::Dns { .. } => "dns",
            CheckKind::Icmp => "icmp",
            CheckKind::Script { .. } => "script",
        };
        let (interval, timeout) = (self.interval.words(), self.timeout.words());
        format!("{kind} every {interval} (timeout {timeout}, rise {}, fall {})", self.rise, self.fall)
    }
}

impl Words for Quorum {
    fn words(&self) -> String {
        match self.hysteresis {
            0 => self.minimum.to_string(),
            hysteresis => format!("{} with hysteresis {hysteresis}", self.minimum),
        }
    }
}

impl Words for OnDown {
    fn words(&self) -> String {
        match self {
            Self::Reset { spread } => format!("reset within {}", spread.words()),
            Self::Drain => "drain".to_owned(),
        }
    }
}

impl Words for Rate {
    fn words(&self) -> String {
        format!("{}/s (burst {})", self.per_second, self.burst)
    }
}

impl Words for ConnectionLog {
    fn words(&self) -> String {
        format!("one of {}, at most {} lines a second", self.sample, self.lines_per_second)
    }
}
