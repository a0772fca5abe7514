//! From the frames of the host to calls in the queue and to answers of our own calls, on the thread that has the
//! reading role.
//!
//! What it deliberately does not do: run handlers. It answers the protocol's own methods itself, so a
//! heartbeat is answered however busy the handlers are.
//!
//! What always holds: a request's id is in use once; between two reads nothing is left in here, so that another thread
//! can go on reading.

use crate::attachments::{FdTransport, Frames};
use crate::call::Call;
use crate::connection::Input;
use crate::connection::PushError;
use crate::error::{End, Error};
use crate::log::Event;
use crate::pool::COLLECTED_BYTES_MAX;
use crate::service::write_failure;
use crate::session::{Session, would_deadlock};
use crate::task::{Job, Refusal, Step};
use rpc_plugin_interface::HandlerError;
use rpc_plugin_interface::context::{CallerLink, Served};
use rpc_plugin_peer::{FDS_LOST, Unread, Violation};
use rpc_plugin_wire::error::ErrorData;
use rpc_plugin_wire::event::{Component, Level};
use rpc_plugin_wire::life::{
    Cancel, METHOD_CANCEL, METHOD_CAPABILITIES, METHOD_HEARTBEAT, METHOD_PROGRESS, METHOD_SHUTDOWN, Progress,
};
use rpc_plugin_wire::message::params_into;
use rpc_plugin_wire::stream::StreamFrame;
use rpc_plugin_wire::{
    BadFrame, CancelCause, ErrorCode, ErrorObject, Meant, Message, Notification, Outcome, Request, RequestId,
    Response,
};
use serde_json::value::RawValue;
use std::os::fd::OwnedFd;
use std::sync::Arc;
use std::time::{Duration, Instant};

/// Requests that are queued together. Fewer would mean more locking.
const BATCH_MAX: usize = 32;

pub(crate) struct Inbox {
    session: Arc<Session>,
    /// Requests for the queue, and how many there may be before they are queued.
    batch: Vec<Job>,
    batch_max: usize,
    /// Whether the queue is full, and a thread free to take from it.
    full: bool,
    /// What is wrong with the params of the notification that was handled last.
    bad_params: Option<Violation>,
    /// Answers of this thread to what it has taken in.
    pub(crate) answers: Frames,
    /// When the bytes came, where somebody asked, and how many frames they were.
    pub(crate) received: Option<Instant>,
    pub(crate) frames: usize,
}

/// What became of the frames that were read.
pub(crate) enum Parsed {
    All,
    /// Some are left, because the queue is full and can be worked off.
    Full,
    End(End),
}

impl Inbox {
    pub(crate) fn new(session: Arc<Session>) -> Inbox {
        let (batch, answers) = (Vec::with_capacity(BATCH_MAX), Frames::default());
        let (full, bad_params, received) = (false, None, None);
        Inbox { session, batch, batch_max: 1, full, bad_params, answers, received, frames: 0 }
    }

    /// Says how many calls the queue takes.
    pub(crate) fn expect_room(&mut self, queue_room: usize) {
        self.batch_max = queue_room.clamp(1, BATCH_MAX);
        self.full = false;
    }

    /// Deals with every whole frame that is there, as long as the queue takes what they ask for. The last requests stay in
    /// here, for [`Inbox::hand_over`].
    pub(crate) fn take_in(&mut self, input: &mut Input) -> Result<Parsed, Error> {
        input.unparsed = true;
        (self.received, self.frames) = (None, 0);
        loop {
            let (message, fds) = match input.receiver.next() {
                Ok(None) => break,
                Ok(Some(read)) => read,
                Err(Unread::Violation(violation)) => return Err(violation.into()),
                Err(Unread::FdsLost(meant)) => {
                    let error = ErrorObject::new(ErrorCode::Overloaded, FDS_LOST);
                    self.settle(&meant, error.clone(), error)?;
                    continue;
                }
                Err(Unread::BadFrame(bad)) => {
                    self.handle_bad_frame(&bad)?;
                    if !bad.is_deadline() {
                        input.count_bad(|counts, now| counts.count(now, &bad))?;
                    }
                    continue;
                }
            };
            self.frames += 1;
            let fds = self.with_streams(&message, fds)?;
            if let Some(end) = self.handle(message, fds)? {
                return Ok(Parsed::End(end));
            }
            if let Some(wrong) = self.bad_params.take() {
                input.count_bad(|counts, now| counts.count_params(now, wrong))?;
            }
            if self.batch.len() >= self.batch_max {
                self.submit()?;
            }
            if self.full {
                return Ok(Parsed::Full);
            }
            if self.answers.waiting_bytes() >= COLLECTED_BYTES_MAX {
                let pushed = self.session.outbox.push_from_reader(&mut self.answers);
                if let Some(end) = pushed.err().map(PushError::end) {
                    return end.map(Parsed::End);
                }
            }
        }
        input.unparsed = false;
        Ok(Parsed::All)
    }

