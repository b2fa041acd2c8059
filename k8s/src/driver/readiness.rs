//! Whether the API server reaches its etcd. Without it watches go on, and say nothing: what they show is what was last known.

use futures_util::StreamExt;
use futures_util::stream::{self, BoxStream};
use http::{Request, StatusCode};
use kube::Client;
use kube::client::Body;
use std::time::Duration;
use tokio::time::{sleep, timeout};

#[cfg(test)]
mod tests;

/// Which anybody may ask by the rights that come with Kubernetes (`system:public-info-viewer`).
const PATH: &str = "/readyz";
/// Between two questions, and before one is asked again.
const PACE: Duration = Duration::from_secs(2);
const DOUBT: Duration = Duration::from_millis(500);
/// How long it may think: it asks etcd for 2 s.
const ANSWER: Duration = Duration::from_secs(5);
/// So many in a row count: while etcd's members choose a leader anew, one is no news.
const IN_A_ROW: u32 = 2;
const SAID: &str = "its API server has no etcd that answers (is the quorum of its members lost?): what it shows may be out of date";

/// Says why what the API shows may be out of date, whenever that is so or is not any more.
pub(super) fn readiness(client: &Client) -> BoxStream<'static, Option<String>> {
    let looks = stream::unfold((client.clone(), Doubt::default()), |(client, mut doubt)| async move {
        loop {
            sleep(if doubt.is_young() { DOUBT } else { PACE }).await;
            if let Some(is_lost) = doubt.heard(ask(&client).await) {
                return Some((is_lost.then(|| SAID.to_owned()), (client, doubt)));
            }
        }
    });
    looks.boxed()
}

/// What was heard of etcd.
#[derive(Debug, Default)]
struct Doubt {
    in_a_row: u32,
    /// What was said last.
    is_lost: Option<bool>,
}

impl Doubt {
    /// Whether it was heard, and is not believed yet.
    fn is_young(&self) -> bool {
        (1..IN_A_ROW).contains(&self.in_a_row)
    }

    /// Takes an answer; says whether etcd is lost, if that is news. No answer is none about etcd.
    fn heard(&mut self, answer: Option<bool>) -> Option<bool> {
        let fails = answer?;
        self.in_a_row = if fails { self.in_a_row.saturating_add(1) } else { 0 };
        if self.is_young() {
            return None;
        }
        (self.is_lost.replace(fails) != Some(fails)).then_some(fails)
    }
}

/// Whether it says that etcd fails; nothing, if it says nothing about that: others see to an API that does not answer.
async fn ask(client: &Client) -> Option<bool> {
    let request = Request::get(PATH).body(Body::empty()).ok()?;
    let answer = async {
        let answer = client.send(request).await.ok()?;
        let status = answer.status();
        let text = answer.into_body().collect_bytes().await.ok()?;
        fails(status, &String::from_utf8_lossy(&text))
    };
    timeout(ANSWER, answer).await.ok()?
}

/// An answer lists what is well and what is not: `[-]etcd failed: reason withheld`. One that is about to end is not ready
/// either, and serves on.
fn fails(status: StatusCode, text: &str) -> Option<bool> {
    let says_so = text.lines().any(|line| line.starts_with("[-]etcd"));
    match status {
        StatusCode::OK => Some(false),
        StatusCode::INTERNAL_SERVER_ERROR => Some(says_so),
        _ => None,
    }
}
