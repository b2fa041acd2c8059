//! Any text is a configuration or is refused with diagnostics that can be shown.
#![no_main]

use libfuzzer_sys::fuzz_target;

fuzz_target!(|text: &str| {
    if let Err(diagnostics) = fulcrum_config::parse(text, "fulcrum.yaml", "lb-1") {
        assert!(!diagnostics.to_string().is_empty());
    }
});
