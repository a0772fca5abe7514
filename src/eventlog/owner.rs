//! Whose streams of the record there are.

use rpc_plugin_record::plugin_folders;
use rpc_plugin_wire::PluginId;
use std::path::Path;

/// The owner of a stream: a plugin, or `None` for the host itself.
pub type StreamOwner = Option<PluginId>;

/// The owners of the streams that may be there: the host, and each plugin that has a folder.
pub(super) fn owners(runtime_dir: &Path) -> Vec<StreamOwner> {
    // A folder that cannot be read is told by whoever writes there.
    let plugins = plugin_folders(runtime_dir).unwrap_or_default();
    std::iter::once(None).chain(plugins.into_iter().map(Some)).collect()
}
