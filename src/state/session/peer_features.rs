//! Members of the envelope that a plugin is sent: those that its features say it takes (protocol section 3).

use rpc_plugin_wire::handshake::{
    FEATURE_CALLBACKS, FEATURE_CANCEL, FEATURE_CHAIN, FEATURE_FDS, FEATURE_PROGRESS,
};

/// What a plugin takes beyond the least.
#[derive(Debug, Clone, Copy, Default)]
pub(super) struct PeerFeatures {
    /// File descriptors.
    pub(super) fds: bool,
    /// `rpc.cancel` and `deadline_ms`.
    pub(super) cancel: bool,
    /// `progress`.
    pub(super) progress: bool,
    /// `chain`.
    pub(super) chain: bool,
}

impl PeerFeatures {
    /// Those of a plugin that agreed on these.
    pub(super) fn of(features: &[String]) -> PeerFeatures {
        let has = |name| features.iter().any(|feature| feature == name);
        PeerFeatures {
            fds: has(FEATURE_FDS),
            cancel: has(FEATURE_CANCEL),
            progress: has(FEATURE_PROGRESS),
            // A callback leads back by its chain, so whoever takes callbacks knows chains.
            chain: has(FEATURE_CHAIN) || has(FEATURE_CALLBACKS),
        }
    }
}
