//! The YAML text as a tree in which each node knows where it stands and how to name itself.
//!
//! Bounded: size, depth; anchors, aliases and tags are refused, so nothing can grow beyond the text.

use crate::diagnostic::Place;
use saphyr_parser::{Event, Marker, Parser, ScalarStyle, Span};
use std::collections::HashMap;
use std::fmt::Write as _;

/// 8 MiB: several times what 5,000 services need.
pub(crate) const SIZE_LIMIT: usize = 8 << 20;
/// Further equal keys are not reported.
const FAULTS_AT_MOST: usize = 1_000;
/// The deepest section lies 7 levels deep.
const DEPTH_LIMIT: usize = 16;

/// A node of the [`Document`] that made it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(crate) struct NodeId(usize);

#[derive(Debug, Default)]
pub(crate) struct Document {
    nodes: Vec<Node>,
}

#[derive(Debug)]
struct Node {
    parent: Option<NodeId>,
    step: Step,
    place: Place,
    value: Value,
}

/// How a node is reached from its parent.
#[derive(Debug)]
enum Step {
    Root,
    Key(String, Place),
    Index(usize),
}

#[derive(Debug)]
pub(crate) enum Value {
    /// Nothing, `~` or `null`.
    Null,
    Scalar(String),
    List(Vec<NodeId>),
    Map(Vec<NodeId>),
}

/// What stops reading, or, for equal keys, does not.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Fault {
    pub(crate) place: Place,
    pub(crate) path: String,
    pub(crate) message: String,
    pub(crate) help: &'static str,
    pub(crate) related: Option<Place>,
}

static NO_NODE: Node = Node {
    parent: None,
    step: Step::Root,
    place: Place { line: 1, column: 1, length: 1 },
    value: Value::Null,
};

impl Document {
    /// Reads `text`. Equal keys are reported, and the first of them stands; any other fault ends the reading.
    pub(crate) fn read(text: &str) -> (Self, Vec<Fault>) {
        let mut builder = Builder::default();
        if let Err(fault) = builder.read(text) {
            builder.faults.push(fault);
        }
        (builder.document, builder.faults)
    }

    pub(crate) fn root(&self) -> NodeId {
        NodeId(0)
    }

    fn node(&self, id: NodeId) -> &Node {
        self.nodes.get(id.0).unwrap_or(&NO_NODE)
    }

    pub(crate) fn value(&self, id: NodeId) -> &Value {
        &self.node(id).value
    }

    pub(crate) fn parent(&self, id: NodeId) -> Option<NodeId> {
        self.node(id).parent
    }

    /// The key that a node of a map has.
    pub(crate) fn key(&self, id: NodeId) -> Option<&str> {
        match &self.node(id).step {
            Step::Key(key, _) => Some(key),
            Step::Root | Step::Index(_) => None,
        }
    }

    /// Where an error about a node points: its key if it is a map or a list that has one, else itself.
    pub(crate) fn place(&self, id: NodeId) -> Place {
        match self.value(id) {
            Value::Scalar(_) => self.node(id).place,
            Value::Null | Value::List(_) | Value::Map(_) => self.key_place(id),
        }
    }

    pub(crate) fn key_place(&self, id: NodeId) -> Place {
        match self.node(id).step {
            Step::Key(_, place) => place,
            Step::Root | Step::Index(_) => self.node(id).place,
        }
    }

    /// `services.api.backends[2].port`
    pub(crate) fn path(&self, id: NodeId) -> String {
        let mut steps = Vec::new();
        let mut next = Some(id);
        while let Some(id) = next {
            steps.push(&self.node(id).step);
            next = self.node(id).parent;
        }
        let mut path = String::new();
        for step in steps.into_iter().rev() {
            match step {
                Step::Root => {}
                Step::Key(key, _) => {
                    let dot = if path.is_empty() { "" } else { "." };
                    let _infallible = write!(path, "{dot}{key}");
                }
                Step::Index(index) => {
                    let _infallible = write!(path, "[{index}]");
                }
            }
        }
        path
    }
}

/// A map or list whose end has not come yet.
struct Open {
    id: NodeId,
    children: Vec<NodeId>,
    /// `None` in a list.
    keys: Option<Keys>,
}

#[derive(Default)]
struct Keys {
    seen: HashMap<String, Place>,
    pending: Option<Key>,
}

struct Key {
    name: String,
    place: Place,
    /// It was there before: its value is read and left out.
    repeated: bool,
}

#[derive(Default)]
struct Builder {
    document: Document,
    open: Vec<Open>,
    faults: Vec<Fault>,
}

