//! `fulcrum drain`, `undrain`, `disable`, `weight` and `overrides`.
#![allow(
    clippy::disallowed_methods,
    reason = "--wait waits between two looks, and shows the time that is left"
)]

use crate::admin::path_of_wish;
use crate::cli::Connect;
use crate::cli::overrides::{Kind, OverrideOptions};
use crate::client::{Client, Reply};
use crate::commands::{ask, print, refused};
use crate::error::Failure;
use crate::node::{Target, Wish};
use crate::show::{self, counted};
use crate::wire::Overridden;
use fulcrum_config::{GroupName, UnixTime};
use fulcrum_lifecycle::{Override, Status};
use hyper::Method;
use std::io::{self, IsTerminal, Write};
use std::process::ExitCode;
use std::time::{Duration, SystemTime};

/// Time between two looks.
const LOOK: Duration = Duration::from_millis(500);
/// So wide is the bar.
const WIDTH: u64 = 30;

pub(crate) fn target(kind: Kind, name: &str) -> Target {
    match kind {
        Kind::Backend => Target::Backend(name.to_owned()),
        Kind::LbNode => Target::Node(name.to_owned()),
        Kind::Pool => Target::Pool(name.to_owned()),
    }
}

/// Asks the daemon for `wish`.
pub(super) fn grant(client: &Client, wish: &Wish, forced: &[String]) -> Result<Overridden, Failure> {
    let forced = forced.iter().map(|name| GroupName::new(name)).collect();
    match client.ask::<Overridden>(Method::POST, &path_of_wish(wish, &forced))? {
        Reply::Done(done) => Ok(done),
        Reply::Refused(refusal) => Err(refused(&refusal)),
    }
}

/// Asks for `wish`, and with `wait` shows what is left until nothing is.
pub(crate) fn ask_for(wish: &Wish, options: &OverrideOptions, wait: bool) -> Result<ExitCode, Failure> {
    let client = Client::new(&options.connect);
    let done = grant(&client, wish, &options.forced)?;
    if options.json {
        let text = serde_json::to_string_pretty(&done)
            .map_err(|error| Failure::Refused(format!("the answer can't be shown: {error}")))?;
        print(&format!("{text}\n"))?;
    } else {
        print(&done.to_string())?;
    }
    if wait { watch(&client, &done.of) } else { Ok(ExitCode::SUCCESS) }
}

/// What operators asked for, as a table or JSON.
pub(crate) fn list(connect: &Connect, as_json: bool) -> Result<ExitCode, Failure> {
    let status = ask::<Status>(&Client::new(connect))?;
    if as_json {
        let text = serde_json::to_string_pretty(&status.overrides)
            .map_err(|error| Failure::Refused(format!("the answer can't be shown: {error}")))?;
        return print(&format!("{text}\n"));
    }
    if status.overrides.is_empty() {
        return print("operators have asked for nothing over the file\n");
    }
    let colour = io::stdout().is_terminal() && std::env::var_os("NO_COLOR").is_none();
    print(&format!("{}\n", show::overrides(&status, now(), colour)))
}

fn now() -> UnixTime {
    UnixTime::of(SystemTime::now())
}

/// Shows what is left, on a terminal in one line, until nothing is or nobody asks for it any more.
fn watch(client: &Client, of: &[String]) -> Result<ExitCode, Failure> {
    let is_terminal = io::stderr().is_terminal();
    let mut most = 0;
    let mut said = String::new();
    loop {
        let status = ask::<Status>(client)?;
        let asked: Vec<&Override> = status
            .overrides
            .iter()
            .filter(|it| of.contains(&it.of) && !it.what.starts_with("weight"))
            .collect();
        if asked.is_empty() {
            eprintln!("{}nobody drains it any more", if is_terminal { "\n" } else { "" });
            return Ok(ExitCode::FAILURE);
        }
        let left = left(&asked);
        most = left.max(most);
        let line = line(&asked, left, most, now());
        if is_terminal {
            eprint!("\r\x1b[K{line}");
            let _ = io::stderr().flush();
        } else if said != line {
            eprintln!("{line}");
            said.clone_from(&line);
        }
        if left == 0 {
            if is_terminal {
                eprintln!();
            }
            return Ok(ExitCode::SUCCESS);
        }
        std::thread::sleep(LOOK);
    }
}

/// Connections and groups that are left.
fn left(asked: &[&Override]) -> u64 {
    let one = |it: &&Override| {
        let groups = u64::try_from(it.leads.len()).unwrap_or(u64::MAX);
        it.connections.unwrap_or(0).saturating_add(groups)
    };
    asked.iter().map(one).fold(0, u64::saturating_add)
}

fn line(asked: &[&Override], left: u64, most: u64, now: UnixTime) -> String {
    let gone = most.saturating_sub(left).saturating_mul(WIDTH).checked_div(most).unwrap_or(WIDTH);
    let bar: String = (0..WIDTH).map(|at| if at < gone { '#' } else { '.' }).collect();
    let connections = asked.iter().filter_map(|it| it.connections).fold(0, u64::saturating_add);
    let groups: Vec<&str> = asked.iter().flat_map(|it| &it.leads).map(String::as_str).collect();
    let mut words = Vec::new();
    if connections > 0 || groups.is_empty() {
        let count = usize::try_from(connections).unwrap_or(usize::MAX);
        words.push(format!("{} left", counted(count, "connection")));
    }
    if !groups.is_empty() {
        words.push(format!("leads {}", groups.join(", ")));
    }
    if let Some(until) = asked.iter().filter_map(|it| it.until).max().filter(|_| left > 0) {
        words.push(match now.until(UnixTime(until)).as_secs() {
            0 => "the deadline is over: they are closed".to_owned(),
            seconds => format!("closed in {seconds} s"),
        });
    }
    format!("[{bar}] {}", words.join(", "))
}
