//! Walks a [`Document`], and gathers what is wrong on the way instead of stopping at it.

use crate::diagnostic::{Diagnostic, Diagnostics, Place, Related, Severity};
use crate::document::{Document, Fault, NodeId, Value};

/// Further errors are counted, but no longer gathered; the same of warnings.
const GATHERED_AT_MOST: usize = 1_000;

/// A value and where it was written.
#[derive(Debug, Clone, Copy)]
pub(crate) struct At<T> {
    pub(crate) value: T,
    pub(crate) node: NodeId,
}

/// A field of a section, as it was read.
pub(crate) trait Field<T> {
    /// The value, if the field is there and good.
    fn get(&self) -> Option<&T>;
}

impl<T> Field<T> for Option<At<T>> {
    fn get(&self) -> Option<&T> {
        self.as_ref().map(|at| &at.value)
    }
}

/// What is wrong with a scalar, and what to write instead.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Problem {
    pub(crate) message: String,
    pub(crate) help: String,
}

impl Problem {
    /// "`text` is not `what`", "write `write`"
    pub(crate) fn not(text: &str, what: &str, write: &str) -> Self {
        Self { message: format!("`{}` is not {what}", shortened(text)), help: format!("write {write}") }
    }
}

/// What the file says may be long; what we say about it is not.
fn shortened(text: &str) -> String {
    const LIMIT: usize = 60;
    if text.chars().count() <= LIMIT {
        return text.escape_debug().to_string();
    }
    let start: String = text.chars().take(LIMIT).collect();
    format!("{}...", start.escape_debug())
}

/// The one of `names` that was probably meant. Only the first thousand are looked at, and of those only names
/// about as long, so that a hostile file costs little.
pub(crate) fn meant<'a>(written: &str, names: impl Iterator<Item = &'a str>) -> Option<&'a str> {
    let length = written.len();
    let allowed = (length / 3).clamp(1, 3);
    names
        .take(1_000)
        .filter(|name| name.len().abs_diff(length) <= allowed)
        .map(|name| (strsim::damerau_levenshtein(written, name), name))
        .filter(|(distance, _)| *distance <= allowed)
        .min()
        .map(|(_, name)| name)
}

fn no_such<'n>(kind: &str, name: &str, names: impl Iterator<Item = &'n str> + Clone) -> Problem {
    let help = match meant(name, names.clone()) {
        Some(meant) => format!("did you mean `{meant}`?"),
        None => {
            let mut known: Vec<&str> = names.take(8).collect();
            known.sort_unstable();
            if known.is_empty() {
                format!("the file has no {kind} at all: add it")
            } else {
                format!("add it, or use one of those there are: {}", known.join(", "))
            }
        }
    };
    Problem { message: format!("there is no {kind} named `{}`", shortened(name)), help }
}

pub(crate) struct Reader<'a> {
    document: &'a Document,
    file: &'a str,
    found: Vec<(Option<NodeId>, Diagnostic)>,
    errors: usize,
    warnings: usize,
}

impl<'a> Reader<'a> {
    pub(crate) fn new(document: &'a Document, file: &'a str, faults: Vec<Fault>) -> Self {
        let errors = faults.len();
        let found = faults
            .into_iter()
            .map(|fault| {
                let related =
                    fault.related.map(|place| Related { place, message: "the first one".to_owned() });
                let diagnostic = Diagnostic {
                    severity: Severity::Error,
                    file: file.to_owned(),
                    place: fault.place,
                    path: fault.path,
                    message: fault.message,
                    help: Some(fault.help.to_owned()),
                    related,
                    source: None,
                };
                (None, diagnostic)
            })
            .collect();
        Self { document, file, found, errors, warnings: 0 }
    }

    pub(crate) fn root(&self) -> NodeId {
        self.document.root()
    }

