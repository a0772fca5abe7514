//! Functions of a caller that the callee can call, as arguments.
//!
//! On the wire a [`Callback`] is `{"$callback":N}`; a call of it is the request `rpc.callback` in the other
//! direction, with params `{"value":ARGUMENT}` and its result as it is.
//!
//! What always holds: a callback is called while the call lasts that it came with, and never after; each time that
//! one is sent, it has a number of its own.

use crate::arguments::{PassedAs, read_arguments, write_arguments};
use crate::arrived::{Arrived, provide, served_call};
use crate::caller::Reply;
use crate::client::unpack;
use crate::context::Context;
use crate::parcel::{CallBackFn, Parcel, collect, put_callback};
use rpc_plugin_wire::json::write_json;
use rpc_plugin_wire::limits::REQUEST_ID_MAX;
use rpc_plugin_wire::{CallError, ErrorCode, ErrorObject};
use serde::de::{DeserializeOwned, Error as _};
use serde::ser::Error as _;
use serde::{Deserialize, Deserializer, Serialize, Serializer};
use serde_json::value::RawValue;
use std::fmt;
use std::hash::{BuildHasher, RandomState};
use std::marker::PhantomData;
use std::os::fd::OwnedFd;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, OnceLock};

/// The method of a call of a callback, for what is said about it.
const METHOD: &str = "rpc.callback";
/// The one member of its params.
const VALUE: &[&str] = &["value"];

/// A function that takes an `A` and gives an `R`, in the process of whoever made it. It runs on a thread of the
/// library's, several times at once if it is called so.
///
/// As an argument it can stand at any depth. It cannot stand in a result: the call has ended by then.
pub struct Callback<A, R = ()> {
    place: Place,
    types: PhantomData<fn(A) -> R>,
}

#[derive(Clone)]
enum Place {
    Here(CallBackFn),
    There { call: Context, id: u64 },
}

impl<A, R> Callback<A, R> {
    /// Of this function.
    pub fn new(function: impl Fn(A) -> R + Send + Sync + 'static) -> Callback<A, R>
    where
        A: DeserializeOwned,
        R: Serialize,
    {
        let function = move |params: Option<&RawValue>, fds: Vec<OwnedFd>| {
            let (argument,) = provide(Arrived { fds, call: None }, || read_arguments(VALUE, params))?;
            result_text(&function(argument))
        };
        Callback { place: Place::Here(Arc::new(function)), types: PhantomData }
    }

    /// Calls it and waits for its end.
    ///
    /// # Errors
    /// `unavailable`, not sent, once the call has ended that it came with; `invalid_params` when the argument does not
    /// serialise; `internal_error` when the result is not what was expected; and what any call can come to.
    pub fn call(&self, argument: impl PassedAs<A>) -> Result<R, CallError>
    where
        R: DeserializeOwned,
    {
        let (params, parcel) = write_arguments(|arguments| arguments.add("value", &argument))?;
        unpack(METHOD, self.place.call(params, parcel)?)
    }
}

impl Place {
    fn call(&self, params: Option<String>, parcel: Parcel) -> Result<Reply, CallError> {
        match self {
            Place::Here(function) => {
                let params = params.map(raw).transpose().map_err(CallError::answered)?;
                let result = function(params.as_deref(), parcel.fds).and_then(raw);
                Ok(Reply { result: result.map_err(CallError::answered)?, fds: Vec::new() })
            }
            Place::There { call, .. } if call.has_ended() => {
                let text = "the call that this callback came with has ended";
                Err(CallError::not_sent(ErrorCode::Unavailable, text))
            }
            Place::There { call, id } => match call.caller_link() {
                Some(link) => link.call_back(call, *id, params, parcel),
                None => {
                    let text = "the call that this callback came with has no other side";
                    Err(CallError::not_sent(ErrorCode::Unavailable, text))
                }
            },
        }
    }

    /// As what stands beside params. One that came from elsewhere is called there.
    fn function(&self) -> CallBackFn {
        match self {
            Place::Here(function) => Arc::clone(function),
            Place::There { .. } => {
                let place = self.clone();
                Arc::new(move |params, fds| {
                    let params = params.map(|params| params.get().to_owned());
                    let reply = place.call(params, Parcel { fds, ..Parcel::default() });
                    reply.map(|reply| reply.result.get().to_owned()).map_err(|error| error.to_object())
                })
            }
        }
    }
}

fn raw(text: String) -> Result<Box<RawValue>, ErrorObject> {
    RawValue::from_string(text).map_err(|error| ErrorObject::new(ErrorCode::InternalError, error.to_string()))
}

fn result_text<R: Serialize>(result: &R) -> Result<String, ErrorObject> {
    let internal = |text: String| ErrorObject::new(ErrorCode::InternalError, text);
    let mut text = Vec::new();
    let (written, parcel) = collect(|| write_json(&mut text, result));
    written.map_err(|error| internal(format!("the result of a callback does not serialise: {error}")))?;
    if !parcel.is_empty() {
        return Err(internal("the result of a callback holds a stream, a blob or a callback".into()));
    }
    String::from_utf8(text).map_err(|error| internal(error.to_string()))
}

#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct CallbackOnWire {
    #[serde(rename = "$callback")]
    callback: u64,
}

/// A number for a callback that is sent, of 53 bits. Whoever was not told it cannot guess it: a plugin shall not call
/// what was sent to another one.
fn next_number() -> u64 {
    static COUNT: AtomicU64 = AtomicU64::new(0);
    static KEYS: OnceLock<RandomState> = OnceLock::new();
    let count = COUNT.fetch_add(1, Ordering::Relaxed);
    KEYS.get_or_init(RandomState::new).hash_one(count) & REQUEST_ID_MAX
}

impl<A, R> Serialize for Callback<A, R> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let callback = next_number();
        put_callback(callback, self.place.function()).map_err(S::Error::custom)?;
        CallbackOnWire { callback }.serialize(serializer)
    }
}

impl<'de, A, R> Deserialize<'de> for Callback<A, R> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Callback<A, R>, D::Error> {
        let CallbackOnWire { callback: id } = CallbackOnWire::deserialize(deserializer)?;
        let call = served_call().map_err(D::Error::custom)?;
        Ok(Callback { place: Place::There { call, id }, types: PhantomData })
    }
}

/// Clones are the same function.
impl<A, R> Clone for Callback<A, R> {
    fn clone(&self) -> Callback<A, R> {
        Callback { place: self.place.clone(), types: PhantomData }
    }
}

impl<A, R> fmt::Debug for Callback<A, R> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.place {
            Place::Here(_) => f.write_str("Callback(here)"),
            Place::There { id, .. } => write!(f, "Callback({id})"),
        }
    }
}
