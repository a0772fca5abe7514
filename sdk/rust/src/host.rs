//! What a plugin can ask of its host: services, other plugins, and what it wants others to know.
//!
//! What it deliberately does not do: send anything; [`Requester`] does that.
//!
//! What always holds: a call made for another one carries its chain, has no more time than it, and ends with it.

use crate::pending_call::PendingCall;
use crate::requester::{OnProgress, OpenRequest, Requester};
use rpc_plugin_interface::CallOptions;
use rpc_plugin_interface::caller::{Caller, Outgoing, Reply, outgoing};
use rpc_plugin_interface::context::Context;
use rpc_plugin_wire::ident::{check_capability, check_method};
use rpc_plugin_wire::life::{METHOD_CALL, METHOD_EVENT};
use rpc_plugin_wire::{CallError, ErrorCode, PluginId};
use serde::Serialize;
use serde::de::DeserializeOwned;
use serde_json::value::RawValue;
use std::borrow::Cow;
use std::fmt;
use std::fmt::Write;
use std::sync::{Arc, Mutex, PoisonError, Weak};
use std::time::{Duration, Instant};

/// The way from a plugin's definition to its session, which comes later and ends earlier than some who use it. Clones
/// lead to the same session.
#[derive(Clone, Default)]
pub(crate) struct HostLink(Arc<Mutex<Weak<Requester>>>);

impl HostLink {
    /// Leads to this session from now on. Does not keep it alive.
    pub(crate) fn join(&self, requester: &Arc<Requester>) {
        *self.0.lock().unwrap_or_else(PoisonError::into_inner) = Arc::downgrade(requester);
    }

    /// The session's way to the host.
    ///
    /// # Errors
    /// `unavailable`: there is no session.
    pub(crate) fn requester(&self) -> Result<Arc<Requester>, CallError> {
        let requester = self.0.lock().unwrap_or_else(PoisonError::into_inner).upgrade();
        requester.ok_or_else(no_session)
    }
}

/// The error of whoever would call without a session.
pub(crate) fn no_session() -> CallError {
    CallError::not_sent(ErrorCode::Unavailable, "there is no session with a host, or not yet, or no longer")
}

/// The host, to be called: from [`Call::host`](crate::Call::host) for the call that is served, from
/// [`Plugin::host`](crate::Plugin::host) for threads of the author's own. Clones are the same.
///
/// What is called through it directly are services that the host has registered; [`Host::plugin`] and
/// [`Host::capability`] reach other plugins.
#[derive(Clone)]
pub struct Host {
    link: HostLink,
    context: Option<Context>,
    /// Of all calls; only those of another plugin may be repeated.
    options: CallOptions,
    on_progress: Option<OnProgress>,
}

impl Host {
    pub(crate) fn new(link: HostLink, context: Option<Context>) -> Host {
        Host { link, context, options: CallOptions::default(), on_progress: None }
    }

    /// Calls are given up after `timeout`, or at the deadline of the call that they are made for if that is sooner.
    /// Without one that deadline counts alone; without that, 30 seconds do.
    #[must_use]
    pub fn timeout(self, timeout: Duration) -> Host {
        Host { options: self.options.timeout(timeout), ..self }
    }

    /// Calls are given up at `deadline`, or after the timeout, or at the deadline of the call that they are made for: what
    /// comes first. An [`Instant`] does not move with the clock on the wall.
    #[must_use]
    pub fn deadline(self, deadline: Instant) -> Host {
        Host { options: self.options.deadline(deadline), ..self }
    }

    /// Asks to be told how far calls are. `tell` gets each value that the other side says, on the thread that waits for
    /// the end; one that is no `T` is passed over, and of what comes faster than that, the newest 64 are told.
    #[must_use]
    pub fn on_progress<T: DeserializeOwned>(self, tell: impl Fn(T) + Send + Sync + 'static) -> Host {
        let tell = move |value: &RawValue| {
            if let Ok(value) = serde_json::from_str(value.get()) {
                tell(value);
            }
        };
        Host { on_progress: Some(Arc::new(tell)), ..self }
    }

    /// The same for calls that are made while `call` is served: they are part of it, and end with it. For the methods of
    /// typed interfaces, which have a [`Context`]; handlers of other methods have [`Call::host`](crate::Call::host).
    #[must_use]
    pub fn during(&self, call: &Context) -> Host {
        Host { context: Some(call.clone()), ..self.clone() }
    }

    /// Calls a service of the host and waits for the result. A handler that waits gives its place to other
    /// calls, unless [`Plugin::reentrant`](crate::Plugin::reentrant) says otherwise.
    ///
    /// # Errors
    /// Exactly one [`CallError`] tells what happened and whether the other side can have seen the call:
    /// `unavailable` without a session, `deadline_exceeded`, `cancelled` when the call that it is made for is,
    /// `plugin_lost` when the connection ended meanwhile, `too_large`, `overloaded` with 4096 calls under way,
    /// `would_deadlock` after a chain of 32 calls, and whatever the other side answers.
    pub fn call<P, R>(&self, method: &str, params: &P) -> Result<R, CallError>
    where
        P: Serialize + ?Sized,
        R: DeserializeOwned,
    {
        self.call_start(method, params)?.wait()
    }

