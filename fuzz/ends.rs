//! The two sides of a connection for whoever drives them: the host's session, and a shell around the parts of the peer
//! crate that has either role.
//!
//! What this file is for: fuzz target `session` and the simulation of two peers drive both by the same operations. What it
//! deliberately does not do: judge what comes out.
#![allow(dead_code, unreachable_pub)]
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::indexing_slicing)]

use rpc_plugin_peer::{
    Agreed, BadFrames, Expired, FDS_LOST, GivenUp, Named, NewRequest, NotEntered, Receiver, Refused,
    RequestsIn, RequestsOut, Role, SendQueue, Span, Streams, Time, Unanswered, Unread, Violation, check_fds,
};
use rpc_plugin_system::state::call::{CallEnd, CallRequest, Target};
pub use rpc_plugin_system::state::fds::{Fd, Fds};
use rpc_plugin_system::state::keys::{CallKey, Caller, Cx, PluginKey, Timer};
use rpc_plugin_system::state::policy::Policy;
use rpc_plugin_system::state::session::{Expectation, Fault, Session, SessionEvent};
use rpc_plugin_system::state::wheel::Wheel;
use rpc_plugin_wire::life::{Cancel, METHOD_CANCEL, METHOD_PROGRESS, Progress};
use rpc_plugin_wire::message::{self, params_into};
use rpc_plugin_wire::stream::StreamFrame;
use rpc_plugin_wire::{
    BadFrame, CallError, CancelCause, ErrorCode, ErrorObject, Generation, Meant, Message, Notification,
    Request, RequestId, Response, Token,
};
use serde_json::value::RawValue;
use std::borrow::Cow;
use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::time::Duration;

/// What one side says.
#[derive(Debug)]
pub enum Told {
    /// The other side asks.
    Asked { id: RequestId, params: String, fds: Fds, streams: Vec<u64> },
    /// Its request is not waited for any more.
    GivenUp(RequestId),
    /// A call that was made here ended.
    Ended { call: u64, result: Result<String, CallError>, fds: Fds, streams: Vec<u64> },
    /// A call that was made here is under way.
    Progress(u64),
    /// An answer came after its call had ended.
    Late,
    /// A frame of a stream in band came.
    Stream(StreamFrame),
    /// Streams came that nobody takes.
    Unwanted(Vec<u64>),
    /// The connection cannot go on.
    Fault(Fault),
}

/// One side of a connection.
pub trait End {
    /// One read brought these.
    fn read(&mut self, now: Time, bytes: &[u8], fds: Fds, were_dropped: bool);
    fn end_of_stream(&mut self, now: Time);
    fn waiting(&mut self) -> (&[u8], &[Fd]);
    fn wrote(&mut self, bytes: usize);
    fn fds_refused(&mut self, now: Time);
    fn call(&mut self, now: Time, call: u64, made: Made) -> Result<(), CallError>;
    /// Whether it had been sent; `None`: there is no such call.
    fn cancel(&mut self, now: Time, call: u64) -> Option<bool>;
    fn answer(&mut self, now: Time, id: &RequestId, result: Result<&RawValue, ErrorObject>, fds: Fds);
    /// Answers with a frame that is no message; whether this end can.
    fn answer_badly(&mut self, _id: &RequestId) -> bool {
        false
    }
    fn progress(&mut self, id: &RequestId, value: &RawValue);
    fn send_stream(&mut self, frame: &StreamFrame);
    fn announced(&mut self) -> Named<Fd>;
    fn next_timer(&self) -> Option<Time>;
    /// Lets timers end that are due.
    fn pass(&mut self, now: Time);
    fn poll(&mut self) -> Option<Told>;
    fn close(&mut self, now: Time);
    fn is_open(&self) -> bool;
    fn figures(&self) -> Figures;
}

/// What a call is made of.
#[derive(Debug)]
pub struct Made {
    pub params: Option<String>,
    pub timeout: Duration,
    pub wants_progress: bool,
    pub fds: Fds,
}

