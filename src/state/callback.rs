//! A function of one plugin that another one calls: whose it is (protocol section 5).
//!
//! What it deliberately does not do: know the numbers of functions. Whoever made the call that a function came with
//! does, and refuses one that it does not know.
//!
//! What always holds: a function is looked for only where the call was made that is being served.

use super::keys::{CallKey, PluginKey};
use super::route::{CallRequest, Target};
use super::session::{Asked, CallSpec};
use super::supervisor::Supervisor;
use super::time::Time;
use rpc_plugin_wire::{Chain, Generation, PluginId};

impl Supervisor {
    /// The call for which a plugin makes one with that chain: the last in it, if this plugin serves it.
    pub fn served_call(&mut self, key: PluginKey, generation: Generation, chain: &Chain) -> Option<CallKey> {
        let served = chain.entries().last()?;
        let here = format!("{}/{generation}/", self.plugin(key)?.id());
        let request = served.strip_prefix(&here)?.parse().ok()?;
        self.session_mut(key, generation)?.call_of(request)
    }
}

impl CallRequest {
    /// What a request for a function of the plugin `maker` comes to. No `may_call` is asked: who was told of a function
    /// may call it.
    #[must_use]
    pub fn back(now: Time, maker: PluginId, asked: Asked) -> CallRequest {
        let spec = CallSpec { is_callback: true, ..CallSpec::for_asked(now, asked) };
        CallRequest { target: Target::Plugin(maker), idempotent: false, spec }
    }
}
