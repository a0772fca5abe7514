//! Whatever a call can be made through: a plugin that a host holds, a capability, the host as a plugin sees it.
//!
//! What it deliberately does not do: carry a call anywhere; who implements [`Caller`] does.

use crate::parcel::{Parcel, collect};
use rpc_plugin_wire::life::METHOD_CALLBACK;
use rpc_plugin_wire::message::params_text;
use rpc_plugin_wire::retry_limits::RetryLimits;
use rpc_plugin_wire::{CallError, ErrorCode};
use serde::Serialize;
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
    /// The limits within which it is then repeated; `None`: until its deadline.
    pub retry: Option<RetryLimits>,
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
