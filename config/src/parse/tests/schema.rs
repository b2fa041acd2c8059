//! The schema and the parser: what one takes, the other does not refuse for its keys or kinds.

use super::{EXAMPLES, example, parse};
use crate::schema;
use saphyr_parser::{Event, Parser, ScalarStyle};
use serde_json::{Map, Value, json};
use std::collections::BTreeSet;

/// As an editor reads YAML (the core schema of YAML 1.2).
fn json_of(text: &str) -> Value {
    fn scalar(text: &str, style: ScalarStyle) -> Value {
        if style != ScalarStyle::Plain {
            return json!(text);
        }
        match text {
            "" | "~" | "null" => Value::Null,
            "true" => json!(true),
            "false" => json!(false),
            _ => text.parse::<i64>().map_or_else(|_| json!(text), |number| json!(number)),
        }
    }
    #[allow(clippy::wildcard_enum_match_arm, reason = "other events can't stand there")]
    fn value<'a>(event: Event<'a>, events: &mut impl Iterator<Item = Event<'a>>) -> Value {
        match event {
            Event::Scalar(text, style, ..) => scalar(&text, style),
            Event::SequenceStart(..) => {
                let mut list = Vec::new();
                loop {
                    match events.next().unwrap() {
                        Event::SequenceEnd => return Value::Array(list),
                        event => list.push(value(event, events)),
                    }
                }
            }
            Event::MappingStart(..) => {
                let mut map = Map::new();
                loop {
                    match events.next().unwrap() {
                        Event::MappingEnd => return Value::Object(map),
                        Event::Scalar(key, ..) => {
                            let event = events.next().unwrap();
                            map.insert(key.into_owned(), value(event, events));
                        }
                        event => panic!("{event:?}"),
                    }
                }
            }
            event => panic!("{event:?}"),
        }
    }
    let events: Result<Vec<_>, _> = Parser::new_from_str(text).collect();
    let mut events = events.unwrap().into_iter().map(|(event, _)| event);
    let first =
        events.by_ref().find(|event| !matches!(event, Event::StreamStart | Event::DocumentStart(_))).unwrap();
    value(first, &mut events)
}

fn validator() -> jsonschema::Validator {
    jsonschema::draft202012::new(&schema()).expect("a valid schema")
}

/// JSON is YAML.
fn taken(value: &Value) -> Result<(), String> {
    parse(&value.to_string(), "f", "lb-1").map(|_| ()).map_err(|diagnostics| diagnostics.to_string())
}

/// Every place in `value`, each as the steps to it.
fn pointers(value: &Value) -> Vec<String> {
    let mut found = vec![String::new()];
    let children: Vec<(String, &Value)> = match value {
        Value::Object(map) => map.iter().map(|(key, value)| (key.clone(), value)).collect(),
        Value::Array(list) => {
            list.iter().enumerate().map(|(index, value)| (index.to_string(), value)).collect()
        }
        Value::Null | Value::Bool(_) | Value::Number(_) | Value::String(_) => Vec::new(),
    };
    for (step, child) in children {
        let step = step.replace('~', "~0").replace('/', "~1");
        found.extend(pointers(child).into_iter().map(|rest| format!("/{step}{rest}")));
    }
    found
}

#[test]
fn examples_follow_the_schema() {
    let validator = validator();
    for (name, text) in EXAMPLES {
        let value = json_of(text);
        let errors: Vec<String> = validator
            .iter_errors(&value)
            .map(|error| format!("{}: {error}", error.instance_path()))
            .collect();
        assert!(errors.is_empty(), "{name}: {errors:#?}");
    }
}

