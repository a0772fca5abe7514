//! One connection of one generation, from its first byte to its last (protocol sections 1, 3 and 5).
//!
//! What this file is for: bytes in, frames understood, proof demanded, requests matched with answers,
//! bytes out. What it deliberately does not do: decide what a fault means for the plugin; its machine
//! does, on [`SessionEvent::Fault`]. Who connected was checked before a session exists.
//!
//! What always holds: nothing but `host.hello` is acted on before the proof; every request ends
//! exactly once; after a fault nothing more is read or delivered.

mod core;
mod hello;
mod requests;
mod streams;
#[cfg(test)]
mod tests;
mod types;

pub use streams::Named;
pub use types::{Asked, CallSpec, Cancelled, Expectation, Fault, Introduction, NewCall, SessionEvent};

use self::core::{Core, Stage};
use super::fds::Fds;
use super::keys::{CallKey, Caller, Cx};
use super::policy::Policy;
use rpc_plugin_wire::handshake::{Launch, METHOD_LAUNCH};
use rpc_plugin_wire::limits::FRAME_BYTES_MAX_UNAUTHENTICATED;
use rpc_plugin_wire::message::{params_text, write_notification};
use rpc_plugin_wire::stream::StreamFrame;
use rpc_plugin_wire::{CallError, ErrorObject, FrameDecoder, FrameError, RequestId};
use serde_json::value::RawValue;

/// See the module's text.
#[derive(Debug)]
pub struct Session {
    inbox: FrameDecoder,
    core: Core,
}

impl Session {
    /// A session that waits for the hello.
    #[must_use]
    pub fn new(expectation: Expectation, policy: &Policy) -> Session {
        Session {
            inbox: FrameDecoder::new(FRAME_BYTES_MAX_UNAUTHENTICATED),
            core: Core::new(expectation, policy),
        }
    }

    /// Tells the plugin as what it was launched, before anything else, where its environment cannot.
    pub fn tell_launch(&mut self, launch: &Launch) {
        if let Ok(params) = params_text(launch) {
            write_notification(self.core.outbox.buffer(), METHOD_LAUNCH, params.as_deref());
        }
    }

    /// Room to read into; follow with [`Session::filled`] and [`Session::handle_frames`].
    pub fn space(&mut self, read_bytes: usize) -> &mut [u8] {
        self.inbox.space(read_bytes)
    }

    /// Reads into `buffer` from now on; see [`FrameDecoder::lend`].
    pub fn lend(&mut self, buffer: &mut Vec<u8>) {
        self.inbox.lend(buffer);
    }

    /// Gives a lent buffer back.
    pub fn give_back(&mut self, buffer: &mut Vec<u8>) {
        self.inbox.give_back(buffer);
    }

    /// How many bytes of the last [`Session::space`] were read, and the descriptors that came with them.
    pub fn filled(&mut self, bytes: usize, fds: Fds) {
        let why = match self.core.stage {
            _ if fds.is_empty() => None,
            Stage::Greeting => Some("file descriptors came before the proof"),
            _ if !self.core.takes_fds => Some("file descriptors came, which were not agreed on"),
            _ => None,
        };
        if let Err(error) = self.core.came.received(bytes, fds) {
            self.core.came_wrong = Some(error.to_string());
        }
        if let Some(why) = why {
            self.core.came_wrong = Some(why.to_owned());
        }
        self.inbox.filled(bytes);
    }

    /// The kernel dropped descriptors that came with the last bytes.
    pub fn fds_were_dropped(&mut self) {
        let why = "more file descriptors came at once than a frame may have, or than this process may open";
        self.core.came_wrong = Some(why.to_owned());
    }

    /// Handles up to `frames_max` of the frames that are there; whether there may be more.
    pub fn handle_frames(&mut self, cx: &mut Cx<'_>, frames_max: usize) -> bool {
        if let Some(why) = self.core.came_wrong.take() {
            self.core.refuse_fds(cx, why);
        }
        for _ in 0..frames_max {
            let before = self.core.stage;
            if before == Stage::Closed {
                return false;
            }
            match self.inbox.next_frame() {
                Ok(None) => {
                    if let Err(error) = self.core.came.check(self.inbox.buffered_bytes()) {
                        self.core.refuse_fds(cx, error.to_string());
                    }
                    return false;
                }
                Ok(Some(frame)) => self.core.handle_frame(cx, frame),
                Err(error) => self.core.handle_unreadable(cx, error),
            }
            if before != self.core.stage {
                self.inbox.set_frame_bytes_max(self.core.frame_bytes_max);
            }
        }
        true
    }

    /// Bytes of a frame that is not whole yet.
    #[must_use]
    pub fn unfinished_bytes(&self) -> usize {
        self.inbox.buffered_bytes()
    }

    /// The peer closed its end. Frames that arrived before it count.
    pub fn handle_end_of_stream(&mut self, cx: &mut Cx<'_>) {
        while self.handle_frames(cx, usize::MAX) {}
        match self.inbox.finish() {
            Err(error @ FrameError::Truncated { .. }) => self.core.handle_unreadable(cx, error),
            _ => self.core.fault(cx, Fault::EndOfStream),
        }
    }

