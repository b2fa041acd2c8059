//! What a drill says.

use super::Report;
use crate::cli::drill::DrillOptions;
use crate::commands::drill::history::Kind;
use crate::commands::drill::plan::Plan;
use crate::error::Failure;
use crate::show::counted;
use std::io::{self, IsTerminal, Write};

/// What will happen.
pub(super) fn plan(plan: &Plan, options: &DrillOptions) -> String {
    let (node, groups) = (&plan.node, plan.groups.join(", "));
    let what = match plan.kind {
        Kind::Handover => format!("{node} hands over {groups}; no client should notice"),
        Kind::Kill => format!(
            "the daemon of {node} is killed, and has to be started again by systemd: another node takes over {groups}; clients \
             have no answer meanwhile, and connections that {node} proxies break"
        ),
        Kind::Cut => format!(
            "{node} is cut off from all networks of its configuration for {} s, your own connections to it included: another \
             node takes over {groups}; clients have no answer meanwhile, and connections that {node} proxies break",
            options.lasts.as_secs()
        ),
    };
    let mut text = format!("{what}\n");
    if !plan.others.is_empty() {
        text.push_str(&format!("{node} loses these groups, too: {}\n", plan.others.join(", ")));
    }
    let asked: Vec<String> =
        plan.endpoints.iter().map(|it| format!("{} at {}", it.service, it.address)).collect();
    let every = options.interval.saturating_mul(u32::try_from(asked.len()).unwrap_or(u32::MAX)).as_millis();
    text.push_str(&format!("measured from this machine: {}; each every {every} ms\n", asked.join(", ")));
    for unasked in &plan.unasked {
        text.push_str(&format!("not measured: {unasked}\n"));
    }
    text
}

/// Asks whoever sits there.
pub(super) fn confirm() -> Result<(), Failure> {
    if !io::stdin().is_terminal() {
        return Err(Failure::Refused(
            "nobody is there to be asked: nothing was done\n  say --yes".to_owned(),
        ));
    }
    eprint!("do it now? [yes/no] ");
    let mut answer = String::new();
    let read = io::stderr().flush().and_then(|()| io::stdin().read_line(&mut answer));
    match read {
        Ok(_) if matches!(answer.trim(), "yes" | "y") => Ok(()),
        Ok(_) | Err(_) => Err(Failure::Refused("nothing was done".to_owned())),
    }
}

/// What was lost.
pub(super) fn report(report: &Report, plan: &Plan, options: &DrillOptions) -> String {
    let mut text = String::new();
    for asks in &report.services {
        let it = &asks.measured;
        let away = if it.failed == 0 {
            "no connection failed".to_owned()
        } else {
            let more = if it.is_over { "" } else { "at least " };
            let often =
                if it.outages > 1 { format!(", the longest of {} times", it.outages) } else { String::new() };
            format!(
                "no answer for {more}{:.1} ms{often}; {} of {} connections failed",
                it.outage_ms, it.failed, it.requests
            )
        };
        text.push_str(&format!(
            "service {} at {}: {away} (asked at least every {:.1} ms)\n",
            asks.service, asks.address, it.resolution_ms
        ));
    }
    for drill in &report.drills {
        let (group, from) = (&drill.group, &drill.from);
        let to = drill.to.as_deref().unwrap_or("nobody that was seen");
        let now = match &drill.leads {
            Some(leads) if drill.to.as_ref() != Some(leads) => format!(", and {leads} leads it now"),
            Some(_) => String::new(),
            None => ", and who leads it now is not known".to_owned(),
        };
        text.push_str(&format!(
            "group {group}: {to} took it from {from}{now}; {} of {} held open broke\n",
            drill.broken,
            counted(drill.held, "connection")
        ));
    }
    if plan.kind != Kind::Handover
        && let Some(back) = report.back_after_s
    {
        text.push_str(&format!("{} answers again after {back:.1} s\n", plan.node));
    }
    for note in &report.notes {
        text.push_str(&format!("{note}\n"));
    }
    text.push_str(&format!(
        "measured on this machine, which is no node; a connection counts that is open within {} ms\n",
        options.timeout.as_millis()
    ));
    text
}

/// Who asks, and where.
pub(super) fn who() -> String {
    let user = ["SUDO_USER", "USER", "LOGNAME"].into_iter().find_map(|name| std::env::var(name).ok());
    let user = user.unwrap_or_else(|| format!("uid {}", rustix::process::getuid().as_raw()));
    format!("{user}@{}", rustix::system::uname().nodename().to_string_lossy())
}