    /// Begins such a call.
    ///
    /// # Errors
    /// As [`Host::call`], when it is not sent.
    pub fn call_start<P, R>(&self, method: &str, params: &P) -> Result<PendingCall<R>, CallError>
    where
        P: Serialize + ?Sized,
    {
        Ok(PendingCall::new(self.begin(outgoing(method.to_owned(), params)?)?, method))
    }

    /// Tells the host that something happened: it is put on record, and told to whoever listens. `name` is the
    /// plugin's own, 1 to 64 bytes.
    ///
    /// # Errors
    /// As [`Host::call`].
    pub fn event<T: Serialize + ?Sized>(&self, name: &str, data: &T) -> Result<(), CallError> {
        #[derive(Serialize)]
        struct EventParams<'a, T: ?Sized> {
            name: &'a str,
            data: &'a T,
        }
        self.call::<_, serde::de::IgnoredAny>(METHOD_EVENT, &EventParams { name, data }).map(|_| ())
    }

    /// Another plugin, which the host has to allow (`may_call`).
    #[must_use]
    pub fn plugin(&self, plugin_id: &str) -> Remote {
        self.remote(Target::Plugin(plugin_id.to_owned()))
    }

    /// Any healthy plugin that has this capability, which the host has to allow (`may_call_capabilities`).
    #[must_use]
    pub fn capability(&self, capability: &str) -> Remote {
        self.remote(Target::Capability(capability.to_owned()))
    }

    fn remote(&self, target: Target) -> Remote {
        Remote { host: self.clone(), target }
    }

    fn begin(&self, made: Outgoing) -> Result<OpenRequest, CallError> {
        let mut options = self.options;
        options.timeout = made.timeout.or(options.timeout);
        let made = Outgoing { timeout: options.time_left(Instant::now)?, ..made };
        self.link.requester()?.begin(self.context.as_ref(), made, self.on_progress.clone())
    }
}

impl Caller for Host {
    fn make(&self, call: Outgoing) -> Result<Reply, CallError> {
        self.begin(call)?.wait()
    }
}

impl fmt::Debug for Host {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Host")
            .field("context", &self.context)
            .field("options", &self.options)
            .finish_non_exhaustive()
    }
}

#[derive(Debug, Clone)]
enum Target {
    Plugin(String),
    Capability(String),
}

/// Another plugin, called through the host. Clones are the same.
#[derive(Debug, Clone)]
pub struct Remote {
    host: Host,
    target: Target,
}

impl Remote {
    /// Calls may be repeated: the host does so where one was lost or found nobody, within the deadline.
    #[must_use]
    pub fn idempotent(self) -> Remote {
        self.with(|options| options.idempotent(true))
    }

    /// Calls may be repeated, and are tried `attempts` times at the most, the first time included. The wait before the
    /// second try is `backoff`, in whole milliseconds; see [`CallOptions::retry()`]. A host that does not know this answers
    /// `invalid_params`.
    #[must_use]
    pub fn retry(self, attempts: u32, backoff: Duration) -> Remote {
        self.with(|options| options.retry(attempts, backoff))
    }

    /// As [`Host::timeout`].
    #[must_use]
    pub fn timeout(self, timeout: Duration) -> Remote {
        self.with(|options| options.timeout(timeout))
    }

    /// As [`Host::deadline`].
    #[must_use]
    pub fn deadline(self, deadline: Instant) -> Remote {
        self.with(|options| options.deadline(deadline))
    }

    /// As [`Host::on_progress`].
    #[must_use]
    pub fn on_progress<T: DeserializeOwned>(self, tell: impl Fn(T) + Send + Sync + 'static) -> Remote {
        Remote { host: self.host.on_progress(tell), ..self }
    }

    /// Calls a method of it and waits for the result.
    ///
    /// # Errors
    /// As [`Host::call`]; `denied` when the host does not allow it, `unknown_plugin`, and `unavailable` when nobody
    /// healthy is there. An error of the other plugin comes as it answered.
    pub fn call<P, R>(&self, method: &str, params: &P) -> Result<R, CallError>
    where
        P: Serialize + ?Sized,
        R: DeserializeOwned,
    {
        self.call_start(method, params)?.wait()
    }

    /// Begins such a call.
    ///
    /// # Errors
    /// As [`Remote::call`], when it is not sent.
    pub fn call_start<P, R>(&self, method: &str, params: &P) -> Result<PendingCall<R>, CallError>
    where
        P: Serialize + ?Sized,
    {
        Ok(PendingCall::new(self.begin(outgoing(method.to_owned(), params)?)?, method))
    }

