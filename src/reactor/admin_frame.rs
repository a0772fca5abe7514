//! What one line of a control client is: a request, a notification, or why it is neither.
//!
//! What this file is for: clients are operators' tools and scripts, so a line that is no request is answered as JSON-RPC 2.0
//! has it, with its id where that can be read, and the connection goes on. What it deliberately does not do: tolerate
//! that of a plugin; [`rpc_plugin_peer`] is strict.
//!
//! What always holds: what is a notification, and wrong in its params only, is not answered.

use crate::state::fds::Fds;
use rpc_plugin_wire::life::{Cancel, METHOD_CANCEL};
use rpc_plugin_wire::message::{MessageError, params_into};
use rpc_plugin_wire::words::{beginning_of, in_words};
use rpc_plugin_wire::{BadFrame, CancelCause, ErrorCode, ErrorObject, Meant, Message, RequestId};
use serde::Deserialize;
use serde_json::value::RawValue;

/// A line, understood as far as it can be.
#[derive(Debug)]
pub(super) enum AdminFrame {
    /// A request.
    Request(AdminRequest),
    /// The request of that id is not waited for any longer.
    Cancel(RequestId, Option<CancelCause>),
    /// What is not answered: nothing, a notification of something else, one with wrong params.
    Passed,
    /// What is no request, with the id that its answer has and the error.
    Bad(Option<RequestId>, ErrorObject),
    /// Another framing than this: what follows is not in step. It ends the connection.
    Fault(ErrorObject),
}

/// A request, out of its frame.
#[derive(Debug)]
pub(super) struct AdminRequest {
    pub(super) id: RequestId,
    pub(super) method: String,
    pub(super) params: Option<Box<RawValue>>,
    /// How many descriptors it announces.
    pub(super) announced: u8,
    /// Those, once they are found.
    pub(super) fds: Fds,
}

/// The members of a frame that may be a message but for its params.
#[derive(Deserialize)]
struct Outline<'a> {
    #[serde(borrow)]
    params: Option<&'a RawValue>,
}

impl AdminFrame {
    /// Reads one line, without its line end.
    pub(super) fn read(line: &[u8]) -> AdminFrame {
        let frame = trim(line);
        match frame.first() {
            None => return AdminFrame::Passed,
            Some(b'[') => return AdminFrame::Bad(None, batch(frame)),
            Some(b'{') => {}
            _ if is_header(frame) => return AdminFrame::Fault(framing()),
            _ => {}
        }
        match Message::parse(frame) {
            Ok(Message::Request(request)) => AdminFrame::Request(AdminRequest {
                id: request.id,
                method: request.method.into_owned(),
                params: request.params.map(ToOwned::to_owned),
                announced: request.fds,
                fds: Fds::new(),
            }),
            Ok(Message::Notification(notification)) if notification.method == METHOD_CANCEL => {
                params_into(notification.params)
                    .map_or(AdminFrame::Passed, |Cancel { id, reason }| AdminFrame::Cancel(id, reason))
            }
            Ok(Message::Notification(_)) => AdminFrame::Passed,
            Ok(Message::Response(response)) => {
                let text = "an answer, where nothing was asked of the client";
                AdminFrame::Bad(response.id, ErrorObject::new(ErrorCode::InvalidRequest, text))
            }
            Err(error) => bad(frame, error),
        }
    }
}

/// The line without what people and terminals put around it.
fn trim(mut line: &[u8]) -> &[u8] {
    while let [b' ' | b'\t', rest @ ..] = line {
        line = rest;
    }
    while let [rest @ .., b' ' | b'\t' | b'\r'] = line {
        line = rest;
    }
    line
}

/// Says why several requests in an array are not taken, or that the array is no JSON.
fn batch(frame: &[u8]) -> ErrorObject {
    match serde_json::from_slice::<Vec<&RawValue>>(frame) {
        Ok(requests) if requests.is_empty() => {
            ErrorObject::new(ErrorCode::InvalidRequest, "an empty array; expected one request a line")
        }
        Ok(requests) => {
            let text = format!(
                "an array of {}; there are no batches: send each request as a line of its own, without waiting for \
                 the answers of those before",
                requests.len()
            );
            ErrorObject::new(ErrorCode::InvalidRequest, text)
        }
        Err(error) => {
            let text = String::from_utf8_lossy(frame);
            let why = format!("the frame does not parse: {}", in_words(&error, &text));
            ErrorObject::new(ErrorCode::ParseError, why)
        }
    }
}

/// Whether it is the first line of a message in another framing: `Content-Length: 59`, or of HTTP.
fn is_header(frame: &[u8]) -> bool {
    let begins =
        |word: &[u8]| frame.get(..word.len()).is_some_and(|beginning| beginning.eq_ignore_ascii_case(word));
    begins(b"content-length:") || begins(b"content-type:") || frame.windows(6).any(|part| part == b" HTTP/")
}

fn framing() -> ErrorObject {
    let text = "headers before a message; this socket takes JSON-RPC 2.0 as one JSON object a line, ended by \\n, without \
                Content-Length or other headers, and answers in the same way";
    ErrorObject::new(ErrorCode::ParseError, text)
}

