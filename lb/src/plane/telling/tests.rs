use super::*;
use fulcrum_config::Protocol;
use fulcrum_ebpf::plane::layout::Ended;
use std::iter;

#[allow(clippy::disallowed_methods, reason = "any moment will do")]
fn begun() -> Instant {
    Instant::now()
}

fn flows(count: u16) -> Vec<Told> {
    let told = |port| Told {
        protocol: Protocol::Tcp,
        client: std::net::SocketAddr::from(([192, 0, 2, 7], port)),
        vip: "10.0.0.100:443".parse().unwrap(),
        backend: "10.0.1.11:8443".parse().unwrap(),
        source: None,
        ended: Ended::No,
        silent: Duration::ZERO,
    };
    (1..=count).map(told).collect()
}

fn name(name: &str) -> NodeName {
    NodeName::new(name)
}

fn up(names: &[(&str, u64)]) -> BTreeMap<NodeName, u64> {
    names.iter().map(|(it, session)| (name(it), *session)).collect()
}

fn sent(telling: &mut Telling) -> Vec<Message> {
    let mut messages = Vec::new();
    while let Some(bytes) = telling.poll_message() {
        telling.handle_sent();
        messages.push(Message::decode(&bytes).unwrap());
    }
    messages
}

/// Two nodes with a link between them: everything that one sends reaches the other.
fn exchange(one: &mut Telling, other: &mut Telling) -> usize {
    let now = begun();
    let (to_other, to_one) = (sent(one), sent(other));
    let hear = |to: &mut Telling, from: &str, messages: Vec<Message>| -> usize {
        messages.iter().map(|message| to.handle_message(&name(from), &message.encode(), now).len()).sum()
    };
    hear(other, "lb1", to_other).saturating_add(hear(one, "lb2", to_one))
}

#[test]
fn a_newcomer_is_told_all_and_says_that_it_has_it() {
    let now = begun();
    let (mut one, mut other) = (Telling::new(1), Telling::new(2));
    assert_eq!(one.poll_all(now), None);
    one.handle_peers(up(&[("lb2", 1)]), now);
    other.handle_peers(up(&[("lb1", 1)]), now);
    assert!(!one.is_in_sync() && !other.is_in_sync());
    assert_eq!((one.poll_all(now), other.poll_all(now)), (Some(All::Known), Some(All::Known)));
    one.tell_all(flows(2_000).into_iter(), now);
    other.tell_all(iter::empty(), now);
    assert_eq!(exchange(&mut one, &mut other), 2_000);
    assert!(one.is_in_sync() && other.is_in_sync());
    exchange(&mut one, &mut other);
    assert_eq!((one.held_by().len(), other.held_by().len()), (1, 1));
    // Later those that were seen here are enough.
    assert_eq!(one.poll_all(now), None);
    assert_eq!(one.poll_all(now + ALL_AGAIN), Some(All::Seen));
    // A link that came up again may be to another life.
    one.handle_peers(up(&[("lb2", 2)]), now);
    assert_eq!((one.poll_all(now), one.is_in_sync(), one.held_by().len()), (Some(All::Known), false, 0));
}

#[test]
fn news_are_told_at_once_but_only_if_anybody_hears() {
    let now = begun();
    let mut telling = Telling::new(1);
    telling.tell(&flows(5), now);
    assert_eq!(telling.poll_message(), None);
    telling.handle_peers(up(&[("lb2", 1)]), now);
    telling.tell_all(iter::empty(), now);
    sent(&mut telling);
    telling.tell(&flows(5), now);
    assert_eq!(sent(&mut telling), [Message::Flows(flows(5))]);
    telling.tell(&flows(5), now);
    telling.handle_peers(up(&[]), now);
    assert_eq!((telling.poll_message(), telling.poll_all(now + ALL_AGAIN.saturating_mul(2))), (None, None));
}

#[test]
fn what_was_lost_is_told_again_soon() {
    let now = begun();
    let mut telling = Telling::new(1);
    telling.handle_peers(up(&[("lb2", 1)]), now);
    telling.tell_all(flows(1).into_iter(), now);
    sent(&mut telling);
    telling.handle_message(&name("lb2"), &Message::Held(1).encode(), now);
    assert_eq!(telling.held_by().len(), 1);
    telling.handle_loss(now);
    assert!(telling.held_by().is_empty());
    assert_eq!((telling.poll_all(now), telling.poll_all(now + AFTER_LOSS)), (None, Some(All::Seen)));
    assert_eq!(telling.counters().losses, 1);
}

