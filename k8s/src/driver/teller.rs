//! Writes to a cluster: patches of Services, and events.
#![allow(clippy::disallowed_methods, reason = "a driver: conditions and events show when something happened")]

use super::client::chain;
use crate::objects::ObjectName;
use crate::writes::{Told, Writes};
use k8s_openapi::api::core::v1::{ObjectReference, Service};
use k8s_openapi::api::events::v1::Event;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::{MicroTime, ObjectMeta, Time};
use k8s_openapi::chrono::{DateTime, Utc};
use kube::api::{Patch, PatchParams, PostParams};
use kube::{Api, Client};
use serde_json::Value as Json;
use std::time::{Duration, SystemTime};

/// Who writes, in `managedFields`.
const MANAGER: &str = "fulcrum";

/// What came of writes to one Service.
#[derive(Debug, Default)]
pub(super) struct Written {
    /// As the API server returned it last.
    pub(super) service: Option<Service>,
    pub(super) count: u64,
    pub(super) error: Option<String>,
    /// What came of its event, if there was one.
    pub(super) event: Option<Result<(), String>>,
}

/// Writes to one cluster.
#[derive(Clone)]
pub(super) struct Teller {
    pub(super) client: Client,
    /// Which controller and which node, in events.
    pub(super) controller: String,
    pub(super) node: String,
}

impl Teller {
    /// Writes all that there is to write to a Service, as far as that works.
    pub(super) async fn write(&self, name: &ObjectName, service: &Service, writes: Writes) -> Written {
        let mut written = Written::default();
        let Writes { guard, status, event, release } = writes;
        let result = self.patch(name, guard, status, release, &mut written).await;
        if let Err(error) = result
            && !is_gone(&error)
        {
            written.error = Some(format!("Service {name} can't be written to: {}", chain(&error)));
        }
        if let Some(event) = event
            && written.error.is_none()
        {
            let told = self.tell(name, service, event).await;
            written.count = written.count.saturating_add(u64::from(told.is_ok()));
            written.event = match told {
                Err(error) if is_ending(&error) => None,
                told => Some(told.map_err(|error| {
                    format!("no event of Service {name} can be written: {}", chain(&error))
                })),
            };
        }
        written
    }

    async fn patch(
        &self,
        name: &ObjectName,
        guard: Option<Json>,
        status: Option<Json>,
        release: Option<Json>,
        written: &mut Written,
    ) -> kube::Result<()> {
        let services = Api::<Service>::namespaced(self.client.clone(), &name.namespace);
        let params = PatchParams { field_manager: Some(MANAGER.to_owned()), ..PatchParams::default() };
        for (patch, is_status) in [(guard, false), (status, true), (release, false)] {
            let Some(patch) = patch else { continue };
            let patch = Patch::Strategic(patch);
            let service = if is_status {
                services.patch_status(&name.name, &params, &patch).await?
            } else {
                services.patch(&name.name, &params, &patch).await?
            };
            written.service = Some(service);
            written.count = written.count.saturating_add(1);
        }
        Ok(())
    }

    async fn tell(&self, name: &ObjectName, service: &Service, told: Told) -> kube::Result<()> {
        let events = Api::<Event>::namespaced(self.client.clone(), &name.namespace);
        let event = Event {
            metadata: ObjectMeta {
                generate_name: Some("fulcrum-".to_owned()),
                namespace: Some(name.namespace.clone()),
                ..ObjectMeta::default()
            },
            action: Some("Serve".to_owned()),
            event_time: Some(MicroTime(now())),
            note: Some(told.note),
            reason: Some(told.reason),
            regarding: Some(ObjectReference {
                api_version: Some("v1".to_owned()),
                kind: Some("Service".to_owned()),
                name: Some(name.name.clone()),
                namespace: Some(name.namespace.clone()),
                uid: service.metadata.uid.clone(),
                ..ObjectReference::default()
            }),
            reporting_controller: Some(self.controller.clone()),
            reporting_instance: Some(self.node.clone()),
            type_: Some(if told.is_warning { "Warning" } else { "Normal" }.to_owned()),
            ..Event::default()
        };
        let params = PostParams { field_manager: Some(MANAGER.to_owned()), ..PostParams::default() };
        events.create(&params, &event).await.map(drop)
    }
}

/// Whether its namespace is just being deleted: nothing can be made there any more.
fn is_ending(error: &kube::Error) -> bool {
    matches!(error, kube::Error::Api(response) if response.code == 403 && response.message.contains("being terminated"))
}

/// A Service that was deleted, or deleted and made again, is another one's matter: the watch will say it.
fn is_gone(error: &kube::Error) -> bool {
    matches!(error, kube::Error::Api(response) if response.code == 404 || response.code == 409)
}

pub(super) fn now() -> DateTime<Utc> {
    let since = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).unwrap_or(Duration::ZERO);
    let seconds = i64::try_from(since.as_secs()).unwrap_or(i64::MAX);
    DateTime::from_timestamp(seconds, since.subsec_nanos()).unwrap_or_default()
}

/// The time as conditions have it.
pub(super) fn now_in_words() -> String {
    let time = serde_json::to_value(Time(now())).ok();
    time.and_then(|time| time.as_str().map(str::to_owned)).unwrap_or_default()
}
