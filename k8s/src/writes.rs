//! What is written to a Service: a pure function of what it says and what it is to say. If it says it already, nothing.
//!
//! Patches touch the load balancer's status, the condition and the finalizer of ours, and the annotations that the file says
//! are reports; what others keep in the same lists stays as it is.

use crate::report::{CONDITION, Report};
use fulcrum_config::Cluster;
use k8s_openapi::api::core::v1::Service;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::Condition;
use serde_json::{Map, Value as Json, json};
use std::collections::BTreeMap;

#[cfg(test)]
mod tests;

/// What is to be written, in this order; strategic merge patches.
#[derive(Debug, Clone, Default, PartialEq)]
pub(crate) struct Writes {
    /// To the Service, before its status.
    pub(crate) guard: Option<Json>,
    /// To its status.
    pub(crate) status: Option<Json>,
    /// What is told besides.
    pub(crate) event: Option<Told>,
    /// To the Service, after its status.
    pub(crate) release: Option<Json>,
}

impl Writes {
    pub(crate) fn is_empty(&self) -> bool {
        *self == Self::default()
    }
}

/// An event.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Told {
    pub(crate) is_warning: bool,
    pub(crate) reason: String,
    pub(crate) note: String,
}

/// What of a Service's metadata is ours.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Ours {
    /// The finalizer.
    pub(crate) finalizer: String,
    /// Annotations that are reports.
    pub(crate) reports: Vec<&'static str>,
}

impl Ours {
    pub(crate) fn of(cluster: &Cluster) -> Self {
        Self { finalizer: finalizer(&cluster.class), reports: cluster.annotations.reports.clone() }
    }
}

/// The finalizer of who serves `class`: others, with other classes, have their own.
pub(crate) fn finalizer(class: &str) -> String {
    if class.contains('/') { class.to_owned() } else { format!("fulcrum.dev/{class}") }
}

/// What is to be written to a Service that is to say `report`; with none it is not ours, or not any more. `now` is what a
/// condition says as the time of its last change.
pub(crate) fn writes(service: &Service, report: Option<&Report>, ours: &Ours, now: &str) -> Writes {
    let guarded = service.metadata.finalizers.iter().flatten().any(|it| *it == ours.finalizer);
    let is_deleted = service.metadata.deletion_timestamp.is_some();
    match report {
        Some(report) => {
            let status = status(service, report, guarded, now);
            let event = status.is_some().then(|| event(service, report)).flatten();
            Writes { guard: guard(service, report, ours, guarded), status, event, release: None }
        }
        // Its address has been given back: what held it until then lets go.
        None if guarded => {
            let mut metadata = json!({ "$deleteFromPrimitiveList/finalizers": [ours.finalizer] });
            put(&mut metadata, "annotations", annotations(service, &BTreeMap::new(), ours));
            Writes {
                status: if is_deleted { None } else { cleared(service) },
                release: Some(patch_of(service, metadata)),
                ..Writes::default()
            }
        }
        // It never had an address, and was told why.
        None if is_left_behind(service) => Writes { status: cleared(service), ..Writes::default() },
        None => Writes::default(),
    }
}

/// Whether a Service that asks for no load balancer any more says what one told it. While it asks for one, that may be another's
/// word.
pub(crate) fn is_left_behind(service: &Service) -> bool {
    let kind = service.spec.as_ref().and_then(|spec| spec.type_.as_deref());
    let is_deleted = service.metadata.deletion_timestamp.is_some();
    kind != Some("LoadBalancer") && !is_deleted && condition(service).is_some()
}

/// The finalizer of a Service that is served, and what annotations say. Of one that never was served nothing is touched.
fn guard(service: &Service, report: &Report, ours: &Ours, guarded: bool) -> Option<Json> {
    if !guarded && !report.is_served {
        return None;
    }
    let mut metadata = json!({});
    if !guarded {
        put(&mut metadata, "finalizers", Some(json!([ours.finalizer])));
    }
    put(&mut metadata, "annotations", annotations(service, &report.annotations, ours));
    metadata.as_object().is_some_and(|it| !it.is_empty()).then(|| patch_of(service, metadata))
}

