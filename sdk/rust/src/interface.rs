//! Typed interfaces among a plugin's methods, in one version or several.
//!
//! What it deliberately does not do: choose a version; host and plugin agree on one when the connection begins.
//!
//! What always holds: of each interface one version is served on a connection: the one that the host chose, and the
//! highest where it named none. A method that this version does not have is answered `method_not_found`.

use crate::call::Handler;
use crate::error::Error;
use rpc_plugin_interface::table::MethodFn;
use rpc_plugin_interface::{HandlerError, Interfaces};
use rpc_plugin_wire::ErrorCode;
use std::collections::BTreeMap;
use std::sync::Arc;

/// The typed interfaces of a plugin.
#[derive(Clone, Default)]
pub(crate) struct Typed {
    pub(crate) tables: Interfaces,
}

impl Typed {
    /// The version of each interface that is used, after what the host answered.
    pub(crate) fn agree(
        &self,
        answered: &BTreeMap<String, u32>,
    ) -> Result<Arc<BTreeMap<String, u32>>, Error> {
        let chosen = self.tables.choose(answered).map_err(|error| Error::Violation(error.to_string()))?;
        let mut versions = answered.clone();
        versions.extend(chosen.iter().map(|table| (table.name().to_owned(), table.version())));
        Ok(Arc::new(versions))
    }
}

/// Serves a method with what the agreed version has for it.
pub(crate) fn dispatch(interface: &'static str, functions: BTreeMap<u32, MethodFn>) -> Box<Handler> {
    Box::new(move |call, params, out| {
        let version = call.interface_version(interface).unwrap_or_default();
        let Some(function) = functions.get(&version) else {
            let method = call.method();
            let text =
                format!("version {version} of {interface:?}, which this connection uses, has no {method:?}");
            return Err(HandlerError::new(ErrorCode::MethodNotFound, text));
        };
        Ok(function(call.context(), params, call.take_fds(), out)?)
    })
}