/// What may not grow.
#[derive(Debug)]
pub struct Figures {
    pub calls: usize,
    pub timers: usize,
    pub waiting_bytes: usize,
    pub waiting_fds: usize,
    pub asked: usize,
}

/// Small bounds, so that they are reached.
pub fn policy() -> Policy {
    Policy {
        calls_in_flight_max: 5,
        frame_bytes_max: 16 * 1024,
        outbox_bytes_max: 20_000,
        cancel_grace: Duration::from_millis(20),
        ..Policy::default()
    }
}

/// The host's session with its timers.
pub struct HostEnd {
    pub session: Session,
    timers: Wheel<Timer>,
}

impl HostEnd {
    /// One that waits for the hello of plugin `echo`, generation 1, with a token of sevens.
    pub fn new(passes_fds: bool) -> HostEnd {
        let expectation = Expectation {
            plugin: PluginKey(0),
            plugin_id: "echo".parse().unwrap(),
            generation: Generation::FIRST,
            token: Token::from_bytes([7; 32]),
            interfaces: BTreeMap::new(),
            passes_fds,
        };
        HostEnd { session: Session::new(expectation, &policy()), timers: Wheel::default() }
    }

    /// One that has proof, and whose answer was written.
    pub fn open(passes_fds: bool) -> HostEnd {
        let mut end = HostEnd::new(passes_fds);
        let hello = serde_json::json!({
            "token": "07".repeat(32), "plugin_id": "echo", "generation": 1, "protocols": [1], "version": "1",
            "capabilities": ["echo"], "features": ["fds", "streams", "cancel", "progress"],
        });
        let hello = serde_json::json!({"jsonrpc": "2.0", "id": 0, "method": "host.hello", "params": hello});
        end.read(Time::ZERO, format!("{hello}\n").as_bytes(), Fds::new(), false);
        assert!(matches!(end.session.poll_event(), Some(SessionEvent::Authenticated(_))));
        while !end.session.queue().waiting().0.is_empty() {
            end.session.queue_mut().wrote(usize::MAX);
        }
        end
    }
}

impl End for HostEnd {
    fn read(&mut self, now: Time, bytes: &[u8], fds: Fds, were_dropped: bool) {
        self.session.receiver_mut().space(bytes.len() + 3)[..bytes.len()].copy_from_slice(bytes);
        self.session.receiver_mut().filled(bytes.len(), fds, were_dropped);
        while self.session.handle_frames(&mut Cx { now, timers: &mut self.timers }, 2) {}
    }

    fn end_of_stream(&mut self, now: Time) {
        self.session.handle_end_of_stream(&mut Cx { now, timers: &mut self.timers });
    }

    fn waiting(&mut self) -> (&[u8], &[Fd]) {
        self.session.queue().waiting()
    }

    fn wrote(&mut self, bytes: usize) {
        self.session.queue_mut().wrote(bytes);
    }

    fn fds_refused(&mut self, now: Time) {
        self.session.fds_were_refused(&mut Cx { now, timers: &mut self.timers }, "refused");
    }

    fn call(&mut self, now: Time, call: u64, made: Made) -> Result<(), CallError> {
        let target = Target::Plugin("echo".parse().unwrap());
        let mut request = CallRequest {
            params: made.params,
            timeout: Some(made.timeout),
            progress: made.wants_progress,
            fds: made.fds,
            ..CallRequest::new(target, "echo")
        };
        let mut cx = Cx { now, timers: &mut self.timers };
        Ok(self.session.request(&mut cx, Caller::Call(CallKey(call)), &mut request)?)
    }

    fn cancel(&mut self, now: Time, call: u64) -> Option<bool> {
        let mut cx = Cx { now, timers: &mut self.timers };
        Some(self.session.cancel(&mut cx, Caller::Call(CallKey(call)), None)?.was_sent)
    }

    fn answer(&mut self, now: Time, id: &RequestId, result: Result<&RawValue, ErrorObject>, fds: Fds) {
        self.session.answer(&mut Cx { now, timers: &mut self.timers }, id, result, fds);
    }

    fn progress(&mut self, id: &RequestId, value: &RawValue) {
        self.session.progress(id, value);
    }

