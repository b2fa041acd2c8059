//! The watches of a cluster, as one stream.

use super::client::chain;
use crate::reflection::{Kind, Seen};
use futures_util::StreamExt;
use futures_util::stream::{self, BoxStream, SelectAll, select_all};
use k8s_openapi::api::core::v1::{Namespace, Node, Service};
use k8s_openapi::api::discovery::v1::EndpointSlice;
use kube::core::{ApiResource, DynamicObject, GroupVersionKind};
use kube::runtime::{WatchStreamExt, watcher};
use kube::{Api, Client, Resource};
use serde::de::DeserializeOwned;
use std::fmt::Debug;
use std::future::ready;
use std::time::Duration;
use tokio::time::sleep;

/// How long one watch lasts, in seconds: then another goes on from where it was.
const WATCH: u32 = 45;
/// Objects a page.
const PAGE: u32 = 500;
/// Between two looks for a kind that the cluster does not know.
const LOOK: Duration = Duration::from_secs(30);
/// What the API server answers who watches from where it knows nothing any more.
const GONE: u16 = 410;
const METALLB: (&str, &str) = ("metallb.io", "v1beta1");

/// What a watch said, or why it says nothing.
pub(super) type Said = (Kind, Result<Seen, String>);

pub(super) fn watches(client: &Client, with_metallb: bool) -> SelectAll<BoxStream<'static, Said>> {
    let mut all = select_all(of_services(client));
    if with_metallb {
        all.push(watch::<Namespace>(client.clone(), Kind::Namespaces, Seen::Namespace));
        all.push(of_metallb(client, "IPAddressPool", Kind::AddressPools, Seen::AddressPool));
        all.push(of_metallb(client, "L2Advertisement", Kind::Advertisements, Seen::Advertisement));
    }
    all
}

fn of_services(client: &Client) -> [BoxStream<'static, Said>; 3] {
    [
        watch::<Service>(client.clone(), Kind::Services, Seen::Service),
        watch::<Node>(client.clone(), Kind::Nodes, Seen::Node),
        watch::<EndpointSlice>(client.clone(), Kind::Slices, Seen::Slice),
    ]
}

fn watch<K>(client: Client, kind: Kind, seen: fn(watcher::Event<K>) -> Seen) -> BoxStream<'static, Said>
where
    K: Resource + Clone + DeserializeOwned + Debug + Send + 'static,
    K::DynamicType: Default,
{
    let events = watcher(Api::<K>::all(client), config()).default_backoff();
    events.map(move |event| said(kind, event, seen)).boxed()
}

/// A watch that was answered 410 (Gone) is no failure: all is listed anew by itself.
fn said<K>(
    kind: Kind,
    event: watcher::Result<watcher::Event<K>>,
    seen: fn(watcher::Event<K>) -> Seen,
) -> Said {
    let said = match event {
        Ok(event) => Ok(seen(event)),
        Err(watcher::Error::WatchError(error)) if error.code == GONE => Ok(Seen::Gone(kind)),
        Err(error) => Err(why(kind, &error)),
    };
    (kind, said)
}

pub(super) fn config() -> watcher::Config {
    watcher::Config::default().timeout(WATCH).page_size(PAGE)
}

fn why(kind: Kind, error: &watcher::Error) -> String {
    format!("{} can't be watched: {}", kind.words(), chain(error))
}

/// Objects that the cluster may not know, or not yet: then it says so, and looks again now and then.
fn of_metallb(
    client: &Client,
    name: &'static str,
    kind: Kind,
    seen: fn(watcher::Event<DynamicObject>) -> Seen,
) -> BoxStream<'static, Said> {
    let (group, version) = METALLB;
    let resource = ApiResource::from_gvk(&GroupVersionKind::gvk(group, version, name));
    // How often in a row it was not known; none before the first look.
    let looks = stream::unfold((client.clone(), None::<u32>), move |(client, missed)| async move {
        if missed.is_some() {
            sleep(LOOK).await;
        }
        let is_known = is_known(&client, name).await;
        let is_missing = matches!(is_known, Ok(false));
        let missed = if is_missing { missed.unwrap_or(0).saturating_add(1) } else { 0 };
        Some(((is_known, missed), (client, Some(missed))))
    });
    let client = client.clone();
    let said = looks.flat_map(move |(is_known, missed)| match is_known {
        // An API server that has just started does not know all of its kinds yet.
        Ok(false) if missed < 2 => stream::empty().boxed(),
        Ok(false) => stream::iter([(kind, Ok(Seen::Absent(kind)))]).boxed(),
        Ok(true) => {
            let objects = Api::<DynamicObject>::all_with(client.clone(), &resource);
            let events = watcher(objects, config()).default_backoff();
            let events = events.take_while(|event| ready(!event.as_ref().is_err_and(is_unknown)));
            events.map(move |event| said(kind, event, seen)).boxed()
        }
        Err(error) => {
            let why = format!("{} can't be looked for: {}", kind.words(), chain(&error));
            stream::iter([(kind, Err(why))]).boxed()
        }
    });
    said.boxed()
}

async fn is_known(client: &Client, name: &str) -> kube::Result<bool> {
    let (group, version) = METALLB;
    let groups = client.list_api_groups().await?.groups.into_iter();
    let mut versions = groups.filter(|it| it.name == group).flat_map(|it| it.versions);
    if !versions.any(|it| it.version == version) {
        return Ok(false);
    }
    match client.list_api_group_resources(&format!("{group}/{version}")).await {
        Ok(list) => Ok(list.resources.iter().any(|it| it.kind == name)),
        // It has just gone.
        Err(kube::Error::Api(error)) if error.code == 404 => Ok(false),
        Err(error) => Err(error),
    }
}

/// Whether the cluster does not know the kind any more.
fn is_unknown(error: &watcher::Error) -> bool {
    let error = match error {
        watcher::Error::InitialListFailed(error)
        | watcher::Error::WatchStartFailed(error)
        | watcher::Error::WatchFailed(error) => error,
        watcher::Error::WatchError(error) => return error.code == 404,
        watcher::Error::NoResourceVersion => return false,
    };
    matches!(error, kube::Error::Api(error) if error.code == 404)
}