    pub(crate) fn value(&self, node: NodeId) -> Value<'a> {
        self.document.value(node)
    }

    pub(crate) fn key(&self, node: NodeId) -> &'a str {
        self.document.key(node).unwrap_or_default()
    }

    /// A scalar as it was written.
    pub(crate) fn text(&self, node: NodeId) -> &'a str {
        match self.value(node) {
            Value::Scalar(text) => text,
            Value::Null | Value::List(_) | Value::Map(_) => "",
        }
    }

    /// The child of a map.
    pub(crate) fn child(&self, node: NodeId, key: &str) -> Option<NodeId> {
        match self.value(node) {
            Value::Map(children) => children.iter().copied().find(|child| self.key(*child) == key),
            Value::Null | Value::Scalar(_) | Value::List(_) => None,
        }
    }

    /// Those of `keys` that a map has.
    pub(crate) fn children(&self, node: NodeId, keys: &[&str]) -> Vec<NodeId> {
        keys.iter().filter_map(|key| self.child(node, key)).collect()
    }

    fn add(
        &mut self,
        severity: Severity,
        node: NodeId,
        place: Place,
        text: Problem,
        related: Option<Related>,
    ) {
        let count = match severity {
            Severity::Error => &mut self.errors,
            Severity::Warning => &mut self.warnings,
        };
        *count = count.saturating_add(1);
        if *count <= GATHERED_AT_MOST {
            let diagnostic = Diagnostic {
                severity,
                file: self.file.to_owned(),
                place,
                path: self.document.path(node),
                message: text.message,
                help: Some(text.help),
                related,
                source: None,
            };
            self.found.push((Some(node), diagnostic));
        }
    }

    pub(crate) fn error(&mut self, node: NodeId, message: impl Into<String>, help: impl Into<String>) {
        let text = Problem { message: message.into(), help: help.into() };
        self.add(Severity::Error, node, self.document.place(node), text, None);
    }

    pub(crate) fn error_at_key(&mut self, node: NodeId, message: impl Into<String>, help: impl Into<String>) {
        let text = Problem { message: message.into(), help: help.into() };
        self.add(Severity::Error, node, self.document.key_place(node), text, None);
    }

    pub(crate) fn warn(&mut self, node: NodeId, message: impl Into<String>, help: impl Into<String>) {
        let text = Problem { message: message.into(), help: help.into() };
        self.add(Severity::Warning, node, self.document.place(node), text, None);
    }

    /// An error about two places; `what` is said of the other one.
    pub(crate) fn conflict(
        &mut self,
        node: NodeId,
        message: impl Into<String>,
        help: impl Into<String>,
        other: NodeId,
        what: impl Into<String>,
    ) {
        let related = Related { place: self.document.place(other), message: what.into() };
        let text = Problem { message: message.into(), help: help.into() };
        self.add(Severity::Error, node, self.document.place(node), text, Some(related));
    }

    /// "there is no `kind` named `name`", and the one that was meant.
    pub(crate) fn dangling<'n>(
        &mut self,
        node: NodeId,
        kind: &str,
        name: &str,
        names: impl Iterator<Item = &'n str> + Clone,
    ) {
        let text = no_such(kind, name, names);
        self.error(node, text.message, text.help);
    }

    /// The same of a key.
    pub(crate) fn dangling_key<'n>(
        &mut self,
        node: NodeId,
        kind: &str,
        name: &str,
        names: impl Iterator<Item = &'n str> + Clone,
    ) {
        let text = no_such(kind, name, names);
        self.error_at_key(node, text.message, text.help);
    }

    /// Whether something beneath `node` is refused already, so that what is missing there may be a mere
    /// consequence.
    pub(crate) fn refused_within(&self, node: NodeId) -> bool {
        self.found.iter().any(|(found, diagnostic)| {
            diagnostic.severity == Severity::Error
                && std::iter::successors(*found, |id| self.document.parent(*id)).any(|id| id == node)
        })
    }

    pub(crate) fn refused(&self) -> bool {
        self.errors > 0
    }

    pub(crate) fn finish(self, text: &str) -> Diagnostics {
        let count = self.errors.saturating_add(self.warnings);
        Diagnostics::new(self.found.into_iter().map(|(_, diagnostic)| diagnostic).collect(), count, text)
    }
}
