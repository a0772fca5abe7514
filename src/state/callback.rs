//! A function of one plugin that another one calls: whose it is (protocol section 5).
//!
//! What it deliberately does not do: know the numbers of functions. Whoever made the call that a function came with
//! does, and refuses one that it does not know.
//!
//! What always holds: a function is looked for only where the call was made that is being served.

use super::call::{CallRequest, Target};
use super::keys::{CallKey, PluginKey};
use super::session::Asked;
use super::supervisor::Supervisor;
use super::time::Time;
use rpc_plugin_peer::Party;
use rpc_plugin_wire::message::raw_into_text;
use rpc_plugin_wire::{Chain, Generation, PluginId};

/// The call for which a plugin makes one with that chain: the last in it, if this plugin serves it.
pub fn served_call(
    supervisor: &mut Supervisor,
    key: PluginKey,
    generation: Generation,
    chain: &Chain,
) -> Option<CallKey> {
    let served = chain.entries().last()?;
    let here = format!("{}/{generation}/", supervisor.plugin(key)?.id());
    let request = served.strip_prefix(&here)?.parse().ok()?;
    supervisor.session_mut(key, generation)?.call_of(request)
}

/// What a request for a function of the plugin `maker` comes to. No `may_call` is asked: who was told of a function
/// may call it.
#[must_use]
pub fn callback(now: Time, maker: PluginId, asked: Asked) -> CallRequest {
    CallRequest { is_protocol: true, ..forwarded(now, Target::Plugin(maker), asked) }
}

/// A call that is made because a plugin asked: of the same method and params, with what is left of the deadline.
pub(super) fn forwarded(now: Time, target: Target, asked: Asked) -> CallRequest {
    CallRequest {
        caller: Party::Program,
        target,
        method: asked.method.into(),
        params: asked.params.map(raw_into_text),
        timeout: asked.deadline.map(|deadline| deadline.since(now)),
        idempotent: false,
        retry: None,
        progress: asked.progress,
        chain: asked.chain,
        fds: asked.fds,
        is_protocol: false,
        until: None,
    }
}
