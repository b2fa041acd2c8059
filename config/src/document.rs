//! The YAML text as a tree in which each node knows where it stands and how to name itself.
//!
//! Bounded: size, depth; anchors, aliases and tags are refused, so nothing can grow beyond the text.

use crate::diagnostic::Place;
use saphyr_parser::{Event, Marker, Parser, ScalarStyle, Span};
use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::ops::Range;

/// 8 MiB: several times what 5,000 services need.
pub(crate) const SIZE_LIMIT: usize = 8 << 20;
/// Further equal keys are not reported.
const FAULTS_AT_MOST: usize = 1_000;
/// The deepest section lies 7 levels deep.
const DEPTH_LIMIT: usize = 16;

/// A node of the [`Document`] that made it: those of the file come before those of fragments.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(crate) struct NodeId {
    document: u16,
    index: u32,
}

impl NodeId {
    /// Which document made it: 0 is the file.
    pub(crate) fn document(self) -> u16 {
        self.document
    }
}

/// Texts and members lie one after the other, each in one run, so that a file of a hundred thousand nodes costs a few
/// allocations.
#[derive(Debug, Default)]
pub(crate) struct Document {
    number: u16,
    nodes: Vec<Node>,
    /// Of keys and scalars.
    texts: String,
    /// Of lists and maps.
    members: Vec<NodeId>,
}

#[derive(Debug)]
struct Node {
    parent: Option<NodeId>,
    step: Step,
    place: Place,
    content: Content,
}

/// A part of `texts` or of `members`.
#[derive(Debug, Clone, Copy)]
struct Run {
    start: u32,
    end: u32,
}

impl Run {
    fn range(self) -> Range<usize> {
        self.start as usize..self.end as usize
    }
}

/// How a node is reached from its parent.
#[derive(Debug, Clone, Copy)]
enum Step {
    Root,
    Key(Run, Place),
    Index(u32),
}

#[derive(Debug, Clone, Copy)]
enum Content {
    Null,
    Scalar(Run),
    List(Run),
    Map(Run),
}

