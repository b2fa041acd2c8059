//! Times, always with a unit.

use crate::model::AdvertInterval;
use crate::reader::Problem;
use crate::table::Scalar;
use serde_json::{Value as Json, json};
use std::time::Duration;

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

/// A time as the file has it: `30s`, `5m`; for options of commands.
///
/// # Errors
/// What is wrong and what to write, for people.
pub fn duration(text: &str) -> Result<Duration, String> {
    parse_duration(text).map_err(|problem| format!("{}; {}", problem.message, problem.help))
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