    fn send_stream(&mut self, frame: &StreamFrame) {
        self.session.send_stream(frame);
    }

    fn announced(&mut self) -> Named<Fd> {
        self.session.announced_streams()
    }

    fn next_timer(&self) -> Option<Time> {
        self.timers.next_at()
    }

    fn pass(&mut self, now: Time) {
        while let Some(timer) = self.timers.pop_expired(now) {
            let Timer::Call(_, _, id) = timer else { panic!("not a session's timer: {timer:?}") };
            self.session.handle_timer(&mut Cx { now, timers: &mut self.timers }, id);
        }
    }

    fn poll(&mut self) -> Option<Told> {
        loop {
            return Some(match self.session.poll_event()? {
                SessionEvent::Authenticated(_) | SessionEvent::Told(..) | SessionEvent::LacksVersion => {
                    continue;
                }
                SessionEvent::Completed { caller: Caller::Call(CallKey(call)), end, .. } => {
                    let CallEnd { result, fds, streams, .. } = *end;
                    Told::Ended { call, result: result.map(|raw| raw.get().to_owned()), fds, streams }
                }
                SessionEvent::Completed { caller, .. } => panic!("nobody asked as {caller:?}"),
                SessionEvent::Unwanted(numbers) => Told::Unwanted(numbers),
                SessionEvent::Stream(frame) => Told::Stream(frame),
                SessionEvent::Progress(CallKey(call), _) => Told::Progress(call),
                SessionEvent::Asked(asked) => Told::Asked {
                    id: asked.id,
                    params: asked.params.map(message::raw_into_text).unwrap_or_default(),
                    fds: asked.fds,
                    streams: asked.streams,
                },
                SessionEvent::Abandoned(id, _) => Told::GivenUp(id),
                SessionEvent::BadFrame(..) | SessionEvent::LacksFds(_) => continue,
                SessionEvent::LateAnswer(..) => Told::Late,
                SessionEvent::Fault(fault) => Told::Fault(fault),
            });
        }
    }

    fn close(&mut self, now: Time) {
        self.session.close(&mut Cx { now, timers: &mut self.timers }, "it is closed");
    }

    fn is_open(&self) -> bool {
        self.session.is_open()
    }

    fn figures(&self) -> Figures {
        assert_eq!(self.session.queue().waiting_bytes(), self.session.queue().all_waiting().len());
        assert_eq!(self.session.queue().waiting_bytes() == 0, self.session.queue().waiting().0.is_empty());
        Figures {
            calls: self.session.calls_in_flight(),
            timers: self.timers.len(),
            waiting_bytes: self.session.queue().waiting_bytes(),
            waiting_fds: self.session.queue().waiting().1.len(),
            asked: 0,
        }
    }
}

/// Requests of the other side that may wait here.
pub const ASKED_MAX: usize = 40;
/// Descriptors that came with them.
const ASKED_FDS_MAX: usize = 24;

/// The parts of the peer crate, in either role.
pub struct PartsEnd {
    receiver: Receiver<Fd>,
    queue: SendQueue<Fd>,
    /// What a shell with threads does: frames are made in queues of their own, and this one is the writer's.
    writing: Option<SendQueue<Fd>>,
    out: RequestsOut<u64>,
    asked: RequestsIn<()>,
    streams: Streams<Fd>,
    bad_frames: BadFrames,
    takes_fds: bool,
    timers: BTreeSet<(Time, u64)>,
    told: VecDeque<Told>,
    is_open: bool,
}

impl PartsEnd {
    /// A connection whose hello is answered. `passes_fds`: descriptors go as they are, else as streams in band.
    pub fn new(role: Role, passes_fds: bool, is_threaded: bool) -> PartsEnd {
        let policy = policy();
        let mut receiver = Receiver::new(role, 16 * 1024);
        let frame_bytes_max = policy.frame_bytes_max;
        receiver.agree(Agreed { frame_bytes_max, fds: passes_fds, streams: !passes_fds });
        let mut streams = Streams::new(role);
        if !passes_fds {
            streams.agree();
        }
        PartsEnd {
            receiver,
            queue: SendQueue::default(),
            writing: is_threaded.then(SendQueue::default),
            out: RequestsOut::new(2),
            asked: RequestsIn::new(role, ASKED_MAX, ASKED_FDS_MAX),
            streams,
            bad_frames: BadFrames::default(),
            takes_fds: passes_fds,
            timers: BTreeSet::new(),
            told: VecDeque::new(),
            is_open: true,
        }
    }

