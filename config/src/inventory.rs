//! The nodes of `fulcrum roll`, and how `fulcrum` is run on each: a file of its own, read as `fulcrum.yaml` is.

use crate::diagnostic::Diagnostics;
use crate::document::Document;
use crate::model::NodeName;
use crate::reader::{Field, Reader};
use crate::scalar::{AbsolutePath, Name};
use crate::table::{Decode, List, Or, section};
use std::collections::BTreeMap;
use std::path::PathBuf;

#[cfg(test)]
mod tests;

/// As many as a cluster can have.
const NODES: usize = 64;

/// Nodes that are to be changed, one after another.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Inventory {
    /// In the order of the file; at least two that are always there.
    pub nodes: Vec<Place>,
}

/// A node, and how it is reached.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Place {
    /// Its name, as in `nodes` of its configuration.
    pub name: NodeName,
    /// The program that runs `fulcrum` there, and its arguments; never empty, and never a shell.
    pub fulcrum: Vec<String>,
    /// Its configuration file, if it is not at the usual place.
    pub config: Option<PathBuf>,
    /// Whether it is there only while others are changed.
    pub surge: bool,
}

impl Inventory {
    /// The node of this name.
    #[must_use]
    pub fn place(&self, name: &str) -> Option<&Place> {
        self.nodes.iter().find(|place| place.name.as_str() == name)
    }
}

section! {
    /// The nodes of `fulcrum roll`.
    InventorySection {
        /// Each node that is to be changed.
        nodes: required List<PlaceSection>,
    }
}

section! {
    /// A node, and how it is reached.
    PlaceSection {
        /// Its name, as in `nodes` of its configuration.
        name: required Name,
        /// How `fulcrum` is run for it: words with spaces between, such as `ssh root@10.0.0.11 fulcrum`, or a list of words.
        fulcrum: required Or<String, List<String>>,
        /// Its configuration file there. Default: /etc/fulcrum/fulcrum.yaml.
        config: optional AbsolutePath,
        /// Whether it is there only while `fulcrum roll --surge` changes the others. Default: false.
        surge: optional bool,
    }
}

/// The words of a command that is given as one text. There is no shell, so nothing is quoted.
///
/// # Errors
/// There is nothing in it, or it has quotes: says what to write.
pub fn words(text: &str) -> Result<Vec<String>, &'static str> {
    if text.contains(['"', '\'', '\\']) {
        return Err("no shell reads it, so nothing can be quoted: put it into a script, and name that");
    }
    let words: Vec<String> = text.split_whitespace().map(str::to_owned).collect();
    if words.is_empty() { Err("name a program and its arguments") } else { Ok(words) }
}

impl Inventory {
    /// Reads `text`, which came from `file`.
    ///
    /// # Errors
    /// Everything that is wrong.
    pub fn parse(text: &str, file: &str) -> Result<Self, Diagnostics> {
        let (document, faults) = Document::read(text);
        // What stands behind a fault of the YAML itself was not read: it must not look missing.
        let whole = faults.iter().all(|fault| fault.related.is_some());
        let mut reader = Reader::new(&document, file, faults);
        let mut nodes = Vec::new();
        if whole {
            let root = reader.root();
            nodes = InventorySection::decode(&mut reader, root)
                .and_then(|section| section.nodes.get().map(|list| places(&mut reader, list)))
                .unwrap_or_default();
            let lasting = nodes.iter().filter(|place| !place.surge).count();
            if !reader.refused() && (lasting < 2 || nodes.len() > NODES) {
                let count = if lasting < 2 { lasting } else { nodes.len() };
                let message = format!("there are {count} nodes");
                reader.error(
                    root,
                    message,
                    format!("list 2 to {NODES} (without `surge`, at least 2): one is served by others while it is changed"),
                );
            }
        }
        if reader.refused() { Err(reader.finish(text)) } else { Ok(Self { nodes }) }
    }
}

fn places(reader: &mut Reader<'_>, list: &List<PlaceSection>) -> Vec<Place> {
    let mut seen = BTreeMap::new();
    let mut places = Vec::new();
    for section in &list.0 {
        let (Some(name), Some(fulcrum)) = (&section.value.name, &section.value.fulcrum) else { continue };
        if let Some(first) = seen.get(&name.value.0) {
            let message = format!("node `{}` is there twice", name.value.0);
            reader.conflict(name.node, message, "keep one of them", *first, "the first one");
            continue;
        }
        seen.insert(name.value.0.clone(), name.node);
        let words = match &fulcrum.value {
            Or::Short(text) => words(text).map_err(|_| ()),
            Or::Long(list) if list.0.first().is_none_or(|word| word.value.is_empty()) => Err(()),
            Or::Long(list) => Ok(list.0.iter().map(|word| word.value.clone()).collect()),
        };
        let Ok(words) = words else {
            let help = "write words with spaces between, without quotes (no shell reads them), or a list of words: \
                        [ssh, root@10.0.0.11, fulcrum]";
            reader.error(fulcrum.node, "this is no command", help);
            continue;
        };
        let config = section.value.config.get().map(|path| path.0.clone());
        let surge = section.value.surge.get().copied().unwrap_or_default();
        places.push(Place { name: NodeName::new(&name.value.0), fulcrum: words, config, surge });
    }
    places
}