/// What a node holds.
#[derive(Debug, Clone, Copy)]
pub(crate) enum Value<'a> {
    /// Nothing, `~` or `null`.
    Null,
    Scalar(&'a str),
    List(&'a [NodeId]),
    Map(&'a [NodeId]),
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
    content: Content::Null,
};

impl Document {
    /// Nothing at all.
    pub(crate) const EMPTY: Self =
        Self { number: 0, nodes: Vec::new(), texts: String::new(), members: Vec::new() };

    /// Reads `text`. Equal keys are reported, and the first of them stands; any other fault ends the reading.
    pub(crate) fn read(text: &str) -> (Self, Vec<Fault>) {
        Self::read_numbered(text, 0)
    }

    /// The same of a fragment, which has a `number` above 0. Its size was checked.
    pub(crate) fn read_numbered(text: &str, number: u16) -> (Self, Vec<Fault>) {
        let mut builder = Builder::default();
        builder.document.number = number;
        if let Err(fault) = builder.read(text) {
            while !builder.open.is_empty() {
                builder.end();
            }
            builder.faults.push(fault);
        }
        (builder.document, builder.faults)
    }

    pub(crate) fn root(&self) -> NodeId {
        NodeId { document: self.number, index: 0 }
    }

    fn node(&self, id: NodeId) -> &Node {
        self.nodes.get(id.index as usize).unwrap_or(&NO_NODE)
    }

    fn text(&self, run: Run) -> &str {
        self.texts.get(run.range()).unwrap_or_default()
    }

    fn members(&self, run: Run) -> &[NodeId] {
        self.members.get(run.range()).unwrap_or_default()
    }

    pub(crate) fn value(&self, id: NodeId) -> Value<'_> {
        match self.node(id).content {
            Content::Null => Value::Null,
            Content::Scalar(run) => Value::Scalar(self.text(run)),
            Content::List(run) => Value::List(self.members(run)),
            Content::Map(run) => Value::Map(self.members(run)),
        }
    }

    pub(crate) fn parent(&self, id: NodeId) -> Option<NodeId> {
        self.node(id).parent
    }

    /// The key that a node of a map has.
    pub(crate) fn key(&self, id: NodeId) -> Option<&str> {
        match self.node(id).step {
            Step::Key(key, _) => Some(self.text(key)),
            Step::Root | Step::Index(_) => None,
        }
    }

    /// Where an error about a node points: its key if it is a map or a list that has one, else itself.
    pub(crate) fn place(&self, id: NodeId) -> Place {
        match self.node(id).content {
            Content::Scalar(_) => self.node(id).place,
            Content::Null | Content::List(_) | Content::Map(_) => self.key_place(id),
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
            steps.push(self.node(id).step);
            next = self.node(id).parent;
        }
        let mut path = String::new();
        for step in steps.into_iter().rev() {
            match step {
                Step::Root => {}
                Step::Key(key, _) => {
                    let dot = if path.is_empty() { "" } else { "." };
                    let _infallible = write!(path, "{dot}{}", self.text(key));
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
    /// Where its members begin among those that wait.
    first: usize,
    is_map: bool,
    /// A key whose value comes next.
    key: Option<(Run, Place)>,
}

#[derive(Default)]
struct Builder {
    document: Document,
    open: Vec<Open>,
    /// The members of all that is open.
    waiting: Vec<NodeId>,
    faults: Vec<Fault>,
}

impl Builder {
    fn read(&mut self, text: &str) -> Result<(), Fault> {
        let start = Span::empty(Marker::new(0, 1, 0));
        if self.document.number == 0 && text.len() > SIZE_LIMIT {
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
                Event::SequenceStart(..) => self.begin(span, false)?,
                Event::MappingStart(..) => self.begin(span, true)?,
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
        let content = if null { Content::Null } else { Content::Scalar(self.keep(text)) };
        self.add(place, content);
    }

    fn keep(&mut self, text: &str) -> Run {
        let start = number(self.document.texts.len());
        self.document.texts.push_str(text);
        Run { start, end: number(self.document.texts.len()) }
    }

    fn awaits_key(&self) -> bool {
        self.open.last().is_some_and(|open| open.is_map && open.key.is_none())
    }

    fn take_key(&mut self, name: &str, place: Place) {
        let name = self.keep(name);
        if let Some(open) = self.open.last_mut() {
            open.key = Some((name, place));
        }
    }

    fn add(&mut self, place: Place, content: Content) -> NodeId {
        let id = NodeId { document: self.document.number, index: number(self.document.nodes.len()) };
        let (mut parent, mut step) = (None, Step::Root);
        if let Some(open) = self.open.last_mut() {
            parent = Some(open.id);
            step = match open.key.take() {
                Some((name, place)) => Step::Key(name, place),
                None => Step::Index(number(self.waiting.len().saturating_sub(open.first))),
            };
            self.waiting.push(id);
        }
        self.document.nodes.push(Node { parent, step, place, content });
        id
    }

    fn begin(&mut self, span: Span, is_map: bool) -> Result<(), Fault> {
        if self.awaits_key() {
            let message = "a map or list stands where a key is expected";
            return Err(self.fault(span, message, "write `key: value`; quote a value that has brackets"));
        }
        if self.open.len() >= DEPTH_LIMIT {
            return Err(self.fault(span, "the file is nested too deeply", "no section needs so many levels"));
        }
        let id = self.add(place(span), Content::Null);
        self.open.push(Open { id, first: self.waiting.len(), is_map, key: None });
        Ok(())
    }

    fn end(&mut self) {
        let Some(Open { id, first, is_map, .. }) = self.open.pop() else { return };
        if is_map {
            self.leave_out_repeated(id, first);
        }
        let start = number(self.document.members.len());
        self.document.members.extend(self.waiting.drain(first.min(self.waiting.len())..));
        let run = Run { start, end: number(self.document.members.len()) };
        if let Some(node) = self.document.nodes.get_mut(id.index as usize) {
            node.content = if is_map { Content::Map(run) } else { Content::List(run) };
        }
    }

    /// Of equal keys the first stands.
    fn leave_out_repeated(&mut self, map: NodeId, first: usize) {
        let document = &self.document;
        let name = |id: &NodeId| document.key(*id).unwrap_or_default();
        let members = self.waiting.get(first..).unwrap_or_default();
        let mut sorted = members.to_vec();
        sorted.sort_by(|one, other| name(one).cmp(name(other)).then(one.cmp(other)));
        let mut repeated = BTreeMap::new();
        for equal in sorted.chunk_by(|one, other| name(one) == name(other)) {
            if let [first, others @ ..] = equal {
                repeated.extend(others.iter().map(|other| (*other, *first)));
            }
        }
        if repeated.is_empty() {
            return;
        }
        let parent = document.path(map);
        let dot = if parent.is_empty() { "" } else { "." };
        for (id, first) in repeated.iter().take(FAULTS_AT_MOST.saturating_sub(self.faults.len())) {
            let name = name(id);
            self.faults.push(Fault {
                place: document.key_place(*id),
                path: format!("{parent}{dot}{name}"),
                message: format!("`{name}` is there twice"),
                help: "keep one of them",
                related: Some(document.key_place(*first)),
            });
        }
        let kept: Vec<NodeId> = members.iter().copied().filter(|id| !repeated.contains_key(id)).collect();
        self.waiting.truncate(first);
        self.waiting.extend(kept);
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

/// The limit on the size is far below.
fn number(value: usize) -> u32 {
    u32::try_from(value).unwrap_or(u32::MAX)
}

fn place(span: Span) -> Place {
    // A value of several lines is marked at its first character.
    let length = if span.start.line() == span.end.line() { span.len() } else { 1 };
    Place {
        line: number(span.start.line()),
        column: number(span.start.col()).saturating_add(1),
        length: number(length.max(1)),
    }
}