    /// Puts a frame into the queue, with descriptors or announced streams.
    fn put(&mut self, fds: Fds, numbers: &[u64], write: impl FnOnce(&mut Vec<u8>)) -> Result<Span, usize> {
        let frame_bytes_max = policy().frame_bytes_max;
        let span = match &mut self.writing {
            None => {
                let span = self.queue.write_within(frame_bytes_max, write)?;
                self.queue.attach(span, fds);
                span
            }
            Some(writing) => {
                let mut own = SendQueue::default();
                let span = own.write_within(frame_bytes_max, write)?;
                own.attach(span, fds);
                if writing.is_empty() && self.queue.is_empty() {
                    let span = self.queue.pass(&own);
                    writing.append(&mut own);
                    span
                } else {
                    self.queue.append(&mut own)
                }
            }
        };
        self.streams.announce(numbers, span);
        Ok(span)
    }

    fn put_small(&mut self, write: impl FnOnce(&mut Vec<u8>)) {
        self.put(Fds::new(), &[], write).expect("it is small");
    }

    fn waiting_bytes(&self) -> usize {
        self.queue.waiting_bytes() + self.writing.as_ref().map_or(0, SendQueue::waiting_bytes)
    }

    fn pack(&mut self, fds: Fds) -> Result<(Fds, Vec<u64>), Refused> {
        check_fds(fds.len())?;
        if self.takes_fds {
            Ok((fds, Vec::new()))
        } else {
            self.streams.open(fds).map(|open| (Fds::new(), open))
        }
    }

    fn withdraw(&mut self, frame: Option<Span>) -> bool {
        let Some(frame) = frame.filter(|frame| self.queue.withdraw(*frame)) else { return false };
        self.streams.withdrawn(frame);
        true
    }

    fn fault(&mut self, fault: Fault) {
        if std::mem::replace(&mut self.is_open, false) {
            self.end_all();
            self.told.push_back(Told::Fault(fault));
        }
    }

    fn end_all(&mut self) {
        while let Some(request) = self.out.pop() {
            let withdrawn = self.withdraw(request.frame());
            let error = match withdrawn {
                true => CallError::not_sent(ErrorCode::Unavailable, "the connection ended"),
                false => CallError::indeterminate(ErrorCode::PluginLost, "the connection ended"),
            };
            if !request.is_over {
                self.ended(request.waiter, Err(error));
            }
        }
        self.timers.clear();
    }

    fn ended(&mut self, call: u64, result: Result<String, CallError>) {
        self.told.push_back(Told::Ended { call, result, fds: Fds::new(), streams: Vec::new() });
    }

    fn unwanted(&mut self, streams: Vec<u64>) {
        if !streams.is_empty() {
            self.told.push_back(Told::Unwanted(streams));
        }
    }

    fn handle(&mut self, message: Message<'_>, fds: Fds) -> Result<(), Violation> {
        match message {
            Message::Request(Request { id, params, streams, .. }) => {
                self.streams.came(&streams)?;
                match self.asked.enter(&id, fds.len(), ()) {
                    Ok(()) => {
                        let params = params.map(RawValue::get).unwrap_or_default().to_owned();
                        self.told.push_back(Told::Asked { id, params, fds, streams });
                    }
                    Err(NotEntered::Full(error)) => {
                        self.unwanted(streams);
                        self.put_small(|out| message::write_error(out, Some(&id), &error));
                    }
                    Err(NotEntered::Violation(violation)) => return Err(violation),
                }
            }
            Message::Notification(notification) => self.handle_notification(&notification)?,
            Message::Response(response) => {
                self.streams.came(&response.streams)?;
                let request = self.out.answer(&response, self.queue.begun())?;
                self.timers.retain(|(_, id)| *id != request.id);
                let Response { result, streams, .. } = response;
                if request.is_over {
                    if request.is_late {
                        self.told.push_back(Told::Late);
                    }
                    self.unwanted(streams);
                    return Ok(());
                }
                let result = result.map(|raw| raw.get().to_owned()).map_err(CallError::answered);
                let (taken, unwanted) = if result.is_ok() { (streams, vec![]) } else { (vec![], streams) };
                self.unwanted(unwanted);
                self.told.push_back(Told::Ended { call: request.waiter, result, fds, streams: taken });
            }
        }
        Ok(())
    }

