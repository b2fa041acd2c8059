//! The whole engine against real servers on loopback.

use super::*;
use crate::border::Verdict;
use crate::fixtures::{desired, fast_check, service};
use fulcrum_config::CheckKind;
use std::net::{SocketAddr, TcpListener};

fn listener() -> (TcpListener, SocketAddr) {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap();
    (listener, address)
}

fn verdicts(observed: &Observed) -> Vec<Verdict> {
    observed.services.values().flat_map(|service| service.backends.values()).map(|b| b.verdict).collect()
}

async fn wait_for(observed: &mut watch::Receiver<Observed>, what: impl Fn(&Observed) -> bool) -> Observed {
    let waiting = observed.wait_for(what);
    tokio::time::timeout(Duration::from_secs(30), waiting).await.expect("in time").unwrap().clone()
}

#[tokio::test]
async fn a_backend_dies_and_comes_back() {
    let (alive, first) = listener();
    let (dying, second) = listener();
    let web = service("web", Some(fast_check(CheckKind::Tcp)), &[first, second]);
    let (_sender, receiver) = watch::channel(desired([web]));
    let mut observed = start(receiver, Options::default()).unwrap();

    wait_for(&mut observed, |observed| verdicts(observed) == [Verdict::Up; 2]).await;
    drop(dying);
    let seen = wait_for(&mut observed, |observed| verdicts(observed).contains(&Verdict::Down)).await;
    let web = seen.services.values().next().unwrap();
    assert!(web.up, "one is left");
    let down = web.backends.values().find(|backend| backend.verdict == Verdict::Down).unwrap();
    assert_eq!(&*down.reason, "connection refused");
    let _back = TcpListener::bind(second).unwrap();
    wait_for(&mut observed, |observed| verdicts(observed) == [Verdict::Up; 2]).await;
    drop(alive);
}

#[tokio::test]
async fn a_change_is_taken_up_and_the_end_is_heard() {
    let (_alive, address) = listener();
    let (sender, receiver) = watch::channel(Desired::default());
    let mut observed = start(receiver, Options::default()).unwrap();
    let web = || service("web", Some(fast_check(CheckKind::Tcp)), &[address]);
    sender.send_replace(desired([web()]));
    wait_for(&mut observed, |observed| verdicts(observed) == [Verdict::Up]).await;
    sender.send_replace(desired([web(), service("plain", None, &[address])]));
    let seen = wait_for(&mut observed, |observed| observed.services.len() == 2).await;
    assert_eq!(verdicts(&seen), [Verdict::Unchecked, Verdict::Up]);
    let seen = wait_for(&mut observed, |observed| observed.targets.values().any(|t| t.probes > 3)).await;
    assert_eq!(seen.targets.len(), 1);
    sender.send_replace(Desired::default());
    wait_for(&mut observed, |observed| observed.services.is_empty()).await;
    drop(sender);
    tokio::time::timeout(Duration::from_secs(30), async { while observed.changed().await.is_ok() {} })
        .await
        .expect("the engine ends");
}
