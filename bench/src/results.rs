//! The file that holds the last figures: one section for each measurement, replaced by each new run of it.

use std::fs;
use std::io;
use std::path::Path;
use std::process::Command;

/// Prints a measurement and, if there is a file, puts it in the place of its last run there.
///
/// # Errors
/// The file can't be written.
pub(crate) fn publish(file: Option<&Path>, name: &str, how: &str, tables: &str) -> io::Result<()> {
    let section = format!("{}\n{tables}\n", conditions(how));
    println!("{section}");
    let Some(file) = file else { return Ok(()) };
    let old = fs::read_to_string(file).unwrap_or_default();
    fs::write(file, replaced(&old, name, &section))
}

/// `old` with the section `name` replaced, or added at the end.
fn replaced(old: &str, name: &str, section: &str) -> String {
    let (begin, end) = (format!("<!-- {name} -->\n"), format!("<!-- end of {name} -->\n"));
    let new = format!("{begin}{section}{end}");
    match (old.split_once(&begin), old.split_once(&end)) {
        (Some((before, _)), Some((_, after))) => format!("{before}{new}{after}"),
        _ => format!("{old}\n{new}"),
    }
}

fn conditions(how: &str) -> String {
    let kernel = fs::read_to_string("/proc/sys/kernel/osrelease").unwrap_or_default();
    let cores = std::thread::available_parallelism().map_or(0, usize::from);
    let versions: Vec<String> = [("haproxy", "-v"), ("nginx", "-v"), ("keepalived", "--version")]
        .into_iter()
        .filter_map(|(program, argument)| version(program, argument))
        .collect();
    format!("`{how}` on {cores} cores, Linux {}; beside {}.", kernel.trim(), versions.join(", "))
}

/// The first word of what a program says of itself that looks like a version.
fn version(program: &str, argument: &str) -> Option<String> {
    let output = Command::new(program).arg(argument).output().ok()?;
    let text = [output.stdout, output.stderr].concat();
    let text = String::from_utf8_lossy(&text).into_owned();
    let word = text
        .split([' ', '/', '\n'])
        .find(|word| word.contains('.') && word.contains(|c: char| c.is_ascii_digit()))?;
    Some(format!("{program} {}", word.trim_start_matches('v')))
}

#[cfg(test)]
mod tests;