    fn handle_bad_frame(&mut self, bad: &BadFrame) -> Result<(), Violation> {
        let answer = ErrorObject::new(ErrorCode::InvalidResponse, bad.to_string());
        self.settle(&bad.meant, answer, &ErrorObject::new(bad.code(), bad.to_string()))
    }

    fn settle(&mut self, meant: &Meant, answer: ErrorObject, error: &ErrorObject) -> Result<(), Violation> {
        match meant {
            Meant::Answer(id) => {
                let result = Err(answer);
                let response = Response { id: Some(id.clone()), result, fds: 0, streams: Vec::new() };
                self.handle(Message::Response(response), Fds::new())?;
            }
            Meant::Request(id) if self.asked.get(id).is_some() => {
                return Err(Violation::invalid("asked twice"));
            }
            Meant::Request(id) => {
                self.put_small(|out| message::write_error(out, Some(id), error));
            }
            Meant::Notification => {}
        }
        Ok(())
    }

    fn handle_notification(&mut self, notification: &Notification<'_>) -> Result<(), Violation> {
        let wrong = |error: ErrorObject| Violation::invalid(error.message);
        match &*notification.method {
            METHOD_CANCEL => {
                let Cancel { id, .. } = params_into(notification.params).map_err(wrong)?;
                if self.asked.get(&id).is_some() {
                    self.told.push_back(Told::GivenUp(id));
                }
            }
            METHOD_PROGRESS => {
                let progress: Progress = params_into(notification.params).map_err(wrong)?;
                let waiter = self.out.progress(&progress.id, self.queue.begun())?;
                self.told.extend(waiter.map(|call| Told::Progress(*call)));
            }
            method => {
                let frame = StreamFrame::read(method, notification.params).map_err(Violation::invalid)?;
                if let Some(frame) = frame {
                    self.streams.received(&frame)?;
                    self.told.push_back(Told::Stream(frame));
                }
            }
        }
        Ok(())
    }
}

impl End for PartsEnd {
    fn read(&mut self, now: Time, bytes: &[u8], fds: Fds, were_dropped: bool) {
        self.receiver.space(bytes.len() + 3)[..bytes.len()].copy_from_slice(bytes);
        self.receiver.filled(bytes.len(), fds, were_dropped);
        // Messages borrow from it while they are handled.
        let mut receiver = std::mem::replace(&mut self.receiver, Receiver::new(Role::Host, 0));
        while self.is_open {
            let handled = match receiver.next() {
                Ok(None) => break,
                Ok(Some((message, fds))) => self.handle(message, fds),
                Err(Unread::Violation(violation)) => Err(violation),
                Err(Unread::FdsLost(meant)) => {
                    let error = ErrorObject::new(ErrorCode::Overloaded, FDS_LOST);
                    self.settle(&meant, error.clone(), &error)
                }
                Err(Unread::BadFrame(bad)) => {
                    let handled = self.handle_bad_frame(&bad);
                    let counts = !bad.is_deadline();
                    handled.and_then(|()| if counts { self.bad_frames.count(now, &bad) } else { Ok(()) })
                }
            };
            if let Err(violation) = handled {
                self.fault(Fault::Violation(violation.why));
            }
        }
        self.receiver = receiver;
    }

    fn end_of_stream(&mut self, _now: Time) {
        match self.receiver.finish() {
            Ok(()) => self.fault(Fault::EndOfStream),
            Err(violation) => self.fault(Fault::Violation(violation.why)),
        }
    }

