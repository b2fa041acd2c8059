//! Looks at the node now and then: new alarms go to the log, a summary to systemd.
#![allow(clippy::disallowed_methods, reason = "a driver: it waits between two looks")]

use crate::node::Node;
use crate::systemd;
use fulcrum_lifecycle::{Alarm, Severity};
use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::Duration;

#[cfg(test)]
mod tests;

/// Time between two looks.
const LOOK: Duration = Duration::from_secs(2);

/// Looks for as long as the runtime lives.
pub(crate) async fn watch(node: Arc<Node>) {
    let mut known = Known::default();
    let mut told = String::new();
    loop {
        tokio::time::sleep(LOOK).await;
        let (alarms, snapshots) = node.alarms();
        let news = known.handle(&alarms);
        news.iter().for_each(News::log);
        node.hooks().raised(&node.handle().config().node.to_string(), news.iter().filter_map(News::raised));
        let summary = systemd::summary(&snapshots, &alarms);
        if told != summary {
            systemd::status(&summary);
            told = summary;
        }
    }
}

/// Something to log.
#[derive(Debug, PartialEq, Eq)]
enum News<'a> {
    Raised(&'a Alarm),
    Cleared(String),
}

impl<'a> News<'a> {
    fn raised(&self) -> Option<&'a Alarm> {
        match self {
            Self::Raised(alarm) => Some(alarm),
            Self::Cleared(_) => None,
        }
    }

    fn log(&self) {
        match self {
            Self::Raised(Alarm { severity: Severity::Critical, what, affected, remedy }) => {
                tracing::error!(target: "alarm", affected, remedy, "{what}");
            }
            Self::Raised(Alarm { severity: Severity::Warning, what, affected, remedy }) => {
                tracing::warn!(target: "alarm", affected, remedy, "{what}");
            }
            Self::Cleared(what) => tracing::info!(target: "alarm", "cleared: {what}"),
        }
    }
}

/// The alarms that were logged. Numbers within one do not make it another.
#[derive(Debug, Default)]
struct Known(BTreeSet<(String, String)>);

impl Known {
    fn handle<'a>(&mut self, alarms: &'a [Alarm]) -> Vec<News<'a>> {
        let key = |alarm: &Alarm| (without_numbers(&alarm.what), alarm.affected.clone());
        let now: BTreeSet<_> = alarms.iter().map(key).collect();
        let raised = alarms.iter().filter(|alarm| !self.0.contains(&key(alarm))).map(News::Raised);
        let cleared =
            self.0.difference(&now).map(|(what, affected)| News::Cleared(format!("{what} ({affected})")));
        let news = raised.chain(cleared).collect();
        self.0 = now;
        news
    }
}

fn without_numbers(text: &str) -> String {
    text.split(|letter: char| letter.is_ascii_digit())
        .filter(|part| !part.is_empty())
        .collect::<Vec<_>>()
        .join("#")
}
