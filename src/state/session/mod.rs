//! One connection of one generation, from its first byte to its last (protocol sections 1, 3 and 5).
//!
//! What this folder is for: the host's shell around the parts of `rpc-plugin-peer`. It demands the proof, arms timers,
//! and says what happened as [`SessionEvent`]s. What it deliberately does not do: decide what a fault means for the
//! plugin; its machine does, on [`SessionEvent::Fault`]. Who connected was checked before a session exists.
//!
//! What always holds: nothing but `host.hello` is acted on before the proof; every request ends exactly once; after a
//! fault nothing more is read or delivered.

mod answers;
mod bad_frames;
mod hello;
mod late_frames;
mod outbox_shares;
mod peer_features;
mod proof_error;
mod receive;
mod requests;
#[cfg(test)]
mod tests;
mod types;

pub use types::{Asked, Cancelled, Expectation, Fault, Introduction, SessionEvent};

use super::fds::Fd;
use super::keys::{CallKey, Caller, Cx};
use super::liveness::{Moved, Signs, UnderWay};
use super::policy::Policy;
use super::time::Time;
use super::unasked::Unasked;
use super::wheel::TimerKey;
use peer_features::PeerFeatures;
use rpc_plugin_peer::{
    Amount, BadFrames, Named, Party, Receiver, RequestsIn, RequestsOut, Role, SendQueue, Shares, Streams,
};
use rpc_plugin_wire::handshake::{Launch, METHOD_LAUNCH};
use rpc_plugin_wire::life::METHOD_HEARTBEAT;
use rpc_plugin_wire::limits::FRAME_BYTES_MAX_UNAUTHENTICATED;
use rpc_plugin_wire::message::{params_text, write_notification};
use rpc_plugin_wire::stream::StreamFrame;
use std::collections::VecDeque;
use std::time::Duration;

/// Requests of one plugin that may wait at once; a further one is answered `overloaded`.
pub(crate) const INCOMING_MAX: usize = 1024;
/// Descriptors that came with them and may be held for one plugin at once; a request beyond that is answered
/// `overloaded`. More than what can be read of one plugin in a turn of the event loop, before anything is answered.
pub(crate) const INCOMING_FDS_MAX: usize = 256;

/// How far a connection has come.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Stage {
    /// The proof is awaited.
    Greeting,
    /// Calls go both ways.
    Open,
    /// Nothing is read or delivered any more.
    Closed,
}

/// What the host keeps of a request that it made, until the plugin answers it or the connection ends: longer than its
/// caller waits. So long it holds a place that its caller took.
#[derive(Debug)]
struct OwnRequest {
    caller: Caller,
    /// Party whose share of the places a call takes.
    party: Party,
    /// Its deadline, or after that the end of the grace for its answer.
    timer: Option<TimerKey>,
    /// How long whoever waits does at the most.
    timeout: Duration,
    /// When its frame was begun to be written, where that was later than it was made.
    begun_at: Option<Time>,
}

/// The connection of one generation.
#[derive(Debug)]
pub struct Session {
    expectation: Expectation,
    stage: Stage,
    receiver: Receiver<Fd>,
    queue: SendQueue<Fd>,
    requests: RequestsOut<OwnRequest>,
    /// The places of calls among them.
    places: Shares,
    incoming: RequestsIn<()>,
    streams: Streams<Fd>,
    bad_frames: BadFrames,
    /// Whether descriptors of the last frame that brought some could not be opened.
    lacks_fds: bool,
    /// What came that nobody asked for.
    unasked: Unasked,
    /// What the plugin takes beyond the least.
    features: PeerFeatures,
    events: VecDeque<SessionEvent>,
    frame_bytes_max: usize,
    outbox_bytes_max: usize,
    call_timeout: Duration,
    cancel_grace: Duration,
    heartbeat_interval: Duration,
}

impl Session {
    /// A session that waits for the hello.
    #[must_use]
    pub fn new(expectation: Expectation, policy: &Policy) -> Session {
        Session {
            expectation,
            stage: Stage::Greeting,
            receiver: Receiver::new(Role::Host, FRAME_BYTES_MAX_UNAUTHENTICATED),
            queue: SendQueue::default(),
            requests: RequestsOut::new(0),
            places: Shares::new(Amount::of(policy.calls_in_flight_max)),
            incoming: RequestsIn::new(Role::Host, INCOMING_MAX, INCOMING_FDS_MAX),
            streams: Streams::new(Role::Host),
            bad_frames: BadFrames::default(),
            lacks_fds: false,
            unasked: Unasked::of_frames(),
            features: PeerFeatures::default(),
            events: VecDeque::new(),
            frame_bytes_max: policy.frame_bytes_max,
            outbox_bytes_max: policy.outbox_bytes_max,
            call_timeout: policy.call_timeout,
            cancel_grace: policy.cancel_grace,
            heartbeat_interval: policy.heartbeat_interval,
        }
    }

