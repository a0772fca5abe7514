//! The start of a session from the plugin's side (protocol section 3): hello, and the host's answer.
//!
//! What it deliberately does not do: check who the host is; [`Config::connect`](crate::Config::connect) did.
//!
//! What always holds: no more than 16 KiB plus one read are buffered before the answer is there, and the
//! answer has a deadline for all of it, however slowly it drips.

use crate::config::Config;
use crate::connection::Input;
use crate::error::Error;
use rpc_plugin_peer::Agreed;
use rpc_plugin_peer::running_time::WaitLimit;
use rpc_plugin_wire::handshake::{
    FEATURE_FDS, FEATURE_SERIAL, FEATURE_STREAMS, FEATURES, Hello, HelloResult, METHOD_HELLO,
};
use rpc_plugin_wire::limits::{FRAME_BYTES_MAX_RANGE, FRAME_BYTES_MAX_UNAUTHENTICATED, PROTOCOL_VERSION};
use rpc_plugin_wire::message::result_object;
use rpc_plugin_wire::message::{NewRequest, params_text, write_request};
use rpc_plugin_wire::{Message, RequestId, Response};
use std::collections::BTreeMap;
use std::io::{self, Write};
use std::os::unix::net::UnixStream;
use std::time::{Duration, Instant};

/// The id of the first request; all others have higher ones.
pub(crate) const HELLO_ID: u64 = 1;
/// What this SDK calls itself.
pub(crate) const SDK: &str = concat!("rust/", env!("CARGO_PKG_VERSION"));
/// Bytes asked of the socket at a time before the host is known.
const READ_BYTES: usize = 4096;

/// What a plugin says of itself in its hello, beside who it is.
pub(crate) struct Offer<'a> {
    pub(crate) version: &'a str,
    pub(crate) capabilities: &'a [String],
    pub(crate) interfaces: &'a BTreeMap<String, Vec<u32>>,
    /// Whether the connection passes file descriptors.
    pub(crate) passes_fds: bool,
    /// Whether it does one thing at a time.
    pub(crate) is_serial: bool,
}

/// Says hello and waits for the answer. The input may hold what the host sent after it.
pub(crate) fn greet(
    connection: &UnixStream,
    config: Config,
    offer: &Offer<'_>,
) -> Result<(Box<Input>, Agreed, HelloResult), Error> {
    let hello_timeout = config.hello_timeout;
    let (begun, mut limit) = (Instant::now(), WaitLimit::new(hello_timeout));
    send(connection, config, offer)?;
    let mut input = Input::new(FRAME_BYTES_MAX_UNAUTHENTICATED);
    let answer = loop {
        match input.receiver.next().map_err(rpc_plugin_peer::Violation::from)? {
            Some((message, _)) => {
                if let Some(answer) = understand(message)? {
                    break answer;
                }
            }
            None => {
                let left = limit.left(begun.elapsed());
                if left.is_zero() {
                    return Err(Error::HelloUnanswered(format!("no answer within {hello_timeout:?}")));
                }
                fill(connection, &mut input, left)?;
            }
        }
    };
    let has = |name: &str| answer.features.iter().any(|feature| feature == name);
    let passes_fds = offer.passes_fds;
    let (fds, streams) = (passes_fds && has(FEATURE_FDS), !passes_fds && has(FEATURE_STREAMS));
    let agreed = Agreed { frame_bytes_max: answer.frame_bytes_max, fds, streams };
    input.receiver.agree(agreed);
    set_timeouts(connection, None)?;
    Ok((input, agreed, answer))
}

