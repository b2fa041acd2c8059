//! Addresses and networks.

use crate::model::{AddressSpan, BackendAddress, Family};
use crate::reader::Problem;
use crate::table::Scalar;
use ipnet::IpNet;
use serde_json::{Value as Json, json};
use std::net::{IpAddr, SocketAddr};

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

impl Scalar for AddressSpan {
    fn parse(text: &str) -> Result<Self, Problem> {
        if let Some((first, last)) = text.split_once('-') {
            let (first, last) = (IpAddr::parse(first.trim())?, IpAddr::parse(last.trim())?);
            if Family::of(first) != Family::of(last) {
                return Err(Problem::not(text, "a range", "two addresses of one family"));
            }
            if last < first {
                return Err(Problem {
                    message: format!("`{text}` ends before it begins"),
                    help: format!("write `{last}-{first}`"),
                });
            }
            return Ok(Self { first, last });
        }
        if text.contains('/') {
            let network = parse_network(text)?;
            return Ok(Self { first: network.network(), last: network.broadcast() });
        }
        if text.parse::<IpAddr>().is_err() {
            return Err(Problem::not(text, "a range of addresses", &<Self as Scalar>::expected()));
        }
        IpAddr::parse(text).map(Self::from)
    }

    fn expected() -> String {
        "a network such as 10.0.0.128/25, a range such as 10.0.0.100-10.0.0.150, or an address".to_owned()
    }

    fn schema() -> Json {
        json!({
            "type": "string",
            "pattern": "^[0-9a-fA-F:.]+(/[0-9]{1,3}| *- *[0-9a-fA-F:.]+)?$",
        })
    }
}

/// An address, or `auto`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum VipWord {
    Auto,
    Address(IpAddr),
}

impl Scalar for VipWord {
    fn parse(text: &str) -> Result<Self, Problem> {
        if text == "auto" {
            return Ok(Self::Auto);
        }
        if text.parse::<IpAddr>().is_err() {
            return Err(Problem::not(text, "an address", &<Self as Scalar>::expected()));
        }
        IpAddr::parse(text).map(Self::Address)
    }

    fn expected() -> String {
        "an IPv4 or IPv6 address without a prefix length, or `auto`".to_owned()
    }

    fn schema() -> Json {
        json!({ "type": "string", "pattern": "^([0-9a-fA-F:.]+|auto)$" })
    }
}
