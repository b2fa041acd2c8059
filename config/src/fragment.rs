//! What comes from outside the file: services of a source, read as those of the file are, each by itself.

use crate::document::{Document, NodeId};
use crate::file::{FragmentFile, ServiceSection};
use crate::model::{Fragments, ServiceName, SourceName};
use crate::reader::Reader;
use crate::table::Decode;

#[cfg(test)]
mod tests;

/// The longest name that is shown as it was written.
const NAME_SHOWN: usize = 64;

/// The text of a source as a tree, and why that can't be used, if so.
pub(crate) type Outside = (SourceName, Document, Option<String>);

/// The services of a source.
#[derive(Debug)]
pub(crate) struct Fragment {
    pub(crate) source: SourceName,
    /// Where it begins: what is wrong there concerns all of it.
    pub(crate) root: NodeId,
    pub(crate) services: Vec<(ServiceName, NodeId, ServiceSection)>,
}

/// The texts as trees, by the numbers that follow the file's.
pub(crate) fn documents(fragments: &Fragments) -> Vec<Outside> {
    let numbered = fragments.iter().zip(1_u16..);
    let outside = numbered.map(|((source, text), number)| {
        let (document, faults) = Document::read_numbered(&text.what, number);
        let fault = faults.first().map(|fault| {
            format!(
                "line {}, column {}: {} ({})",
                fault.place.line, fault.place.column, fault.message, fault.help
            )
        });
        (source.clone(), document, fault)
    });
    outside.collect()
}

impl Fragment {
    /// What of it can be read; of the rest `reader` knows why not.
    pub(crate) fn decode(reader: &mut Reader<'_>, (source, document, fault): &Outside) -> Self {
        let root = document.root();
        let mut fragment = Self { source: source.clone(), root, services: Vec::new() };
        if let Some(fault) = fault {
            reader.error(root, fault.as_str(), "");
            return fragment;
        }
        let Some(file) = FragmentFile::decode(reader, root) else { return fragment };
        let Some(services) = file.services else { return fragment };
        for (name, section) in services.value.0 {
            if !ServiceName::is_of(&name.value, source) {
                let help = format!(
                    "name it {source}/NAMESPACE/NAME or {source}/NAMESPACE/NAME:PORT, each part 1 to 63 letters, digits, `.`, \
                     `_` and `-`"
                );
                reader.error_at_key(name.node, "this is no name of a service of this source", help);
            } else if let Some(section) = section {
                fragment.services.push((ServiceName::new(&name.value), name.node, section));
            }
        }
        fragment
    }
}

/// The name of a service as it is shown, whatever stands there.
pub(crate) fn shown(name: &str) -> ServiceName {
    let plain = name.len() <= ServiceName::LENGTH && name.bytes().all(|byte| byte.is_ascii_graphic());
    if plain && !name.is_empty() {
        return ServiceName::new(name);
    }
    let start: String = name.chars().take(NAME_SHOWN).collect();
    ServiceName::new(&format!("\"{}\"", start.escape_debug()))
}
