//! `fulcrum check`.

use crate::cli::config::CheckOptions;
use crate::commands::print;
use crate::error::Failure;
use crate::node::read_to_run;
use crate::show::counted;
use serde_json::json;
use std::process::ExitCode;

pub(crate) fn check(options: &CheckOptions) -> Result<ExitCode, Failure> {
    let file = options.config.path();
    let (is_good, diagnostics, summary) = match read_to_run(file) {
        Ok((_, parsed)) => {
            let config = &parsed.config;
            let summary = format!(
                "{}: good: node {}, {}, {}",
                file.display(),
                config.node,
                counted(config.groups.len(), "group"),
                counted(config.services.len(), "service")
            );
            (true, parsed.warnings, summary)
        }
        Err(mistakes) => (false, mistakes, format!("{}: refused", file.display())),
    };
    if options.json {
        print(&format!("{:#}\n", json!({ "file": file, "good": is_good, "diagnostics": diagnostics })))?;
    } else {
        if !diagnostics.is_empty() {
            eprintln!("{diagnostics}");
        }
        if is_good {
            print(&format!("{summary}\n"))?
        } else {
            eprint_line(&summary)
        };
    }
    Ok(if is_good { ExitCode::SUCCESS } else { ExitCode::from(1) })
}

fn eprint_line(line: &str) -> ExitCode {
    eprintln!("{line}");
    ExitCode::from(1)
}
