//! Makes the node lose its groups: from afar, and at the node.

use super::Drill;
use crate::admin::path_of_strike;
use crate::cli::drill::StrikeOptions;
use crate::client::{Client, Reply};
use crate::commands::drill::history::Kind;
use crate::commands::{print, refused};
use crate::error::Failure;
use crate::node::Strike;
use crate::roll::remote;
use crate::wire::Struck;
use hyper::Method;
use serde_json::Value;
use std::collections::BTreeMap;
use std::process::ExitCode;
use std::time::Duration;

/// The longest handover takes less.
const HAND_OVER: Duration = Duration::from_secs(240);
/// What a node may take to say that it will do it.
const ANSWER: Duration = Duration::from_secs(20);

/// `fulcrum drill strike`, at the node.
pub(super) fn on_this_node(options: &StrikeOptions) -> Result<ExitCode, Failure> {
    let strike = options.cut.map_or(Strike::Kill, Strike::Cut);
    let client = Client::new(&options.connect);
    match client.ask::<Struck>(Method::POST, &path_of_strike(&strike, &options.forced))? {
        Reply::Done(struck) => {
            print(&format!("groups {} in {} ms\n", struck.groups.join(", "), struck.after_ms))
        }
        Reply::Refused(refusal) => Err(refused(&refusal)),
    }
}

impl Drill<'_> {
    /// Gives who leads each group that was handed over.
    pub(super) async fn strike(&self) -> Result<BTreeMap<String, String>, Failure> {
        let mut taken = BTreeMap::new();
        let lasts = format!("{}s", self.options.lasts.as_secs());
        match self.plan.kind {
            Kind::Handover => {
                for group in &self.plan.groups {
                    let forced = self.options.forced.iter().any(|it| it == group).then_some(group);
                    let mut words = vec!["handover", group.as_str(), "--json"];
                    words.extend(forced.into_iter().flat_map(|group| ["--force", group.as_str()]));
                    let page = self.ask(&words, HAND_OVER).await?;
                    taken.insert(group.clone(), handed_over(&page, group)?);
                }
            }
            Kind::Kill => drop(self.ask(&self.striking(&["--kill"]), ANSWER).await?),
            Kind::Cut => drop(self.ask(&self.striking(&["--cut", &lasts]), ANSWER).await?),
        }
        Ok(taken)
    }

    fn striking<'b>(&'b self, what: &[&'b str]) -> Vec<&'b str> {
        let forced = self.options.forced.iter().flat_map(|group| ["--force", group.as_str()]);
        ["drill", "strike"].into_iter().chain(what.iter().copied()).chain(forced).collect()
    }

    async fn ask(&self, words: &[&str], deadline: Duration) -> Result<Vec<u8>, Failure> {
        let node = &self.plan.node;
        let Some(place) = self.inventory.place(node) else {
            return Err(Failure::Refused(format!("{node} is not in the inventory")));
        };
        let words: Vec<String> =
            place.fulcrum.iter().cloned().chain(words.iter().map(|word| (*word).to_owned())).collect();
        let ended = remote::ask(&words, deadline).await;
        let ended = ended.map_err(|why| Failure::Refused(format!("{node} could not be asked: {why}")))?;
        match ended.code {
            Some(0) => Ok(ended.out),
            // A handover that is refused says why in JSON.
            Some(1) if ended.out.starts_with(b"{") => Ok(ended.out),
            Some(_) | None => Err(Failure::Refused(format!("{node} does not do it: {}", ended.told()))),
        }
    }
}

/// Who leads the group, by the JSON of a handover.
fn handed_over(page: &[u8], group: &str) -> Result<String, Failure> {
    let page: Value = serde_json::from_slice(page).unwrap_or_default();
    let leader = page.get("moved").and_then(|moved| moved.get(0)?.get("leader")?.as_str());
    leader.map(str::to_owned).ok_or_else(|| {
        let refused = page.get("refused").filter(|refused| !refused.is_null());
        let why = refused.and_then(|refused| refused.get("error")?.as_str()).unwrap_or("it does not say why");
        let more = refused.and_then(|refused| refused.get("diagnostics")?.as_array()).into_iter().flatten();
        let more: Vec<String> = more.filter_map(|line| Some(format!("\n  {}", line.as_str()?))).collect();
        Failure::Refused(format!("group {group} was not handed over: {why}{}", more.concat()))
    })
}
