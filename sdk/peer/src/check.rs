//! What may be sent at all, found before it is: the peer ends the connection of whoever sends anything else.

use rpc_plugin_wire::cut::shown;
use rpc_plugin_wire::ident::{capability_of, check_method, is_reserved};
use rpc_plugin_wire::limits::{FDS_PER_FRAME_MAX, METHOD_BYTES_MAX};
use rpc_plugin_wire::message::fits_nesting;
use rpc_plugin_wire::{CallError, ErrorCode, ErrorObject};

/// Why something cannot be sent. Nothing of it was.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Refused {
    /// The code of the error that says so.
    pub code: ErrorCode,
    /// The reason, in words.
    pub why: String,
}

impl Refused {
    /// A refusal with that code and reason.
    #[must_use]
    pub fn new(code: ErrorCode, why: impl Into<String>) -> Refused {
        Refused { code, why: why.into() }
    }
}

impl From<Refused> for CallError {
    fn from(refused: Refused) -> CallError {
        CallError::not_sent(refused.code, refused.why)
    }
}

impl From<Refused> for ErrorObject {
    fn from(refused: Refused) -> ErrorObject {
        ErrorObject::new(refused.code, refused.why)
    }
}

/// Checks a request of any method: its name, its params ([`check_params`]), and how many descriptors go with it.
///
/// # Errors
/// `invalid_request` for the name, else `invalid_params`.
pub fn check(method: &str, params: Option<&str>, fds: usize) -> Result<(), Refused> {
    check_name(method)?;
    check_params(params)?;
    check_fds(fds)
}

/// Checks how many descriptors go with one frame.
///
/// # Errors
/// `invalid_params`.
pub fn check_fds(count: usize) -> Result<(), Refused> {
    if count <= usize::from(FDS_PER_FRAME_MAX) {
        return Ok(());
    }
    let why = format!("it comes with {count} file descriptors, a frame may have {FDS_PER_FRAME_MAX}");
    Err(Refused::new(ErrorCode::InvalidParams, why))
}

/// Checks the name of one of the application's methods, which has no first part of the protocol's.
///
/// # Errors
/// `invalid_request`; `denied` for a name of the protocol.
pub fn check_method_of_call(method: &str) -> Result<(), Refused> {
    check_name(method)?;
    if is_reserved(method) {
        let why = format!("methods of {:?} belong to the protocol", capability_of(method));
        return Err(Refused::new(ErrorCode::Denied, why));
    }
    Ok(())
}

fn check_name(method: &str) -> Result<(), Refused> {
    check_method(method).map_err(|error| {
        let method = shown(method, METHOD_BYTES_MAX);
        Refused::new(ErrorCode::InvalidRequest, format!("the method name {method:?} {error}"))
    })
}

/// Checks JSON that is to be params: an object, nested so little that the frame around it is taken.
///
/// # Errors
/// `invalid_params`.
pub fn check_params(params: Option<&str>) -> Result<(), Refused> {
    let Some(params) = params else { return Ok(()) };
    check_object(params)?;
    if !fits_nesting(params.as_bytes()) {
        let why = "params are nested deeper than 127 levels, which is the most";
        return Err(Refused::new(ErrorCode::InvalidParams, why));
    }
    Ok(())
}

/// Checks JSON out of a frame that is to be params: an object.
///
/// # Errors
/// `invalid_params`.
pub fn check_object(params: &str) -> Result<(), Refused> {
    if params.starts_with('{') {
        return Ok(());
    }
    Err(Refused::new(ErrorCode::InvalidParams, "params are not a JSON object"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_a_peer_would_not_take_is_refused_before_it_is_sent() {
        let code = |checked: Result<(), Refused>| checked.err().map(|refused| refused.code);
        assert_eq!(code(check("kv.get", Some("{}"), 16)), None);
        assert_eq!(code(check("rpc.callback", None, 0)), None);
        assert_eq!(code(check("kv get", None, 0)), Some(ErrorCode::InvalidRequest));
        assert_eq!(code(check("kv", Some("[]"), 0)), Some(ErrorCode::InvalidParams));
        assert_eq!(code(check("kv", None, 17)), Some(ErrorCode::InvalidParams));
        let nested = |levels: usize| format!("{}1{}", "{\"a\":".repeat(levels), "}".repeat(levels));
        assert_eq!(code(check_params(Some(&nested(127)))), None);
        assert_eq!(code(check_params(Some(&nested(128)))), Some(ErrorCode::InvalidParams));
        assert_eq!(code(check_object(&nested(128))), None);
    }

    #[test]
    fn names_of_the_protocol_are_no_method_of_a_call() {
        let code = |method| check_method_of_call(method).err().map(|refused| refused.code);
        for reserved in ["host.log", "plugin.heartbeat", "admin", "rpc.cancel"] {
            assert_eq!(code(reserved), Some(ErrorCode::Denied), "{reserved}");
        }
        assert_eq!((code("hosts.log"), code("kv.rpc")), (None, None));
        assert_eq!(code(""), Some(ErrorCode::InvalidRequest));
    }
}
