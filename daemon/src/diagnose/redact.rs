//! Takes secrets out of what leaves the machine: by the names of what they stand under, by how they look, and by what they are:
//! whatever was found to be a secret in one place is taken out of all others.

use regex::Regex;
use serde_json::Value;
use std::collections::BTreeSet;
use std::net::{IpAddr, SocketAddr};
use std::sync::LazyLock;

#[cfg(test)]
mod tests;

/// What stands in place of a secret.
pub(crate) const REDACTED: &str = "REDACTED";
/// A shorter one is not looked for elsewhere: it would be found everywhere.
const SHORTEST: usize = 6;

/// Parts of names under which secrets stand.
const NAMES: [&str; 10] = [
    "password",
    "passwd",
    "passphrase",
    "secret",
    "token",
    "authorization",
    "cookie",
    "credential",
    "api_key",
    "apikey",
];
/// Headers whose values are none.
const PLAIN_HEADERS: [&str; 7] =
    ["accept", "accept-encoding", "accept-language", "connection", "content-type", "host", "user-agent"];
/// Programs and their arguments.
const COMMANDS: [&str; 3] = ["run", "command", "notify"];
/// What programs printed, and what is sent to backends.
const OPAQUE: [&str; 2] = ["said", "send"];

/// How secrets look in text, whatever it is.
static LOOKS: LazyLock<Vec<(Regex, &str)>> = LazyLock::new(|| {
    let looks = [
        (r"(?s)-----BEGIN [A-Z ]*PRIVATE KEY-----.*?(-----END [A-Z ]*PRIVATE KEY-----|\z)", REDACTED),
        (r"AGE-SECRET-KEY-1[0-9A-Z]+", REDACTED),
        // What a script printed: nobody knows what that is.
        (r"(the script ended with \d+: )[^;\n]*", "${1}REDACTED"),
        // The name and password in an address.
        (r"([a-zA-Z][a-zA-Z0-9+.-]*://)[^/\s@'\x22]+@", "${1}REDACTED@"),
        (r"(?i)\b(bearer|basic)\s+[A-Za-z0-9+/=._~-]{8,}", "${1} REDACTED"),
        (
            r#"(?i)((?:authorization|cookie|x-api-key)["']?\s*[:=]\s*["']?)[^\s"',}\[{][^"',}\n]*"#,
            "${1}REDACTED",
        ),
        (
            r#"(?i)((?:password|passwd|passphrase|secret|token|credential|api[-_]?key)["']?\s*[:=]\s*["']?)[^\s"',}\[{]+"#,
            "${1}REDACTED",
        ),
        (r"(?i)(--?(?:password|passwd|passphrase|secret|token|api-?key)\s+)\S+", "${1}REDACTED"),
    ];
    // They are constant, and a test compiles them.
    looks.into_iter().filter_map(|(look, by)| Some((Regex::new(look).ok()?, by))).collect()
});