    fn waiting(&mut self) -> (&[u8], &[Fd]) {
        let Some(writing) = &mut self.writing else { return self.queue.waiting() };
        if writing.is_empty() {
            writing.append(&mut self.queue);
        }
        writing.waiting()
    }

    fn wrote(&mut self, bytes: usize) {
        self.writing.as_mut().unwrap_or(&mut self.queue).wrote(bytes);
    }

    fn fds_refused(&mut self, _now: Time) {
        let queue = self.writing.as_mut().unwrap_or(&mut self.queue);
        let Some((_, frame)) = queue.withdraw_attached() else { return };
        match Message::parse(frame.trim_ascii_end()).unwrap() {
            Message::Request(Request { id: RequestId::Number(id), .. }) => {
                let Some(request) = self.out.remove(id) else { return };
                self.timers.retain(|(_, timer)| *timer != id);
                if !request.is_over {
                    let error = CallError::not_sent(ErrorCode::Overloaded, "refused");
                    self.ended(request.waiter, Err(error));
                }
            }
            Message::Response(response) => {
                let error = ErrorObject::new(ErrorCode::Overloaded, "refused");
                self.put_small(|out| message::write_error(out, response.id.as_ref(), &error));
            }
            other => panic!("{other:?} has descriptors"),
        }
    }

    fn call(&mut self, now: Time, call: u64, made: Made) -> Result<(), CallError> {
        if !self.is_open {
            return Err(CallError::not_sent(ErrorCode::Unavailable, "the connection is not open"));
        }
        let (fds, numbers) = self.pack(made.fds)?;
        let asked =
            NewRequest { method: Cow::Borrowed("echo"), is_call: true, wants_progress: made.wants_progress };
        let waiting = self.waiting_bytes() + made.params.as_ref().map_or(0, String::len);
        let opened = match waiting > policy().outbox_bytes_max {
            true => Err(Refused::new(ErrorCode::Overloaded, "too much waits")),
            false if self.out.calls() >= policy().calls_in_flight_max => {
                Err(Refused::new(ErrorCode::Overloaded, "too many calls wait for an answer"))
            }
            false => Ok(self.out.open(asked, call, now)),
        };
        let id = opened.inspect_err(|_| self.streams.never_sent(&numbers))?;
        let request = message::NewRequest {
            id,
            method: "echo",
            params: made.params.as_deref(),
            progress: made.wants_progress,
            fds: fds.len(),
            streams: &numbers,
            ..message::NewRequest::default()
        };
        match self.put(fds, &numbers, |out| message::write_request(out, &request)) {
            Ok(span) => assert!(self.out.sent(id, span), "it was just made"),
            Err(_) => {
                self.streams.never_sent(&numbers);
                assert!(matches!(self.out.cancel(id, true), Some(GivenUp::Unsent(_))));
                return Err(CallError::not_sent(ErrorCode::TooLarge, "the call is too large"));
            }
        }
        self.timers.insert((now.plus(made.timeout), id));
        Ok(())
    }

    fn cancel(&mut self, _now: Time, call: u64) -> Option<bool> {
        let is_meant = |request: &&Unanswered<u64>| request.waiter == call && !request.is_over;
        let request = self.out.iter().find(is_meant)?;
        let (id, frame) = (request.id, request.frame());
        let withdrawn = self.withdraw(frame);
        match self.out.cancel(id, withdrawn)? {
            GivenUp::Unsent(_) => {
                self.timers.retain(|(_, timer)| *timer != id);
                Some(false)
            }
            GivenUp::Sent(_) => {
                self.put_small(|out| message::write_cancel(out, id, None));
                Some(true)
            }
        }
    }

