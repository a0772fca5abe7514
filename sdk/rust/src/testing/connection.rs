//! The host's end of the connection of a test: a thread that reads, and whoever calls writes.
//!
//! What always holds: each call ends once; what a host would end a plugin for ends the connection, and with it all calls,
//! which then say why.

use crate::config::Config;
use crate::connection::{READ_BYTES, receive};
use crate::hello::is_again;
use rpc_plugin_interface::parcel::CallBackFn;
use rpc_plugin_interface::scm;
use rpc_plugin_interface::{Caller, Local, Outgoing, Parcel, Reply};
use rpc_plugin_peer::{
    Agreed, NewRequest, Receiver, RequestsOut, Role, SendQueue, Time, Violation, check_method_of_call,
};
use rpc_plugin_wire::handshake::{
    FEATURE_FDS, FEATURE_SERIAL, FEATURE_STREAMS, FEATURES, Hello, HelloResult, METHOD_HELLO,
};
use rpc_plugin_wire::life::{
    CallBack, HostCall, HostEvent, METHOD_CALL, METHOD_CALLBACK, METHOD_EVENT, METHOD_HEARTBEAT, METHOD_LOG,
    METHOD_PROGRESS, Progress,
};
use rpc_plugin_wire::limits::{FRAME_BYTES_MAX_DEFAULT, FRAME_BYTES_MAX_UNAUTHENTICATED, PROTOCOL_VERSION};
use rpc_plugin_wire::message::{self, params_into, write_cancel, write_error, write_request, write_result};
use rpc_plugin_wire::{CallError, CancelCause, ErrorCode, ErrorObject, Message, Request, RequestId};
use serde_json::value::{RawValue, to_raw_value};
use std::borrow::Cow;
use std::collections::BTreeMap;
use std::net::Shutdown;
use std::os::fd::{AsFd, OwnedFd};
use std::os::unix::net::UnixStream;
use std::sync::mpsc::{self, Sender, SyncSender, channel};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

/// How long the hello may take.
pub(super) const HELLO_TIMEOUT: Duration = Duration::from_secs(10);
/// When a heartbeat is sent: once nothing came for so long.
const HEARTBEAT_INTERVAL: Duration = Duration::from_secs(1);
/// Heartbeats without an answer, one after the other, with which the connection ends.
const HEARTBEAT_MISSES_MAX: usize = 3;
/// How long a plugin may read nothing.
const WRITE_TIMEOUT: Duration = Duration::from_secs(10);
/// When a call ends that names no time.
const CALL_TIMEOUT: Duration = Duration::from_secs(30);

/// News of a call.
pub(super) enum Told {
    Progress(Box<RawValue>),
    End(Result<Reply, CallError>),
}

/// A call that went out.
pub(super) struct Begun {
    pub(super) id: u64,
    pub(super) method: String,
    pub(super) told: mpsc::Receiver<Told>,
    pub(super) deadline: Instant,
}

/// The place where news of a request go, and what the plugin may call meanwhile.
struct Asker {
    told: Sender<Told>,
    callbacks: Vec<(u64, CallBackFn)>,
}

struct State {
    queue: SendQueue<OwnedFd>,
    requests: RequestsOut<Asker>,
    /// Why the connection has ended.
    over: Option<String>,
}

pub(super) struct Connection {
    stream: UnixStream,
    state: Mutex<State>,
    services: Local,
    events: SyncSender<HostEvent>,
    is_serial: bool,
}