/// Those of ours that are to say something else, or nothing.
fn annotations(service: &Service, say: &BTreeMap<&'static str, String>, ours: &Ours) -> Option<Json> {
    let said = |key: &str| service.metadata.annotations.as_ref().and_then(|all| all.get(key));
    let others = ours.reports.iter().filter(|key| said(key) != say.get(*key));
    let others: Map<String, Json> =
        others.map(|key| ((*key).to_owned(), say.get(key).map_or(Json::Null, |text| json!(text)))).collect();
    (!others.is_empty()).then_some(Json::Object(others))
}

fn put(metadata: &mut Json, key: &str, value: Option<Json>) {
    if let (Some(map), Some(value)) = (metadata.as_object_mut(), value) {
        map.insert(key.to_owned(), value);
    }
}

/// A patch of the metadata of this very Service, not of one that has its name later.
fn patch_of(service: &Service, mut metadata: Json) -> Json {
    name_it(service, &mut metadata);
    json!({ "metadata": metadata })
}

fn name_it(service: &Service, metadata: &mut Json) {
    put(metadata, "uid", service.metadata.uid.as_ref().map(|uid| json!(uid)));
}

fn status(service: &Service, report: &Report, guarded: bool, now: &str) -> Option<Json> {
    let ingress = ingress(service);
    // What another one gave it is what it is to have as soon as it can be served.
    let is_of_another = !guarded && !report.is_served;
    let condition = condition(service);
    let word = if report.is_served { "True" } else { "False" };
    let is_told = condition
        .is_some_and(|it| it.status == word && it.reason == report.reason && it.message == report.message);
    if is_told && (is_of_another || ingress == report.ingress) {
        return None;
    }
    // Since when it is served, or is not.
    let since = condition
        .filter(|it| it.status == word)
        .and_then(|it| serde_json::to_value(&it.last_transition_time).ok());
    let mut metadata = json!({});
    name_it(service, &mut metadata);
    let mut status = json!({
        "metadata": metadata,
        "status": {
            "conditions": [{
                "type": CONDITION,
                "status": word,
                "reason": report.reason,
                "message": report.message,
                "lastTransitionTime": since.unwrap_or_else(|| json!(now)),
            }],
        },
    });
    if let Some(map) = status.pointer_mut("/status").and_then(Json::as_object_mut)
        && !is_of_another
    {
        map.insert("loadBalancer".to_owned(), json!({ "ingress": report.ingress }));
    }
    Some(status)
}

/// Takes away what was said of a Service that is not ours any more.
fn cleared(service: &Service) -> Option<Json> {
    condition(service)?;
    let mut metadata = json!({});
    name_it(service, &mut metadata);
    Some(json!({
        "metadata": metadata,
        "status": {
            "loadBalancer": { "ingress": null },
            "conditions": [{ "type": CONDITION, "$patch": "delete" }],
        },
    }))
}

fn event(service: &Service, report: &Report) -> Option<Told> {
    let told =
        condition(service).is_some_and(|it| it.reason == report.reason && it.message == report.message);
    let is_warning = report.reason != "Served";
    // That the address is not there yet is no news.
    (!told && report.reason != "Pending").then(|| Told {
        is_warning,
        reason: report.reason.clone(),
        note: report.message.clone(),
    })
}

fn condition(service: &Service) -> Option<&Condition> {
    service.status.as_ref()?.conditions.as_ref()?.iter().find(|condition| condition.type_ == CONDITION)
}

fn ingress(service: &Service) -> Vec<Json> {
    let status = service.status.as_ref().and_then(|status| status.load_balancer.as_ref());
    let ingress = status.and_then(|status| status.ingress.as_deref()).unwrap_or_default();
    ingress.iter().filter_map(|ingress| serde_json::to_value(ingress).ok()).collect()
}
