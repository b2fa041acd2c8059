//! Paths of what hooks are told of by others than the daemon, for both ends: `/v1/hooks/before-upgrade?cause=roll`.

use super::overrides::{decode, encode};
use crate::node::Upgrading;
use fulcrum_lifecycle::hooks::UpgradeEnd;

#[cfg(test)]
mod tests;

/// What they are told.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Told {
    /// This node is about to be upgraded.
    Before(Upgrading),
    /// That is over.
    After(Upgrading, UpgradeEnd),
}

/// The path and query that ask for it.
pub(crate) fn path(told: &Told) -> String {
    let (event, upgrading) = match told {
        Told::Before(upgrading) => ("before-upgrade", upgrading),
        Told::After(upgrading, _) => ("after-upgrade", upgrading),
    };
    let mut words = vec![format!("cause={}", encode(&upgrading.cause))];
    words.extend(upgrading.to.as_ref().map(|to| format!("to={}", encode(to))));
    match told {
        Told::Before(upgrading) => words.extend(upgrading.forced.then(|| "force".to_owned())),
        Told::After(_, outcome) => words.push(format!("outcome={}", outcome.as_str())),
    }
    format!("/v1/hooks/{event}?{}", words.join("&"))
}

/// What a path and query ask for, if it is this.
pub(crate) fn find(path: &str) -> Option<Told> {
    let (event, query) = path.strip_prefix("/v1/hooks/")?.split_once('?')?;
    let (mut upgrading, mut outcome) = (Upgrading::default(), None);
    for word in query.split('&') {
        match (word.split_once('='), event) {
            (Some(("cause", cause)), _) => upgrading.cause = decode(cause)?,
            (Some(("to", to)), _) => upgrading.to = Some(decode(to)?),
            (None, "before-upgrade") if word == "force" => upgrading.forced = true,
            (Some(("outcome", said)), "after-upgrade") => {
                outcome = Some(UpgradeEnd::ALL.into_iter().find(|it| it.as_str() == said)?);
            }
            _ => return None,
        }
    }
    match (event, outcome) {
        _ if upgrading.cause.is_empty() => None,
        ("before-upgrade", None) => Some(Told::Before(upgrading)),
        ("after-upgrade", Some(outcome)) => Some(Told::After(upgrading, outcome)),
        _ => None,
    }
}
