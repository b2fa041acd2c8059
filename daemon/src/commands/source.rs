//! `fulcrum source`.

use crate::admin::{Asked, path_of_source};
use crate::cli::source::{SourceCommand, SourceOptions};
use crate::client::{Client, Reply};
use crate::commands::{ask, print, refused};
use crate::error::Failure;
use crate::node::Applied;
use crate::show;
use fulcrum_config::{Fragments, UnixTime};
use fulcrum_lifecycle::Status;
use hyper::Method;
use serde::Serialize;
use std::io::{self, IsTerminal, Read};
use std::path::Path;
use std::process::ExitCode;

pub(crate) fn source(what: &SourceCommand) -> Result<ExitCode, Failure> {
    match what {
        SourceCommand::List(options) => list(options),
        SourceCommand::Show { name, connect } => {
            let path = path_of_source(&Asked::Show(name.clone()));
            print(&Client::new(connect).text(&path)?)
        }
        SourceCommand::Set { name, file, options } => {
            apply(options, &Asked::Set(name.clone()), read(file)?, name)
        }
        SourceCommand::Remove { name, options } => {
            apply(options, &Asked::Remove(name.clone()), String::new(), name)
        }
    }
}

#[allow(clippy::disallowed_methods, reason = "shows how long ago something was")]
fn list(options: &SourceOptions) -> Result<ExitCode, Failure> {
    let status = ask::<Status>(&Client::new(&options.connect))?;
    if options.json {
        return json(&status.sources);
    }
    if status.sources.is_empty() {
        return print("all services stand in the file: there is no other source\n");
    }
    let colour = io::stdout().is_terminal() && std::env::var_os("NO_COLOR").is_none();
    let now = UnixTime::of(std::time::SystemTime::now());
    let aside = show::set_aside(&status, usize::MAX);
    print(&format!("{}\n{aside}", show::sources(&status, now, colour)))
}

fn apply(options: &SourceOptions, asked: &Asked, text: String, name: &str) -> Result<ExitCode, Failure> {
    let client = Client::new(&options.connect);
    let done = match client.ask_with::<Applied>(Method::POST, &path_of_source(asked), text)? {
        Reply::Done(done) => done,
        Reply::Refused(refusal) => return Err(refused(&refusal)),
    };
    if options.json { json(&done) } else { print(&in_words(name, &done)) }
}

fn in_words(name: &str, done: &Applied) -> String {
    let count = done.addresses.len();
    let mut lines = Vec::new();
    if done.changed {
        lines.push(format!("source {name}: {} in force", show::counted(count, "service")));
    } else {
        lines.push(format!("nothing changed: source {name} said so already"));
    }
    lines.extend(done.set_aside.iter().map(|(service, why)| format!("set aside: {service}: {why}")));
    lines.extend(done.peers.iter().cloned());
    lines.join("\n") + "\n"
}

fn json(value: &impl Serialize) -> Result<ExitCode, Failure> {
    let text = serde_json::to_string_pretty(value)
        .map_err(|error| Failure::Refused(format!("the answer can't be shown: {error}")))?;
    print(&format!("{text}\n"))
}

/// No more than any source may say.
fn read(file: &Path) -> Result<String, Failure> {
    let failed =
        |error: io::Error| Failure::Io { what: format!("{}: it can't be read", file.display()), error };
    let limit = u64::try_from(Fragments::SIZE).unwrap_or(u64::MAX).saturating_add(1);
    let mut text = String::new();
    if file == Path::new("-") {
        io::stdin().take(limit).read_to_string(&mut text).map_err(failed)?;
    } else {
        std::fs::File::open(file)
            .and_then(|opened| opened.take(limit).read_to_string(&mut text))
            .map_err(failed)?;
    }
    Ok(text)
}
