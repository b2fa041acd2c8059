//! What may be asked of the daemon, by whom, and the answers.

use crate::admin::caller::{Caller, Role};
use crate::metrics;
use crate::node::{How, InPlace, Node, Strike, Transfer, Wish};
use crate::systemd;
use crate::wire::{Refusal, Reloaded};
use bytes::Bytes;
use fulcrum_config::GroupName;
use http_body_util::Full;
use hyper::header::{ALLOW, CONTENT_TYPE, HeaderValue};
use hyper::{Method, Response, StatusCode};
use serde::Serialize;
use std::collections::BTreeSet;
use std::sync::Arc;

pub(crate) mod drill;
pub(crate) mod hooks;
pub(crate) mod inplace;
pub(crate) mod overrides;
pub(crate) mod sources;
#[cfg(test)]
mod tests;

/// What an older version answers to what it does not know.
pub(crate) const NO_SUCH_PATH: &str = "there is no such path";

pub(crate) type Answer = Response<Full<Bytes>>;

/// What is asked.
#[derive(Debug, Clone, PartialEq, Eq)]
enum Route {
    Status,
    Metrics,
    Health,
    Ready,
    Reload(How),
    Rehearse(How),
    Handover(Transfer),
    Override(Wish, BTreeSet<GroupName>),
    Tell(hooks::Told),
    Strike(Strike, BTreeSet<GroupName>),
    Source(sources::Asked),
    Replace(InPlace),
}

impl Route {
    /// The method it is asked by.
    fn method(&self) -> Method {
        match self {
            Self::Status | Self::Metrics | Self::Health | Self::Ready => Method::GET,
            Self::Source(sources::Asked::Show(_)) => Method::GET,
            Self::Reload(_)
            | Self::Rehearse(_)
            | Self::Handover(_)
            | Self::Override(..)
            | Self::Strike(..)
            | Self::Source(sources::Asked::Set(_) | sources::Asked::Remove(_))
            | Self::Replace(_)
            | Self::Tell(_) => Method::POST,
        }
    }

    /// Who may ask.
    fn least(&self) -> Role {
        match self {
            Self::Metrics | Self::Health | Self::Ready => Role::Monitor,
            Self::Status | Self::Source(sources::Asked::Show(_)) => Role::Viewer,
            Self::Reload(_)
            | Self::Rehearse(_)
            | Self::Handover(_)
            | Self::Override(..)
            | Self::Strike(..)
            | Self::Source(sources::Asked::Set(_) | sources::Asked::Remove(_))
            | Self::Replace(_)
            | Self::Tell(_) => Role::Operator,
        }
    }

    /// By the path and query as asked.
    fn find(path: &str) -> Option<Self> {
        match path {
            "/v1/status" => Some(Self::Status),
            "/metrics" => Some(Self::Metrics),
            "/healthz" => Some(Self::Health),
            "/readyz" => Some(Self::Ready),
            "/v1/reload" => Some(Self::Reload(How::default())),
            _ => {
                if let Some(query) = path.strip_prefix("/v1/reload?") {
                    return reload_of(query);
                }
                if let Some(how) = inplace::find(path) {
                    return Some(Self::Replace(how));
                }
                if let Some(asked) = drill::find(path) {
                    return Some(Self::Strike(asked.0, asked.1));
                }
                if let Some(asked) = overrides::find(path) {
                    return Some(Self::Override(asked.0, asked.1));
                }
                if let Some(asked) = sources::find(path) {
                    return Some(Self::Source(asked));
                }
                if let Some(told) = hooks::find(path) {
                    return Some(Self::Tell(told));
                }
                transfer(path.strip_prefix("/v1/handover/")?).map(Self::Handover)
            }
        }
    }
}

/// `dry-run` comes first.
fn reload_of(query: &str) -> Option<Route> {
    match query.strip_prefix("dry-run") {
        Some("") => Some(Route::Rehearse(How::default())),
        Some(rest) => how(rest.strip_prefix('&')?).map(Route::Rehearse),
        None => how(query).map(Route::Reload),
    }
}

fn how(query: &str) -> Option<How> {
    query.split('&').try_fold(How::default(), |how, word| match word {
        "local" => Some(How { local: true, ..how }),
        "give-up-addresses" => Some(How { give_up: true, ..how }),
        _ => {
            let group = name(word.strip_prefix("force=")?)?;
            let mut how = how;
            how.forced.insert(GroupName::new(&group));
            Some(how)
        }
    })
}

