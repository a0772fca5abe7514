//! Whether a plugin may call another one through its host, and what that call is (protocol section 2).
//!
//! What always holds: nothing is permitted that the configuration does not name.

use super::call::{CallRequest, Target};
use super::callback::forwarded;
use super::keys::PluginKey;
use super::plugin_config::ANY;
use super::session::Asked;
use super::supervisor::Supervisor;
use super::time::Time;
use rpc_plugin_peer::check_object;
use rpc_plugin_wire::life::HostCall;
use rpc_plugin_wire::limits::CAPABILITY_BYTES_MAX;
use rpc_plugin_wire::message::{params_into, raw_into_text};
use rpc_plugin_wire::{ErrorCode, ErrorObject};

/// What a `host.call` of that plugin comes to.
///
/// # Errors
/// `invalid_params`, or `denied`.
pub fn permit(
    supervisor: &Supervisor,
    now: Time,
    key: PluginKey,
    asked: Asked,
) -> Result<CallRequest, ErrorObject> {
    let HostCall { plugin_id, capability, method, params, idempotent, retry } =
        params_into(asked.params.as_deref())?;
    let idempotent = idempotent || retry.is_some();
    params.as_ref().map_or(Ok(()), |params| check_object(params.get()))?;
    let allowed = |names: &[String], name: &str| names.iter().any(|known| known == name || known == ANY);
    let may_call = supervisor.plugin(key).map(|plugin| &plugin.config().may_call);
    let target = match (plugin_id, capability) {
        (Some(id), None) => Target::Plugin(id),
        (None, Some(name)) if name.len() <= CAPABILITY_BYTES_MAX => Target::Capability(name.into()),
        (None, Some(name)) => {
            let bytes = name.len();
            let text = format!(
                "the capability's name has {bytes} bytes, at most {CAPABILITY_BYTES_MAX} are allowed"
            );
            return Err(ErrorObject::new(ErrorCode::InvalidParams, text));
        }
        _ => {
            let text = "host.call names a plugin_id or a capability: one of them, and not both";
            return Err(ErrorObject::new(ErrorCode::InvalidParams, text));
        }
    };
    let is_allowed = may_call.is_some_and(|may| match &target {
        Target::Plugin(id) => allowed(&may.plugins, id.as_str()),
        Target::Capability(name) => allowed(&may.capabilities, name),
    });
    if !is_allowed {
        let text = match &target {
            Target::Plugin(id) => format!("this plugin may not call plugin {:?}, see may_call", id.as_str()),
            Target::Capability(name) => {
                format!("this plugin may not call capability {name:?}, see may_call_capabilities")
            }
        };
        return Err(ErrorObject::new(ErrorCode::Denied, text));
    }
    // The host serves none of it itself, so the chain is the plugin's as it is.
    let params = params.map(raw_into_text);
    let method = method.into();
    Ok(CallRequest { method, params, idempotent, retry, ..forwarded(now, target, asked) })
}

#[cfg(test)]
#[path = "permit_tests.rs"]
mod tests;
