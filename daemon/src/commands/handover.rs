//! `fulcrum handover`: one group after the other, whether they are answered for from outside, and what is left to finish.
#![allow(clippy::disallowed_methods, reason = "waits between two looks")]

use crate::cli::handover::HandoverOptions;
use crate::client::{Client, Reply};
use crate::commands::{ask, print, refused};
use crate::error::Failure;
use crate::wire::{HandedOver, Refusal};
use fulcrum_lifecycle::Status;
use hyper::Method;
use serde::Serialize;
use std::process::ExitCode;

mod confirm;
mod finish;

pub(crate) use confirm::Confirmed;
pub(crate) use finish::Finished;

/// The counter of packets that went on to the node that knows their connection.
const PASSED_ON: &str = "second_chance_passed_on";

/// How it went.
#[derive(Debug, Serialize)]
struct Report {
    moved: Vec<Moved>,
    /// The group at which it stopped.
    refused: Option<Stopped>,
    /// Those that were not tried any more.
    left: Vec<String>,
    /// Packets of connections of the other node that this one passed on meanwhile.
    passed_on: u64,
    finished: Option<Finished>,
}

#[derive(Debug, Serialize)]
struct Moved {
    #[serde(flatten)]
    done: HandedOver,
    from_outside: Confirmed,
}

#[derive(Debug, Serialize)]
struct Stopped {
    group: String,
    #[serde(flatten)]
    refusal: Refusal,
}

pub(crate) fn handover(options: &HandoverOptions) -> Result<ExitCode, Failure> {
    let client = Client::new(&options.connect);
    let before: Status = ask(&client)?;
    let groups = match &options.group {
        Some(group) => vec![group.clone()],
        None => led(&before),
    };
    if groups.is_empty() && !options.json {
        return print("this node leads no group: there is nothing to hand over\n");
    }
    let (moved, stopped) = move_all(&client, options, &groups)?;
    let confirmed = confirm::confirm(&client, &moved)?;
    let after: Status = ask(&client)?;
    let passed_on = passed_on(&after).saturating_sub(passed_on(&before));
    let moved: Vec<Moved> =
        moved.into_iter().zip(confirmed).map(|(done, from_outside)| Moved { done, from_outside }).collect();
    if !options.json {
        moved.iter().try_for_each(|it| print(&in_words(it)).map(|_| ()))?;
        if passed_on > 0 {
            print(&format!("{passed_on} packets of connections of other nodes passed on meanwhile\n"))?;
        }
    }
    let names: Vec<String> = moved.iter().map(|it| it.done.group.clone()).collect();
    let finished = if options.wait { Some(finish::wait(&client, &names, !options.json)?) } else { None };
    let tried = moved.len().saturating_add(usize::from(stopped.is_some()));
    let left: Vec<String> = groups.into_iter().skip(tried).collect();
    let report = Report { moved, refused: stopped, left, passed_on, finished };
    end(&report, options)
}

/// Those of class control-plane come last: what is the matter shows before they are touched.
fn led(status: &Status) -> Vec<String> {
    let led = status.groups.iter().filter(|group| group.role == "leader");
    let mut led: Vec<_> = led.map(|group| (group.class == "control-plane", group.name.clone())).collect();
    led.sort();
    led.into_iter().map(|(_, name)| name).collect()
}

/// One after the other, to the first that is refused.
fn move_all(
    client: &Client,
    options: &HandoverOptions,
    groups: &[String],
) -> Result<(Vec<HandedOver>, Option<Stopped>), Failure> {
    let mut moved = Vec::new();
    for group in groups {
        match client.ask::<HandedOver>(Method::POST, &path(group, options))? {
            Reply::Done(done) => {
                if !options.json {
                    print(&format!(
                        "{} leads group {} after {:.1} ms\n",
                        done.leader, done.group, done.took_ms
                    ))?;
                }
                moved.push(done);
            }
            Reply::Refused(refusal) => return Ok((moved, Some(Stopped { group: group.clone(), refusal }))),
        }
    }
    Ok((moved, None))
}

fn path(group: &str, options: &HandoverOptions) -> String {
    // One that names another group is for the daemon to refuse.
    let forced = options.forced.iter().find(|it| *it == group);
    let forced = forced.or_else(|| options.forced.first().filter(|_| !options.all));
    let words = [("force", forced), ("to", options.to.as_ref())];
    let words: Vec<String> =
        words.into_iter().filter_map(|(key, value)| Some(format!("{key}={}", value?))).collect();
    let query = if words.is_empty() { String::new() } else { format!("?{}", words.join("&")) };
    format!("/v1/handover/{group}{query}")
}

fn passed_on(status: &Status) -> u64 {
    status.counters.get("vip_manager").and_then(|counters| counters.get(PASSED_ON)).copied().unwrap_or(0)
}

/// What clients could have seen.
fn in_words(moved: &Moved) -> String {
    let HandedOver { group, unled_ms, carried, note, unknown, .. } = &moved.done;
    let mut lines = vec![if *unled_ms > 0.0 {
        format!("without a leader for {unled_ms:.1} ms, as far as this node heard")
    } else {
        "not a moment without a leader".to_owned()
    }];
    if *carried > 0 {
        lines.push(format!("{carried} forwarded connections, known one by one, go on there"));
    }
    lines.extend(note.iter().flat_map(|note| note.lines()).map(str::to_owned));
    lines.extend(unknown.iter().cloned());
    lines.push(moved.from_outside.to_string());
    lines.iter().map(|line| format!("{group}: {line}\n")).collect()
}

/// Says where it stands if it stopped.
fn end(report: &Report, options: &HandoverOptions) -> Result<ExitCode, Failure> {
    if options.json {
        let text = serde_json::to_string_pretty(report);
        let text = text.map_err(|error| Failure::Refused(format!("the result can't be shown: {error}")))?;
        print(&format!("{text}\n"))?;
        return Ok(ExitCode::from(u8::from(report.refused.is_some())));
    }
    let Some(Stopped { group, refusal }) = &report.refused else { return Ok(ExitCode::SUCCESS) };
    if options.all {
        let moved: Vec<&str> = report.moved.iter().map(|it| it.done.group.as_str()).collect();
        let named = |names: &[&str]| if names.is_empty() { "none".to_owned() } else { names.join(", ") };
        let left: Vec<&str> = report.left.iter().map(String::as_str).collect();
        eprintln!("stopped at group {group}: moved {}; not tried {}\n", named(&moved), named(&left));
    }
    Err(refused(refusal))
}
