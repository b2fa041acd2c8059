//! What `fulcrum preflight` asks the clusters: would they let their nodes be replaced, and in which order?
#![allow(clippy::disallowed_methods, reason = "a driver: it waits for answers, within a limit")]

use crate::driver::client::{chain, client};
use fulcrum_config::preflight::Line;
use fulcrum_config::{Cluster, Config};
use futures_util::future::join_all;
use k8s_openapi::api::core::v1::Node;
use k8s_openapi::api::policy::v1::PodDisruptionBudget;
use kube::api::ListParams;
use kube::{Api, Client, Resource};
use serde::de::DeserializeOwned;
use std::fmt::Debug;
use std::time::Duration;
use tokio::time::timeout;

mod budgets;
mod kubelets;
mod own;

const API: &str = "kubernetes";
/// Objects a page, and pages: of a cluster that has more, the first ones are looked at.
const PAGES: (u32, usize) = (500, 20);
/// Names in one line.
const NAMED: usize = 5;

/// What one cluster says.
struct Found {
    version: String,
    nodes: Result<Vec<Node>, String>,
    budgets: Result<Vec<PodDisruptionBudget>, String>,
}

/// What each cluster says within `limit`; `own_node` is the Kubernetes node that this node is on, if it is on one. VIPs need none of them, so nothing fails for what one says.
#[must_use]
pub fn preflight(config: &Config, own_node: &str, limit: Duration) -> Vec<Line> {
    if config.kubernetes.is_empty() {
        return vec![Line::not_applicable(API, "clusters", "the file has none")];
    }
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
    let Ok(runtime) = runtime else {
        return vec![Line::not_applicable(API, "clusters", "no thread can be had to ask them")];
    };
    let clusters = config.kubernetes.values().map(|cluster| async move {
        let found = timeout(limit, ask(cluster)).await;
        let found = found.unwrap_or_else(|_| Err(format!("no answer within {:.1} s", limit.as_secs_f64())));
        let about = format!("cluster {}", cluster.name);
        let nodes =
            found.as_ref().ok().and_then(|found| found.nodes.as_ref().ok()).filter(|_| cluster.own_node);
        let of_own = nodes.map(|nodes| own::lines(&about, cluster, config, own_node, nodes));
        [lines(&about, found.as_ref()), of_own.unwrap_or_default()].concat()
    });
    let lines = runtime.block_on(join_all(clusters));
    runtime.shutdown_background();
    lines.concat()
}

fn lines(about: &str, found: Result<&Found, &String>) -> Vec<Line> {
    let found = match found {
        Ok(found) => found,
        Err(why) => {
            let found = format!("its API does not answer: {why}");
            let remedy =
                "VIPs do not need it; its Services are served once it answers, as its kubeconfig says";
            return vec![Line::warning(API, about, found, remedy)];
        }
    };
    let mut lines = vec![Line::ok(API, about, format!("its API server answers, {}", found.version))];
    match &found.nodes {
        Ok(nodes) => lines.extend(kubelets::lines(about, &found.version, nodes)),
        Err(why) => lines.push(Line::not_applicable(kubelets::CHECK, about, why)),
    }
    match &found.budgets {
        Ok(budgets) => lines.extend(budgets::lines(about, budgets)),
        Err(why) => lines.push(Line::not_applicable(budgets::CHECK, about, why)),
    }
    lines
}

async fn ask(cluster: &Cluster) -> Result<Found, String> {
    let client = client(&cluster.access).await?;
    let version = client.apiserver_version().await.map_err(|error| chain(&error))?.git_version;
    let (nodes, budgets) = futures_util::future::join(
        list::<Node>(&client, "nodes"),
        list::<PodDisruptionBudget>(&client, "PodDisruptionBudgets"),
    )
    .await;
    Ok(Found { version, nodes, budgets })
}

/// All objects of a kind, or why they can't be looked at.
async fn list<K>(client: &Client, what: &str) -> Result<Vec<K>, String>
where
    K: Resource + Clone + DeserializeOwned + Debug,
    K::DynamicType: Default,
{
    let (page, pages) = PAGES;
    let mut params = ListParams::default().limit(page);
    let mut all = Vec::new();
    for _ in 0..pages {
        let list = Api::<K>::all(client.clone()).list(&params).await;
        let list = list.map_err(|error| format!("its {what} can't be listed: {}", chain(&error)))?;
        all.extend(list.items);
        match list.metadata.continue_.filter(|token| !token.is_empty()) {
            Some(token) => params = params.continue_token(&token),
            None => break,
        }
    }
    Ok(all)
}

/// The first of these names, and how many more there are.
fn named(names: &[String]) -> String {
    let first = names.iter().take(NAMED).map(String::as_str).collect::<Vec<_>>().join(", ");
    match names.len().saturating_sub(NAMED) {
        0 => first,
        more => format!("{first} and {more} more"),
    }
}
