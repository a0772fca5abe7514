//! Typed interfaces among a plugin's methods, in one version or several.
//!
//! What it deliberately does not do: choose a version; host and plugin agree on one when the connection begins.
//!
//! What always holds: of each interface one version is served on a connection: the one that the host chose, and the
//! highest where it named none. A method that this version does not have is answered `method_not_found`.

use crate::error::Error;
use crate::handler::{Handler, HandlerError};
use crate::plugin::Plugin;
use rpc_plugin_interface::table::MethodFn;
use rpc_plugin_interface::{InterfaceTable, Interfaces};
use rpc_plugin_wire::ErrorCode;
use rpc_plugin_wire::ident::check_capability;
use std::collections::BTreeMap;
use std::sync::Arc;

/// The typed interfaces of a plugin.
#[derive(Clone, Default)]
pub(crate) struct Typed {
    tables: Interfaces,
}

impl Plugin {
    /// Serves one version of a typed interface: what `into_table` of its trait gives
    /// ([`interface!`](rpc_plugin_interface::interface!)). Several versions of one interface may be served; a
    /// connection uses one of them, which [`Context::interface_version`](crate::Context::interface_version) tells. The same version twice, or one of its
    /// methods by another way, fails the start.
    #[must_use]
    pub fn serve_interface(mut self, table: InterfaceTable) -> Plugin {
        let (name, version) = (table.name(), table.version());
        if let Err(error) = check_capability(name) {
            self.faults.push(format!("the interface name {name:?} {error}"));
        }
        if !self.typed.tables.versions().contains_key(name) && self.interfaces.contains_key(name) {
            self.faults.push(format!("the interface {name:?} is there twice"));
        }
        let before = self.typed.tables.clone();
        if let Err(error) = self.typed.tables.add(table.clone()) {
            self.faults.push(error.to_string());
            return self;
        }
        let versions = self.interfaces.entry(name.to_owned()).or_default();
        versions.push(version);
        versions.sort_unstable();
        for (method, _) in table.methods() {
            let functions = self.typed.tables.functions(method);
            let handler = dispatch(name, functions);
            if !before.functions(method).is_empty() {
                self.methods.remove(method);
            }
            self = self.add(method, handler);
        }
        self
    }
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
fn dispatch(interface: &'static str, functions: BTreeMap<u32, MethodFn>) -> Box<Handler> {
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