fn send(mut connection: &UnixStream, config: Config, offer: &Offer<'_>) -> Result<(), Error> {
    let hello = Hello {
        token: config.token,
        plugin_id: config.plugin_id,
        generation: config.generation,
        protocols: vec![PROTOCOL_VERSION],
        version: offer.version.to_owned(),
        sdk: SDK.to_owned(),
        capabilities: offer.capabilities.to_vec(),
        interfaces: offer.interfaces.clone(),
        features: features(offer),
    };
    hello.check().map_err(|error| Error::Definition(vec![format!("its hello is refused: {error}")]))?;
    let params = params_text(&hello).map_err(|error| Error::Definition(vec![error.message.into_owned()]))?;
    let mut frame = Vec::new();
    let params = params.as_deref();
    let request = NewRequest { id: HELLO_ID, method: METHOD_HELLO, params, ..NewRequest::default() };
    write_request(&mut frame, &request);
    if frame.len() - 1 > FRAME_BYTES_MAX_UNAUTHENTICATED {
        let bytes = frame.len() - 1;
        return Err(Error::Definition(vec![format!(
            "its hello has {bytes} bytes, at most {FRAME_BYTES_MAX_UNAUTHENTICATED} are allowed; \
             serve fewer capabilities or interfaces"
        )]));
    }
    set_timeouts(connection, Some(config.hello_timeout))?;
    let sent = connection.write_all(&frame);
    // The token is not kept: not in this buffer either, once it is sent.
    frame.fill(0);
    std::hint::black_box(&frame);
    sent.map_err(|error| Error::HelloUnanswered(format!("it could not be sent: {error}")))
}

/// What this SDK understands. Descriptors travel as they are or in band, never both.
fn features(offer: &Offer<'_>) -> Vec<String> {
    let left_out = if offer.passes_fds { FEATURE_STREAMS } else { FEATURE_FDS };
    let is_offered = |feature: &&str| *feature != left_out && (offer.is_serial || *feature != FEATURE_SERIAL);
    FEATURES.into_iter().filter(is_offered).map(str::to_owned).collect()
}

/// Reads what comes, for so long at the most.
fn fill(connection: &UnixStream, input: &mut Input, timeout: Duration) -> Result<(), Error> {
    set_timeouts(connection, Some(timeout))?;
    match input.read_once(connection, READ_BYTES) {
        Ok(0) => match input.receiver.finish() {
            Ok(()) => Err(Error::HelloUnanswered("it closed the connection".to_owned())),
            Err(violation) => Err(violation.into()),
        },
        Ok(_) => Ok(()),
        Err(error) if is_again(&error) => Ok(()),
        Err(error) => Err(Error::HelloUnanswered(format!("the connection broke: {error}"))),
    }
}

/// Whether a read ended without anything being wrong: a signal, or its time was over.
pub(crate) fn is_again(error: &io::Error) -> bool {
    use io::ErrorKind::{Interrupted, TimedOut, WouldBlock};
    matches!(error.kind(), Interrupted | WouldBlock | TimedOut)
}

/// The host's answer out of one message; `None` for a notification, which means nothing yet.
fn understand(message: Message<'_>) -> Result<Option<HelloResult>, Error> {
    let wrong = |what: String| Err(Error::Violation(format!("the answer to the hello {what}")));
    match message {
        Message::Notification(_) => Ok(None),
        Message::Request(request) => {
            Err(Error::Violation(format!("it sent {:?} before it answered the hello", request.method)))
        }
        // Without an id: the host could not even read it.
        Message::Response(Response {
            result: Err(error),
            id: None | Some(RequestId::Number(HELLO_ID)),
            ..
        }) => Err(Error::Rejected(error)),
        Message::Response(Response { id: Some(RequestId::Number(HELLO_ID)), result: Ok(result), .. }) => {
            let answer: HelloResult = match result_object(result) {
                Ok(answer) => answer,
                Err(error) => return wrong(format!("does not parse: {error}")),
            };
            if answer.protocol != PROTOCOL_VERSION {
                return wrong(format!(
                    "chose protocol {}, which was not offered; {PROTOCOL_VERSION} was",
                    answer.protocol
                ));
            }
            if !FRAME_BYTES_MAX_RANGE.contains(&answer.frame_bytes_max) {
                return wrong(format!(
                    "has a frame_bytes_max of {}, allowed is {} to {}",
                    answer.frame_bytes_max,
                    FRAME_BYTES_MAX_RANGE.start(),
                    FRAME_BYTES_MAX_RANGE.end()
                ));
            }
            Ok(Some(answer))
        }
        Message::Response(Response { id, .. }) => {
            let id = id.map_or_else(|| "null".to_owned(), |id| id.to_string());
            wrong(format!("has the id {id} instead of {HELLO_ID}"))
        }
    }
}

fn set_timeouts(connection: &UnixStream, timeout: Option<Duration>) -> Result<(), Error> {
    connection
        .set_read_timeout(timeout)
        .and_then(|()| connection.set_write_timeout(timeout))
        .map_err(|source| Error::Os { step: "set a timeout on the host's socket", source })
}
