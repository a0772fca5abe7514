//! What a plugin answers: what its handlers say, and the protocol's own methods, as frames within the limit that the host
//! named.
//!
//! What it deliberately does not do: read from the host, send anything, or decide when the session ends.
//!
//! What always holds: an answer is exactly one whole frame, no longer than the limit; a handler's panic is an answer and
//! never the end of its thread.

use crate::attachments::{Attachments, Frames, attach};
use crate::call::{Method, catch};
use crate::log::{HandlerFailure, Log};
use crate::task::Job;
use crate::terms::Terms;
use rpc_plugin_interface::HandlerError;
use rpc_plugin_wire::describe::METHOD_DESCRIBE;
use rpc_plugin_wire::event::Level;
use rpc_plugin_wire::life::{Capabilities, HealthStatus, Heartbeat, METHOD_CALLBACK};
use rpc_plugin_wire::message::{fits_nesting, to_one_line, write_error};
use rpc_plugin_wire::suggest::nearest;
use rpc_plugin_wire::{ErrorCode, ErrorObject, RequestId};
use serde::Serialize;
use std::collections::BTreeMap;
use std::os::fd::OwnedFd;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

pub(crate) type Health = dyn Fn() -> HealthStatus + Send + Sync;

/// What is served, and what is known of it.
pub(crate) struct Service {
    pub(crate) methods: BTreeMap<Box<str>, Arc<Method>>,
    pub(crate) capabilities: Vec<String>,
    pub(crate) version: String,
    pub(crate) terms: Arc<Terms>,
    /// What serves `rpc.callback`.
    pub(crate) callback: Arc<Method>,
    /// What serves `plugin.describe`.
    pub(crate) describe: Arc<Method>,
    pub(crate) health: Box<Health>,
    pub(crate) work: Work,
    pub(crate) log: Log,
}

/// What the heartbeat tells of the calls.
pub(crate) struct Work {
    started: Instant,
    served: AtomicU64,
    failed: AtomicU64,
    /// Milliseconds after `started`, plus 1; 0: never. Asking for the date at each call would cost more.
    last_success_ms: AtomicU64,
}

impl Work {
    pub(crate) fn new() -> Work {
        Work {
            started: Instant::now(),
            served: AtomicU64::new(0),
            failed: AtomicU64::new(0),
            last_success_ms: AtomicU64::new(0),
        }
    }

    /// Counts a call that was answered at `end`.
    pub(crate) fn count(&self, succeeded: bool, end: Instant) {
        self.served.fetch_add(1, Ordering::Relaxed);
        if !succeeded {
            self.failed.fetch_add(1, Ordering::Relaxed);
            return;
        }
        let after_start_ms = millis(end.saturating_duration_since(self.started)) + 1;
        // Most calls end in the millisecond of the one before.
        if self.last_success_ms.load(Ordering::Relaxed) < after_start_ms {
            self.last_success_ms.fetch_max(after_start_ms, Ordering::Relaxed);
        }
    }

    fn heartbeat(&self, status: HealthStatus) -> Heartbeat {
        let uptime_ms = millis(self.started.elapsed());
        let since_1970 = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
        let after_start_ms = self.last_success_ms.load(Ordering::Relaxed).checked_sub(1);
        let last_success_unix_ms =
            after_start_ms.map(|ms| millis(since_1970).saturating_sub(uptime_ms.saturating_sub(ms)));
        Heartbeat {
            status,
            uptime_ms,
            work_count: self.served.load(Ordering::Relaxed),
            last_success_unix_ms,
            error_count: self.failed.load(Ordering::Relaxed),
        }
    }
}

fn millis(time: Duration) -> u64 {
    u64::try_from(time.as_millis()).unwrap_or(u64::MAX)
}

impl Service {
    /// Runs a call's handler and appends its answer. Gives what kept that from being a result.
    pub(crate) fn answer(&self, job: &Job, out: &mut Frames) -> Option<Box<HandlerFailure>> {
        let Job { call, params } = job;
        let mut failure = None;
        let is_result = write_answer(out, call.id(), self.terms.frame_bytes_max, |out| {
            let ended = catch("the handler", || (call.inner_method().handler)(call, params.as_deref(), out));
            let is_panic = ended.is_err();
            let ended = ended.and_then(|result| result).and_then(|fds| self.pack(fds));
            ended.inspect_err(|error| failure = Some(failure_of(error, is_panic)))
        });
        // Callbacks that came with it cannot be called any more.
        call.context().end();
        call.close_fds();
        match failure {
            None if !is_result => {
                let error = HandlerError::internal("the result is too large, or nested too deeply");
                Some(failure_of(&error, false))
            }
            failure => failure,
        }
    }

    fn pack(&self, fds: Vec<OwnedFd>) -> Result<Attachments, HandlerError> {
        if fds.is_empty() {
            return Ok(Attachments::None);
        }
        let attached = self.terms.fd_transport.attach(fds);
        attached.map_err(|error| HandlerError::internal(format!("the result cannot go out: {}", error.why)))
    }

    /// A call of the method of that number made its thread, which had the reading role, wait.
    pub(crate) fn blocked(&self, number: usize) {
        let mut all = self.methods.values().chain([&self.callback, &self.describe]);
        if let Some(method) = all.find(|method| method.number == number) {
            method.pace.blocked();
        }
    }

    /// Puts the end of a call on the plugin's own record, if it is to be there.
    pub(crate) fn record_end(&self, job: &Job, took: Duration, failure: Option<&HandlerFailure>) {
        if failure.is_some() || self.log.is_on(Level::Debug) {
            self.log.called(job.call.for_log(), took, failure);
        }
    }

