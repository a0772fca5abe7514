//! Functions of this program that plugins may call back while a call that carried them is under way.
//!
//! What always holds: a function is in the table exactly as long as its call; only who was called may call it.

use crate::state::call::Target;
use rpc_plugin_interface::parcel::CallBackFn;
use rpc_plugin_wire::PluginId;
use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

/// Functions of this program that plugins may call while a call of it is under way, by their numbers. Clones are the
/// same table.
#[derive(Clone, Default)]
pub(crate) struct CallbackTable(Arc<Mutex<BTreeMap<u64, (Target, CallBackFn)>>>);

/// The functions that one call carries; dropping it removes them from the table.
pub(crate) struct RegisteredCallbacks {
    callbacks: CallbackTable,
    ids: Vec<u64>,
}

impl CallbackTable {
    fn lock(&self) -> MutexGuard<'_, BTreeMap<u64, (Target, CallBackFn)>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Lets whoever is called by this call them. `None` where there are none.
    pub(crate) fn register(
        &self,
        target: &Target,
        functions: Vec<(u64, CallBackFn)>,
    ) -> Option<RegisteredCallbacks> {
        if functions.is_empty() {
            return None;
        }
        let ids = functions.iter().map(|(id, _)| *id).collect();
        self.lock().extend(functions.into_iter().map(|(id, function)| (id, (target.clone(), function))));
        Some(RegisteredCallbacks { callbacks: self.clone(), ids })
    }

    /// The function of that number, if this plugin may call it. By a capability, any plugin that was told the number
    /// may: it is told to one.
    pub(super) fn find(&self, id: u64, plugin: &PluginId) -> Option<CallBackFn> {
        let known = self.lock();
        let (target, function) = known.get(&id)?;
        let may = match target {
            Target::Plugin(called) => called == plugin,
            Target::Capability(_) => true,
        };
        may.then(|| Arc::clone(function))
    }
}

impl Drop for RegisteredCallbacks {
    fn drop(&mut self) {
        let mut known = self.callbacks.lock();
        for id in &self.ids {
            known.remove(id);
        }
    }
}
