//! What runs beside the loop: a dial, a handshake, a connection that carries something. Each tells the loop by events.

use crate::link::{Failure, Id};
use crate::message::{MESSAGE_LIMIT, Message, Misfit};
use fulcrum_config::NodeName;
use quinn::{ClientConfig, Connection, ConnectionError, Endpoint, RecvStream};
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;
use tokio::sync::{Semaphore, mpsc, watch};
use tokio::time::timeout;

/// How long the first answer may take. A node that was cut off is to be heard of soon after, so a dial that nobody hears
/// makes room for the next one.
const ANSWER: Duration = Duration::from_millis(200);
/// How long a connection may take to be set up.
pub(super) const HANDSHAKE: Duration = Duration::from_secs(3);
/// How long a message may take to come, or to go.
const MESSAGE: Duration = Duration::from_secs(5);
/// How long what is said of flows waits at most until the data plane has taken what came before: less than a message may take.
const HELD_UP: Duration = Duration::from_secs(2);
/// Messages of a connection that are read, or wait for the loop, at a time.
const READING: usize = 8;
/// What is read beside is at least so long.
const LONG: usize = 4096;
/// The name in the handshake; it is not sent and means nothing.
const NAME: &str = "fulcrum";
/// QUIC's errors of TLS (RFC 9001 section 4.8): 0x100 and the alert.
const TLS_ERRORS: std::ops::Range<u64> = 0x100..0x200;

/// What happens.
#[derive(Debug)]
pub(crate) enum Event {
    /// Hands were shaken; `dialed` if this side began.
    Connected {
        connection: Connection,
        dialed: Option<NodeName>,
    },
    DialFailed {
        peer: NodeName,
        failure: Failure,
    },
    /// Somebody who is no peer.
    Stranger,
    TooMany,
    HandshakeFailed,
    Message {
        id: Id,
        /// Streams of a connection are opened in the order in which things are said.
        stream: u64,
        message: Result<Message, Misfit>,
    },
    /// A message that is too long or does not end.
    Unreadable {
        id: Id,
    },
    Datagram {
        id: Id,
        bytes: Vec<u8>,
    },
    Closed {
        id: Id,
        failure: Failure,
    },
}

/// What is said when the other's key is not listed here.
pub(super) fn unknown_key() -> String {
    "its key is none of those that `keys` lists for it here: compare with what `fulcrum peer-key` prints there"
        .to_owned()
}

/// Connects to `peer`.
pub(crate) async fn dial(
    peer: NodeName,
    endpoint: Endpoint,
    client: ClientConfig,
    address: SocketAddr,
) -> Event {
    let failed = |failure| Event::DialFailed { peer: peer.clone(), failure };
    let mut connecting = match endpoint.connect_with(client, address, NAME) {
        Ok(connecting) => connecting,
        Err(error) => return failed(Failure::Lost(format!("{address} can't be reached: {error}"))),
    };
    if timeout(ANSWER, connecting.handshake_data()).await.is_err() {
        return failed(Failure::Lost(no_answer(address)));
    }
    match timeout(HANDSHAKE, connecting).await {
        Ok(Ok(connection)) => Event::Connected { connection, dialed: Some(peer) },
        Ok(Err(error)) => failed(in_words(&error, address)),
        Err(_) => failed(Failure::Lost(no_answer(address))),
    }
}

fn no_answer(address: SocketAddr) -> String {
    format!("no answer from {address}: is it up, and UDP port {} open between the nodes?", address.port())
}