    /// The descriptors of a frame: those that came with it, or those of the streams in band that it announces.
    fn with_streams(&self, message: &Message<'_>, fds: Vec<OwnedFd>) -> Result<Vec<OwnedFd>, Violation> {
        let numbers = match message {
            Message::Request(request) => request.streams.as_slice(),
            Message::Response(response) => response.streams.as_slice(),
            Message::Notification(_) => &[],
        };
        match &self.session.service.terms.fd_transport {
            FdTransport::Streams(streams) => streams.came(numbers),
            FdTransport::Fds | FdTransport::None => Ok(fds),
        }
    }

    /// Queues the requests read so far.
    pub(crate) fn submit(&mut self) -> Result<(), Error> {
        let Inbox { session, batch, answers, .. } = self;
        if batch.is_empty() {
            return Ok(());
        }
        let frame_bytes_max = session.service.terms.frame_bytes_max;
        let room = session.pool.submit(batch, |call, why| refuse(answers, frame_bytes_max, call, why));
        let room = room?;
        self.expect_room(room.jobs);
        self.full = room.jobs == 0 && room.worked_off;
        Ok(())
    }

    /// Hands the requests and answers of a whole read to the pool. Returns what the reading thread is to do next;
    /// `sending` and `now` as for [`Pool::step`](crate::pool::Pool::step).
    pub(crate) fn hand_over(
        &mut self,
        input: Box<Input>,
        sending: &mut Frames,
        now: &mut Option<Instant>,
    ) -> Result<Step, Error> {
        let Inbox { session, batch, answers, .. } = self;
        let frame_bytes_max = session.service.terms.frame_bytes_max;
        let refuse = |answers: &mut Frames, call: &Call, why| refuse(answers, frame_bytes_max, call, why);
        Ok(session.pool.take_in(input, batch, answers, sending, now, refuse)?)
    }

    /// The end, where the message asks for it. What it does not want of `fds` is closed.
    fn handle(&mut self, message: Message<'_>, fds: Vec<OwnedFd>) -> Result<Option<End>, Error> {
        match message {
            Message::Request(request) => self.handle_request(request, fds),
            Message::Notification(notification) => self.handle_notification(&notification).map(|()| None),
            Message::Response(response) => {
                let Session { requester, outbox, .. } = &*self.session;
                requester.requests.answer(response, fds, outbox.begun())?;
                Ok(None)
            }
        }
    }

    /// Lets a frame that is no message cost no more than what it was about: the one call of ours that it answers, or the
    /// host's one request.
    fn handle_bad_frame(&mut self, bad: &BadFrame) -> Result<(), Error> {
        let said = format!("a frame of the host is no message: {}: {bad}", bad.meant);
        self.session.service.log.say(Event::new("bad_frame", Component::Rpc, Level::Warn, said));
        let text = format!("the host's answer cannot be read: {bad}");
        let answer = ErrorObject::new(ErrorCode::InvalidResponse, text);
        self.settle(&bad.meant, answer, ErrorObject::new(bad.code(), bad.to_string()))
    }

    /// Ends the call that was answered with `answer`, or answers the request with `request`.
    fn settle(&mut self, meant: &Meant, answer: ErrorObject, request: ErrorObject) -> Result<(), Error> {
        match meant {
            Meant::Answer(id) => {
                let Session { requester, outbox, .. } = &*self.session;
                let data = ErrorData { outcome: Outcome::Indeterminate, plugin_id: None, generation: None };
                let text = answer.message.clone();
                let result = Err(answer.with_data(&data));
                let answer = Response { id: Some(id.clone()), result, fds: 0, streams: Vec::new() };
                let answered = requester.requests.answer(answer, Vec::new(), outbox.begun());
                answered.map_err(|violation| Error::Violation(format!("{text}; it is {}", violation.why)))
            }
            Meant::Request(id) => {
                self.submit()?;
                if self.session.pool.is_unanswered(id) {
                    return Err(twice(id).into());
                }
                let frame_bytes_max = self.session.service.terms.frame_bytes_max;
                write_failure(&mut self.answers, id, frame_bytes_max, request);
                Ok(())
            }
            Meant::Notification => Ok(()),
        }
    }

