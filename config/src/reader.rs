//! Walks a [`Document`], and gathers what is wrong on the way instead of stopping at it.

use crate::diagnostic::{Diagnostic, Diagnostics, Place, Related, Severity};
use crate::document::{Document, Fault, NodeId, Value};
use aside::Asides;
pub(crate) use aside::{Aside, Rank};

mod aside;

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
    /// The file, then fragments, by their numbers.
    documents: Vec<&'a Document>,
    file: &'a str,
    found: Vec<(Option<NodeId>, Diagnostic)>,
    errors: usize,
    warnings: usize,
    /// What is wrong with fragments: none of it refuses the file.
    asides: Asides,
}

/// What was found so far.
pub(crate) struct Mark {
    found: usize,
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
        Self { documents: vec![document], file, found, errors, warnings: 0, asides: Asides::default() }
    }

    /// Reads `fragments`, too: their numbers are 1 and so on.
    pub(crate) fn with_fragments(mut self, fragments: impl Iterator<Item = &'a Document>) -> Self {
        self.documents.extend(fragments);
        self
    }

    pub(crate) fn mark(&self) -> Mark {
        Mark { found: self.found.len(), errors: self.errors, warnings: self.warnings }
    }

    /// Forgets what was found since.
    pub(crate) fn rewind(&mut self, mark: &Mark) {
        self.found.truncate(mark.found);
        (self.errors, self.warnings) = (mark.errors, mark.warnings);
    }

    /// What was found to be wrong with fragments since this was called last.
    pub(crate) fn take_asides(&mut self) -> Vec<Aside> {
        std::mem::take(&mut self.asides).into_all()
    }

    /// Whether `node` is of a fragment.
    pub(crate) fn is_of_fragment(&self, node: NodeId) -> bool {
        node.document() > 0
    }

    fn document(&self, node: NodeId) -> &'a Document {
        const NONE: &Document = &Document::EMPTY;
        self.documents.get(usize::from(node.document())).copied().unwrap_or(NONE)
    }

    pub(crate) fn root(&self) -> NodeId {
        self.documents.first().map_or_else(|| Document::EMPTY.root(), |document| document.root())
    }

    pub(crate) fn value(&self, node: NodeId) -> Value<'a> {
        self.document(node).value(node)
    }

    pub(crate) fn key(&self, node: NodeId) -> &'a str {
        self.document(node).key(node).unwrap_or_default()
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
        if self.is_of_fragment(node) {
            // A service without a backend is an everyday thing there: nobody would read thousands of such lines.
            if severity == Severity::Error {
                self.set_aside(node, text, Rank::First);
            }
            return;
        }
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
                path: self.document(node).path(node),
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
        self.add(Severity::Error, node, self.document(node).place(node), text, None);
    }

    pub(crate) fn error_at_key(&mut self, node: NodeId, message: impl Into<String>, help: impl Into<String>) {
        let text = Problem { message: message.into(), help: help.into() };
        self.add(Severity::Error, node, self.document(node).key_place(node), text, None);
    }

    pub(crate) fn warn(&mut self, node: NodeId, message: impl Into<String>, help: impl Into<String>) {
        let text = Problem { message: message.into(), help: help.into() };
        self.add(Severity::Warning, node, self.document(node).place(node), text, None);
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
        let text = Problem { message: message.into(), help: help.into() };
        match (self.is_of_fragment(node), self.is_of_fragment(other)) {
            (true, true) if self.part(node) != self.part(other) => {
                self.set_aside(node, text, Rank::AgainstAnother);
            }
            (true, _) => self.set_aside(node, text, Rank::First),
            // The file wins.
            (false, true) => self.set_aside(other, text, Rank::First),
            (false, false) => {
                let related = Related { place: self.document(other).place(other), message: what.into() };
                self.add(Severity::Error, node, self.document(node).place(node), text, Some(related));
            }
        }
    }

    /// Says what is wrong with a service of a fragment that could be good if others were not there.
    pub(crate) fn error_of_others(
        &mut self,
        node: NodeId,
        message: impl Into<String>,
        help: impl Into<String>,
    ) {
        if self.is_of_fragment(node) {
            self.set_aside(node, Problem { message: message.into(), help: help.into() }, Rank::OfPools);
        } else {
            self.error(node, message, help);
        }
    }

    /// What is set aside as one: a service of a fragment, or if `node` is not of one, its root.
    pub(crate) fn part(&self, node: NodeId) -> NodeId {
        let document = self.document(node);
        let path: Vec<NodeId> = std::iter::successors(Some(node), |id| document.parent(*id)).collect();
        // The last is the root, before it comes `services`.
        let service = path.len().checked_sub(3).and_then(|index| path.get(index)).copied();
        service.unwrap_or_else(|| document.root())
    }

    fn set_aside(&mut self, node: NodeId, text: Problem, rank: Rank) {
        let part = self.part(node);
        let (path, of) = (self.document(node).path(node), self.document(part).path(part));
        let within = path.strip_prefix(&of).unwrap_or(&path).trim_start_matches('.');
        self.asides.add(part, within, node, &text, rank);
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
        if self.is_of_fragment(node) {
            let document = self.document(node);
            let is_within = |found: &NodeId| {
                std::iter::successors(Some(*found), |id| document.parent(*id)).any(|id| id == node)
            };
            return self.asides.of(self.part(node)).iter().any(is_within);
        }
        self.found.iter().any(|(found, diagnostic)| {
            diagnostic.severity == Severity::Error
                && std::iter::successors(*found, |id| self.document(*id).parent(*id)).any(|id| id == node)
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
