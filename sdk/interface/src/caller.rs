//! Whatever a call can be made through: a plugin that a host holds, a capability, the host as a plugin sees it.
//!
//! What it deliberately does not do: carry a call anywhere; who implements [`Caller`] does.

use crate::context::Context;
use crate::transfer::{Arrived, Parcel, collect, provide};
use rpc_plugin_wire::life::METHOD_CALLBACK;
use rpc_plugin_wire::message::params_text;
use rpc_plugin_wire::{CallError, ErrorCode, Outcome};
use serde::Serialize;
use serde::de::DeserializeOwned;
use serde_json::value::RawValue;
use std::borrow::Cow;
use std::os::fd::OwnedFd;
use std::time::Duration;

/// A call that is to be made.
#[derive(Debug, Default)]
pub struct Outgoing {
    /// What to call.
    pub method: Cow<'static, str>,
    /// An object in JSON, or nothing.
    pub params: Option<String>,
    /// What travels beside the params.
    pub parcel: Parcel,
    /// When it ends at the latest; `None`: when whoever carries it says, and no later than the call that it is made
    /// for.
    pub timeout: Option<Duration>,
    /// Whether it may be repeated where it is not known to have happened.
    pub idempotent: bool,
}

/// What a call came to.
#[derive(Debug)]
pub struct Reply {
    /// The result in JSON, as it came.
    pub result: Box<RawValue>,
    /// Descriptors that came with it.
    pub fds: Vec<OwnedFd>,
}

/// Something that a call can be made through.
pub trait Caller {
    /// Makes a call and waits for its end.
    ///
    /// # Errors
    /// Exactly one [`CallError`] tells what happened and whether the other side can have seen the call.
    fn make(&self, call: Outgoing) -> Result<Reply, CallError>;
}

impl<C: Caller + ?Sized> Caller for &C {
    fn make(&self, call: Outgoing) -> Result<Reply, CallError> {
        (**self).make(call)
    }
}

impl<C: Caller + ?Sized> Caller for std::sync::Arc<C> {
    fn make(&self, call: Outgoing) -> Result<Reply, CallError> {
        (**self).make(call)
    }
}

/// The other side of a connection, as the one who serves its calls sees it.
pub trait Callee: Send + Sync {
    /// Tells how far `call` is, if whoever made it asked. `value` is JSON.
    fn progress(&self, call: &Context, value: &str);

    /// Calls a function that came with the params of `call`.
    ///
    /// # Errors
    /// As [`Caller::make`].
    fn call_back(
        &self,
        call: &Context,
        id: u64,
        params: Option<String>,
        parcel: Parcel,
    ) -> Result<Reply, CallError>;

    /// Makes a call in the other direction, for `call`: its chain and what is left of its deadline go along.
    ///
    /// # Errors
    /// As [`Caller::make`].
    fn make(&self, call: &Context, made: Outgoing) -> Result<Reply, CallError>;
}

/// The request that calls a function of the other side, which came in the params of a call as number `id`.
#[must_use]
pub fn callback(id: u64, params: Option<&str>, parcel: Parcel) -> Outgoing {
    let params = match params {
        Some(params) => format!("{{\"id\":{id},\"params\":{params}}}"),
        None => format!("{{\"id\":{id}}}"),
    };
    Outgoing { method: Cow::Borrowed(METHOD_CALLBACK), params: Some(params), parcel, ..Outgoing::default() }
}

/// Serialises params and what travels beside them.
///
/// # Errors
/// `invalid_params` when they do not serialise, or not to an object.
pub fn pack<P: Serialize + ?Sized>(params: &P) -> Result<(Option<String>, Parcel), CallError> {
    let (text, parcel) = collect(|| params_text(params));
    let text = text.map_err(|error| CallError::not_sent(ErrorCode::from(error.code), error.message))?;
    Ok((text, parcel))
}

/// A call with typed params and what travels beside them.
///
/// # Errors
/// As [`pack`].
pub fn outgoing<P: Serialize + ?Sized>(
    method: impl Into<Cow<'static, str>>,
    params: &P,
) -> Result<Outgoing, CallError> {
    let (params, parcel) = pack(params)?;
    Ok(Outgoing { method: method.into(), params, parcel, ..Outgoing::default() })
}

/// Makes a call with typed params and result.
///
/// # Errors
/// As [`Caller::make`]; `invalid_params` when params do not serialise; `internal_error` when the result is not what
/// was expected.
pub fn call<C, P, R>(caller: &C, method: &'static str, params: &P) -> Result<R, CallError>
where
    C: Caller + ?Sized,
    P: Serialize + ?Sized,
    R: DeserializeOwned,
{
    let reply = caller.make(outgoing(method, params)?)?;
    unpack(method, reply)
}

/// Reads a typed result.
///
/// # Errors
/// `internal_error`, answered, when it is not what was expected.
pub fn unpack<R: DeserializeOwned>(method: &str, reply: Reply) -> Result<R, CallError> {
    let Reply { result, fds } = reply;
    provide(Arrived { fds, call: None }, || serde_json::from_str(result.get())).map_err(|error| {
        let message = format!("the result of {method} is not what was expected: {error}");
        CallError { outcome: Outcome::Answered, ..CallError::not_sent(ErrorCode::InternalError, message) }
    })
}
