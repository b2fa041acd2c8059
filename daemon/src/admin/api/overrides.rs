//! Paths of what operators ask for over the file, for both ends: `/v1/drain/backend/shop%2Fweb-1?deadline=60`.

use crate::node::{Target, Wish};
use fulcrum_config::{GroupName, Weight};
use percent_encoding::{NON_ALPHANUMERIC, percent_decode_str, utf8_percent_encode};
use std::collections::BTreeSet;
use std::time::Duration;

#[cfg(test)]
mod tests;

/// The longest deadline: a year.
const LONGEST: Duration = Duration::from_secs(365 * 86_400);

/// The path and query that ask for `wish`.
pub(crate) fn path(wish: &Wish, forced: &BTreeSet<GroupName>) -> String {
    let (verb, kind, name) = match wish {
        Wish::Drain(target, _) => ("drain", kind(target), named(target)),
        Wish::Undrain(target) => ("undrain", kind(target), named(target)),
        Wish::Disable(name) => ("disable", "backend", name),
        Wish::Weight(name, _) => ("weight", "backend", name),
    };
    let mut words: Vec<String> =
        forced.iter().map(|group| format!("force={}", encode(group.as_str()))).collect();
    match wish {
        Wish::Drain(_, Some(deadline)) => words.push(format!("deadline={}", deadline.as_secs())),
        Wish::Weight(_, Some(weight)) => words.push(format!("weight={}", weight.get())),
        Wish::Drain(_, None) | Wish::Weight(_, None) | Wish::Undrain(_) | Wish::Disable(_) => {}
    }
    let query = if words.is_empty() { String::new() } else { format!("?{}", words.join("&")) };
    format!("/v1/{verb}/{kind}/{}{query}", encode(name))
}

/// What a path and query ask for, if it is this.
pub(crate) fn find(path: &str) -> Option<(Wish, BTreeSet<GroupName>)> {
    let (path, query) = path.split_once('?').unwrap_or((path, ""));
    let mut words = path.strip_prefix("/v1/")?.split('/');
    let (verb, kind, name) = (words.next()?, words.next()?, decode(words.next()?)?);
    if words.next().is_some() {
        return None;
    }
    let target = match kind {
        "backend" => Target::Backend(name.clone()),
        "lb-node" => Target::Node(name.clone()),
        "pool" => Target::Pool(name.clone()),
        _ => return None,
    };
    let mut wish = match (verb, kind) {
        ("drain", _) => Wish::Drain(target, None),
        ("undrain", _) => Wish::Undrain(target),
        ("disable", "backend") => Wish::Disable(name),
        ("weight", "backend") => Wish::Weight(name, None),
        _ => return None,
    };
    let mut forced = BTreeSet::new();
    for word in query.split('&').filter(|word| !word.is_empty()) {
        match (word.split_once('=')?, &mut wish) {
            (("force", group), _) => drop(forced.insert(GroupName::new(&decode(group)?))),
            (("deadline", seconds), Wish::Drain(_, deadline)) => {
                let seconds = Duration::from_secs(seconds.parse().ok()?);
                *deadline = Some(seconds).filter(|it| *it <= LONGEST);
                (*deadline)?;
            }
            (("weight", number), Wish::Weight(_, weight)) => {
                *weight = Some(Weight::new(number.parse().ok()?).ok()?);
            }
            _ => return None,
        }
    }
    Some((wish, forced))
}

fn kind(target: &Target) -> &'static str {
    match target {
        Target::Backend(_) => "backend",
        Target::Node(_) => "lb-node",
        Target::Pool(_) => "pool",
    }
}

fn named(target: &Target) -> &String {
    let (Target::Backend(name) | Target::Node(name) | Target::Pool(name)) = target;
    name
}

pub(super) fn encode(name: &str) -> String {
    utf8_percent_encode(name, NON_ALPHANUMERIC).to_string()
}

/// A name that could be one.
pub(super) fn decode(word: &str) -> Option<String> {
    let name = percent_decode_str(word).decode_utf8().ok()?;
    let is_name = (1..=384).contains(&name.len()) && !name.chars().any(char::is_control);
    is_name.then(|| name.into_owned())
}
