//! What a handler is.
//!
//! What it deliberately does not do: run handlers; the pool does that.
//!
//! What always holds: every handler is one shape inside, whatever its types: raw params in, JSON appended.

use crate::call::Call;
use crate::link::Link;
use crate::log::Log;
use crate::pace::Pace;
pub use rpc_plugin_interface::HandlerError;
use rpc_plugin_interface::parcel::collect;
use rpc_plugin_interface::table::{beside_result, serve_typed};
use rpc_plugin_wire::ErrorCode;
use rpc_plugin_wire::life::{CallBack, METHOD_CALLBACK};
use rpc_plugin_wire::message::params_into;
use serde::Serialize;
use serde::de::DeserializeOwned;
use serde_json::value::RawValue;
use std::os::fd::OwnedFd;
use std::sync::Arc;

/// Raw params in; appends the result as JSON and gives the descriptors that travel with it. What it appended
/// before an error is thrown away.
pub(crate) type Handler =
    dyn Fn(&Call, Option<&RawValue>, &mut Vec<u8>) -> Result<Vec<OwnedFd>, HandlerError> + Send + Sync;

/// One method of a plugin.
pub(crate) struct Method {
    pub(crate) name: Box<str>,
    /// In the order in which the author named them.
    pub(crate) number: usize,
    pub(crate) handler: Box<Handler>,
    pub(crate) pace: Pace,
    pub(crate) log: Log,
    pub(crate) link: Link,
}

impl Method {
    pub(crate) fn new(name: &str, number: usize, handler: Box<Handler>) -> Method {
        Method {
            name: name.into(),
            number,
            handler,
            pace: Pace::new(),
            log: Log::off(),
            link: Link::default(),
        }
    }
}

pub(crate) fn typed<P, R, E, F>(handler: F) -> Box<Handler>
where
    P: DeserializeOwned,
    R: Serialize,
    E: Into<HandlerError>,
    F: Fn(&Call, P) -> Result<R, E> + Send + Sync + 'static,
{
    Box::new(move |call, params, out| {
        let handle = |params| handler(call, params).map_err(|error| error.into().into_object());
        Ok(serve_typed::<P, R>(call.context(), params, call.take_fds(), out, handle)?)
    })
}

pub(crate) fn raw<E, F>(handler: F) -> Box<Handler>
where
    E: Into<HandlerError>,
    F: Fn(&Call, Option<&RawValue>) -> Result<Box<RawValue>, E> + Send + Sync + 'static,
{
    Box::new(move |call, params, out| {
        // Around all of it: the handler serialises its result itself.
        let (result, parcel) = collect(|| handler(call, params));
        out.extend_from_slice(result.map_err(Into::into)?.get().as_bytes());
        Ok(beside_result(parcel)?)
    })
}

/// What serves `rpc.callback`: the functions that came with calls of this plugin's.
pub(crate) fn callback_method(number: usize, link: &Link, log: &Log) -> Arc<Method> {
    let session = link.clone();
    let handler = move |call: &Call, params: Option<&RawValue>, out: &mut Vec<u8>| {
        let CallBack { id, params } = params_into(params)?;
        let function = session.session()?.calls.callback(id).ok_or_else(|| {
            let text = format!("there is no callback {id}, or the call that it came with has ended");
            HandlerError::new(ErrorCode::MethodNotFound, text)
        })?;
        let (result, parcel) = collect(|| function(params.as_deref(), call.take_fds()));
        out.extend_from_slice(result?.as_bytes());
        Ok(beside_result(parcel)?)
    };
    let mut method = Method::new(METHOD_CALLBACK, number, Box::new(handler));
    (method.link, method.log) = (link.clone(), log.clone());
    Arc::new(method)
}
