use super::*;

const EXAMPLES: [(&str, &str); 4] = [
    ("pair.yaml", include_str!("../../examples/pair.yaml")),
    ("control-plane.yaml", include_str!("../../examples/control-plane.yaml")),
    ("dual-stack.yaml", include_str!("../../examples/dual-stack.yaml")),
    ("full.yaml", include_str!("../../examples/full.yaml")),
];

#[test]
fn examples_load_without_a_word() {
    for (name, text) in EXAMPLES {
        for host in ["lb-1", "lb-2"] {
            match parse(text, name, host) {
                Ok(parsed) => assert!(parsed.warnings.is_empty(), "{name}:\n{}", parsed.warnings),
                Err(diagnostics) => panic!("{name}:\n{diagnostics}"),
            }
        }
    }
}

mod mistakes;