    /// Answers `plugin.heartbeat`.
    pub(crate) fn answer_heartbeat(&self, id: &RequestId, out: &mut Frames) {
        write_answer(out, id, self.terms.frame_bytes_max, |out| {
            let status = catch("the health check", || (self.health)())?;
            push_json(out, &self.work.heartbeat(status))
        });
    }

    /// Answers `plugin.capabilities`.
    pub(crate) fn answer_capabilities(&self, id: &RequestId, out: &mut Frames) {
        let capabilities = Capabilities {
            plugin_id: self.terms.plugin_id.clone(),
            version: self.version.clone(),
            generation: self.terms.generation,
            capabilities: self.capabilities.clone(),
        };
        write_answer(out, id, self.terms.frame_bytes_max, |out| push_json(out, &capabilities));
    }

    /// Answers `plugin.shutdown`.
    pub(crate) fn answer_shutdown(&self, id: &RequestId, out: &mut Frames) {
        write_answer(out, id, self.terms.frame_bytes_max, |out| {
            out.extend_from_slice(b"{}");
            Ok(Attachments::None)
        });
    }

    /// The method of that name, also one of the protocol's that runs as handlers do.
    pub(crate) fn method(&self, name: &str) -> Option<&Arc<Method>> {
        match (self.methods.get(name), name) {
            (None, METHOD_CALLBACK) => Some(&self.callback),
            (None, METHOD_DESCRIBE) => Some(&self.describe),
            (method, _) => method,
        }
    }

    /// What an unknown method is answered with.
    pub(crate) fn method_not_found(&self, method: &str) -> HandlerError {
        let served: Vec<&str> = self.methods.keys().map(|name| &**name).collect();
        let id = &self.terms.plugin_id;
        let mut text = format!("{id} has no method {method:?}; it serves {}", served.join(", "));
        if let Some(meant) = nearest(method, served.iter().copied()) {
            text = format!("{text}; did you mean {meant:?}?");
        }
        HandlerError::new(ErrorCode::MethodNotFound, text)
    }
}

#[cold]
fn failure_of(error: &HandlerError, is_panic: bool) -> Box<HandlerFailure> {
    Box::new(HandlerFailure { code: error.code(), text: error.message().to_owned(), is_panic })
}

fn push_json<T: Serialize>(out: &mut Vec<u8>, value: &T) -> Result<Attachments, HandlerError> {
    serde_json::to_writer(out, value)?;
    Ok(Attachments::None)
}

/// Appends the answer that `produce` makes: the JSON that it appends as result, with what it gives to attach, or
/// its error. Says whether a result was written.
pub(crate) fn write_answer(
    frames: &mut Frames,
    id: &RequestId,
    frame_bytes_max: usize,
    produce: impl FnOnce(&mut Vec<u8>) -> Result<Attachments, HandlerError>,
) -> bool {
    let mut attachments = None;
    let frame = frames.write(|out| attachments = write_result(out, id, frame_bytes_max, produce));
    match attachments {
        None => false,
        Some(Attachments::None) => true,
        Some(attachments) => {
            attach(frames, frame, attachments);
            true
        }
    }
}

/// Writes it as one frame. Returns what is attached to a result; `None` for an error.
fn write_result(
    out: &mut Vec<u8>,
    id: &RequestId,
    frame_bytes_max: usize,
    produce: impl FnOnce(&mut Vec<u8>) -> Result<Attachments, HandlerError>,
) -> Option<Attachments> {
    let at = out.len();
    // Written here, and not by the wire crate, so that a result is serialised once, into its final place.
    out.extend_from_slice(b"{\"jsonrpc\":\"2.0\",\"id\":");
    push_id(out, id);
    out.extend_from_slice(b",\"result\":");
    let result_at = out.len();
    let attachments = match produce(out) {
        Ok(attachments) => attachments,
        Err(error) => {
            out.truncate(at);
            write_error_within(out, id, frame_bytes_max, error.into_object());
            return None;
        }
    };
    if !fits_nesting(out.get(result_at..).unwrap_or_default()) {
        out.truncate(at);
        let text = "the result is nested deeper than 127 levels, which is the most";
        write_error(out, Some(id), &ErrorObject::new(ErrorCode::InternalError, text));
        return None;
    }
    // A raw value may hold line ends between its tokens.
    to_one_line(out.get_mut(result_at..).unwrap_or_default());
    if !matches!(attachments, Attachments::None) {
        out.extend_from_slice(attachments.member().as_bytes());
    }
    out.extend_from_slice(b"}\n");
    let frame_bytes = out.len() - at - 1;
    if frame_bytes <= frame_bytes_max {
        return Some(attachments);
    }
    out.truncate(at);
    write_error(out, Some(id), &too_large(frame_bytes, frame_bytes_max));
    None
}

/// Appends an error as answer; without its data where that is too large.
pub(crate) fn write_failure(frames: &mut Frames, id: &RequestId, frame_bytes_max: usize, error: ErrorObject) {
    frames.write(|out| write_error_within(out, id, frame_bytes_max, error));
}

fn write_error_within(out: &mut Vec<u8>, id: &RequestId, frame_bytes_max: usize, error: ErrorObject) {
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
        let mut out = Frames::default();
        out.write(|out| out.extend_from_slice(b"before\n"));
        let produce = |out: &mut Vec<u8>| produce(out).map(|()| Attachments::None);
        let ok = write_answer(&mut out, &RequestId::Text("a\"b".into()), max, produce);
        let text = String::from_utf8(out.all_waiting()).unwrap();
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