#[test]
fn however_many_flows_are_told_again_news_go_on_until_too_many_wait() {
    let now = begun();
    let mut telling = Telling::new(1);
    telling.handle_peers(up(&[("lb2", 1)]), now);
    telling.tell_all((0..100).flat_map(|_| flows(1_000)), now);
    for _ in 0..=WAITING / FLOWS_IN_MESSAGE {
        telling.tell(&flows(800), now);
    }
    assert_eq!(telling.counters().losses, 0, "what tells of all is not what waits");
    telling.tell(&flows(1), now);
    assert_eq!(telling.counters().losses, 1);
    sent(&mut telling);
    telling.tell(&flows(1), now);
    assert_eq!((telling.counters().losses, sent(&mut telling).len()), (1, 1), "all was sent");
}

#[test]
fn strangers_and_what_is_not_understood_change_nothing() {
    let now = begun();
    let mut telling = Telling::new(1);
    assert!(telling.handle_message(&name("lb2"), &Message::Flows(flows(3)).encode(), now).is_empty());
    telling.handle_peers(up(&[("lb2", 1)]), now);
    assert!(telling.handle_message(&name("lb2"), b"nonsense", now).is_empty());
    assert_eq!(telling.counters().misfits, 1);
    // To another life of this node.
    telling.handle_message(&name("lb2"), &Message::Held(99).encode(), now);
    assert!(telling.held_by().is_empty());
    assert_eq!(telling.handle_message(&name("lb2"), &Message::Flows(flows(3)).encode(), now).len(), 3);
}

#[test]
fn who_missed_something_is_told_all_again() {
    let now = begun();
    let (mut one, mut other) = (Telling::new(1), Telling::new(2));
    one.handle_peers(up(&[("lb2", 1)]), now);
    other.handle_peers(up(&[("lb1", 1)]), now);
    one.tell_all(flows(1).into_iter(), now);
    other.tell_all(iter::empty(), now);
    exchange(&mut one, &mut other);
    exchange(&mut one, &mut other);
    assert!(other.is_in_sync() && one.held_by().len() == 1);
    other.handle_message(&name("lb1"), &[], now);
    assert!(!other.is_in_sync());
    exchange(&mut one, &mut other);
    assert!(one.held_by().is_empty());
    assert_eq!(one.poll_all(begun() + AFTER_LOSS), Some(All::Known));
    one.tell_all(flows(1).into_iter(), now);
    exchange(&mut one, &mut other);
    assert!(other.is_in_sync());
}

#[test]
fn who_was_told_before_it_knew_of_the_link_asks_for_all() {
    let now = begun();
    let (mut one, mut other) = (Telling::new(1), Telling::new(2));
    one.handle_peers(up(&[("lb2", 1)]), now);
    one.tell_all(flows(3).into_iter(), now);
    assert_eq!(exchange(&mut one, &mut other), 0);
    other.handle_peers(up(&[("lb1", 1)]), now);
    other.tell_all(iter::empty(), now);
    exchange(&mut one, &mut other);
    other.handle_timeout(now);
    assert_eq!(sent(&mut other), []);
    other.handle_timeout(now + ASK_AFTER);
    exchange(&mut one, &mut other);
    let later = begun() + AFTER_LOSS;
    assert_eq!((one.poll_all(now), one.poll_all(later)), (None, Some(All::Known)));
    one.tell_all(flows(3).into_iter(), later);
    assert_eq!(exchange(&mut one, &mut other), 3);
    exchange(&mut one, &mut other);
    assert!(other.is_in_sync() && one.held_by().len() == 1);
    other.handle_timeout(later + ALL_AGAIN);
    assert_eq!((sent(&mut other), one.counters().losses), (Vec::new(), 0));
}

#[test]
fn who_is_being_told_does_not_ask() {
    let now = begun();
    let mut telling = Telling::new(1);
    telling.handle_peers(up(&[("lb2", 1)]), now);
    let nearly = now + ASK_AFTER - Duration::from_millis(1);
    telling.handle_message(&name("lb2"), &Message::Flows(flows(1)).encode(), nearly);
    telling.handle_timeout(now + ASK_AFTER);
    assert_eq!(sent(&mut telling), []);
    telling.handle_timeout(nearly + ASK_AFTER);
    assert_eq!(sent(&mut telling), [Message::Again]);
    // And not at every turn.
    telling.handle_timeout(nearly + ASK_AFTER + Duration::from_millis(250));
    assert_eq!(sent(&mut telling), []);
}
