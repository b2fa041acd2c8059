//! What sources outside the file say, for both ends: `GET /v1/sources/prod`, `POST /v1/sources/prod/set` with the text as
//! the body, `POST /v1/sources/prod/remove`.

use super::overrides::{decode, encode};
use super::{Answer, audit, json, refuse, text};
use crate::admin::caller::Caller;
use crate::node::Node;
use fulcrum_config::SourceName;
use hyper::StatusCode;
use std::sync::Arc;

#[cfg(test)]
mod tests;

/// What is asked of a source.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Asked {
    /// What it says.
    Show(String),
    /// It says something else.
    Set(String),
    /// It says nothing any more.
    Remove(String),
}

/// The path that asks for it.
pub(crate) fn path(asked: &Asked) -> String {
    match asked {
        Asked::Show(name) => format!("/v1/sources/{}", encode(name)),
        Asked::Set(name) => format!("/v1/sources/{}/set", encode(name)),
        Asked::Remove(name) => format!("/v1/sources/{}/remove", encode(name)),
    }
}

/// What a path asks for, if it is this.
pub(super) fn find(path: &str) -> Option<Asked> {
    let rest = path.strip_prefix("/v1/sources/")?;
    match rest.split_once('/') {
        None => decode(rest).map(Asked::Show),
        Some((name, "set")) => decode(name).map(Asked::Set),
        Some((name, "remove")) => decode(name).map(Asked::Remove),
        Some(_) => None,
    }
}

/// Whether what a path asks for comes with a text.
pub(crate) fn has_text(path: &str) -> bool {
    matches!(find(path), Some(Asked::Set(_)))
}

/// What is set is so to its end even if the caller hangs up.
pub(super) async fn answer(
    node: &Arc<Node>,
    caller: &Caller,
    path: &str,
    asked: Asked,
    body: String,
) -> Answer {
    let (name, body) = match asked {
        Asked::Show(name) => {
            let config = node.handle().config();
            return match config.sources.fragments.of(&SourceName::new(&name)) {
                Some(says) => text(StatusCode::OK, "application/yaml", says.what.to_string()),
                None => refuse(StatusCode::NOT_FOUND, &format!("there is no source {name}")),
            };
        }
        Asked::Set(_) if body.trim().is_empty() => {
            let help =
                "the text is empty; nothing was changed\n  write `services: {}`, or 'fulcrum source remove'";
            return refuse(StatusCode::UNPROCESSABLE_ENTITY, help);
        }
        Asked::Set(name) => (name, body),
        Asked::Remove(name) => (name, String::new()),
    };
    if node.handle().config().kubernetes.keys().any(|cluster| cluster.to_string() == name) {
        let help = format!(
            "what source {name} says comes from the cluster of that name under `kubernetes:`; nothing was changed\n  change \
             its Services there, or take the cluster out of the file first"
        );
        return refuse(StatusCode::CONFLICT, &help);
    }
    let (node, caller, path) = (Arc::clone(node), caller.clone(), path.to_owned());
    let work = tokio::spawn(async move {
        let result = node.apply_by(&name, body.into(), &caller.who).await;
        audit(&caller, &path, result.as_ref().map_or_else(|refusal| refusal.error.as_str(), |_| "applied"));
        result
    });
    match work.await {
        Ok(Ok(done)) => json(StatusCode::OK, &done),
        Ok(Err(refusal)) => json(StatusCode::UNPROCESSABLE_ENTITY, &refusal),
        Err(error) => refuse(StatusCode::INTERNAL_SERVER_ERROR, &error.to_string()),
    }
}
