//! What each command does.

mod backup;
mod capture;
mod check;
mod diagnose;
mod drill;
mod explain;
mod handover;
mod hook;
mod init;
mod overrides;
mod preflight;
mod roll;
mod run;
mod source;
mod status;
mod upgrade;

use crate::cli::config::ReloadOptions;
use crate::cli::overrides::{DisableOptions, DrainOptions, OfBackend, UndrainOptions, WeightOptions};
use crate::cli::{Cli, Command};
use crate::client::{Client, Reply};
use crate::error::Failure;
use crate::node::Wish;
use crate::wire::{Refusal, Rehearsed, Reloaded};
use clap::CommandFactory;
use hyper::Method;
use serde::Serialize;
pub(crate) use status::ask;
use std::fmt;
use std::io::{self, Write};
use std::path::Path;
use std::process::ExitCode;

/// Does what was asked, and says how it went.
pub(crate) fn dispatch(cli: Cli) -> ExitCode {
    let result = match cli.command {
        Command::Run(options) => run::run(options.config.path(), options.take_over),
        Command::Status(options) => status::status(&options),
        Command::Reload(options) => reload(&options),
        Command::Check(options) => check::check(&options),
        Command::Explain(options) => explain::command(&options),
        Command::Preflight(options) => preflight::preflight(&options),
        Command::Roll(options) => roll::roll(&options),
        Command::Replace(options) => roll::replace(&options),
        Command::Drill(arguments) => drill::drill(&arguments),
        Command::Capture(options) => capture::capture(&options),
        Command::Backup(options) => backup::backup(&options),
        Command::Backups(options) => backup::backups(&options),
        Command::Restore(options) => backup::restore(&options),
        Command::Diagnose(options) => diagnose::diagnose(&options),
        Command::Schema => print(&format!("{:#}\n", fulcrum_config::schema())),
        Command::Handover(options) => handover::handover(&options),
        Command::Drain(DrainOptions { kind, name, deadline, wait, options }) => {
            let wish = Wish::Drain(overrides::target(kind, &name), deadline);
            overrides::ask_for(&wish, &options, wait)
        }
        Command::Undrain(UndrainOptions { kind, name, options }) => {
            overrides::ask_for(&Wish::Undrain(overrides::target(kind, &name)), &options, false)
        }
        Command::Disable(DisableOptions { kind: OfBackend::Backend, name, wait, options }) => {
            overrides::ask_for(&Wish::Disable(name), &options, wait)
        }
        Command::Weight(WeightOptions { kind: OfBackend::Backend, name, weight, options }) => {
            overrides::ask_for(&Wish::Weight(name, weight), &options, false)
        }
        Command::UpgradeBinary(options) => upgrade::upgrade(&options),
        Command::Hook(options) => hook::hook(&options),
        Command::Overrides(options) => overrides::list(&options.connect, options.json),
        Command::Source(arguments) => source::source(&arguments.what),
        Command::PeerKey { file } => peer_key(&file),
        Command::Init(options) => init::init(options),
        Command::Version => print(&format!("fulcrum {}\n", env!("CARGO_PKG_VERSION"))),
        Command::Completions { shell } => {
            clap_complete::generate(shell, &mut Cli::command(), "fulcrum", &mut io::stdout());
            Ok(ExitCode::SUCCESS)
        }
    };
    result.unwrap_or_else(|failure| {
        eprintln!("fulcrum: {failure}");
        failure.exit_code()
    })
}

/// Prints; a reader that went away (`| head`) is no failure.
fn print(text: &str) -> Result<ExitCode, Failure> {
    let mut out = io::stdout().lock();
    match out.write_all(text.as_bytes()).and_then(|()| out.flush()) {
        Err(error) if error.kind() != io::ErrorKind::BrokenPipe => {
            Err(Failure::Io { what: "the output can't be written".to_owned(), error })
        }
        Ok(()) | Err(_) => Ok(ExitCode::SUCCESS),
    }
}

fn refused(refusal: &Refusal) -> Failure {
    let mut text = String::new();
    for diagnostic in &refusal.diagnostics {
        text.push_str(diagnostic.trim_end());
        text.push_str("\n\n");
    }
    text.push_str(&refusal.error);
    if refusal.diagnostics.is_empty() {
        Failure::Refused(text)
    } else {
        Failure::Refused(format!("\n{text}"))
    }
}

fn reload(options: &ReloadOptions) -> Result<ExitCode, Failure> {
    let client = Client::new(&options.connect);
    let words = [
        (options.dry_run, "dry-run"),
        (options.give_up_addresses, "give-up-addresses"),
        (options.local, "local"),
    ];
    let words = words.into_iter().filter(|(asked, _)| *asked).map(|(_, word)| word.to_owned());
    let forced = options.forced.iter().map(|group| format!("force={group}"));
    let words: Vec<String> = words.chain(forced).collect();
    let query = if words.is_empty() { String::new() } else { format!("?{}", words.join("&")) };
    let path = format!("/v1/reload{query}");
    if options.dry_run {
        let reply = client.ask::<Rehearsed>(Method::POST, &path)?;
        return show_reload(reply, options.json, |rehearsed| &rehearsed.warnings);
    }
    show_reload(client.ask::<Reloaded>(Method::POST, &path)?, options.json, |reloaded| &reloaded.warnings)
}

fn show_reload<T: Serialize + fmt::Display>(
    reply: Reply<T>,
    as_json: bool,
    warnings: impl Fn(&T) -> &Vec<String>,
) -> Result<ExitCode, Failure> {
    match reply {
        Reply::Done(answer) if as_json => match serde_json::to_string_pretty(&answer) {
            Ok(answer) => print(&format!("{answer}\n")),
            Err(error) => Err(Failure::Refused(format!("the answer can't be shown: {error}"))),
        },
        Reply::Done(answer) => {
            for warning in warnings(&answer) {
                eprintln!("{}", warning.trim_end());
            }
            print(&answer.to_string())
        }
        Reply::Refused(refusal) => Err(refused(&refusal)),
    }
}

fn peer_key(file: &Path) -> Result<ExitCode, Failure> {
    let (pin, made) =
        fulcrum_peer::key::create_or_pin(file).map_err(|error| Failure::Refused(error.to_string()))?;
    if made {
        eprintln!("made {}", file.display());
    }
    print(&format!("{pin}\n"))
}
