//! The plugin that called a service, as the other side of that call; and functions of this program that plugins may
//! call back.

use super::Around;
use crate::host::call::Callee;
use crate::reactor::{Asker, LoopCommand};
use crate::state::call::Target;
use rpc_plugin_interface::caller::callback;
use rpc_plugin_interface::context;
use rpc_plugin_interface::parcel::CallBackFn;
use rpc_plugin_interface::{Context, Outgoing, Parcel, Reply};
use rpc_plugin_wire::{CallError, ErrorCode, PluginId};
use serde_json::value::RawValue;
use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard, OnceLock, PoisonError};

/// The plugin that a service is called by, as the service can call it back.
pub(super) struct Peer {
    pub(super) around: Arc<OnceLock<Around>>,
    pub(super) asker: Asker,
    pub(super) plugin_id: PluginId,
}

impl Peer {
    fn callee(&self) -> Result<Callee, CallError> {
        let host = self.around.get().and_then(|around| around.host.upgrade());
        let host = host.ok_or_else(|| CallError::not_sent(ErrorCode::Unavailable, "the host has ended"))?;
        Ok(Callee { host, target: Target::Plugin(self.plugin_id.clone()) })
    }
}

impl context::Callee for Peer {
    fn progress(&self, _: &Context, value: &str) {
        if let (Some(around), Ok(value)) = (self.around.get(), RawValue::from_string(value.to_owned())) {
            // Dropped where much waits for the loop already: it is worth nothing later.
            let _ = around.commands.post(LoopCommand::AskerProgress(self.asker.clone(), value));
        }
    }

    fn call_back(
        &self,
        _: &Context,
        id: u64,
        params: Option<String>,
        parcel: Parcel,
    ) -> Result<Reply, CallError> {
        self.callee()?.make_call(callback(id, params.as_deref(), parcel), true)
    }

    fn make(&self, _: &Context, made: Outgoing) -> Result<Reply, CallError> {
        rpc_plugin_interface::Caller::make(&self.callee()?, made)
    }
}

/// Functions of this program that plugins may call while a call of it is under way, by their numbers. Clones are the
/// same table.
#[derive(Clone, Default)]
pub(in crate::host) struct CalledBack(Arc<Mutex<BTreeMap<u64, (Target, CallBackFn)>>>);

/// Those of one call; dropping it takes them away.
pub(in crate::host) struct Registered {
    callbacks: CalledBack,
    ids: Vec<u64>,
}

impl CalledBack {
    fn lock(&self) -> MutexGuard<'_, BTreeMap<u64, (Target, CallBackFn)>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Lets whoever is called by this call them. `None` where there are none.
    pub(in crate::host) fn register(
        &self,
        target: &Target,
        functions: Vec<(u64, CallBackFn)>,
    ) -> Option<Registered> {
        if functions.is_empty() {
            return None;
        }
        let ids = functions.iter().map(|(id, _)| *id).collect();
        self.lock().extend(functions.into_iter().map(|(id, function)| (id, (target.clone(), function))));
        Some(Registered { callbacks: self.clone(), ids })
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

impl Drop for Registered {
    fn drop(&mut self) {
        let mut known = self.callbacks.lock();
        for id in &self.ids {
            known.remove(id);
        }
    }
}