/// Why a connection ended, for people.
fn in_words(error: &ConnectionError, address: SocketAddr) -> Failure {
    match error {
        // Ours.
        ConnectionError::TransportError(error) if TLS_ERRORS.contains(&u64::from(error.code)) => {
            Failure::Refused(unknown_key())
        }
        // Theirs.
        ConnectionError::ConnectionClosed(close) if TLS_ERRORS.contains(&u64::from(close.error_code)) => {
            Failure::Refused(
                "it refuses this node's key: list what `fulcrum peer-key` prints here in its file, then \
                 `fulcrum reload` there"
                    .to_owned(),
            )
        }
        ConnectionError::ApplicationClosed(close) => match close.error_code.into_inner() {
            0 => Failure::Lost("it was stopped".to_owned()),
            1 => Failure::Refused("it has taken this node's key off its list".to_owned()),
            2 => Failure::Refused("it knows this node by another name".to_owned()),
            3 => Failure::Lost("it did not hear this node any more".to_owned()),
            code => Failure::Lost(format!("it closed the connection ({code})")),
        },
        ConnectionError::TimedOut => Failure::Lost(no_answer(address)),
        ConnectionError::Reset => Failure::Lost("it was started anew".to_owned()),
        ConnectionError::LocallyClosed => Failure::Lost("this side closed the connection".to_owned()),
        ConnectionError::TransportError(_)
        | ConnectionError::ConnectionClosed(_)
        | ConnectionError::VersionMismatch
        | ConnectionError::CidsExhausted => Failure::Lost(error.to_string()),
    }
}

/// Brings what comes on a connection, until it ends.
pub(super) async fn carry(
    id: Id,
    connection: Connection,
    events: mpsc::Sender<Event>,
    full: watch::Receiver<bool>,
) {
    let reading = Arc::new(Semaphore::new(READING));
    // Whoever sends faster than the loop can hear waits here, before more is taken from the transport.
    let accept = || async {
        let permit = Arc::clone(&reading).acquire_owned().await;
        connection.accept_uni().await.map(|stream| (stream, permit))
    };
    let error = loop {
        tokio::select! {
            datagram = connection.read_datagram() => match datagram {
                Ok(bytes) => {
                    if events.send(Event::Datagram { id, bytes: bytes.to_vec() }).await.is_err() {
                        return;
                    }
                }
                Err(error) => break error,
            },
            stream = accept() => match stream {
                Ok((stream, permit)) => {
                    let (events, full) = (events.clone(), full.clone());
                    tokio::spawn(async move {
                        read(id, stream, events, full).await;
                        drop(permit);
                    });
                }
                Err(error) => break error,
            },
        }
    };
    let failure = in_words(&error, connection.remote_address());
    let _ = events.send(Event::Closed { id, failure }).await;
}

async fn read(id: Id, mut stream: RecvStream, events: mpsc::Sender<Event>, mut full: watch::Receiver<bool>) {
    let index = stream.id().index();
    let event = match timeout(MESSAGE, stream.read_to_end(MESSAGE_LIMIT)).await {
        Ok(Ok(bytes)) => match beside(bytes.len(), move || Message::decode(&bytes)).await {
            Some(message) => {
                if matches!(message, Ok(Message::Flows { .. })) {
                    // What else is said on the connection waits behind it, though not for long.
                    let _ = timeout(HELD_UP, full.wait_for(|full| !full)).await;
                }
                Event::Message { id, stream: index, message }
            }
            None => return,
        },
        Ok(Err(quinn::ReadToEndError::TooLong)) | Err(_) => Event::Unreadable { id },
        // The connection ended: that is told elsewhere.
        Ok(Err(quinn::ReadToEndError::Read(_))) => return,
    };
    let _ = events.send(event).await;
}

/// Does what takes long on a thread beside: heartbeats go on meanwhile.
async fn beside<T: Send + 'static>(size: usize, work: impl FnOnce() -> T + Send + 'static) -> Option<T> {
    // It fails only when the engine ends.
    if size < LONG { Some(work()) } else { tokio::task::spawn_blocking(work).await.ok() }
}

/// Says something; if it can't be said in time, the connection is of no use.
pub(super) async fn say(connection: Connection, message: Message) {
    write(&connection, message.encode()).await;
}

/// Says one thing after the other, so that each has all the time that a message may take.
pub(super) async fn say_all(connection: Connection, mut messages: mpsc::Receiver<Message>) {
    while let Some(message) = messages.recv().await {
        if let Some(bytes) = beside(LONG, move || message.encode()).await {
            write(&connection, bytes).await;
        }
    }
}

async fn write(connection: &Connection, bytes: Vec<u8>) {
    let said = async {
        let mut stream = connection.open_uni().await.ok()?;
        stream.write_all(&bytes).await.ok()?;
        stream.finish().ok()
    };
    if timeout(MESSAGE, said).await.is_err() {
        super::close(connection, crate::link::Code::Silent);
    }
}