    fn answer(&mut self, _now: Time, id: &RequestId, result: Result<&RawValue, ErrorObject>, fds: Fds) {
        if !self.is_open || self.asked.leave(id).is_none() {
            return;
        }
        let fits = |bytes: usize| match self.waiting_bytes() {
            0 => true,
            waiting => waiting + bytes <= policy().outbox_bytes_max,
        };
        let packed = match result {
            Ok(result) if !fits(result.get().len()) => {
                Err(ErrorObject::new(ErrorCode::Overloaded, "the result does not fit"))
            }
            result => result.and_then(|result| Ok((result, self.pack(fds)?))),
        };
        let written = packed.and_then(|(result, (fds, numbers))| {
            let count = fds.len();
            let put = self.put(fds, &numbers, |out| message::write_result(out, id, result, count, &numbers));
            put.map(drop).map_err(|_| {
                self.streams.never_sent(&numbers);
                ErrorObject::new(ErrorCode::TooLarge, "the result does not fit")
            })
        });
        if let Err(error) = written {
            self.put_small(|out| message::write_error(out, Some(id), &error));
        }
        if self.waiting_bytes() > policy().outbox_bytes_max + policy().frame_bytes_max {
            self.fault(Fault::Violation("it asks without reading the answers".to_owned()));
        }
    }

    fn answer_badly(&mut self, id: &RequestId) -> bool {
        if self.is_open && self.asked.leave(id).is_some() {
            let id = serde_json::to_string(id).unwrap();
            let frame = format!("{{\"jsonrpc\":\"2.0\",\"id\":{id},\"result\":{{\"mean\":NaN}}}}\n");
            self.put_small(|out| out.extend_from_slice(frame.as_bytes()));
        }
        true
    }

    fn progress(&mut self, id: &RequestId, value: &RawValue) {
        let fits = value.get().len() < 15_000 && self.waiting_bytes() < policy().outbox_bytes_max;
        if self.is_open && self.asked.get(id).is_some() && fits {
            self.put_small(|out| message::write_progress(out, id, value.get()));
        }
    }

    fn send_stream(&mut self, frame: &StreamFrame) {
        if self.is_open {
            self.put_small(|out| frame.write(out));
            self.streams.sent(frame);
        }
    }

    fn announced(&mut self) -> Named<Fd> {
        self.streams.announced(self.queue.begun())
    }

    fn next_timer(&self) -> Option<Time> {
        self.timers.first().map(|(at, _)| *at)
    }

    fn pass(&mut self, now: Time) {
        while let Some((at, id)) = self.timers.first().copied().filter(|(at, _)| *at <= now) {
            self.timers.remove(&(at, id));
            let withdrawn = self.withdraw(self.out.get(id).and_then(Unanswered::frame));
            match self.out.expire(id, withdrawn) {
                None => panic!("a timer without a request"),
                Some(Expired::Unsent(request)) => {
                    let error = CallError::not_sent(ErrorCode::DeadlineExceeded, "not read");
                    self.ended(request.waiter, Err(error));
                }
                Some(Expired::Poisoned(method)) => {
                    return self.fault(Fault::Poisoned(method.into_owned(), policy().cancel_grace));
                }
                Some(Expired::Cancelled(_)) => {
                    self.timers.insert((now.plus(policy().cancel_grace), id));
                }
                Some(Expired::Late(request)) => {
                    let call = request.waiter;
                    self.timers.insert((now.plus(policy().cancel_grace), id));
                    self.put_small(|out| message::write_cancel(out, id, Some(&CancelCause::DEADLINE)));
                    let error = CallError::indeterminate(ErrorCode::DeadlineExceeded, "no answer");
                    self.ended(call, Err(error));
                }
            }
        }
    }

    fn poll(&mut self) -> Option<Told> {
        self.told.pop_front()
    }

    fn close(&mut self, _now: Time) {
        self.is_open = false;
        self.end_all();
    }

    fn is_open(&self) -> bool {
        self.is_open
    }

    fn figures(&self) -> Figures {
        assert_eq!(self.queue.waiting_bytes(), self.queue.all_waiting().len());
        let next = self.writing.as_ref().unwrap_or(&self.queue).waiting().1.len();
        Figures {
            calls: self.out.calls(),
            timers: self.timers.len(),
            waiting_bytes: self.waiting_bytes(),
            waiting_fds: next,
            asked: self.asked.len(),
        }
    }
}