    /// Ends the session from this side: calls in flight end, nothing more is read or delivered.
    pub fn close(&mut self, cx: &mut Cx<'_>) {
        self.core.stage = Stage::Closed;
        self.core.end_calls(cx);
    }

    /// Whose call the request of that number is, while it waits for its answer.
    #[must_use]
    pub fn call_of(&self, request: u64) -> Option<CallKey> {
        match self.core.outgoing.get(request)?.caller? {
            Caller::Call(key) => Some(key),
            _ => None,
        }
    }

    /// The next thing that happened.
    pub fn poll_event(&mut self) -> Option<SessionEvent> {
        self.core.events.pop_front()
    }

    /// Whether requests can be sent.
    #[must_use]
    pub fn is_open(&self) -> bool {
        self.core.stage == Stage::Open
    }

    /// Bytes to write; follow with [`Session::wrote`], and look again until it is empty.
    #[must_use]
    pub fn waiting(&self) -> &[u8] {
        self.core.outbox.waiting()
    }

    /// The descriptors that go with the first byte of [`Session::waiting`].
    #[must_use]
    pub fn waiting_fds(&self) -> &Fds {
        self.core.outbox.waiting_fds()
    }

    /// The system does not pass on the descriptors of [`Session::waiting_fds`] now: their frame is taken back, and who
    /// waits for it is told. Calls end with an event, `overloaded`, `not_sent`.
    pub fn fds_were_refused(&mut self, cx: &mut Cx<'_>, why: &str) {
        self.core.refuse_parcel(cx, why);
    }

    /// Takes back what would go with descriptors, before last bytes are sent without them.
    pub fn withdraw_fds(&mut self) {
        self.core.outbox.withdraw_parcels();
    }

    /// All that waits to be written.
    #[must_use]
    pub fn all_waiting(&self) -> Vec<u8> {
        self.core.outbox.all_waiting()
    }

    /// How many bytes wait to be written.
    #[must_use]
    pub fn waiting_bytes(&self) -> usize {
        self.core.outbox.waiting_bytes()
    }

    /// How many bytes of [`Session::waiting`] were written.
    pub fn wrote(&mut self, bytes: usize) {
        self.core.outbox.wrote(bytes);
    }

    /// Calls that wait for an answer; the host's own requests do not count.
    #[must_use]
    pub fn calls_in_flight(&self) -> usize {
        self.core.outgoing.calls()
    }

    /// Sends a request.
    ///
    /// # Errors
    /// `unavailable` when the session is not open, `too_large`, `overloaded`; all `not_sent`.
    pub fn request(&mut self, cx: &mut Cx<'_>, call: NewCall) -> Result<(), CallError> {
        self.core.request(cx, call)
    }

    /// The id that the next request will have.
    #[must_use]
    pub fn next_request(&self) -> u64 {
        self.core.outgoing.next_id()
    }

    /// The caller of a request has gone: withdraws it, or tells the peer and drops its answer. `None`: there is no
    /// such request.
    pub fn cancel(&mut self, cx: &mut Cx<'_>, caller: Caller) -> Option<Cancelled> {
        self.core.cancel(cx, caller)
    }

    /// The deadline of request `id`, or the grace after it, passed.
    pub fn handle_timer(&mut self, cx: &mut Cx<'_>, id: u64) {
        self.core.handle_timer(cx, id);
    }

    /// Answers a request of the peer.
    pub fn answer(
        &mut self,
        cx: &mut Cx<'_>,
        id: &RequestId,
        result: Result<&RawValue, ErrorObject>,
        fds: Fds,
    ) {
        self.core.answer(cx, id, result, fds);
    }

    /// Sends a frame of a stream in band.
    pub fn send_stream(&mut self, frame: &StreamFrame) {
        if self.core.stage == Stage::Open {
            frame.write(self.core.outbox.buffer());
        }
    }

    /// Streams in band whose frames have been begun to be written since this was asked last.
    pub fn announced_streams(&mut self) -> Named {
        let Core { streams, outbox, .. } = &mut self.core;
        streams.announced(|offset| outbox.has_begun(offset))
    }

    /// Bytes of the longest frame that the peer takes.
    #[must_use]
    pub fn frame_bytes_max(&self) -> usize {
        self.core.frame_bytes_max
    }

    /// A stream in band is over.
    pub fn stream_closed(&mut self, number: u64) {
        self.core.streams.closed(number);
    }

    /// The peer broke the protocol of a stream.
    pub fn refuse_stream(&mut self, cx: &mut Cx<'_>, why: String) {
        self.core.refuse_fds(cx, why);
    }

    /// Tells how far a request of the peer is, if it still waits.
    pub fn progress(&mut self, id: &RequestId, value: &RawValue) {
        self.core.progress(id, value);
    }
}