/// A group, and how it is to be handed over.
fn transfer(path: &str) -> Option<Transfer> {
    let (group, query) = path.split_once('?').map_or((path, None), |(group, query)| (group, Some(query)));
    let mut transfer = Transfer { group: name(group)?, ..Transfer::default() };
    for word in query.into_iter().flat_map(|query| query.split('&')) {
        let (key, value) = word.split_once('=')?;
        let place = match key {
            "force" => &mut transfer.force,
            "to" => &mut transfer.to,
            _ => return None,
        };
        *place = Some(name(value)?);
    }
    Some(transfer)
}

/// Of a group or a node, perhaps.
fn name(word: &str) -> Option<String> {
    (!word.is_empty() && !word.contains(['/', '?', '&', '='])).then(|| word.to_owned())
}

/// Answers one request.
pub(crate) async fn answer(
    node: &Arc<Node>,
    caller: &Caller,
    method: &Method,
    path: &str,
    body: String,
) -> Answer {
    let visible = |route: &Route| caller.role > Role::Monitor || route.least() == Role::Monitor;
    let Some(route) = Route::find(path).filter(visible) else {
        return refuse(StatusCode::NOT_FOUND, NO_SUCH_PATH);
    };
    if *method != route.method() && !(*method == Method::HEAD && route.method() == Method::GET) {
        let mut answer = refuse(StatusCode::METHOD_NOT_ALLOWED, "not by this method");
        if let Ok(allowed) = HeaderValue::from_str(route.method().as_str()) {
            answer.headers_mut().insert(ALLOW, allowed);
        }
        return answer;
    }
    if caller.role < route.least() {
        audit(caller, path, "refused: not an operator");
        return refuse(
            StatusCode::FORBIDDEN,
            &format!("a {} may not do that, only an operator", caller.role),
        );
    }
    match route {
        Route::Status => off_loop(node, |node| json(StatusCode::OK, &node.status())).await,
        Route::Metrics => off_loop(node, metrics_page).await,
        Route::Health => match node.stuck() {
            None => text(StatusCode::OK, "text/plain", "ok\n".to_owned()),
            Some(what) => text(StatusCode::SERVICE_UNAVAILABLE, "text/plain", format!("{what}\n")),
        },
        Route::Ready => off_loop(node, ready).await,
        Route::Reload(how) => reload(node, caller, how).await,
        Route::Rehearse(how) => match node.rehearse(&how).await {
            Ok(rehearsed) => json(StatusCode::OK, &rehearsed),
            Err(refusal) => json(StatusCode::UNPROCESSABLE_ENTITY, &refusal),
        },
        Route::Handover(transfer) => handover(node, caller, transfer).await,
        Route::Strike(strike, forced) => drill::answer(node, caller, path, strike, forced).await,
        Route::Override(wish, forced) => override_file(node, caller, path, wish, forced).await,
        Route::Replace(how) => inplace::answer(node, caller, how).await,
        Route::Tell(told) => tell(node, caller, path, told).await,
        Route::Source(asked) => sources::answer(node, caller, path, asked, body).await,
    }
}

/// The log line that says who did what.
fn audit(caller: &Caller, what: &str, result: &str) {
    tracing::info!(target: "audit", who = %caller.who, role = %caller.role, what, result);
}

/// Thousands of services take milliseconds to show: not on the loop that serves signals.
async fn off_loop(node: &Arc<Node>, work: impl FnOnce(&Node) -> Answer + Send + 'static) -> Answer {
    let node = Arc::clone(node);
    match tokio::task::spawn_blocking(move || work(&node)).await {
        Ok(answer) => answer,
        Err(error) => refuse(StatusCode::INTERNAL_SERVER_ERROR, &error.to_string()),
    }
}

fn metrics_page(node: &Node) -> Answer {
    text(StatusCode::OK, metrics::CONTENT_TYPE, metrics::page(&node.status()))
}

fn ready(node: &Node) -> Answer {
    let status = node.status();
    if status.ready {
        text(StatusCode::OK, "text/plain", "ready\n".to_owned())
    } else {
        let what = status.not_ready.iter().map(|what| format!("{what}\n")).collect();
        text(StatusCode::SERVICE_UNAVAILABLE, "text/plain", what)
    }
}

/// Runs to its end even if the caller hangs up.
async fn reload(node: &Arc<Node>, caller: &Caller, how: How) -> Answer {
    let (node, caller) = (Arc::clone(node), caller.clone());
    let work = tokio::spawn(async move { reload_as(&node, &caller, how).await });
    match work.await {
        Ok(Ok(reloaded)) => json(StatusCode::OK, &reloaded),
        Ok(Err(refusal)) => json(StatusCode::UNPROCESSABLE_ENTITY, &refusal),
        Err(error) => refuse(StatusCode::INTERNAL_SERVER_ERROR, &error.to_string()),
    }
}