#[test]
fn each_section_refuses_unknown_keys_in_both() {
    let validator = validator();
    let full = json_of(example("full.yaml"));
    let free = [
        "/checks/readyz/headers",
        "/pools",
        "/pools/public/quotas",
        "/pools/public/allow/0/labels",
        "/services/shop-api/labels",
        "/nodes",
        "/groups",
        "/checks",
        "/hooks",
        "/kubernetes",
        "/backends",
        "/services",
        "/interfaces",
    ];
    let mut sections = 0;
    for pointer in pointers(&full) {
        let mut changed = full.clone();
        let Some(map) = changed.pointer_mut(&pointer).and_then(Value::as_object_mut) else { continue };
        let named = free.contains(&pointer.as_str()) || pointer.ends_with("/priorities");
        if named {
            continue;
        }
        sections += 1;
        map.insert("unheard_of".to_owned(), json!(1));
        assert!(!validator.is_valid(&changed), "the schema takes an unknown key in {pointer}");
        let refusal = taken(&changed).expect_err(&pointer);
        assert!(refusal.contains("`unheard_of` is not a key of this section"), "{pointer}: {refusal}");
    }
    assert!(sections > 40, "{sections}");
}

#[test]
fn the_schema_refuses_nothing_that_the_parser_takes() {
    let validator = validator();
    let full = json_of(example("full.yaml"));
    // No quoted numbers: the parser does not mind the quotes, an editor shows them as a mistake.
    let values = [
        json!(null),
        json!(true),
        json!(false),
        json!(0),
        json!(1),
        json!(50),
        json!(300),
        json!(70_000),
        json!("30s"),
        json!("10.0.0.77"),
        json!("10.0.0.77:80"),
        json!("10.7.0.0/16"),
        json!("text"),
        json!("/a"),
        json!("none"),
        json!("udp"),
        json!("v1"),
        json!("5/s"),
        json!([]),
        json!({}),
        json!(["10.0.0.77"]),
    ];
    let mut both = 0;
    let mut values = values.iter().cycle();
    for pointer in pointers(&full).into_iter().filter(|pointer| !pointer.is_empty()) {
        // As many as keep the test short; the next place gets the next ones.
        for value in values.by_ref().take(6) {
            let mut changed = full.clone();
            *changed.pointer_mut(&pointer).unwrap() = value.clone();
            if taken(&changed).is_ok() {
                both += 1;
                let error = validator.validate(&changed).err().map(|error| error.to_string());
                assert_eq!(error, None, "{pointer} = {value}");
            }
        }
        let (parent, key) = pointer.rsplit_once('/').unwrap();
        let mut changed = full.clone();
        if let Some(map) = changed.pointer_mut(parent).and_then(Value::as_object_mut) {
            map.remove(&key.replace("~1", "/").replace("~0", "~"));
            if !validator.is_valid(&changed) {
                let refusal = taken(&changed).expect_err(&pointer);
                assert!(refusal.contains(&format!("`{key}` is missing")), "without {pointer}: {refusal}");
            }
        }
    }
    assert!(both > 150, "{both}");
}

#[test]
fn the_full_example_has_every_key() {
    let schema = schema();
    let mut wanted = BTreeSet::new();
    for (section, definition) in schema["$defs"].as_object().unwrap() {
        for key in definition["properties"].as_object().unwrap().keys() {
            wanted.insert((section.clone(), key.clone()));
        }
    }
    // A witness of another kind can't stand beside that of the first.
    let full = ["full.yaml", "witness-lease.yaml"].map(|name| pointers(&json_of(example(name))));
    let keys: BTreeSet<String> = full
        .iter()
        .flatten()
        .filter_map(|pointer| pointer.rsplit_once('/').map(|(_, key)| key.to_owned()))
        .collect();
    let missing: Vec<_> = wanted.into_iter().filter(|(_, key)| !keys.contains(key)).collect();
    assert_eq!(missing, [], "add them to examples/full.yaml");
}

#[test]
fn every_field_is_described() {
    for (section, definition) in schema()["$defs"].as_object().unwrap() {
        for (key, field) in definition["properties"].as_object().unwrap() {
            let description = field["description"].as_str().unwrap_or_default();
            assert!(description.ends_with('.'), "{section}.{key}: {description:?}");
        }
    }
}
