//! Answers as frames, within the limit that the host named.
//!
//! What it deliberately does not do: send them; the outbox does that.
//!
//! What always holds: exactly one whole frame is appended, and it is no longer than the limit.

use crate::beside::Beside;
use crate::frames::Frames;
use crate::handler::HandlerError;
use rpc_plugin_wire::message::{fits_nesting, to_one_line, write_error};
use rpc_plugin_wire::{ErrorCode, ErrorObject, RequestId};

/// Appends the answer that `produce` makes: the JSON that it appends as result, with what it gives beside it, or
/// its error. Says whether a result was written.
pub(crate) fn write_answer(
    frames: &mut Frames,
    id: &RequestId,
    frame_bytes_max: usize,
    produce: impl FnOnce(&mut Vec<u8>) -> Result<Beside, HandlerError>,
) -> bool {
    let out = &mut frames.bytes;
    let at = out.len();
    // Written here, and not by the wire crate, so that a result is serialised once, into its final place.
    out.extend_from_slice(b"{\"jsonrpc\":\"2.0\",\"id\":");
    push_id(out, id);
    out.extend_from_slice(b",\"result\":");
    let result_at = out.len();
    let beside = match produce(out) {
        Ok(beside) => beside,
        Err(error) => {
            out.truncate(at);
            write_failure(frames, id, frame_bytes_max, error.into_object());
            return false;
        }
    };
    if !fits_nesting(out.get(result_at..).unwrap_or_default()) {
        out.truncate(at);
        let text = "the result is nested deeper than 127 levels, which is the most";
        write_error(out, Some(id), &ErrorObject::new(ErrorCode::InternalError, text));
        return false;
    }
    // A raw value may hold line ends between its tokens.
    to_one_line(out.get_mut(result_at..).unwrap_or_default());
    out.extend_from_slice(beside.member().as_bytes());
    out.extend_from_slice(b"}\n");
    let frame_bytes = out.len() - at - 1;
    if frame_bytes <= frame_bytes_max {
        frames.attach(at, beside);
        return true;
    }
    out.truncate(at);
    write_error(out, Some(id), &too_large(frame_bytes, frame_bytes_max));
    false
}

/// Appends an error as answer; without its data where that is too large.
pub(crate) fn write_failure(frames: &mut Frames, id: &RequestId, frame_bytes_max: usize, error: ErrorObject) {
    let out = &mut frames.bytes;
    let at = out.len();
    write_error(out, Some(id), &error);
    if out.len() - at - 1 > frame_bytes_max {
        out.truncate(at);
        write_error(out, Some(id), &ErrorObject { data: None, ..error });
    }
}

fn too_large(frame_bytes: usize, frame_bytes_max: usize) -> ErrorObject {
    let message = format!("the answer has {frame_bytes} bytes, at most {frame_bytes_max} are allowed");
    ErrorObject::new(ErrorCode::TooLarge, message)
}

fn push_id(out: &mut Vec<u8>, id: &RequestId) {
    // An integer or a string always serialises.
    let written = serde_json::to_writer(&mut *out, id);
    debug_assert!(written.is_ok(), "a request id does not serialise");
}

#[cfg(test)]
mod tests {
    use super::*;
    use rpc_plugin_wire::Message;

    fn answer(max: usize, produce: impl FnOnce(&mut Vec<u8>) -> Result<(), HandlerError>) -> (bool, String) {
        let mut out = Frames::from(b"before\n".to_vec());
        let produce = |out: &mut Vec<u8>| produce(out).map(|()| Beside::Nothing);
        let ok = write_answer(&mut out, &RequestId::Text("a\"b".into()), max, produce);
        let text = String::from_utf8(out.bytes).unwrap();
        let frame = text.strip_prefix("before\n").unwrap().strip_suffix('\n').unwrap().to_owned();
        assert!(!frame.contains('\n'), "{frame:?}");
        assert!(frame.len() <= max.max(200), "{frame:?}");
        let Message::Response(response) = Message::parse(frame.as_bytes()).unwrap() else { panic!() };
        assert_eq!(response.id, Some(RequestId::Text("a\"b".into())));
        (ok, frame)
    }

    #[test]
    fn a_result_is_one_line_whatever_it_holds() {
        let (ok, frame) = answer(100, |out| {
            out.extend_from_slice(b"{\n\"a\":1}");
            Ok(())
        });
        assert!(ok && frame.contains("{ \"a\":1}"), "{frame}");
    }

    #[test]
    fn a_result_that_the_host_would_not_take_is_an_error() {
        let nested = |levels: usize| {
            move |out: &mut Vec<u8>| {
                out.extend_from_slice(format!("{}{}", "[".repeat(levels), "]".repeat(levels)).as_bytes());
                Ok(())
            }
        };
        assert!(answer(1000, nested(127)).0);
        let (ok, frame) = answer(1000, nested(128));
        assert!(!ok && frame.contains("-32603") && frame.contains("127 levels"), "{frame}");
    }

    #[test]
    fn the_limit_is_met_to_the_byte() {
        let text = |bytes: usize| {
            move |out: &mut Vec<u8>| {
                out.extend_from_slice(format!("{:?}", "x".repeat(bytes - 2)).as_bytes());
                Ok(())
            }
        };
        // The envelope has 39 bytes with this id.
        assert!(answer(1039, text(1000)).0);
        let (ok, frame) = answer(1038, text(1000));
        assert!(
            !ok && frame.contains("-32006") && frame.contains("1039") && frame.contains("1038"),
            "{frame}"
        );
    }

    #[test]
    fn an_error_replaces_what_was_written_and_loses_data_that_is_too_large() {
        let (ok, frame) = answer(1000, |out| {
            out.extend_from_slice(b"{\"half\":");
            Err(HandlerError::internal("broken").with_data(&"x".repeat(1000)))
        });
        assert!(
            !ok && frame.contains("broken") && !frame.contains("half") && !frame.contains("xxx"),
            "{frame}"
        );
    }
}
