//! Another process takes over, for both ends: `/v1/upgrade-in-place?ready=60&deadline=300`.

use super::{Answer, audit, json, refuse};
use crate::admin::caller::Caller;
use crate::node::{InPlace, Node};
use hyper::StatusCode;
use std::sync::Arc;
use std::time::Duration;

#[cfg(test)]
mod tests;

/// It may not take longer than an answer may.
const READY_AT_MOST: Duration = Duration::from_secs(180);

/// The path and query that ask for it.
pub(crate) fn path(how: InPlace) -> String {
    let InPlace { ready, deadline } = how;
    format!(
        "/v1/upgrade-in-place?ready={}&deadline={}",
        ready.min(READY_AT_MOST).as_secs(),
        deadline.as_secs()
    )
}

/// What a path and query ask for, if it is this.
pub(super) fn find(path: &str) -> Option<InPlace> {
    let (ready, deadline) = path.strip_prefix("/v1/upgrade-in-place?ready=")?.split_once("&deadline=")?;
    let seconds = |text: &str| text.parse().ok().map(Duration::from_secs);
    let ready = seconds(ready).filter(|ready| *ready <= READY_AT_MOST)?;
    Some(InPlace { ready, deadline: seconds(deadline)? })
}

/// Goes on to its end even if the caller hangs up.
pub(super) async fn answer(node: &Arc<Node>, caller: &Caller, how: InPlace) -> Answer {
    let (node, caller) = (Arc::clone(node), caller.clone());
    let work = tokio::spawn(async move {
        let result = node.hand_over_in_place(how).await;
        let outcome = match &result {
            Ok(done) => format!("process {} of version {} is the node now", done.pid, done.version),
            Err(refusal) => refusal.error.clone(),
        };
        audit(&caller, "upgrade-in-place", &outcome);
        result
    });
    match work.await {
        Ok(Ok(done)) => json(StatusCode::OK, &done),
        Ok(Err(refusal)) => json(StatusCode::CONFLICT, &refusal),
        Err(error) => refuse(StatusCode::INTERNAL_SERVER_ERROR, &error.to_string()),
    }
}
