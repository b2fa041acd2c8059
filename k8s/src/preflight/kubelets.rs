//! In which order a cluster is upgraded: the control plane comes first, and workers follow before it is three versions ahead.

use super::named;
use fulcrum_config::preflight::Line;
use k8s_openapi::api::core::v1::Node;

#[cfg(test)]
mod tests;

pub(super) const CHECK: &str = "kubelets";
/// A kubelet may be so many minor versions older than its API server.
const BEHIND: u32 = 3;

/// A minor version of Kubernetes: 1.33.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
struct Minor(u32, u32);

impl Minor {
    /// Of `v1.33.1`, `v1.33.1-gke.100`, `1.33+`.
    fn of(version: &str) -> Option<Self> {
        let mut parts = version.strip_prefix('v').unwrap_or(version).split('.');
        let major = parts.next()?.parse().ok()?;
        let minor = parts.next()?;
        let digits = minor.find(|it: char| !it.is_ascii_digit()).unwrap_or(minor.len());
        Some(Self(major, minor.get(..digits)?.parse().ok()?))
    }

    /// Whether it is too old for an API server of this version.
    fn is_too_old(self, server: Self) -> bool {
        self.0 < server.0 || (self.0 == server.0 && self.1.saturating_add(BEHIND) < server.1)
    }
}

pub(super) fn lines(about: &str, server: &str, nodes: &[Node]) -> Vec<Line> {
    let Some(minor) = Minor::of(server) else {
        return vec![Line::not_applicable(CHECK, about, format!("its version '{server}' can't be read"))];
    };
    let known: Vec<(Minor, String)> = nodes.iter().filter_map(kubelet).collect();
    if known.is_empty() {
        return vec![Line::not_applicable(CHECK, about, "no node says which kubelet it runs")];
    }
    let those = |is_so: &dyn Fn(Minor) -> bool| -> Vec<String> {
        known.iter().filter(|(version, _)| is_so(*version)).map(|(_, words)| words.clone()).collect()
    };
    let (newer, older) = (those(&|it| it > minor), those(&|it| it.is_too_old(minor)));
    let mut lines = Vec::new();
    if !newer.is_empty() {
        let found = format!("kubelets that are newer than the API server ({server}): {}", named(&newer));
        let remedy = "upgrade the control plane before any further worker: Kubernetes supports no such pair";
        lines.push(Line::warning(CHECK, about, found, remedy));
    }
    if !older.is_empty() {
        let found = format!(
            "kubelets more than {BEHIND} minor versions behind the API server ({server}): {}",
            named(&older)
        );
        let remedy = "upgrade these workers before the control plane goes on";
        lines.push(Line::warning(CHECK, about, found, remedy));
    }
    if lines.is_empty() {
        let found = format!("none is newer than the API server ({server}), nor too old for it");
        lines.push(Line::ok(CHECK, about, found));
    }
    lines
}

/// The version of a node's kubelet, and how it is told.
fn kubelet(node: &Node) -> Option<(Minor, String)> {
    let version = &node.status.as_ref()?.node_info.as_ref()?.kubelet_version;
    Some((Minor::of(version)?, format!("{} ({version})", node.metadata.name.as_deref()?)))
}
