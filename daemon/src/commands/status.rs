//! `fulcrum status`.
#![allow(clippy::disallowed_methods, reason = "--watch waits between two looks")]

use crate::cli::inspect::StatusOptions;
use crate::client::{Client, Reply};
use crate::commands::{print, refused};
use crate::error::Failure;
use crate::show;
use fulcrum_lifecycle::Status;
use hyper::Method;
use std::io::{self, IsTerminal};
use std::process::ExitCode;
use std::time::Duration;

/// Time between two looks of `--watch`.
const WATCH: Duration = Duration::from_secs(1);
/// Clears the screen and goes to its top.
const CLEAR: &str = "\x1b[H\x1b[2J";

pub(crate) fn status(options: &StatusOptions) -> Result<ExitCode, Failure> {
    let client = Client::new(&options.connect);
    if options.json {
        let status = ask::<serde_json::Value>(&client)?;
        return print(&format!("{status:#}\n"));
    }
    let is_terminal = io::stdout().is_terminal();
    let colour = is_terminal && std::env::var_os("NO_COLOR").is_none();
    if !options.watch {
        return print(&show::status(&ask::<Status>(&client)?, colour));
    }
    loop {
        let page = match ask::<Status>(&client) {
            Ok(status) => show::status(&status, colour),
            // It may be restarting: keep looking.
            Err(failure @ Failure::Unreachable { .. }) => format!("fulcrum: {failure}\n"),
            Err(failure) => return Err(failure),
        };
        print(&if is_terminal { format!("{CLEAR}{page}") } else { page })?;
        std::thread::sleep(WATCH);
    }
}

pub(crate) fn ask<T: serde::de::DeserializeOwned>(client: &Client) -> Result<T, Failure> {
    match client.ask(Method::GET, "/v1/status")? {
        Reply::Done(status) => Ok(status),
        Reply::Refused(refusal) => Err(refused(&refusal)),
    }
}
