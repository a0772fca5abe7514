//! Configurations as they are handed to the event loop: checked, with the variables that they let through.

use super::error::HostError;
use crate::state::plugin_config::PluginConfig;
use std::sync::Arc;

/// A configuration that can be launched, with the variables that it lets through, as they are now.
pub(super) fn checked(mut config: PluginConfig) -> Result<Arc<PluginConfig>, HostError> {
    config.check().map_err(|errors| HostError::Config(config.id.clone(), errors))?;
    config.resolve_env(|name| std::env::var_os(name));
    Ok(Arc::new(config))
}