impl Builder {
    fn read(&mut self, text: &str) -> Result<(), Fault> {
        let start = Span::empty(Marker::new(0, 1, 0));
        if text.len() > SIZE_LIMIT {
            return Err(self.fault(
                start,
                "the file is larger than 8 MiB",
                "split the load over several pairs",
            ));
        }
        let mut documents = 0_u32;
        for event in Parser::new_from_str(text) {
            let (event, span) = event.map_err(|error| {
                let span = Span::empty(*error.marker());
                let message = format!("this is not YAML: {}", error.info());
                self.fault(
                    span,
                    &message,
                    "check the indentation, quotes and brackets here and in the lines above",
                )
            })?;
            match event {
                Event::Nothing | Event::StreamStart | Event::StreamEnd | Event::DocumentEnd => {}
                Event::DocumentStart(_) => {
                    documents = documents.saturating_add(1);
                    if documents > 1 {
                        return Err(self.fault(
                            span,
                            "a second document begins here",
                            "one file, one document",
                        ));
                    }
                }
                Event::Alias(_) => return Err(self.marked(span)),
                Event::Scalar(text, style, anchor, tag) => {
                    if anchor != 0 || tag.is_some() {
                        return Err(self.marked(span));
                    }
                    self.scalar(&text, style, span);
                }
                Event::SequenceStart(anchor, tag) | Event::MappingStart(anchor, tag)
                    if anchor != 0 || tag.is_some() =>
                {
                    return Err(self.marked(span));
                }
                Event::SequenceStart(..) => self.begin(span, None)?,
                Event::MappingStart(..) => self.begin(span, Some(Keys::default()))?,
                Event::SequenceEnd | Event::MappingEnd => self.end(),
            }
        }
        Ok(())
    }

    fn scalar(&mut self, text: &str, style: ScalarStyle, span: Span) {
        let place = place(span);
        if self.awaits_key() {
            self.take_key(text, place);
            return;
        }
        let null = style == ScalarStyle::Plain && matches!(text, "" | "~" | "null" | "Null" | "NULL");
        let value = if null { Value::Null } else { Value::Scalar(text.to_owned()) };
        self.add(place, value);
    }

    fn awaits_key(&self) -> bool {
        self.open.last().and_then(|open| open.keys.as_ref()).is_some_and(|keys| keys.pending.is_none())
    }

    fn take_key(&mut self, name: &str, place: Place) {
        let Some(open) = self.open.last_mut() else { return };
        let Some(keys) = &mut open.keys else { return };
        let first = keys.seen.get(name).copied();
        keys.pending = Some(Key { name: name.to_owned(), place, repeated: first.is_some() });
        if let Some(first) = first {
            if self.faults.len() >= FAULTS_AT_MOST {
                return;
            }
            let parent = self.document.path(open.id);
            let dot = if parent.is_empty() { "" } else { "." };
            self.faults.push(Fault {
                place,
                path: format!("{parent}{dot}{name}"),
                message: format!("`{name}` is there twice"),
                help: "keep one of them",
                related: Some(first),
            });
        } else {
            keys.seen.insert(name.to_owned(), place);
        }
    }

    fn add(&mut self, place: Place, value: Value) -> NodeId {
        let id = NodeId(self.document.nodes.len());
        let (mut parent, mut step) = (None, Step::Root);
        if let Some(open) = self.open.last_mut() {
            parent = Some(open.id);
            match open.keys.as_mut().and_then(|keys| keys.pending.take()) {
                Some(key) => {
                    if !key.repeated {
                        open.children.push(id);
                    }
                    step = Step::Key(key.name, key.place);
                }
                None => {
                    step = Step::Index(open.children.len());
                    open.children.push(id);
                }
            }
        }
        self.document.nodes.push(Node { parent, step, place, value });
        id
    }

    fn begin(&mut self, span: Span, keys: Option<Keys>) -> Result<(), Fault> {
        if self.awaits_key() {
            let message = "a map or list stands where a key is expected";
            return Err(self.fault(span, message, "write `key: value`; quote a value that has brackets"));
        }
        if self.open.len() >= DEPTH_LIMIT {
            return Err(self.fault(span, "the file is nested too deeply", "no section needs so many levels"));
        }
        let id = self.add(place(span), Value::Null);
        self.open.push(Open { id, children: Vec::new(), keys });
        Ok(())
    }

    fn end(&mut self) {
        let Some(Open { id, children, keys }) = self.open.pop() else { return };
        if let Some(node) = self.document.nodes.get_mut(id.0) {
            node.value = if keys.is_some() { Value::Map(children) } else { Value::List(children) };
        }
    }

    fn marked(&self, span: Span) -> Fault {
        let message = "anchors, aliases and tags (`&`, `*`, `!`) are not taken";
        let help = "write the value out, or quote it if it begins with such a character; \
                    services can share a pool of `backends:` and a check of `checks:`";
        self.fault(span, message, help)
    }

    fn fault(&self, span: Span, message: &str, help: &'static str) -> Fault {
        let path = self.open.last().map(|open| self.document.path(open.id)).unwrap_or_default();
        Fault { place: place(span), path, message: message.to_owned(), help, related: None }
    }
}

fn place(span: Span) -> Place {
    let number = |value: usize| u32::try_from(value).unwrap_or(u32::MAX);
    // A value of several lines is marked at its first character.
    let length = if span.start.line() == span.end.line() { span.len() } else { 1 };
    Place {
        line: number(span.start.line()),
        column: number(span.start.col()).saturating_add(1),
        length: number(length.max(1)),
    }
}
