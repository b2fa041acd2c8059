//! One table for each section of the file: parser, check for unknown keys and JSON Schema all come from it.

use crate::document::{NodeId, Value};
use crate::reader::{At, Problem, Reader, meant};
use serde_json::{Map as Object, Value as Json, json};

/// The named schemas (`$defs`) gathered so far.
pub(crate) type Definitions = Object<String, Json>;

/// What can be read from a node of the file.
pub(crate) trait Decode: Sized {
    /// `None` if it is refused; that has been reported then.
    fn decode(reader: &mut Reader<'_>, node: NodeId) -> Option<Self>;
    /// What it is, for "write ...".
    fn expected() -> String;
    fn schema(definitions: &mut Definitions) -> Json;
}

/// What can be read from a scalar.
pub(crate) trait Scalar: Sized {
    fn parse(text: &str) -> Result<Self, Problem>;
    fn expected() -> String;
    fn schema() -> Json;
}

fn refuse_kind(reader: &mut Reader<'_>, node: NodeId, expected: &str) {
    let found = match reader.value(node) {
        Value::Null => {
            reader.error(node, "a value is missing", format!("write {expected}, or delete the key"));
            return;
        }
        Value::Scalar(_) => "a single value",
        Value::List(_) => "a list",
        Value::Map(_) => "a map",
    };
    reader.error(node, format!("{found} stands here"), format!("write {expected}"));
}

impl<T: Scalar> Decode for T {
    fn decode(reader: &mut Reader<'_>, node: NodeId) -> Option<Self> {
        let Value::Scalar(text) = reader.value(node) else {
            refuse_kind(reader, node, &T::expected());
            return None;
        };
        match T::parse(text) {
            Ok(value) => Some(value),
            Err(problem) => {
                reader.error(node, problem.message, problem.help);
                None
            }
        }
    }

    fn expected() -> String {
        <T as Scalar>::expected()
    }

    fn schema(_: &mut Definitions) -> Json {
        <T as Scalar>::schema()
    }
}

/// A list, without the items that were refused.
#[derive(Debug, Clone)]
pub(crate) struct List<T>(pub(crate) Vec<At<T>>);

impl<T: Decode> Decode for List<T> {
    fn decode(reader: &mut Reader<'_>, node: NodeId) -> Option<Self> {
        let Value::List(items) = reader.value(node) else {
            refuse_kind(reader, node, &Self::expected());
            return None;
        };
        let read = |item: &NodeId| Some(At { value: T::decode(reader, *item)?, node: *item });
        Some(Self(items.iter().filter_map(read).collect()))
    }

    fn expected() -> String {
        format!("a list ([..], or lines that begin with `-`), each item {}", T::expected())
    }

    fn schema(definitions: &mut Definitions) -> Json {
        json!({ "type": "array", "items": T::schema(definitions) })
    }
}

/// Things by name, in the order of the file. One that was refused has no value.
#[derive(Debug, Clone)]
pub(crate) struct Named<K, T>(pub(crate) Vec<(At<K>, Option<T>)>);

impl<K: Scalar, T: Decode> Decode for Named<K, T> {
    fn decode(reader: &mut Reader<'_>, node: NodeId) -> Option<Self> {
        let Value::Map(children) = reader.value(node) else {
            refuse_kind(reader, node, &Self::expected());
            return None;
        };
        let mut read = Vec::with_capacity(children.len());
        for child in children {
            let name = K::parse(reader.key(*child))
                .map_err(|problem| reader.error_at_key(*child, problem.message, problem.help));
            let value = T::decode(reader, *child);
            if let Ok(name) = name {
                read.push((At { value: name, node: *child }, value));
            }
        }
        Some(Self(read))
    }

    fn expected() -> String {
        format!("a map: {}, a colon, and {}", <K as Scalar>::expected(), T::expected())
    }

    fn schema(definitions: &mut Definitions) -> Json {
        json!({
            "type": "object",
            "propertyNames": <K as Scalar>::schema(),
            "additionalProperties": T::schema(definitions),
        })
    }
}

impl<K, T> Default for Named<K, T> {
    fn default() -> Self {
        Self(Vec::new())
    }
}

/// A scalar for short, or something longer.
#[derive(Debug, Clone)]
pub(crate) enum Or<S, L> {
    Short(S),
    Long(L),
}

impl<S: Scalar, L: Decode> Decode for Or<S, L> {
    fn decode(reader: &mut Reader<'_>, node: NodeId) -> Option<Self> {
        match reader.value(node) {
            Value::Scalar(_) => S::decode(reader, node).map(Self::Short),
            Value::List(_) | Value::Map(_) => L::decode(reader, node).map(Self::Long),
            Value::Null => {
                refuse_kind(reader, node, &Self::expected());
                None
            }
        }
    }

    fn expected() -> String {
        format!("{}, or {}", <S as Scalar>::expected(), L::expected())
    }

