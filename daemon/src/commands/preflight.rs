//! `fulcrum preflight`.
#![allow(clippy::disallowed_methods, reason = "says how long it took")]

use crate::cli::inspect::PreflightOptions;
use crate::commands::print;
use crate::error::Failure;
use crate::node::read;
use crate::preflight::run;
use crate::show::counted;
use fulcrum_config::preflight::{Line, State};
use serde_json::json;
use std::io::{self, IsTerminal};
use std::process::ExitCode;
use std::sync::Arc;
use std::time::Instant;

#[cfg(test)]
mod tests;

/// The file is refused.
const REFUSED: u8 = 2;

pub(crate) fn preflight(options: &PreflightOptions) -> Result<ExitCode, Failure> {
    let begun = Instant::now();
    let file = options.config.path();
    let config = match read(file) {
        Ok((_, parsed)) => Arc::new(parsed.config),
        Err(mistakes) => {
            if options.json {
                print(&format!(
                    "{:#}\n",
                    json!({ "file": file, "result": "refused", "diagnostics": mistakes })
                ))?;
            } else {
                eprintln!("{mistakes}\n{}: refused, so nothing was looked at", file.display());
            }
            return Ok(ExitCode::from(REFUSED));
        }
    };
    let socket = options.socket.clone().unwrap_or_else(|| config.admin.socket.clone());
    let lines = run(&config, socket);
    let seconds = begun.elapsed().as_secs_f64();
    let worst = worst(&lines);
    if options.json {
        let took_ms = (seconds * 1e3).round();
        let node = config.node.as_str();
        let page = json!({ "file": file, "node": node, "result": worst, "took_ms": took_ms, "lines": lines });
        print(&format!("{page:#}\n"))?;
    } else {
        let colour = io::stdout().is_terminal() && std::env::var_os("NO_COLOR").is_none();
        print(&format!("{}\n{} in {seconds:.1} s\n", page(&lines, colour), summary(&lines)))?;
    }
    Ok(ExitCode::from(u8::from(worst == State::Failed)))
}

fn worst(lines: &[Line]) -> State {
    let counted = lines.iter().map(|line| line.state).filter(|state| *state != State::NotApplicable);
    counted.max().unwrap_or(State::Ok)
}

fn page(lines: &[Line], colour: bool) -> String {
    let check = lines.iter().map(|line| line.check.len()).max().unwrap_or(0);
    let lines = lines.iter().map(|line| {
        let (word, paint) = match line.state {
            State::Ok => ("ok", "\x1b[32m"),
            State::NotApplicable => ("n/a", "\x1b[2m"),
            State::Warning => ("warning", "\x1b[33m"),
            State::Failed => ("FAILED", "\x1b[31m"),
        };
        let (paint, plain) = if colour { (paint, "\x1b[0m") } else { ("", "") };
        let remedy = line.remedy.as_ref().map(|remedy| format!("{:9}do: {remedy}\n", "")).unwrap_or_default();
        format!("{paint}{word:7}{plain}  {:check$}  {}: {}\n{remedy}", line.check, line.about, line.found)
    });
    lines.collect()
}

fn summary(lines: &[Line]) -> String {
    let count = |state| lines.iter().filter(|line| line.state == state).count();
    let (failed, warnings) = (count(State::Failed), counted(count(State::Warning), "warning"));
    let (good, aside) = (count(State::Ok), count(State::NotApplicable));
    format!("{failed} failed, {warnings}, {good} ok, {aside} not applicable")
}
