//! Between the forwarding plane and the link to the peers: what waits on either side.

use crate::border::FlowLink;
use crate::plane::Plane;
use fulcrum_config::NodeName;
use std::collections::BTreeMap;
use std::os::fd::OwnedFd;
use std::sync::Arc;
use std::time::Duration;
use tokio::io::unix::AsyncFd;
use tokio::time::{Instant, sleep_until};

/// News are collected for this long before they are told.
const COLLECT: Duration = Duration::from_millis(5);

/// What happened.
pub(crate) enum FlowEvent {
    /// These links are up, each for the time of that number.
    Peers(BTreeMap<NodeName, u64>),
    /// A peer said something.
    Message(NodeName, Arc<[u8]>),
    /// The kernel has news.
    News,
    /// A message was sent.
    Sent,
}

/// Waits for it.
pub(crate) struct Flows {
    link: Option<FlowLink>,
    /// With the number of the kernel's tables that it belongs to.
    news: Option<(u64, AsyncFd<OwnedFd>)>,
    due: Option<Instant>,
}

impl Flows {
    pub(crate) fn new(link: Option<FlowLink>) -> Self {
        Self { link, news: None, due: None }
    }

    /// News are to be looked for again soon: there were more than could be taken.
    pub(crate) fn again(&mut self, now: std::time::Instant) {
        self.due = Instant::from_std(now).checked_add(COLLECT);
    }

    /// The next that happens; loses nothing if it is not waited for to the end.
    #[allow(clippy::disallowed_methods)] // The loop that reads the clock, for its next turn.
    pub(crate) async fn next(&mut self, plane: &Plane) -> FlowEvent {
        self.follow(plane);
        loop {
            let message = plane.poll_message();
            let (due, news) = (self.due, self.news.as_ref());
            let Some(link) = &mut self.link else {
                // No other node is told, but this one may want to know.
                match due {
                    Some(due) => {
                        sleep_until(due).await;
                        self.due = None;
                        return FlowEvent::News;
                    }
                    None => readable(news).await,
                }
                self.due = Instant::now().checked_add(COLLECT);
                continue;
            };
            tokio::select! {
                // Who the peers are before what they say; what may come without end is last.
                biased;
                changed = link.peers.changed() => {
                    if changed.is_ok() {
                        return FlowEvent::Peers(link.peers.borrow_and_update().clone());
                    }
                }
                Ok(permit) = link.to_peers.reserve(), if message.is_some() => {
                    if let Some(message) = message {
                        permit.send(message);
                    }
                    return FlowEvent::Sent;
                }
                () = sleep_until(due.unwrap_or_else(Instant::now)), if due.is_some() => {
                    self.due = None;
                    return FlowEvent::News;
                }
                () = readable(news), if due.is_none() => {
                    self.due = Instant::now().checked_add(COLLECT);
                    continue;
                }
                Some((from, bytes)) = link.from_peers.recv() => return FlowEvent::Message(from, bytes),
            }
            // The peers' engine has ended: the node works without it.
            self.link = None;
            return FlowEvent::Peers(BTreeMap::new());
        }
    }

    /// The plane may have been loaded, or taken away.
    #[allow(clippy::disallowed_methods)] // The same.
    fn follow(&mut self, plane: &Plane) {
        let number = plane.number();
        if self.news.as_ref().map(|(known, _)| *known) == number {
            return;
        }
        self.news = number.zip(plane.news_file()).and_then(|(number, file)| {
            let file = crate::sys::watch(file);
            file.map(|file| (number, file))
                .map_err(|error| tracing::warn!("flows can't be told of: {error}"))
                .ok()
        });
        // What came before it was listened to.
        self.due = self.news.as_ref().map(|_| Instant::now());
    }
}

/// Until the kernel has more news than before.
async fn readable(news: Option<&(u64, AsyncFd<OwnedFd>)>) {
    match news {
        Some((_, file)) => match file.readable().await {
            Ok(mut guard) => guard.clear_ready(),
            Err(_) => std::future::pending().await,
        },
        None => std::future::pending().await,
    }
}