/// Reloads, and leaves a trace of who asked.
pub(crate) async fn reload_as(node: &Node, caller: &Caller, how: How) -> Result<Reloaded, Refusal> {
    systemd::reloading();
    let result = node.reload(how).await;
    match &result {
        Ok(reloaded) => {
            audit(caller, "reload", "applied");
            for line in reloaded.to_string().lines() {
                tracing::info!(target: "config", "{line}");
            }
            for warning in &reloaded.warnings {
                tracing::warn!(target: "config", "{warning}");
            }
        }
        Err(refusal) => {
            audit(caller, "reload", "refused");
            tracing::error!(target: "config", "{}", refusal.error);
            for line in &refusal.diagnostics {
                tracing::error!(target: "config", "{line}");
            }
        }
    }
    systemd::ready(if result.is_ok() {
        "reloaded"
    } else {
        "a reload was refused; the configuration before it runs"
    });
    result
}

/// Runs to its end even if the caller hangs up: the group must not stay stood down.
async fn handover(node: &Arc<Node>, caller: &Caller, transfer: Transfer) -> Answer {
    let (node, caller) = (Arc::clone(node), caller.clone());
    let work = tokio::spawn(async move {
        let result = node.handover(&transfer).await;
        let outcome = match &result {
            Ok(done) => format!("{} leads after {} ms", done.leader, done.took_ms),
            Err(refusal) => refusal.error.clone(),
        };
        let forced = if transfer.force.is_some() { ", forced" } else { "" };
        let to = transfer.to.as_ref().map(|to| format!(" to {to}")).unwrap_or_default();
        audit(&caller, &format!("handover {}{to}{forced}", transfer.group), &outcome);
        result
    });
    match work.await {
        Ok(Ok(done)) => json(StatusCode::OK, &done),
        Ok(Err(refusal)) => json(StatusCode::CONFLICT, &refusal),
        Err(error) => refuse(StatusCode::INTERNAL_SERVER_ERROR, &error.to_string()),
    }
}

/// Runs to its end even if the caller hangs up.
async fn override_file(
    node: &Arc<Node>,
    caller: &Caller,
    path: &str,
    wish: Wish,
    forced: BTreeSet<GroupName>,
) -> Answer {
    let (node, caller, path) = (Arc::clone(node), caller.clone(), path.to_owned());
    let work = tokio::spawn(async move {
        let result = node.override_file(&wish, &caller.who, forced).await;
        audit(&caller, &path, result.as_ref().map_or_else(|refusal| refusal.error.as_str(), |_| "granted"));
        for change in result.iter().flat_map(|done| &done.changes) {
            tracing::info!(target: "config", "{change}");
        }
        result
    });
    match work.await {
        Ok(Ok(done)) => json(StatusCode::OK, &done),
        Ok(Err(refusal)) => json(StatusCode::CONFLICT, &refusal),
        Err(error) => refuse(StatusCode::INTERNAL_SERVER_ERROR, &error.to_string()),
    }
}

/// Runs hooks, to their end even if the caller hangs up, or has them told.
async fn tell(node: &Arc<Node>, caller: &Caller, path: &str, told: hooks::Told) -> Answer {
    let (node, caller, path) = (Arc::clone(node), caller.clone(), path.to_owned());
    let work = tokio::spawn(async move {
        let result = match told {
            hooks::Told::Before(upgrading) => node.before_upgrade(&upgrading, &caller.who).await,
            hooks::Told::After(upgrading, outcome) => {
                Ok(node.after_upgrade(&upgrading, &caller.who, outcome))
            }
        };
        audit(&caller, &path, result.as_ref().map_or_else(|refusal| refusal.error.as_str(), |_| "done"));
        result
    });
    match work.await {
        Ok(Ok(done)) => json(StatusCode::OK, &done),
        Ok(Err(refusal)) => json(StatusCode::CONFLICT, &refusal),
        Err(error) => refuse(StatusCode::INTERNAL_SERVER_ERROR, &error.to_string()),
    }
}

pub(crate) fn refuse(status: StatusCode, error: &str) -> Answer {
    json(status, &Refusal::new(error))
}

fn json(status: StatusCode, value: &impl Serialize) -> Answer {
    match serde_json::to_string(value) {
        Ok(body) => text(status, "application/json", body),
        Err(error) => text(StatusCode::INTERNAL_SERVER_ERROR, "text/plain", error.to_string()),
    }
}

fn text(status: StatusCode, content_type: &'static str, body: String) -> Answer {
    let mut answer = Response::new(Full::new(Bytes::from(body)));
    *answer.status_mut() = status;
    answer.headers_mut().insert(CONTENT_TYPE, HeaderValue::from_static(content_type));
    answer
}
