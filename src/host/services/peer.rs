//! The plugin that called a service, as the other side of that call.

use crate::engine::CommandSender;
use crate::host::call::Callee;
use crate::host::shared::HostShared;
use crate::reactor::{Asker, LoopCommand};
use crate::state::call::Target;
use rpc_plugin_interface::caller::callback;
use rpc_plugin_interface::context;
use rpc_plugin_interface::{Context, Outgoing, Parcel, Reply};
use rpc_plugin_wire::{CallError, ErrorCode, PluginId};
use serde_json::value::RawValue;
use std::sync::{Arc, OnceLock, Weak};

/// The host as services reach it: set once its event loop runs, and gone once it has ended.
pub(crate) struct HostLink {
    pub(crate) commands: CommandSender<LoopCommand>,
    pub(crate) host: Weak<HostShared>,
}

/// The plugin that a service is called by, as the service can call it back.
pub(super) struct Peer {
    pub(super) link: Arc<OnceLock<HostLink>>,
    pub(super) asker: Asker,
    pub(super) plugin_id: PluginId,
}

impl Peer {
    fn callee(&self) -> Result<Callee, CallError> {
        let host = self.link.get().and_then(|link| link.host.upgrade());
        let host = host.ok_or_else(|| CallError::not_sent(ErrorCode::Unavailable, "the host has ended"))?;
        Ok(Callee { host, target: Target::Plugin(self.plugin_id.clone()) })
    }
}

impl context::CallerLink for Peer {
    fn progress(&self, _: &Context, value: &str) {
        if let (Some(link), Ok(value)) = (self.link.get(), RawValue::from_string(value.to_owned())) {
            // Dropped where much waits for the loop already: it is worth nothing later.
            let _ = link.commands.post(LoopCommand::AskerProgress(self.asker.clone(), value));
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
