//! Answers to requests of the plugin, within what it takes and reads.

use super::requests::no_memory;
use super::types::Fault;
use super::{Session, Stage};
use crate::state::fds::Fds;
use crate::state::keys::Cx;
use rpc_plugin_peer::{Refused, Span, check_fds};
use rpc_plugin_wire::message::{write_error, write_progress, write_result};
use rpc_plugin_wire::{ErrorCode, ErrorObject, RequestId};
use serde_json::value::RawValue;

/// Bytes of an answer's frame beside its result, at the most.
const ANSWER_ENVELOPE_BYTES: usize = 512;
/// An error's frame of so many bytes is always told as it is.
const ERROR_BYTES_SMALL: usize = 4096;
/// Characters that are kept of the message of one that does not fit.
const ERROR_TEXT_CHARS: usize = 256;
/// Descriptors that may wait for a peer to read them. Those of one frame always may.
pub(super) const OUTBOX_FDS_MAX: usize = 64;

impl Session {
    /// Answers a request of the peer. An answer that the plugin would not take, or that does not fit beside what waits
    /// for it, is an error.
    pub fn answer(
        &mut self,
        cx: &mut Cx<'_>,
        id: &RequestId,
        result: Result<&RawValue, ErrorObject>,
        fds: Fds,
    ) {
        if self.stage != Stage::Open || self.incoming.leave(id).is_none() {
            return;
        }
        let written = result.and_then(|result| self.write_answer(id, result, fds));
        if let Err(error) = written {
            self.write_answer_error(id, &error);
        }
        self.check_queue(cx);
    }

    fn write_answer(&mut self, id: &RequestId, result: &RawValue, fds: Fds) -> Result<(), ErrorObject> {
        let (bytes, bytes_max) = (result.get().len(), self.frame_bytes_max - ANSWER_ENVELOPE_BYTES);
        if bytes > bytes_max {
            let text = format!("the result has {bytes} bytes, at most {bytes_max} fit a frame");
            return Err(ErrorObject::new(ErrorCode::TooLarge, text));
        }
        let waiting = self.queue.waiting_bytes();
        if waiting > 0 && waiting + bytes > self.outbox_bytes_max {
            let text = format!("the result's {bytes} bytes do not fit: {waiting} wait to be read already");
            return Err(ErrorObject::new(ErrorCode::Overloaded, text));
        }
        if !self.queue.has_room(bytes) {
            return Err(ErrorObject::new(ErrorCode::Overloaded, no_memory(bytes)));
        }
        let (fds, numbers) = self.pack(fds).map_err(|mut refused| {
            // It is no fault of who asked.
            if refused.code == ErrorCode::InvalidParams {
                refused.code = ErrorCode::InternalError;
            }
            ErrorObject::from(refused)
        })?;
        let span = self.queue.write(|out| write_result(out, id, result, fds.len(), &numbers));
        self.send_beside(span, fds, &numbers);
        Ok(())
    }

    /// Makes descriptors ready to go out with one frame: as they are, beside those that the peer has not read yet, or as
    /// streams in band, whose numbers are given.
    pub(super) fn pack(&mut self, fds: Fds) -> Result<(Fds, Vec<u64>), Refused> {
        check_fds(fds.len())?;
        if !self.features.fds {
            return self.streams.open(fds).map(|numbers| (Fds::new(), numbers));
        }
        let (count, waiting) = (fds.len(), self.queue.waiting_fds());
        if count > 0 && waiting > 0 && waiting + count > OUTBOX_FDS_MAX {
            let text = format!(
                "its {count} file descriptors do not fit: {waiting} wait to be read already, at most {OUTBOX_FDS_MAX} may"
            );
            return Err(Refused::new(ErrorCode::Overloaded, text));
        }
        Ok((fds, Vec::new()))
    }

    /// Lets what [`Session::pack`] made ready go out with the frame at `span`.
    pub(super) fn send_beside(&mut self, span: Span, fds: Fds, numbers: &[u64]) {
        self.queue.attach(span, fds);
        self.streams.announce(numbers, span);
    }

    /// An error can be large too: that of another plugin, handed on. Then it is told without what makes it so.
    fn write_answer_error(&mut self, id: &RequestId, error: &ErrorObject) {
        let room = self.outbox_bytes_max.saturating_sub(self.queue.waiting_bytes());
        let bytes_max = (self.frame_bytes_max + 1).min(room).max(ERROR_BYTES_SMALL) - 1;
        if self.queue.write_within(bytes_max, |out| write_error(out, Some(id), error)).is_err() {
            let mut text: String = error.message.chars().take(ERROR_TEXT_CHARS).collect();
            text.push_str(" (the rest of the error does not fit)");
            let short = ErrorObject { code: error.code, message: text.into(), data: None };
            self.queue.write(|out| write_error(out, Some(id), &short));
        }
    }

    /// Tells how far a request of the peer is, if it still waits. Dropped where the peer does not read: it is worth
    /// nothing later.
    pub fn progress(&mut self, id: &RequestId, value: &RawValue) {
        let bytes = value.get().len();
        let fits = bytes <= self.frame_bytes_max - ANSWER_ENVELOPE_BYTES
            && self.queue.waiting_bytes() + bytes <= self.outbox_bytes_max;
        if self.stage == Stage::Open && self.incoming.get(id).is_some() && fits {
            self.queue.write(|out| write_progress(out, id, value.get()));
        }
    }

    /// A peer that asks and does not read the answers would make the queue grow without end.
    pub(super) fn check_queue(&mut self, cx: &mut Cx<'_>) {
        let allowed = self.outbox_bytes_max + self.frame_bytes_max;
        if self.queue.waiting_bytes() > allowed {
            let why = format!("it asks without reading the answers; {allowed} bytes wait for it");
            self.fault(cx, Fault::Violation(why));
        }
    }
}
