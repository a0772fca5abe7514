//! What a plugin answers: what its handlers say, and the protocol's own methods.
//!
//! What it deliberately does not do: read from the host or decide when the session ends.
//!
//! What always holds: a handler's panic is an answer and never the end of its thread.

use crate::answer::write_answer;
use crate::beside::{Beside, Bulk};
use crate::frames::Frames;
use crate::handler::{HandlerError, Method};
use crate::log::{Failure, Log};
use crate::task::Job;
use rpc_plugin_wire::chain::entry_at_plugin;
use rpc_plugin_wire::event::Level;
use rpc_plugin_wire::life::{Capabilities, HealthStatus, Heartbeat};
use rpc_plugin_wire::{Generation, PluginId, RequestId};
use serde::Serialize;
use std::any::Any;
use std::collections::BTreeMap;
use std::os::fd::OwnedFd;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

pub(crate) type Health = dyn Fn() -> HealthStatus + Send + Sync;

/// What is served, and what is known of it.
pub(crate) struct Service {
    pub(crate) methods: BTreeMap<Box<str>, Arc<Method>>,
    pub(crate) capabilities: Vec<String>,
    pub(crate) plugin_id: PluginId,
    pub(crate) generation: Generation,
    pub(crate) version: String,
    pub(crate) frame_bytes_max: usize,
    /// The version of each interface that this connection uses.
    pub(crate) interfaces: Arc<BTreeMap<String, u32>>,
    /// How file descriptors travel.
    pub(crate) bulk: Bulk,
    /// What serves `rpc.callback`.
    pub(crate) callback: Arc<Method>,
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
    pub(crate) fn answer(&self, job: &Job, out: &mut Frames) -> Option<Box<Failure>> {
        let Job { call, params } = job;
        let mut failure = None;
        let is_result = write_answer(out, call.id(), self.frame_bytes_max, |out| {
            let ended =
                unpanicked("the handler", || (call.inner_method().handler)(call, params.as_deref(), out));
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

    fn pack(&self, fds: Vec<OwnedFd>) -> Result<Beside, HandlerError> {
        let wrong = |text: String| HandlerError::internal(format!("the result cannot go out: {text}"));
        self.bulk.pack(fds).map_err(|error| wrong(error.into_text()))
    }

    /// The entry of a call that is served here, in the chains of those that are made for it.
    pub(crate) fn entry_of(&self, id: &RequestId) -> String {
        entry_at_plugin(&self.plugin_id, self.generation, id)
    }

    /// A call of the method of that number made its thread, which had the reading role, wait.
    pub(crate) fn blocked(&self, number: usize) {
        let mut all = self.methods.values().chain([&self.callback]);
        if let Some(method) = all.find(|method| method.number == number) {
            method.pace.blocked();
        }
    }

    /// Puts the end of a call on the plugin's own record, if it is to be there.
    pub(crate) fn record_end(&self, job: &Job, took: Duration, failure: Option<&Failure>) {
        if failure.is_some() || self.log.is_on(Level::Debug) {
            self.log.called(job.call.for_log(), took, failure);
        }
    }

    /// Answers `plugin.heartbeat`.
    pub(crate) fn answer_heartbeat(&self, id: &RequestId, out: &mut Frames) {
        write_answer(out, id, self.frame_bytes_max, |out| {
            let status = unpanicked("the health check", || (self.health)())?;
            push_json(out, &self.work.heartbeat(status))
        });
    }

    /// Answers `plugin.capabilities`.
    pub(crate) fn answer_capabilities(&self, id: &RequestId, out: &mut Frames) {
        let capabilities = Capabilities {
            plugin_id: self.plugin_id.clone(),
            version: self.version.clone(),
            generation: self.generation,
            capabilities: self.capabilities.clone(),
        };
        write_answer(out, id, self.frame_bytes_max, |out| push_json(out, &capabilities));
    }

    /// Answers `plugin.shutdown`.
    pub(crate) fn answer_shutdown(&self, id: &RequestId, out: &mut Frames) {
        write_answer(out, id, self.frame_bytes_max, |out| {
            out.extend_from_slice(b"{}");
            Ok(Beside::Nothing)
        });
    }

    /// What an unknown method is answered with.
    pub(crate) fn method_not_found(&self, method: &str) -> HandlerError {
        let served: Vec<&str> = self.methods.keys().map(|name| &**name).collect();
        HandlerError::new(
            rpc_plugin_wire::ErrorCode::MethodNotFound,
            format!("{} has no method {method:?}; it serves {}", self.plugin_id, served.join(", ")),
        )
    }
}

#[cold]
fn failure_of(error: &HandlerError, is_panic: bool) -> Box<Failure> {
    Box::new(Failure { code: error.code(), text: error.message().to_owned(), is_panic })
}

fn push_json<T: Serialize>(out: &mut Vec<u8>, value: &T) -> Result<Beside, HandlerError> {
    serde_json::to_writer(out, value)?;
    Ok(Beside::Nothing)
}

/// Runs what the plugin's author wrote; a panic in it is an error. What was shared with it may be half
/// changed: that is the author's to guard, as with any other thread that panics.
pub(crate) fn unpanicked<T>(what: &str, run: impl FnOnce() -> T) -> Result<T, HandlerError> {
    catch_unwind(AssertUnwindSafe(run)).map_err(|payload| {
        HandlerError::internal(match panic_message(&*payload) {
            Some(message) => format!("{what} panicked: {message}"),
            None => format!("{what} panicked"),
        })
    })
}

fn panic_message(payload: &(dyn Any + Send)) -> Option<&str> {
    payload.downcast_ref::<&str>().copied().or_else(|| payload.downcast_ref::<String>().map(String::as_str))
}
