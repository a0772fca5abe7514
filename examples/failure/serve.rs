//! The failure plugin once its hello is answered: `work` and `sleep`, and the protocol's own methods, each as
//! wrong as the mode wants it.
//!
//! What always holds: what the mode does not name is done as the protocol asks.

use crate::Plan;
use crate::hello::{CAPABILITIES, Greeted, Identity, linger};
use crate::mode::Mode;
use crate::say;
use nix::sys::resource::{Resource, setrlimit};
use rpc_plugin_wire::life::{Cancel, METHOD_CANCEL, METHOD_CAPABILITIES, METHOD_HEARTBEAT, METHOD_SHUTDOWN};
use rpc_plugin_wire::limits::REQUEST_ID_MAX;
use rpc_plugin_wire::message::{params_into, write_error, write_progress, write_result};
use rpc_plugin_wire::{ErrorCode, ErrorObject, FrameDecoder, Message, Request, RequestId};
use serde::Deserialize;
use serde_json::{Value, json};
use std::collections::BTreeMap;
use std::io::{Read, Write};
use std::net::Shutdown;
use std::os::unix::net::UnixStream;
use std::process::ExitCode;
use std::sync::{Arc, Mutex, PoisonError, mpsc};
use std::time::Duration;

/// Calls that sleep at the same time; more are answered `overloaded`.
const SLEEPERS_MAX: usize = 64;
/// From the cancel to the answer in mode `call-late`.
const LATE: Duration = Duration::from_millis(50);

type Sleepers = Arc<Mutex<BTreeMap<RequestId, mpsc::Sender<()>>>>;

struct Server {
    plan: Plan,
    identity: Identity,
    frame_bytes_max: usize,
    /// Whole frames only, each under the lock.
    writer: Arc<Mutex<UnixStream>>,
    /// Calls that sleep, and how to wake them.
    sleepers: Sleepers,
    /// Calls whose answer waits for their cancel, with the answer.
    late: BTreeMap<RequestId, Value>,
    heartbeats: u64,
}

/// Serves until the host asks for the end or is gone.
pub(crate) fn serve(plan: Plan, greeted: Greeted) -> ExitCode {
    let Greeted { connection, mut decoder, frame_bytes_max, identity } = greeted;
    let Ok(mut reader) = connection.try_clone().and_then(|reader| {
        reader.set_read_timeout(None)?;
        Ok(reader)
    }) else {
        return ExitCode::from(71);
    };
    let mut server = Server {
        plan,
        identity,
        frame_bytes_max,
        writer: Arc::new(Mutex::new(connection)),
        sleepers: Sleepers::default(),
        late: BTreeMap::new(),
        heartbeats: 0,
    };
    loop {
        if let Some(code) = server.handle_buffered(&mut decoder) {
            return code;
        }
        match reader.read(decoder.space(64 * 1024)) {
            Ok(bytes @ 1..) => decoder.filled(bytes),
            _ => match plan.mode {
                Mode::IgnoreShutdown | Mode::IgnoreShutdownAndTerm => linger(),
                _ => return ExitCode::SUCCESS,
            },
        }
    }
}

impl Server {
    /// Deals with every whole frame that is there; an exit code when that is the end.
    fn handle_buffered(&mut self, decoder: &mut FrameDecoder) -> Option<ExitCode> {
        loop {
            let frame = match decoder.next_frame() {
                Ok(Some(frame)) => frame,
                Ok(None) => return None,
                Err(error) => return Some(violated(&error)),
            };
            match Message::parse(frame) {
                Ok(Message::Request(request)) => {
                    if let Some(code) = self.answer(&request) {
                        return Some(code);
                    }
                }
                Ok(Message::Notification(notification)) if notification.method == METHOD_CANCEL => {
                    if let Ok(cancel) = params_into::<Cancel>(notification.params) {
                        self.cancel(&cancel.id);
                    }
                }
                Ok(Message::Notification(_)) => {}
                // The answer to a hello that was said twice.
                Ok(Message::Response(response)) => say(&format!("the host answers {:?}", response.result)),
                Err(error) => return Some(violated(&error)),
            }
        }
    }