impl Connection {
    /// Takes the hello of the plugin that was launched so, answers it, and reads from then on.
    pub(super) fn open(
        stream: UnixStream,
        launched: &Config,
        services: Local,
        events: SyncSender<HostEvent>,
    ) -> Result<Arc<Connection>, String> {
        let io = |error: std::io::Error| error.to_string();
        stream.set_read_timeout(Some(HELLO_TIMEOUT)).map_err(io)?;
        stream.set_write_timeout(Some(WRITE_TIMEOUT)).map_err(io)?;
        let mut receiver = Receiver::new(Role::Host, FRAME_BYTES_MAX_UNAUTHENTICATED);
        let (id, hello) = loop {
            match receiver.next().map_err(why)? {
                Some((message, _)) => break hello(&message, launched)?,
                None => read(&stream, &mut receiver).map_err(|error| format!("no hello came: {error}"))?,
            };
        };
        let has = |name: &str| hello.features.iter().any(|feature| feature == name);
        let agreed =
            Agreed { frame_bytes_max: FRAME_BYTES_MAX_DEFAULT, fds: has(FEATURE_FDS), streams: false };
        let chosen = |versions: &Vec<u32>| versions.iter().max().copied();
        let features = FEATURES.iter().filter(|name| has(name) && **name != FEATURE_STREAMS);
        let answer = HelloResult {
            protocol: PROTOCOL_VERSION,
            host: concat!("test/", env!("CARGO_PKG_VERSION")).to_owned(),
            frame_bytes_max: agreed.frame_bytes_max,
            heartbeat_interval_ms: u64::try_from(HEARTBEAT_INTERVAL.as_millis()).unwrap_or(u64::MAX),
            interfaces: hello
                .interfaces
                .iter()
                .filter_map(|(name, versions)| Some((name.clone(), chosen(versions)?)))
                .collect::<BTreeMap<_, _>>(),
            features: features.map(|name| (*name).to_owned()).collect(),
        };
        let answer = to_raw_value(&answer).map_err(|error| error.to_string())?;
        receiver.agree(agreed);
        stream.set_read_timeout(Some(HEARTBEAT_INTERVAL)).map_err(io)?;
        let state = State { queue: SendQueue::default(), requests: RequestsOut::new(1), over: None };
        let is_serial = has(FEATURE_SERIAL);
        let connection =
            Arc::new(Connection { stream, state: Mutex::new(state), services, events, is_serial });
        connection.write(|out| write_result(out, &id, &answer, 0, &[]), Vec::new());
        let reads = Arc::clone(&connection);
        let thread = crate::threads::builder("test-host");
        thread.spawn(move || reads.read_all(receiver)).map_err(io)?;
        Ok(connection)
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Makes a call, which goes out before this returns.
    pub(super) fn call(&self, call: Outgoing, progress: bool) -> Result<Begun, CallError> {
        let Outgoing { method, params, parcel: Parcel { fds, callbacks }, timeout, .. } = call;
        let timeout = timeout.unwrap_or(CALL_TIMEOUT);
        let now = Instant::now();
        let deadline = now.checked_add(timeout).unwrap_or(now);
        let (tell, told) = channel();
        let mut state = self.state();
        if let Some(over) = &state.over {
            return Err(CallError::not_sent(ErrorCode::PluginLost, over.clone()));
        }
        let is_call = check_method_of_call(&method).is_ok();
        let asked = NewRequest { method: method.clone(), is_call, wants_progress: progress };
        let id = state.requests.open(asked, Asker { told: tell, callbacks }, Time::default());
        let request = message::NewRequest {
            id,
            method: &method,
            params: params.as_deref(),
            deadline_ms: is_call.then(|| u64::try_from(timeout.as_millis()).unwrap_or(u64::MAX)),
            progress,
            fds: fds.len(),
            ..message::NewRequest::default()
        };
        let frame = state.queue.write(|out| write_request(out, &request));
        state.queue.attach(frame, fds);
        state.requests.sent(id, frame);
        self.flush(&mut state);
        drop(state);
        Ok(Begun { id, method: method.into_owned(), told, deadline })
    }

    /// Tells the plugin that a call is to end, if it has not ended.
    pub(super) fn cancel(&self, id: u64, cause: Option<CancelCause>) {
        if self.state().requests.get(id).is_some() {
            self.write(|out| write_cancel(out, id, cause.as_ref()), Vec::new());
        }
    }

    /// Ends the connection, and all calls with this reason.
    pub(super) fn close(&self, why: &str) {
        let mut state = self.state();
        state.over.get_or_insert_with(|| why.to_owned());
        let _ = self.stream.shutdown(Shutdown::Both);
        let text = format!("the plugin was lost: {why}");
        while let Some(request) = state.requests.pop() {
            let error = CallError::indeterminate(ErrorCode::PluginLost, text.clone());
            let _ = request.waiter.told.send(Told::End(Err(error)));
        }
    }

    fn write(&self, frame: impl FnOnce(&mut Vec<u8>), fds: Vec<OwnedFd>) {
        let mut state = self.state();
        let span = state.queue.write(frame);
        state.queue.attach(span, fds);
        self.flush(&mut state);
    }

    /// Writes what waits. A plugin that reads nothing for [`WRITE_TIMEOUT`], or is gone, ends the connection as the reader
    /// finds it closed.
    fn flush(&self, state: &mut State) {
        while !state.queue.is_empty() {
            let (bytes, fds) = state.queue.waiting();
            match scm::send(self.stream.as_fd(), bytes, fds, true) {
                Ok(count) => state.queue.wrote(count),
                Err(error) if error.kind() == std::io::ErrorKind::Interrupted => {}
                Err(error) => {
                    state.over.get_or_insert_with(|| format!("it cannot be written to: {error}"));
                    let _ = self.stream.shutdown(Shutdown::Both);
                    return;
                }
            }
        }
    }

    fn read_all(self: Arc<Self>, mut receiver: Receiver<OwnedFd>) {
        loop {
            if let Err(why) = self.read_once(&mut receiver) {
                return self.close(&why);
            }
        }
    }

    fn read_once(self: &Arc<Self>, receiver: &mut Receiver<OwnedFd>) -> Result<(), String> {
        while let Some((message, fds)) = receiver.next().map_err(why)? {
            self.take(&message, fds)?;
        }
        match read(&self.stream, receiver) {
            Err(error) if is_again(&error) => self.beat(),
            read => read.map_err(|error| error.to_string()),
        }
    }

    /// Sends a heartbeat, but for a plugin that does one thing at a time.
    fn beat(&self) -> Result<(), String> {
        let state = self.state();
        let missed = state.requests.iter().filter(|request| request.asked.method == METHOD_HEARTBEAT).count();
        drop(state);
        if missed >= HEARTBEAT_MISSES_MAX {
            return Err(format!("{missed} heartbeats missed"));
        }
        let method = Cow::Borrowed(METHOD_HEARTBEAT);
        if !self.is_serial {
            let beat = self.call(Outgoing { method, ..Outgoing::default() }, false);
            drop(beat.map_err(|error| error.to_string())?);
        }
        Ok(())
    }

    fn take(self: &Arc<Self>, message: &Message<'_>, fds: Vec<OwnedFd>) -> Result<(), String> {
        let violation = |violation: Violation| violation.why;
        match message {
            Message::Response(response) => {
                let mut state = self.state();
                let begun = state.queue.begun();
                let answered = state.requests.answer(response, begun).map_err(violation)?;
                let end = match &response.result {
                    Ok(result) => Ok(Reply { result: (*result).to_owned(), fds }),
                    Err(error) => Err(CallError::answered(error.clone())),
                };
                // Nobody waits for a heartbeat of ours, or for a call that was left to itself.
                let _ = answered.waiter.told.send(Told::End(end));
            }
            Message::Notification(notification) if notification.method == METHOD_PROGRESS => {
                let Progress { id, value } = params_into(notification.params).map_err(text)?;
                let mut state = self.state();
                let begun = state.queue.begun();
                if let Some(waiter) = state.requests.progress(&id, begun).map_err(violation)? {
                    let _ = waiter.told.send(Told::Progress(value));
                }
            }
            Message::Notification(_) => {}
            Message::Request(request) => self.serve(request, fds)?,
        }
        Ok(())
    }

    /// Answers a request of the plugin, on a thread of its own: it may call the plugin meanwhile.
    fn serve(self: &Arc<Self>, request: &Request<'_>, fds: Vec<OwnedFd>) -> Result<(), String> {
        let (id, method) = (request.id.clone(), request.method.clone().into_owned());
        let params = request.params.map(ToOwned::to_owned);
        let connection = Arc::clone(self);
        let thread = crate::threads::handler_builder("test-service".to_owned());
        let answer = move || match connection.answer(method, params, fds) {
            Ok(Reply { result, fds }) => {
                let count = fds.len();
                connection.write(|out| write_result(out, &id, &result, count, &[]), fds);
            }
            Err(error) => connection.write(|out| write_error(out, Some(&id), &error), Vec::new()),
        };
        thread.spawn(answer).map(drop).map_err(|error| error.to_string())
    }

    fn answer(
        &self,
        method: String,
        params: Option<Box<RawValue>>,
        fds: Vec<OwnedFd>,
    ) -> Result<Reply, ErrorObject> {
        let result = match method.as_str() {
            METHOD_LOG => "{}".to_owned(),
            METHOD_EVENT => {
                // What nobody takes is dropped.
                let _ = self.events.try_send(params_into(params.as_deref())?);
                "{}".to_owned()
            }
            METHOD_CALLBACK => {
                let CallBack { id, params } = params_into(params.as_deref())?;
                let function = self.callback(id).ok_or_else(|| {
                    ErrorObject::new(ErrorCode::InvalidParams, format!("there is no callback {id}"))
                })?;
                function(params.as_deref(), fds)?
            }
            METHOD_CALL => {
                // The services stand in for the other plugins.
                let HostCall { method, params, .. } = params_into(params.as_deref())?;
                return self.answer(method, params, fds);
            }
            _ => {
                let params = params.map(|params| params.get().to_owned());
                let parcel = Parcel { fds, ..Parcel::default() };
                let call = Outgoing { method: method.into(), params, parcel, ..Outgoing::default() };
                return self.services.make(call).map_err(|error| error.to_object());
            }
        };
        let result = RawValue::from_string(result)
            .map_err(|error| ErrorObject::new(ErrorCode::InternalError, error.to_string()))?;
        Ok(Reply { result, fds: Vec::new() })
    }

    /// The function that came with a call which has not ended.
    fn callback(&self, id: u64) -> Option<CallBackFn> {
        let state = self.state();
        let mut all = state.requests.iter().flat_map(|request| &request.waiter.callbacks);
        all.find(|(known, _)| *known == id).map(|(_, function)| Arc::clone(function))
    }
}

fn why(unread: rpc_plugin_peer::Unread) -> String {
    Violation::from(unread).why
}

fn text(error: ErrorObject) -> String {
    error.message.into_owned()
}

/// Reads once.
fn read(stream: &UnixStream, receiver: &mut Receiver<OwnedFd>) -> std::io::Result<()> {
    match receive(stream, receiver, READ_BYTES)? {
        0 => Err(std::io::Error::new(std::io::ErrorKind::UnexpectedEof, "it closed the connection")),
        _ => Ok(()),
    }
}

/// The hello, if it is that of the plugin that was launched so: the proof.
fn hello(message: &Message<'_>, launched: &Config) -> Result<(RequestId, Hello), String> {
    let Message::Request(request) = message else { return Err("its first frame is no request".to_owned()) };
    if request.method != METHOD_HELLO {
        return Err(format!("its first frame is {}, not {METHOD_HELLO}", request.method));
    }
    let hello: Hello = params_into(request.params).map_err(text)?;
    hello.check().map_err(|error| error.to_string())?;
    let is_launched = hello.token.matches(&launched.token)
        && hello.plugin_id == launched.plugin_id
        && hello.generation == launched.generation;
    if !is_launched {
        return Err("it does not prove that it is the plugin that was launched".to_owned());
    }
    Ok((request.id.clone(), hello))
}
