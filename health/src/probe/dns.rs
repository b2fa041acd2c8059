//! A DNS query over UDP (RFC 1035).

use super::{Failure, Stage, udp};
use fulcrum_config::Target;
use hickory_proto::op::{Message, MessageType, OpCode, Query, ResponseCode};
use hickory_proto::rr::{Name, RecordType};
use std::str::FromStr;

/// Asks for `record` of `name`; any answer without an error will do, also an empty or a truncated one.
pub(super) async fn ask(target: &Target, name: &str, record: &str, stage: &Stage) -> Result<(), Failure> {
    let query = query(name, record, fastrand::u16(..))?;
    let bytes = query.to_vec().map_err(|error| cannot_ask(name, record, &error.to_string()))?;
    let socket = udp::connect(target, stage).await?;
    socket.send(&bytes).await?;
    stage.set("waiting for the DNS answer");
    loop {
        if let Some(result) = judge(&query, &udp::receive(&socket).await?) {
            return result;
        }
    }
}

/// Whether `answer` is a good one to such a query.
#[cfg(feature = "fuzzing")]
pub(super) fn is_good_answer(name: &str, record: &str, id: u16, answer: &[u8]) -> bool {
    query(name, record, id).is_ok_and(|query| judge(&query, answer).is_some_and(|result| result.is_ok()))
}

fn query(name: &str, record: &str, id: u16) -> Result<Message, Failure> {
    let mut asked = Name::from_str(name).map_err(|error| cannot_ask(name, record, &error.to_string()))?;
    let kind = RecordType::from_str(&record.to_uppercase())
        .map_err(|error| cannot_ask(name, record, &error.to_string()))?;
    asked.set_fqdn(true);
    let mut query = Message::new(id, MessageType::Query, OpCode::Query);
    query.metadata.recursion_desired = true;
    query.add_query(Query::query(asked, kind));
    Ok(query)
}

/// What `answer` says to `query`; nothing if it is to another one, of a process that had our port before.
fn judge(query: &Message, answer: &[u8]) -> Option<Result<(), Failure>> {
    let answer = match Message::from_vec(answer) {
        Ok(answer) => answer,
        Err(error) => return Some(Err(Failure::Answer(format!("not a DNS answer ({error})")))),
    };
    let is_ours =
        answer.metadata.id == query.metadata.id && answer.metadata.message_type == MessageType::Response;
    is_ours.then(|| is_without_error(query, &answer))
}

fn is_without_error(query: &Message, answer: &Message) -> Result<(), Failure> {
    if answer.metadata.response_code != ResponseCode::NoError {
        return Err(Failure::Answer(format!(
            "the DNS answer is an error: {}",
            answer.metadata.response_code
        )));
    }
    // Names are compared without regard to case, as servers may change it.
    if answer.queries != query.queries {
        return Err(Failure::Answer("the DNS answer is to another question".into()));
    }
    Ok(())
}

fn cannot_ask(name: &str, record: &str, error: &str) -> Failure {
    Failure::Local(format!("{record} of \"{name}\" can't be asked for ({error}); look at the check's fields"))
}
