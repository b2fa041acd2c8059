//! The three watches of a cluster, as one stream.

use super::client::chain;
use crate::reflection::{Kind, Seen};
use futures_util::StreamExt;
use futures_util::stream::{BoxStream, SelectAll, select_all};
use k8s_openapi::api::core::v1::{Node, Service};
use k8s_openapi::api::discovery::v1::EndpointSlice;
use kube::runtime::{WatchStreamExt, watcher};
use kube::{Api, Client, Resource};
use serde::de::DeserializeOwned;
use std::fmt::Debug;

/// How long one watch lasts, in seconds: then another goes on from where it was.
const WATCH: u32 = 45;
/// Objects a page.
const PAGE: u32 = 500;

/// What a watch said, or why it says nothing.
pub(super) type Said = (Kind, Result<Seen, String>);

pub(super) fn watches(client: &Client) -> SelectAll<BoxStream<'static, Said>> {
    let client = |_: Kind| client.clone();
    select_all([
        watch::<Service>(client(Kind::Services), Kind::Services, Seen::Service),
        watch::<Node>(client(Kind::Nodes), Kind::Nodes, Seen::Node),
        watch::<EndpointSlice>(client(Kind::Slices), Kind::Slices, Seen::Slice),
    ])
}

fn watch<K>(client: Client, kind: Kind, seen: fn(watcher::Event<K>) -> Seen) -> BoxStream<'static, Said>
where
    K: Resource + Clone + DeserializeOwned + Debug + Send + 'static,
    K::DynamicType: Default,
{
    let config = watcher::Config::default().timeout(WATCH).page_size(PAGE);
    let events = watcher(Api::<K>::all(client), config).default_backoff();
    let said = events.map(move |event| {
        let why = |error: watcher::Error| format!("{} can't be watched: {}", kind.words(), chain(&error));
        (kind, event.map(seen).map_err(why))
    });
    said.boxed()
}