    fn with(self, change: impl FnOnce(CallOptions) -> CallOptions) -> Remote {
        Remote { host: Host { options: change(self.host.options), ..self.host }, ..self }
    }

    fn begin(&self, made: Outgoing) -> Result<OpenRequest, CallError> {
        let params = self.envelope(&made)?;
        self.host.begin(Outgoing { method: Cow::Borrowed(METHOD_CALL), params: Some(params), ..made })
    }

    /// The params of the host's method that passes the call on. Written by hand, so that params which may be large
    /// are copied once and not parsed.
    fn envelope(&self, made: &Outgoing) -> Result<String, CallError> {
        let wrong = |code, text: String| Err(CallError::not_sent(code, text));
        let (member, name) = match &self.target {
            Target::Plugin(id) => match id.parse::<PluginId>() {
                Ok(_) => ("plugin_id", id),
                Err(error) => {
                    return wrong(ErrorCode::UnknownPlugin, format!("the plugin id {id:?} {error}"));
                }
            },
            Target::Capability(name) => match check_capability(name) {
                Ok(()) => ("capability", name),
                Err(error) => {
                    return wrong(ErrorCode::Unavailable, format!("the capability {name:?} {error}"));
                }
            },
        };
        if let Err(error) = check_method(&made.method) {
            return wrong(ErrorCode::InvalidRequest, format!("the method name {:?} {error}", made.method));
        }
        if made.params.as_ref().is_some_and(|params| !params.starts_with('{')) {
            return wrong(ErrorCode::InvalidParams, "params must be a JSON object".to_owned());
        }
        // None of the names needs an escape.
        let mut text = format!("{{\"{member}\":\"{name}\",\"method\":\"{}\"", made.method);
        if let Some(params) = &made.params {
            let _ = write!(text, ",\"params\":{params}");
        }
        if self.host.options.idempotent || made.idempotent {
            text.push_str(",\"idempotent\":true");
        }
        if let Some(limits) = made.retry.or(self.host.options.retry)
            && let Ok(limits) = serde_json::to_string(&limits)
        {
            let _ = write!(text, ",\"retry\":{limits}");
        }
        text.push('}');
        Ok(text)
    }
}

impl Caller for Remote {
    fn make(&self, call: Outgoing) -> Result<Reply, CallError> {
        self.begin(call)?.wait()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use rpc_plugin_interface::RetryLimits;
    use rpc_plugin_wire::life::HostCall;

    fn made(method: &'static str, params: Option<&str>) -> Outgoing {
        let params = params.map(str::to_owned);
        Outgoing { method: Cow::Borrowed(method), params, ..Outgoing::default() }
    }

    #[test]
    fn what_is_passed_on_is_what_the_host_reads() {
        let host = Host::new(HostLink::default(), None);
        let read = |text: String| serde_json::from_str::<HostCall>(&text).unwrap();
        let call = read(host.plugin("kv").envelope(&made("kv.get", Some("{\"key\": 1}"))).unwrap());
        assert_eq!(call.plugin_id.unwrap().to_string(), "kv");
        assert_eq!((&*call.method, call.params.unwrap().get()), ("kv.get", "{\"key\": 1}"));
        assert!(call.capability.is_none() && !call.idempotent);
        let call = read(host.capability("kv").idempotent().envelope(&made("kv.get", None)).unwrap());
        assert_eq!((call.capability.as_deref(), call.idempotent), (Some("kv"), true));
        assert!(call.plugin_id.is_none() && call.params.is_none() && call.retry.is_none());
        let kv = host.capability("kv").retry(3, Duration::from_millis(20));
        let call = read(kv.envelope(&made("kv.get", None)).unwrap());
        assert_eq!(
            (call.idempotent, call.retry),
            (true, Some(RetryLimits::new(3, Duration::from_millis(20))))
        );
        let of_client = Outgoing { retry: Some(RetryLimits::new(7, Duration::MAX)), ..made("kv.get", None) };
        let call = read(kv.envelope(&of_client).unwrap());
        assert_eq!(
            call.retry,
            Some(RetryLimits::new(7, Duration::from_millis(u64::MAX))),
            "a client's options count"
        );
    }

    #[test]
    fn what_the_host_would_end_the_connection_for_is_refused_here() {
        let host = Host::new(HostLink::default(), None);
        let code = |remote: Remote, made| remote.envelope(&made).unwrap_err().code;
        assert_eq!(code(host.plugin("no/id"), made("a", None)), ErrorCode::UnknownPlugin);
        assert_eq!(code(host.capability("a b"), made("a", None)), ErrorCode::Unavailable);
        assert_eq!(code(host.plugin("kv"), made("a\"b", None)), ErrorCode::InvalidRequest);
        assert_eq!(code(host.plugin("kv"), made("a", Some("[1]"))), ErrorCode::InvalidParams);
        assert_eq!(host.call::<_, ()>("a", &()).unwrap_err().code, ErrorCode::Unavailable, "no session");
    }
}