    fn handle_notification(&mut self, notification: &Notification<'_>) -> Result<(), Error> {
        let method = &*notification.method;
        match method {
            METHOD_CANCEL => match params_into::<Cancel>(notification.params) {
                Ok(cancel) => {
                    self.submit()?;
                    self.cancel(&cancel.id, cancel.reason);
                }
                Err(error) => self.bad_params = Some(bad_params(method, &error)),
            },
            METHOD_PROGRESS => match params_into::<Progress>(notification.params) {
                Ok(Progress { id, value }) => {
                    let Session { requester, outbox, .. } = &*self.session;
                    requester.requests.progress(&id, value, outbox.begun())?;
                }
                Err(error) => self.bad_params = Some(bad_params(method, &error)),
            },
            _ => self.handle_stream(method, notification.params)?,
        }
        Ok(())
    }

    /// A frame of a stream; any other notification is one that a later version of the protocol knows.
    fn handle_stream(&self, method: &str, params: Option<&RawValue>) -> Result<(), Error> {
        let Some(frame) = StreamFrame::read(method, params).map_err(Error::Violation)? else { return Ok(()) };
        match self.session.service.terms.fd_transport.streams() {
            Some(streams) => Ok(streams.take(frame)?),
            None => {
                let text = "a frame is of a stream in band, which were not agreed on";
                Err(Error::Violation(text.to_owned()))
            }
        }
    }

    fn cancel(&mut self, id: &RequestId, cause: Option<CancelCause>) {
        if let Some(call) = self.session.pool.cancel(id, cause) {
            let error = HandlerError::cancelled().into_object();
            write_failure(&mut self.answers, call.id(), self.session.service.terms.frame_bytes_max, error);
        } else {
            self.session.requester.end_cancelled();
        }
    }

    fn handle_request(&mut self, request: Request<'_>, fds: Vec<OwnedFd>) -> Result<Option<End>, Error> {
        let session = Arc::clone(&self.session);
        let service = &session.service;
        if let Some(method) = service.method(&request.method) {
            let deadline = request.deadline_ms.and_then(|deadline_ms| {
                let received = *self.received.get_or_insert_with(Instant::now);
                received.checked_add(Duration::from_millis(deadline_ms))
            });
            let link: Arc<dyn CallerLink> = self.session.clone();
            let (wants_progress, chain) = (request.progress, request.chain);
            let interfaces = Arc::clone(&service.terms.interfaces);
            let (link, stood_still) = (Some(link), self.session.requester.standstills.total());
            let served = Served { deadline, stood_still, wants_progress, chain, link, interfaces };
            let call = Call::new(request.id, Arc::clone(method), served, fds);
            self.batch.push(Job { call, params: request.params.map(ToOwned::to_owned) });
            return Ok(None);
        }
        // What is answered here must not overtake the check of the ids before it.
        self.submit()?;
        let id = request.id;
        if session.pool.is_unanswered(&id) {
            return Err(twice(&id).into());
        }
        match &*request.method {
            METHOD_HEARTBEAT => service.answer_heartbeat(&id, &mut self.answers),
            METHOD_CAPABILITIES => {
                service.answer_capabilities(&id, &mut self.answers);
                let said = format!("the host asked, and was told: {}", service.capabilities.join(", "));
                service.log.say(Event::new("capabilities_reported", Component::Runtime, Level::Info, said));
            }
            METHOD_SHUTDOWN => {
                let said = "the host asked for the end";
                service.log.say(Event::new("shutdown_requested", Component::Runtime, Level::Info, said));
                service.answer_shutdown(&id, &mut self.answers);
                return Ok(Some(End::Shutdown));
            }
            unknown => {
                let error = service.method_not_found(unknown).into_object();
                write_failure(&mut self.answers, &id, service.terms.frame_bytes_max, error);
            }
        }
        Ok(None)
    }
}

/// Answers a call that the pool did not take.
fn refuse(answers: &mut Frames, frame_bytes_max: usize, call: &Call, why: Refusal) {
    let error = match why {
        Refusal::QueueFull => ErrorObject::new(ErrorCode::Overloaded, "the plugin's queue of calls is full"),
        Refusal::WouldDeadlock => would_deadlock(call.chain()),
    };
    write_failure(answers, call.id(), frame_bytes_max, error);
}

fn bad_params(method: &str, error: &ErrorObject) -> Violation {
    Violation { code: ErrorCode::InvalidParams, why: format!("{method} has {}", error.message) }
}

fn twice(id: &RequestId) -> Violation {
    Violation::invalid(format!("request id {id} waits for an answer already"))
}