/// A name and what stands behind it.
static MEMBER: LazyLock<Regex> = LazyLock::new(|| {
    #[allow(clippy::expect_used, reason = "it is constant, and a test compiles it")]
    Regex::new(r#"([A-Za-z][A-Za-z0-9_-]*)["']?\s*:\s*["']?([^"',{}\[\]\n]+)"#).expect("a pattern")
});

/// Takes secrets out, and remembers what they were.
#[derive(Debug, Default)]
pub(crate) struct Redactor {
    known: BTreeSet<String>,
}

impl Redactor {
    /// `text` is a secret, and so is each of its lines.
    pub(crate) fn learn(&mut self, text: &str) {
        let lines =
            text.lines().map(str::trim).filter(|line| line.len() >= SHORTEST && !line.starts_with("-----"));
        self.known.extend(lines.map(str::to_owned));
    }

    /// Remembers what looks like a secret by its name in a file that is no document.
    pub(crate) fn learn_lines(&mut self, text: &str) {
        for (_, [name, value]) in MEMBER.captures_iter(text).map(|found| found.extract()) {
            let name = name.to_lowercase();
            if is_secret("", &name) || name.starts_with("x-") {
                self.learn(value);
                self.learn(value.split_once(' ').map_or("", |(_, rest)| rest));
            }
        }
    }

    /// Takes secrets out of a document by the names that they stand under.
    pub(crate) fn value(&mut self, value: &mut Value) {
        self.member("", "", value);
    }

    fn member(&mut self, parent: &str, name: &str, value: &mut Value) {
        if is_secret(parent, name) {
            self.all(value);
            return;
        }
        match value {
            Value::Object(map) => {
                for (key, value) in map.iter_mut() {
                    self.member(name, &key.to_lowercase(), value);
                }
            }
            Value::Array(items) if COMMANDS.contains(&name) => {
                // The program itself is known by its path.
                items.iter_mut().skip(1).for_each(|argument| self.argument(argument));
            }
            Value::Array(items) => items.iter_mut().for_each(|item| self.member(parent, name, item)),
            Value::String(text) if name == "path" => self.query(text),
            Value::String(text) if name == "url" => self.url(text),
            Value::String(text) => *text = looks(text),
            Value::Null | Value::Bool(_) | Value::Number(_) => {}
        }
    }

    /// Everything below is a secret.
    fn all(&mut self, value: &mut Value) {
        match value {
            Value::Object(map) => map.values_mut().for_each(|value| self.all(value)),
            Value::Array(items) => items.iter_mut().for_each(|item| self.all(item)),
            Value::Null | Value::Bool(_) => {}
            Value::Number(_) | Value::String(_) => {
                let text = value.as_str().map_or_else(|| value.to_string(), str::to_owned);
                self.learn(&text);
                // A scheme before it says nothing.
                self.learn(text.split_once(' ').map_or("", |(_, rest)| rest));
                *value = REDACTED.into();
            }
        }
    }

    /// Of an argument only the name of an option stays.
    fn argument(&mut self, value: &mut Value) {
        let Some(text) = value.as_str().map(str::to_owned) else { return self.all(value) };
        match text.split_once('=') {
            Some((option, argument)) if text.starts_with('-') => {
                self.learn(argument);
                *value = format!("{option}={REDACTED}").into();
            }
            None if text.starts_with('-') => {}
            // An address is none, and is needed everywhere.
            None if text.parse::<IpAddr>().is_ok() || text.parse::<SocketAddr>().is_ok() => {}
            Some(_) | None => self.all(value),
        }
    }

    /// Of a URL that a hook calls only the server stays: the path is often what lets one in.
    fn url(&mut self, text: &mut String) {
        let begin = text.find("://").map_or(0, |at| at.saturating_add(3));
        let rest = text.get(begin..).unwrap_or_default().to_owned();
        if let Some(at) = rest.find(['/', '?']) {
            let (server, path) = rest.split_at(at);
            self.learn(path.trim_start_matches('/'));
            *text = format!("{}{server}/{REDACTED}", text.get(..begin).unwrap_or_default());
        }
        *text = looks(text);
    }

    fn query(&mut self, text: &mut String) {
        if let Some((path, query)) = text.clone().split_once('?') {
            for (_, argument) in query.split('&').filter_map(|pair| pair.split_once('=')) {
                self.learn(argument);
            }
            *text = format!("{path}?{REDACTED}");
        }
    }

    /// Takes secrets out of any text: those that are known, and what looks like one.
    pub(crate) fn text(&self, text: &str) -> String {
        let mut text = text.to_owned();
        // The longer first: one may be part of another.
        let mut known: Vec<&String> = self.known.iter().collect();
        known.sort_by_key(|secret| std::cmp::Reverse(secret.len()));
        for secret in known {
            text = text.replace(secret.as_str(), REDACTED);
            let escaped = Value::from(secret.as_str()).to_string();
            let escaped = escaped.trim_matches('"');
            if escaped != secret {
                text = text.replace(escaped, REDACTED);
            }
        }
        looks(&text)
    }

    /// The same of a document: what is JSON stays JSON.
    pub(crate) fn leaves(&self, value: &mut Value) {
        match value {
            Value::Object(map) => map.values_mut().for_each(|value| self.leaves(value)),
            Value::Array(items) => items.iter_mut().for_each(|item| self.leaves(item)),
            Value::String(text) => *text = self.text(text),
            Value::Number(number) if self.known.contains(&number.to_string()) => *value = REDACTED.into(),
            Value::Null | Value::Bool(_) | Value::Number(_) => {}
        }
    }
}

fn is_secret(parent: &str, name: &str) -> bool {
    if parent == "headers" {
        return !PLAIN_HEADERS.contains(&name);
    }
    // Where it stands is none.
    let is_file = name.ends_with("_file") || name.ends_with("_seconds") || name.ends_with("_total");
    OPAQUE.contains(&name) || (!is_file && NAMES.iter().any(|secret| name.contains(secret)))
}

fn looks(text: &str) -> String {
    let mut text = text.to_owned();
    for (look, by) in LOOKS.iter() {
        if look.is_match(&text) {
            text = look.replace_all(&text, *by).into_owned();
        }
    }
    text
}