    fn answer(&mut self, request: &Request<'_>) -> Option<ExitCode> {
        let id = &request.id;
        match &*request.method {
            METHOD_CAPABILITIES => self.capabilities(id),
            METHOD_HEARTBEAT => self.heartbeat(id),
            METHOD_SHUTDOWN => match self.plan.mode {
                Mode::IgnoreShutdown | Mode::IgnoreShutdownAndTerm => {}
                _ => {
                    self.result(id, &json!({}));
                    return Some(ExitCode::SUCCESS);
                }
            },
            "work" => match params_into::<Value>(request.params) {
                Ok(params) => self.work(id, params),
                Err(error) => self.error(id, &error),
            },
            "sleep" => match params_into::<Value>(request.params) {
                Ok(params) => {
                    if request.progress {
                        self.progress(id, params.get("progress").and_then(Value::as_u64).unwrap_or(0));
                    }
                    self.later(id, millis(&params).unwrap_or_default(), json!({}), true);
                }
                Err(error) => self.error(id, &error),
            },
            unknown => {
                self.error(
                    id,
                    &ErrorObject::new(ErrorCode::MethodNotFound, format!("no method {unknown:?}")),
                );
            }
        }
        None
    }

    fn capabilities(&self, id: &RequestId) {
        let mut answer = json!({
            "plugin_id": self.identity.plugin_id, "version": env!("CARGO_PKG_VERSION"),
            "generation": self.identity.generation, "capabilities": CAPABILITIES,
        });
        let lie = match self.plan.mode {
            Mode::CapabilitiesMalformed => Some(("capabilities", json!("work"))),
            Mode::CapabilitiesEmpty => Some(("capabilities", json!([]))),
            Mode::CapabilitiesWrongId => Some(("plugin_id", json!("another"))),
            Mode::CapabilitiesWrongGeneration => Some(("generation", json!(self.identity.generation.next()))),
            Mode::CapabilitiesError => return self.error(id, &on_purpose()),
            Mode::CapabilitiesSilent => return,
            _ => None,
        };
        if let (Some((member, value)), Some(answer)) = (lie, answer.as_object_mut()) {
            answer.insert(member.to_owned(), value);
        }
        self.result(id, &answer);
    }

    fn heartbeat(&mut self, id: &RequestId) {
        self.heartbeats += 1;
        let is_due = self.heartbeats > self.plan.after_heartbeats;
        let status = match self.plan.mode {
            _ if !is_due => "healthy",
            Mode::HeartbeatStarting => "starting",
            Mode::HeartbeatDegraded => "degraded",
            Mode::HeartbeatOverloaded => "overloaded",
            Mode::HeartbeatUnhealthy => "unhealthy",
            Mode::HeartbeatMalformed => "splendid",
            Mode::HeartbeatError => return self.error(id, &on_purpose()),
            Mode::HeartbeatSilent => return,
            Mode::NeverRead => {
                say("reads nothing from now on");
                linger();
            }
            _ => "healthy",
        };
        self.result(id, &json!({"status": status, "uptime_ms": 1, "work_count": 0, "error_count": 0}));
    }

    fn work(&mut self, id: &RequestId, params: Value) {
        match self.plan.mode {
            Mode::CallSlow => {
                let time = millis(&params).unwrap_or(Duration::from_millis(500));
                self.later(id, time, params, false);
            }
            Mode::CallHang => {}
            Mode::CallLate => {
                self.late.insert(id.clone(), params);
            }
            Mode::CallCrash => {
                // The signal is what matters; the core file would only lie about.
                let _ = setrlimit(Resource::RLIMIT_CORE, 0, 0);
                say("crashes");
                std::process::abort();
            }
            Mode::CallClose => {
                let _ = lock(&self.writer).shutdown(Shutdown::Both);
                linger();
            }
            Mode::AnswerTwice => {
                self.result(id, &params);
                self.result(id, &params);
            }
            Mode::AnswerUnknownId => {
                self.result(&RequestId::Number(REQUEST_ID_MAX), &params);
                self.result(id, &params);
            }
            Mode::OversizedFrame => {
                let mut frame = Vec::new();
                write_result_of(&mut frame, id, &json!(""));
                let padding = (self.frame_bytes_max + 2).saturating_sub(frame.len());
                frame.clear();
                write_result_of(&mut frame, id, &json!("x".repeat(padding)));
                send(&self.writer, &frame);
            }
            Mode::InvalidUtf8 => {
                let start = format!("{{\"jsonrpc\":\"2.0\",\"id\":{},\"result\":\"", json!(id));
                send(&self.writer, &[start.as_bytes(), b"\xff\"}\n"].concat());
            }
            Mode::MalformedFrame => {
                let frame = format!("{{\"jsonrpc\":\"2.0\",\"id\":{},\"result\":}}\n", json!(id));
                send(&self.writer, frame.as_bytes());
            }
            _ => match params.get("error").map(ErrorObject::deserialize) {
                Some(Ok(error)) => self.error(id, &error),
                Some(Err(error)) => {
                    self.error(id, &ErrorObject::new(ErrorCode::InvalidParams, error.to_string()))
                }
                None => self.result(id, &params),
            },
        }
    }