    fn schema(definitions: &mut Definitions) -> Json {
        json!({ "anyOf": [<S as Scalar>::schema(), L::schema(definitions)] })
    }
}

/// One row of a section's table.
#[derive(Debug)]
pub(crate) struct Row {
    pub(crate) key: &'static str,
    pub(crate) required: bool,
    pub(crate) about: &'static str,
    pub(crate) schema: fn(&mut Definitions) -> Json,
}

/// `r#type` is written `type` in the file.
pub(crate) const fn key(field: &'static str) -> &'static str {
    if let [b'r', b'#', rest @ ..] = field.as_bytes()
        && let Ok(key) = std::str::from_utf8(rest)
    {
        return key;
    }
    field
}

/// The field of each row. Refuses what is not a map, has unknown keys or lacks required ones; only the first ends
/// the reading.
pub(crate) fn fields(
    reader: &mut Reader<'_>,
    node: NodeId,
    about: &str,
    rows: &[Row],
) -> Option<Vec<Option<NodeId>>> {
    let Value::Map(children) = reader.value(node) else {
        refuse_kind(reader, node, &expected_section(about, rows));
        return None;
    };
    let mut fields = vec![None; rows.len()];
    for child in children {
        let written = reader.key(*child);
        let index = rows.iter().position(|row| row.key == written);
        if let Some(field) = index.and_then(|index| fields.get_mut(index)) {
            *field = Some(*child);
        } else {
            let help = match meant(written, rows.iter().map(|row| row.key)) {
                Some(meant) => format!("did you mean `{meant}`?"),
                None => format!("the keys here are {}", keys(rows)),
            };
            reader.error_at_key(*child, Problem::not(written, "a key of this section", "").message, help);
        }
    }
    for (row, _) in rows.iter().zip(&fields).filter(|(row, field)| row.required && field.is_none()) {
        let help = format!("add `{}:`, {}", row.key, lowercase_start(row.about));
        reader.error(node, format!("`{}` is missing", row.key), help);
    }
    Some(fields)
}

fn keys(rows: &[Row]) -> String {
    let keys: Vec<&str> = rows.iter().map(|row| row.key).collect();
    keys.join(", ")
}

pub(crate) fn expected_section(about: &str, rows: &[Row]) -> String {
    let about = lowercase_start(about);
    let first_sentence = about.split('.').next().unwrap_or_default();
    format!("{first_sentence}, as a map with keys of {}", keys(rows))
}

fn lowercase_start(text: &str) -> String {
    let text = text.trim().trim_end_matches('.');
    let mut characters = text.chars();
    let first = characters.next();
    // A name that begins with two capitals (an address, VRID) stays.
    if characters.clone().next().is_some_and(char::is_uppercase) {
        return text.to_owned();
    }
    first.into_iter().flat_map(char::to_lowercase).chain(characters).collect()
}

/// Registers the schema of a section, and returns the reference to it.
pub(crate) fn section_schema(name: &str, about: &str, rows: &[Row], definitions: &mut Definitions) -> Json {
    let reference = json!({ "$ref": format!("#/$defs/{name}") });
    if definitions.contains_key(name) {
        return reference;
    }
    let mut properties = Object::new();
    for row in rows {
        let mut schema = (row.schema)(definitions);
        if let Some(schema) = schema.as_object_mut() {
            schema.insert("description".to_owned(), json!(row.about.trim()));
        }
        properties.insert(row.key.to_owned(), schema);
    }
    let required: Vec<&str> = rows.iter().filter(|row| row.required).map(|row| row.key).collect();
    let section = json!({
        "type": "object",
        "description": about.trim(),
        "properties": properties,
        "required": required,
        "additionalProperties": false,
    });
    definitions.insert(name.to_owned(), section);
    reference
}

/// Reads a field, if it is there.
pub(crate) fn field<T: Decode>(reader: &mut Reader<'_>, node: Option<NodeId>) -> Option<At<T>> {
    let node = node?;
    Some(At { value: T::decode(reader, node)?, node })
}

macro_rules! is_required {
    (required) => {
        true
    };
    (optional) => {
        false
    };
}

/// A section of the file: each row is a key, `required` or `optional`, its type and what it says.
/// A field is `None` if it is absent or was refused.
macro_rules! section {
    ($(#[doc = $about:literal])+ $name:ident {
        $($(#[doc = $doc:literal])+ $field:ident: $presence:ident $type:ty,)+
    }) => {
        $(#[doc = $about])+
        #[derive(Debug, Clone)]
        pub(crate) struct $name {
            /// Where the section stands.
            #[allow(dead_code, reason = "every section knows it, not every one is asked")]
            pub(crate) at: $crate::document::NodeId,
            $($(#[doc = $doc])+ pub(crate) $field: Option<$crate::reader::At<$type>>,)+
        }

        impl $name {
            pub(crate) const ABOUT: &str = concat!($($about),+);
            pub(crate) const ROWS: &[$crate::table::Row] = &[$($crate::table::Row {
                key: $crate::table::key(stringify!($field)),
                required: $crate::table::is_required!($presence),
                about: concat!($($doc),+),
                schema: <$type as $crate::table::Decode>::schema,
            }),+];
        }

        impl $crate::table::Decode for $name {
            fn decode(
                reader: &mut $crate::reader::Reader<'_>,
                node: $crate::document::NodeId,
            ) -> Option<Self> {
                let fields = $crate::table::fields(reader, node, Self::ABOUT, Self::ROWS)?;
                // One for each row, in their order.
                let mut fields = fields.into_iter();
                Some(Self {
                    at: node,
                    $($field: $crate::table::field(reader, fields.next().flatten()),)+
                })
            }

            fn expected() -> String {
                $crate::table::expected_section(Self::ABOUT, Self::ROWS)
            }

            fn schema(definitions: &mut $crate::table::Definitions) -> serde_json::Value {
                $crate::table::section_schema(stringify!($name), Self::ABOUT, Self::ROWS, definitions)
            }
        }
    };
}

pub(crate) use {is_required, section};
