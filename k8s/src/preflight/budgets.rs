//! PodDisruptionBudgets that let no pod go: the drain of a node with one of their pods waits, and what replaces nodes with it.

use super::named;
use crate::objects::ObjectName;
use fulcrum_config::preflight::Line;
use k8s_openapi::api::policy::v1::PodDisruptionBudget;

#[cfg(test)]
mod tests;

pub(super) const CHECK: &str = "disruption-budgets";

pub(super) fn lines(about: &str, budgets: &[PodDisruptionBudget]) -> Vec<Line> {
    let (mut never, mut now) = (Vec::new(), Vec::new());
    for stuck in budgets.iter().filter_map(stuck) {
        if stuck.is_for_good { never.push(stuck.words) } else { now.push(stuck.words) }
    }
    let mut lines = Vec::new();
    if !never.is_empty() {
        let found = format!(
            "PodDisruptionBudgets that no drain of a node can meet, even when all pods are well: {}",
            named(&never)
        );
        let remedy = "give these workloads another replica, or let their budgets have maxUnavailable: 1, before nodes are \
                      drained, upgraded or replaced";
        lines.push(Line::warning(CHECK, about, found, remedy));
    }
    if !now.is_empty() {
        let found =
            format!("PodDisruptionBudgets that a drain of a node would wait for, now: {}", named(&now));
        let remedy = "see why these pods are not healthy (kubectl get pods), before a node is drained";
        lines.push(Line::warning(CHECK, about, found, remedy));
    }
    if lines.is_empty() {
        let found = match budgets.len() {
            0 => "it has no PodDisruptionBudget".to_owned(),
            count => format!("each of its {count} PodDisruptionBudgets lets a pod go"),
        };
        lines.push(Line::ok(CHECK, about, found));
    }
    lines
}

/// A budget that allows nothing.
struct Stuck {
    words: String,
    /// Whether it allows nothing when all of its pods are healthy, either.
    is_for_good: bool,
}

/// One that has no pods, or of which its controller has not looked at the latest state, holds nobody up.
fn stuck(budget: &PodDisruptionBudget) -> Option<Stuck> {
    let status = budget.status.as_ref()?;
    let is_outdated = match (status.observed_generation, budget.metadata.generation) {
        (Some(observed), Some(generation)) => observed < generation,
        _ => false,
    };
    let is_stuck = status.disruptions_allowed <= 0 && status.current_healthy <= status.desired_healthy;
    if is_outdated || !is_stuck || status.expected_pods <= 0 {
        return None;
    }
    let (name, needed) = (ObjectName::of(&budget.metadata)?, status.desired_healthy);
    let is_for_good = needed >= status.expected_pods;
    let words = if is_for_good {
        format!("{name} (needs {needed} of {} pods)", status.expected_pods)
    } else {
        format!("{name} (needs {needed} pods, {} healthy)", status.current_healthy)
    };
    Some(Stuck { words, is_for_good })
}