    /// Tells the plugin as what it was launched, before anything else, where its environment cannot.
    pub fn tell_launch(&mut self, launch: &Launch) {
        if let Ok(params) = params_text(launch) {
            self.queue.write(|out| write_notification(out, METHOD_LAUNCH, params.as_deref()));
        }
    }

    /// The receiving end, for who reads; follow with [`Session::handle_frames`].
    pub fn receiver_mut(&mut self) -> &mut Receiver<Fd> {
        &mut self.receiver
    }

    /// What waits to be written.
    #[must_use]
    pub fn queue(&self) -> &SendQueue<Fd> {
        &self.queue
    }

    /// The same, for who writes; look again until it is empty.
    pub fn queue_mut(&mut self) -> &mut SendQueue<Fd> {
        &mut self.queue
    }

    /// What the connection tells of the plugin's life: bytes that move, and the oldest call that it has and has not answered.
    /// A heartbeat that somebody outside asks for is no call.
    #[must_use]
    pub fn signs_of_life(&self, now: Time) -> Signs<'_> {
        let (begun, unfinished) = (self.queue.begun(), self.unfinished_bytes() as u64);
        let waiting = self.queue.waiting_bytes() as u64;
        let call = self.requests.iter().find(|request| {
            let is_call = request.asked.is_call && request.asked.method != METHOD_HEARTBEAT;
            is_call && request.frame().is_some_and(|frame| frame.has_begun(begun))
        });
        let under_way = call.map(|call| {
            let ran = now.since(call.made_at);
            UnderWay { method: &call.asked.method, ran, timeout: call.waiter.timeout }
        });
        Signs {
            now,
            moved: Moved { received: self.receiver.received(), written: begun, unfinished, waiting },
            under_way,
        }
    }

    /// Bytes of a frame that is not whole yet.
    #[must_use]
    pub fn unfinished_bytes(&self) -> usize {
        self.receiver.unfinished_bytes()
    }

    /// What came that nobody asked for, for who reads, and for whoever refuses what the plugin asks.
    pub fn unasked(&mut self) -> &mut Unasked {
        &mut self.unasked
    }

    /// Ends the session from this side, for this reason: calls in flight end, nothing more is read or delivered.
    pub fn close(&mut self, cx: &mut Cx<'_>, why: &str) {
        self.stage = Stage::Closed;
        self.end_calls(cx, why);
    }

    /// The call that the request of that number belongs to, while it waits for its answer.
    #[must_use]
    pub fn call_of(&self, request: u64) -> Option<CallKey> {
        match self.requests.get(request).filter(|request| !request.is_over)?.waiter.caller {
            Caller::Call(key) => Some(key),
            _ => None,
        }
    }

    /// The next thing that happened.
    pub fn poll_event(&mut self) -> Option<SessionEvent> {
        self.events.pop_front()
    }

    /// Whether requests can be sent.
    #[must_use]
    pub fn is_open(&self) -> bool {
        self.stage == Stage::Open
    }

    /// Says that so many bytes were written, which had waited for room until now.
    pub fn wrote_late(&mut self, bytes: usize, now: Time) {
        let before = self.queue.begun();
        self.queue.wrote(bytes);
        late_frames::note(&mut self.requests, before, self.queue.begun(), now);
    }

    /// Calls that wait for an answer; the host's own requests do not count.
    #[must_use]
    pub fn calls_in_flight(&self) -> usize {
        self.requests.calls()
    }

    /// Whether a call of either side is unanswered.
    #[must_use]
    pub fn has_open_requests(&self) -> bool {
        self.requests.calls() > 0 || !self.incoming.is_empty()
    }

    /// Whether that party may have one call more in flight.
    #[must_use]
    pub fn has_place(&self, party: &Party) -> bool {
        self.places.check(party, Amount::ONE).is_ok()
    }

    /// The id that the next request will have.
    #[must_use]
    pub fn next_request(&self) -> u64 {
        self.requests.next_id()
    }

    /// Bytes of the longest frame that the peer takes.
    #[must_use]
    pub fn frame_bytes_max(&self) -> usize {
        self.frame_bytes_max
    }

    /// Sends a frame of a stream in band.
    pub fn send_stream(&mut self, frame: &StreamFrame) {
        if self.stage == Stage::Open {
            self.queue.write(|out| frame.write(out));
            self.streams.sent(frame);
        }
    }

    /// Streams in band whose frames have been begun to be written since this was asked last.
    pub fn announced_streams(&mut self) -> Named<Fd> {
        self.streams.announced(self.queue.begun())
    }
}