    /// Answers after `time` with `result`, or at a cancel with `cancelled` where that is heeded.
    fn later(&self, id: &RequestId, time: Duration, result: Value, heeds_cancel: bool) {
        let (wake, woken) = mpsc::channel();
        let mut sleepers = lock(&self.sleepers);
        if sleepers.len() >= SLEEPERS_MAX {
            return self.error(id, &ErrorObject::new(ErrorCode::Overloaded, "too many calls sleep"));
        }
        sleepers.insert(id.clone(), wake);
        drop(sleepers);
        let (id, writer, sleepers) = (id.clone(), Arc::clone(&self.writer), Arc::clone(&self.sleepers));
        std::thread::spawn(move || {
            let mut frame = Vec::new();
            if heeds_cancel && woken.recv_timeout(time).is_ok() {
                let error = ErrorObject::new(ErrorCode::Cancelled, "the call was cancelled");
                write_error(&mut frame, Some(&id), &error);
            } else {
                if !heeds_cancel {
                    std::thread::sleep(time);
                }
                write_result_of(&mut frame, &id, &result);
            }
            lock(&sleepers).remove(&id);
            send(&writer, &frame);
        });
    }

    fn cancel(&mut self, id: &RequestId) {
        if let Some(result) = self.late.remove(id) {
            self.later(id, LATE, result, false);
        } else if let Some(wake) = lock(&self.sleepers).get(id) {
            // It may have its answer already.
            let _ = wake.send(());
        }
    }

    /// Tells so many steps of its progress.
    fn progress(&self, id: &RequestId, steps: u64) {
        for step in 1..=steps {
            let mut frame = Vec::new();
            write_progress(&mut frame, id, &json!({"step": step, "of": steps}).to_string());
            send(&self.writer, &frame);
        }
    }

    fn result(&self, id: &RequestId, result: &Value) {
        let mut frame = Vec::new();
        write_result_of(&mut frame, id, result);
        send(&self.writer, &frame);
    }

    fn error(&self, id: &RequestId, error: &ErrorObject) {
        let mut frame = Vec::new();
        write_error(&mut frame, Some(id), error);
        send(&self.writer, &frame);
    }
}

fn on_purpose() -> ErrorObject {
    ErrorObject::new(ErrorCode::InternalError, "fails on purpose")
}

fn millis(params: &Value) -> Option<Duration> {
    params.get("ms").and_then(Value::as_u64).map(Duration::from_millis)
}

fn violated(error: &dyn std::fmt::Display) -> ExitCode {
    say(&format!("the host broke the protocol: {error}"));
    ExitCode::from(76)
}

fn write_result_of(frame: &mut Vec<u8>, id: &RequestId, result: &Value) {
    match serde_json::value::to_raw_value(result) {
        Ok(raw) => write_result(frame, id, &raw, 0, &[]),
        Err(error) => say(&format!("an answer does not serialise: {error}")),
    }
}

/// A host that is gone is seen by the reader.
fn send(writer: &Mutex<UnixStream>, frame: &[u8]) {
    let _ = lock(writer).write_all(frame);
}

fn lock<T>(mutex: &Mutex<T>) -> std::sync::MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
