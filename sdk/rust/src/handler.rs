//! What a handler is.
//!
//! What it deliberately does not do: run handlers; the pool does that.
//!
//! What always holds: every handler is one shape inside, whatever its types: raw params in, JSON appended.

use crate::call::Call;
use crate::log::Log;
use crate::pace::Pace;
pub use rpc_plugin_interface::HandlerError;
use rpc_plugin_wire::json::write_json;
use rpc_plugin_wire::message::params_into;
use serde::Serialize;
use serde::de::DeserializeOwned;
use serde_json::value::RawValue;

/// Raw params in; appends the result as JSON. What it appended before an error is thrown away.
pub(crate) type Handler =
    dyn Fn(&Call, Option<&RawValue>, &mut Vec<u8>) -> Result<(), HandlerError> + Send + Sync;

/// One method of a plugin.
pub(crate) struct Method {
    pub(crate) name: Box<str>,
    /// In the order in which the author named them.
    pub(crate) number: usize,
    pub(crate) handler: Box<Handler>,
    pub(crate) pace: Pace,
    pub(crate) log: Log,
}

impl Method {
    pub(crate) fn new(name: &str, number: usize, handler: Box<Handler>) -> Method {
        Method { name: name.into(), number, handler, pace: Pace::new(), log: Log::off() }
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
        let params: P = params_into(params.filter(|params| !is_empty(params)))?;
        let result = handler(call, params).map_err(Into::into)?;
        write_json(out, &result)
            .map_err(|error| HandlerError::internal(format!("the result does not serialise: {error}")))
    })
}

/// Absent params are the same as an empty object (protocol section 1), so `()` has to take both.
fn is_empty(params: &RawValue) -> bool {
    let inside = params.get().strip_prefix('{').and_then(|rest| rest.strip_suffix('}'));
    inside.is_some_and(|inside| inside.trim_ascii().is_empty())
}

pub(crate) fn raw<E, F>(handler: F) -> Box<Handler>
where
    E: Into<HandlerError>,
    F: Fn(&Call, Option<&RawValue>) -> Result<Box<RawValue>, E> + Send + Sync + 'static,
{
    Box::new(move |call, params, out| {
        let result = handler(call, params).map_err(Into::into)?;
        out.extend_from_slice(result.get().as_bytes());
        Ok(())
    })
}
