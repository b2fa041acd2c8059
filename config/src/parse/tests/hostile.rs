//! Files that nobody writes on purpose, and those that somebody does.

use super::{Config, EXAMPLES, parse};
use crate::document::SIZE_LIMIT;
use proptest::prelude::*;
use std::collections::HashSet;

fn refusal(text: &str) -> String {
    parse(text, "f", "lb-1").unwrap_err().to_string()
}

#[test]
fn what_could_grow_is_bounded() {
    assert!(refusal(&"#".repeat(SIZE_LIMIT + 1)).contains("larger than 8 MiB"));
    for (opening, times) in
        [("[", 100_000), ("{a: ", 100_000), ("- ", 100_000), ("? ", 100_000), ("{", 100_000)]
    {
        assert!(!refusal(&opening.repeat(times)).is_empty(), "{opening}");
    }
    let bomb = "a: &a [x, x]\nb: &b [*a, *a]\nc: &c [*b, *b]\n";
    assert!(refusal(bomb).contains("anchors, aliases and tags"), "{}", refusal(bomb));
}

#[test]
fn very_many_mistakes_are_counted_and_the_first_are_shown() {
    let text: String = (0..20_000).map(|number| format!("key-{number}: 1\n")).collect();
    let diagnostics = parse(&text, "f", "lb-1").unwrap_err();
    assert_eq!(diagnostics.iter().count(), 100);
    // `nodes` is missing too, and a warning says that there is no group.
    assert_eq!(diagnostics.len(), 20_002);
    assert!(diagnostics.to_string().contains("... and 19902 more"));
}

#[test]
fn no_number_of_warnings_hides_an_error() {
    let check = "{type: tls, tls: {ca: /ca.pem}}";
    let checks: String = (0..2_000).map(|number| format!("  check-{number}: {check}\n")).collect();
    let good = format!("{}checks:\n{checks}", super::example("pair.yaml"));
    assert_eq!(parse(&good, "f", "lb-1").unwrap().warnings.len(), 2_000);
    let refused = parse(&format!("{good}  last: {{type: tpc}}\n"), "f", "lb-1").unwrap_err();
    assert!(refused.to_string().contains("`tpc` is not a type of check"));
}

#[test]
fn long_values_are_cut_in_messages() {
    let text = format!("nodes: {{lb-1: {{addresses: [{}]}}}}", "9".repeat(1_000_000));
    assert!(refusal(&text).len() < 2_000);
}

#[test]
fn nothing_at_all_is_refused_in_words() {
    for text in
        ["", "\n", "# only a comment\n", "---\n", "~", "\u{feff}", "[]", "{}", "text", "nodes:", "nodes: {}"]
    {
        assert!(
            refusal(text).contains("nodes") || refusal(text).contains("node"),
            "{text:?}: {}",
            refusal(text)
        );
    }
}

/// What the other rooms count on.
fn assert_valid(config: &Config) {
    assert!(config.nodes.contains_key(&config.node));
    let mut vips = HashSet::new();
    let mut routers = HashSet::new();
    for (name, group) in &config.groups {
        assert_eq!(*name, group.name);
        assert!(!group.vips.is_empty());
        assert!(config.nodes.keys().all(|node| group.priorities.contains_key(node)));
        for vip in &group.vips {
            assert!(vips.insert(vip.address), "{} twice", vip.address);
            let networks = &config.interfaces[&vip.interface].networks;
            assert!(networks.iter().any(|network| network.contains(&vip.address)));
        }
        for link in group.links() {
            if let Some(vrid) = group.vrid() {
                assert!(routers.insert((link, vrid)));
            }
        }
    }
    let mut listeners = HashSet::new();
    for (name, service) in &config.services {
        assert_eq!(*name, service.name);
        let group = &config.groups[&service.group];
        assert!(group.accept);
        assert!(!service.vips.is_empty());
        for vip in &service.vips {
            assert!(group.vips.iter().any(|other| other.address == *vip));
            for port in service.ports.iter() {
                assert!(listeners.insert((*vip, service.protocol, port)));
            }
        }
        let names: HashSet<_> = service.backends.iter().map(|backend| &backend.name).collect();
        assert_eq!(names.len(), service.backends.len());
        assert!(service.backends.iter().all(|backend| !vips.contains(&backend.address.ip)));
        if let Some(check) = &service.check {
            assert!(check.timeout <= check.interval && check.fast_interval <= check.interval);
            assert!(check.rise > 0 && check.fall > 0);
        }
    }
}

/// Pieces that mean something to YAML or to us.
fn piece() -> impl Strategy<Value = String> {
    let words = [
        "",
        " ",
        "\n",
        "\n  ",
        "\t",
        ":",
        ": ",
        "- ",
        "? ",
        "{",
        "}",
        "[",
        "]",
        ",",
        "#",
        "&a ",
        "*a",
        "!t ",
        "|\n",
        ">\n",
        "'",
        "\"",
        "\\",
        "%",
        "@",
        "`",
        "---\n",
        "...\n",
        "~",
        "null",
        "true",
        "0",
        "-1",
        "256",
        "65536",
        "99999999999999999999",
        "10.0.0.100",
        "10.0.0.11",
        "255.255.255.255",
        "::",
        "::1",
        "fe80::1",
        "10.0.0.0/33",
        "0s",
        "1ms",
        "9999999999999d",
        "none",
        "lb-2",
        "web",
        "eth0",
        "\u{0}",
        "\u{85}",
        "\u{2028}",
        "\u{feff}",
        "ä",
        "name: x",
        "port: 1",
        "vips: [10.0.0.101]",
        "interval: 1h",
        "<<: *a",
    ];
    prop_oneof![4 => prop::sample::select(words.to_vec()).prop_map(str::to_owned), 1 => any::<String>()]
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 2_000, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn changed_examples_never_panic_and_what_is_taken_is_valid(
        example in 0..EXAMPLES.len(),
        edits in prop::collection::vec((any::<prop::sample::Index>(), 0..12_usize, piece()), 1..4),
    ) {
        let mut text: Vec<char> = EXAMPLES[example].1.chars().collect();
        for (index, length, piece) in edits {
            let start = index.index(text.len().max(1)).min(text.len());
            let end = start.saturating_add(length).min(text.len());
            text.splice(start..end, piece.chars());
        }
        let text: String = text.into_iter().collect();
        match parse(&text, "f", "lb-1") {
            Ok(parsed) => assert_valid(&parsed.config),
            Err(diagnostics) => {
                prop_assert!(!diagnostics.is_empty());
                prop_assert!(!diagnostics.to_string().is_empty());
            }
        }
    }

    #[test]
    fn any_text_never_panics(text: String) {
        let _either = parse(&text, "f", "lb-1");
    }
}
