use super::udp::answering;
use super::*;
use hickory_proto::op::{Message, MessageType, Query, ResponseCode};
use hickory_proto::rr::{Name, RecordType};
use std::str::FromStr;

fn dns(name: &str, record: &str) -> CheckKind {
    CheckKind::Dns { name: name.into(), record: record.into() }
}

/// Answers each query after `change`.
async fn server_of(change: fn(&mut Message)) -> SocketAddr {
    answering(move |query| {
        let mut message = Message::from_vec(query).unwrap();
        assert!(message.metadata.recursion_desired);
        message.metadata.message_type = MessageType::Response;
        change(&mut message);
        Some(message.to_vec().unwrap())
    })
    .await
}

#[tokio::test]
async fn an_answer_without_error_passes() {
    let good = server_of(|_| {}).await;
    for record in ["A", "aaaa", "SOA", "NS", "TXT"] {
        assert_eq!(run(good, dns("example.com", record)).await, Outcome::Passed, "{record}");
    }
    assert_eq!(run(good, dns(".", "NS")).await, Outcome::Passed);
    let case = server_of(|answer| {
        answer.queries = vec![Query::query(Name::from_str("EXAMPLE.com.").unwrap(), RecordType::A)];
    });
    assert_eq!(run(case.await, dns("example.com", "A")).await, Outcome::Passed);
}

#[tokio::test]
async fn errors_and_other_answers_fail() {
    let missing = server_of(|answer| answer.metadata.response_code = ResponseCode::NXDomain).await;
    assert_eq!(
        run(missing, dns("example.com", "A")).await,
        failed("the DNS answer is an error: Non-Existent Domain")
    );
    let broken = server_of(|answer| answer.metadata.response_code = ResponseCode::ServFail).await;
    let Outcome::Failed(reason) = run(broken, dns("example.com", "A")).await else { panic!("passed") };
    assert!(reason.starts_with("the DNS answer is an error: "), "{reason}");
    let other = server_of(|answer| {
        answer.queries = vec![Query::query(Name::from_str("example.org.").unwrap(), RecordType::A)];
    });
    let reason = "the DNS answer is to another question";
    assert_eq!(run(other.await, dns("example.com", "A")).await, failed(reason));
    let garbage = answering(|_| Some(b"hello".into())).await;
    let Outcome::Failed(reason) = run(garbage, dns("example.com", "A")).await else { panic!("passed") };
    assert!(reason.starts_with("not a DNS answer"), "{reason}");
}

#[tokio::test]
async fn an_answer_with_a_wrong_number_does_not_count() {
    let spoofed = server_of(|answer| answer.metadata.id = answer.metadata.id.wrapping_add(1)).await;
    assert_eq!(run(spoofed, dns("example.com", "A")).await, timed_out("waiting for the DNS answer"));
    let echo = answering(|query| Some(query.into())).await;
    assert_eq!(run(echo, dns("example.com", "A")).await, timed_out("waiting for the DNS answer"));
}

#[tokio::test]
async fn a_question_that_cannot_be_asked_is_our_own_trouble() {
    for (name, record) in [("example.com", "NOPE"), ("a..b", "A")] {
        let outcome = run(nobody().await, dns(name, record)).await;
        assert!(matches!(outcome, Outcome::NotMade(_)), "{outcome:?}");
    }
}
