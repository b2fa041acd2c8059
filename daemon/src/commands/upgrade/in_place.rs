//! The new binary takes over from the old one's process on this very node.
#![allow(clippy::disallowed_methods, reason = "waits between two looks")]

use super::files::Installed;
use super::{LOOK, say, words};
use crate::admin::path_of_in_place;
use crate::cli::upgrade::UpgradeOptions;
use crate::client::{Client, Reply};
use crate::commands::{ask, refused};
use crate::error::Failure;
use crate::node::InPlace;
use crate::show::counted;
use crate::wire::Replaced;
use fulcrum_lifecycle::Status;
use hyper::Method;
use std::time::Instant;

/// Replaces the binary and has its process take over, or puts all back as it was.
pub(super) fn change(
    client: &Client,
    options: &UpgradeOptions,
    before: &Status,
    installed: &Installed,
    version: &str,
) -> Result<(), Failure> {
    let begun = Instant::now();
    let kept = |why: &str| format!("{why}; the binary was not replaced, and {} runs on", before.version);
    installed.replace(&options.new).map_err(|why| Failure::Refused(kept(&why)))?;
    let how = InPlace { ready: options.ready, deadline: options.deadline };
    let replaced = match client.ask::<Replaced>(Method::POST, &path_of_in_place(how)) {
        Ok(Reply::Done(replaced)) => replaced,
        Ok(Reply::Refused(refusal)) => return Err(put_back(installed, refused(&refusal), &before.version)),
        Err(failure) => return Err(put_back(installed, failure, &before.version)),
    };
    let left = usize::try_from(replaced.connections).unwrap_or(usize::MAX);
    say(format!(
        "process {} of version {} took over after {:.1} s; the one before finishes {}, for {} s at most",
        replaced.pid,
        replaced.version,
        begun.elapsed().as_secs_f64(),
        counted(left, "connection"),
        options.deadline.as_secs()
    ));
    loop {
        let lacks = match ask::<Status>(client) {
            Err(failure) => failure.to_string(),
            Ok(status) => match words::lacks(before, &status, Some(version), begun.elapsed()) {
                None => return Ok(()),
                Some(lacks) => lacks,
            },
        };
        if begun.elapsed() >= options.ready {
            return Err(Failure::Refused(format!(
                "the new process is the node, and after {} s {lacks}\n  look at 'fulcrum status' and at its log; {} is kept: put it \
                 back by an upgrade to it",
                options.ready.as_secs(),
                installed.before().display()
            )));
        }
        std::thread::sleep(LOOK);
    }
}

fn put_back(installed: &Installed, failure: Failure, version: &str) -> Failure {
    let and = match installed.put_back() {
        Ok(()) => format!("the new binary was abandoned, and {version} runs on"),
        Err(why) => format!("{version} runs on, and its file is to be put back by hand: {why}"),
    };
    Failure::Refused(format!("{failure}\n  {and}"))
}
