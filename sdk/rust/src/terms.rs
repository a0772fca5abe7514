//! What host and plugin agreed on when their connection began. It never changes.

use crate::attachments::FdTransport;
use rpc_plugin_wire::chain::entry_at_plugin;
use rpc_plugin_wire::{Generation, PluginId, RequestId};
use std::collections::BTreeMap;
use std::sync::Arc;

/// Identity of the plugin, and what the answer to its hello decided.
pub(crate) struct Terms {
    pub(crate) plugin_id: PluginId,
    pub(crate) generation: Generation,
    /// Longest frame that the host takes, in bytes, without its line end.
    pub(crate) frame_bytes_max: usize,
    /// The version of each interface that this connection uses.
    pub(crate) interfaces: Arc<BTreeMap<String, u32>>,
    pub(crate) fd_transport: FdTransport,
}

impl Terms {
    /// The entry of a call that is served here, in the chains of those that are made for it.
    pub(crate) fn entry_of(&self, id: &RequestId) -> String {
        entry_at_plugin(&self.plugin_id, self.generation, id)
    }
}
