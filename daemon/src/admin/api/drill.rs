//! Paths of a drill at this node, for both ends: `/v1/drill/kill`, `/v1/drill/cut?seconds=10&force=api`.

use super::{Answer, audit, json, name, refuse};
use crate::admin::caller::Caller;
use crate::node::{Node, Strike};
use fulcrum_config::GroupName;
use hyper::StatusCode;
use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::Duration;

#[cfg(test)]
mod tests;

/// The path and query that ask for it.
pub(crate) fn path(strike: &Strike, forced: &[String]) -> String {
    let (verb, mut words) = match strike {
        Strike::Kill => ("kill", Vec::new()),
        Strike::Cut(lasts) => ("cut", vec![format!("seconds={}", lasts.as_secs())]),
    };
    words.extend(forced.iter().map(|group| format!("force={group}")));
    let query = if words.is_empty() { String::new() } else { format!("?{}", words.join("&")) };
    format!("/v1/drill/{verb}{query}")
}

/// What a path and query ask for, if it is this.
pub(super) fn find(path: &str) -> Option<(Strike, BTreeSet<GroupName>)> {
    let path = path.strip_prefix("/v1/drill/")?;
    let (verb, query) = path.split_once('?').map_or((path, None), |(verb, query)| (verb, Some(query)));
    let (mut lasts, mut forced) = (None, BTreeSet::new());
    for word in query.into_iter().flat_map(|query| query.split('&')) {
        match word.split_once('=')? {
            ("seconds", seconds) => lasts = Some(Duration::from_secs(seconds.parse().ok()?)),
            ("force", group) => drop(forced.insert(GroupName::new(&name(group)?))),
            _ => return None,
        }
    }
    let strike = match (verb, lasts) {
        ("kill", None) => Strike::Kill,
        ("cut", Some(lasts)) if (Duration::from_secs(1)..=fulcrum_lb::LONGEST_CUT).contains(&lasts) => {
            Strike::Cut(lasts)
        }
        _ => return None,
    };
    Some((strike, forced))
}

/// Leaves a trace of who asked before anything happens.
pub(super) async fn answer(
    node: &Arc<Node>,
    caller: &Caller,
    path: &str,
    strike: Strike,
    forced: BTreeSet<GroupName>,
) -> Answer {
    let (node, caller, path) = (Arc::clone(node), caller.clone(), path.to_owned());
    let work = tokio::spawn(async move {
        let result = node.strike(strike, &forced).await;
        audit(&caller, &path, result.as_ref().map_or_else(|refusal| refusal.error.as_str(), |_| "granted"));
        result
    });
    match work.await {
        Ok(Ok(struck)) => json(StatusCode::OK, &struck),
        Ok(Err(refusal)) => json(StatusCode::CONFLICT, &refusal),
        Err(error) => refuse(StatusCode::INTERNAL_SERVER_ERROR, &error.to_string()),
    }
}
