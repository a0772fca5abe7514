//! What requests about packages hold, and what is answered.

use crate::host::{AdminAnswer, DelegatedRequest, Host, HostError};
use crate::package::set::ChangeError;
use rpc_plugin_wire::message::params_into;
use rpc_plugin_wire::{ErrorCode, ErrorObject};
use serde::Serialize;
use serde::de::DeserializeOwned;
use std::ops::ControlFlow;

/// The params of a request.
pub(super) fn params<P: DeserializeOwned>(request: &DelegatedRequest) -> Result<P, ErrorObject> {
    params_into(request.params.as_deref())
}

/// An answer with this result.
pub(super) fn reply<T: Serialize>(value: &T) -> AdminAnswer {
    let json = serde_json::value::to_raw_value(value);
    json.map(Into::into).map_err(|error| ErrorObject::new(ErrorCode::InternalError, error.to_string()))
}

/// An error that a change is refused with.
pub(super) fn refusal(error: &ChangeError) -> ErrorObject {
    let code = match error {
        _ if error.is_not_found() => ErrorCode::UnknownPlugin,
        _ if error.is_internal() => ErrorCode::InternalError,
        _ => ErrorCode::InvalidParams,
    };
    ErrorObject::new(code, error.to_string())
}

/// An error of the host.
pub(super) fn host_error(error: HostError) -> ErrorObject {
    match error {
        HostError::Call(error) => error.to_object(),
        error => ErrorObject::new(ErrorCode::Unavailable, error.to_string()),
    }
}

/// Whether a long operation goes on: not once the host ends.
pub(super) fn goes_on(host: &Host) -> ControlFlow<()> {
    if host.end_reason().is_some() { ControlFlow::Break(()) } else { ControlFlow::Continue(()) }
}
