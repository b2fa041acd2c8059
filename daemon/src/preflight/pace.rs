//! Whether this machine stands still for longer than the other nodes have patience.
#![allow(clippy::disallowed_methods, reason = "it measures how long sleeps last")]

use fulcrum_config::Config;
use fulcrum_config::preflight::Line;
use fulcrum_vip_manager::preflight::patience;
use std::time::{Duration, Instant};

const CHECK: &str = "pace";
const WATCHED: Duration = Duration::from_secs(3);
const NAP: Duration = Duration::from_millis(1);

pub(super) fn pace(config: &Config) -> Vec<Line> {
    let Some(patience) = patience(config) else {
        return vec![Line::not_applicable(CHECK, "machine", "there is no group")];
    };
    let begun = Instant::now();
    let mut last = begun;
    let mut longest = Duration::ZERO;
    while begun.elapsed() < WATCHED {
        std::thread::sleep(NAP);
        longest = longest.max(last.elapsed());
        last = Instant::now();
    }
    vec![judge(longest, patience)]
}

fn judge(longest: Duration, patience: Duration) -> Line {
    let milliseconds = |time: Duration| format!("{:.0} ms", time.as_secs_f64() * 1e3);
    let found = format!(
        "in {} s it stood still for {} at most; after {} of silence another node takes over",
        WATCHED.as_secs(),
        milliseconds(longest),
        milliseconds(patience)
    );
    if longest.saturating_mul(2) > patience {
        let remedy = "give this machine processors of its own (no overcommitment, no ballooning), or a longer `advert_interval`";
        Line::warning(CHECK, "machine", found, remedy)
    } else {
        Line::ok(CHECK, "machine", found)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use fulcrum_config::preflight::State;

    #[test]
    fn a_machine_that_stands_still_is_told() {
        let of =
            |longest, patience| judge(Duration::from_millis(longest), Duration::from_millis(patience)).state;
        assert_eq!(of(10, 300), State::Ok);
        assert_eq!(of(150, 300), State::Ok);
        assert_eq!(of(151, 300), State::Warning);
        assert_eq!(of(10, 15), State::Warning);
    }
}
