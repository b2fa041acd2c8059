//! Numbers and ranges of them.

use crate::model::{ExpectStatus, PortRange, Priority, Rate, Vrid, Weight};
use crate::reader::Problem;
use crate::table::Scalar;
use serde_json::{Value as Json, json};

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