/// A frame that is no message, as its sender meant it.
fn bad(frame: &[u8], error: MessageError) -> AdminFrame {
    // Read only where the frame is good JSON with members of the right types.
    let has_bad_params = matches!(error, MessageError::Envelope(_))
        && serde_json::from_slice::<Outline<'_>>(frame)
            .is_ok_and(|outline| outline.params.is_some_and(|params| !params.get().starts_with('{')));
    let code = if has_bad_params { ErrorCode::InvalidParams } else { error.code() };
    match BadFrame::read(frame, error) {
        Ok(BadFrame { meant: Meant::Notification, .. }) if has_bad_params => AdminFrame::Passed,
        Ok(bad) => {
            let text = match has_bad_params {
                true => "`params` is not an object: there are no positional params, name them".to_owned(),
                false => bad.to_string(),
            };
            let error = ErrorObject::new(code, text);
            match bad.meant {
                Meant::Request(id) | Meant::Answer(id) => AdminFrame::Bad(Some(id), error),
                Meant::Notification => AdminFrame::Bad(None, error),
            }
        }
        Err(error) => {
            let text = format!("{error}; it begins {}", beginning_of(frame));
            AdminFrame::Bad(None, ErrorObject::new(code, text))
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The id and the code that answer a line; `None` where nothing does.
    fn answer(line: &str) -> Option<(Option<RequestId>, ErrorCode)> {
        match AdminFrame::read(line.as_bytes()) {
            AdminFrame::Bad(id, error) => Some((id, error.kind())),
            AdminFrame::Passed => None,
            other => panic!("{line}: {other:?}"),
        }
    }

    #[test]
    fn what_is_around_a_line_does_not_matter() {
        let request = r#"{"jsonrpc":"2.0","id":1,"method":"m","params":{"a":1}}"#;
        for line in
            [request.to_owned(), format!("  \t{request}"), format!("{request} \t \r"), format!("{request}\r")]
        {
            let AdminFrame::Request(read) = AdminFrame::read(line.as_bytes()) else { panic!("{line:?}") };
            assert_eq!((read.id, &*read.method), (RequestId::Number(1), "m"));
            assert_eq!(read.params.unwrap().get(), "{\"a\":1}");
        }
        for nothing in ["", " ", "\r", "\t \r"] {
            assert_eq!(answer(nothing), None, "{nothing:?}");
        }
        assert!(answer(&format!("\u{feff}{request}")).is_some());
    }

    #[test]
    fn an_id_is_echoed_where_it_can_be_read() {
        use ErrorCode::{InvalidParams, InvalidRequest, ParseError};
        let (one, text) = (Some(RequestId::Number(1)), Some(RequestId::Text("a".into())));
        for (line, id, code) in [
            (r#"{"jsonrpc":"2.0","id":1,"method":"m","params":[1,2]}"#, &one, InvalidParams),
            (r#"{"jsonrpc":"2.0","id":"a","method":"m","params":"x"}"#, &text, InvalidParams),
            (r#"{"jsonrpc":"2.0","id":1,"method":"m","params":null}"#, &one, InvalidRequest),
            (r#"{"id":1,"method":"m"}"#, &one, InvalidRequest),
            (r#"{"jsonrpc":"1.0","id":"a","method":"m"}"#, &text, InvalidRequest),
            (r#"{"jsonrpc":"2.0","id":1,"method":7}"#, &one, InvalidRequest),
            (r#"{"jsonrpc":"2.0","id":1,"method":"m","deadline_ms":"soon"}"#, &one, InvalidRequest),
            (r#"{"jsonrpc":"2.0","id":1,"result":{}}"#, &one, InvalidRequest),
            (r#"{"jsonrpc":"2.0","id":1}"#, &one, InvalidRequest),
            (r#"{"jsonrpc":"2.0","id":1.5,"method":"m"}"#, &None, InvalidRequest),
            (r#"{"jsonrpc":"2.0","id":null,"method":"m"}"#, &None, InvalidRequest),
            (r#"{"jsonrpc":"2.0","id":1,"id":2,"method":"m"}"#, &None, InvalidRequest),
            (r#"{"jsonrpc":"2.0","id":1,"method":"m","params":{"a":NaN}}"#, &one, ParseError),
            (r#"{"jsonrpc":"2.0","id":1,"method":"m""#, &one, ParseError),
            (r#"hello"#, &None, ParseError),
            (r#"7"#, &None, ParseError),
        ] {
            assert_eq!(answer(line), Some((id.clone(), code)), "{line}");
        }
    }

    #[test]
    fn notifications_are_not_answered_and_a_cancel_is_understood() {
        for line in [
            r#"{"jsonrpc":"2.0","method":"update","params":[1,2,3,4,5]}"#,
            r#"{"jsonrpc":"2.0","method":"foobar"}"#,
            r#"{"jsonrpc":"2.0","method":"rpc.cancel"}"#,
            r#"{"jsonrpc":"2.0","method":"rpc.cancel","params":{"id":-1}}"#,
        ] {
            assert_eq!(answer(line), None, "{line}");
        }
        let line = br#"{"jsonrpc":"2.0","method":"rpc.cancel","params":{"id":7}}"#;
        assert!(matches!(AdminFrame::read(line), AdminFrame::Cancel(RequestId::Number(7), None)));
    }

    #[test]
    fn another_framing_ends_the_connection_with_an_explanation() {
        for line in ["Content-Length: 59\r", "content-length:7", "Content-Type: x\r", "POST / HTTP/1.1\r"] {
            let AdminFrame::Fault(error) = AdminFrame::read(line.as_bytes()) else { panic!("{line}") };
            assert!(error.message.contains("one JSON object a line"), "{}", error.message);
        }
    }
}
