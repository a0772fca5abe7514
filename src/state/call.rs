//! A call, as it is described once: from whoever wants it to the frame, and its end on the way back.
//!
//! What it deliberately does not do: route, send or record it.

use super::fds::Fds;
use super::time::Time;
use rpc_plugin_peer::Party;
use rpc_plugin_wire::retry_limits::RetryLimits;
use rpc_plugin_wire::{CallError, Chain, Generation, PluginId};
use serde_json::value::RawValue;
use std::borrow::Cow;
use std::sync::Arc;
use std::time::Duration;

/// Callee of a call, as its caller names it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Target {
    /// This plugin.
    Plugin(PluginId),
    /// A plugin that serves this capability, whichever it is.
    Capability(Arc<str>),
}

/// A call that is to be made. It is not moved until its frame is written, but into the queue of another thread's loop.
#[derive(Debug)]
pub struct CallRequest {
    /// Party that calls, whose share and record it counts for.
    pub caller: Party,
    /// The plugin or capability that is called.
    pub target: Target,
    /// The method.
    pub method: Cow<'static, str>,
    /// An object, or nothing.
    pub params: Option<String>,
    /// How long it may take; `None`: as the plugin's policy says.
    pub timeout: Option<Duration>,
    /// Until when it may take at the most: the deadline of the call that it is made for.
    pub until: Option<Time>,
    /// Whether it may be executed more than once, so that the host may repeat it.
    pub idempotent: bool,
    /// The limits of that; `None`: its deadline alone.
    pub retry: Option<RetryLimits>,
    /// Whether its caller wants to know how far it is.
    pub progress: bool,
    /// The calls that led to it.
    pub chain: Chain,
    /// Descriptors that travel with it.
    pub fds: Fds,
    /// It is a request of the protocol, such as a callback into a call of the plugin's own, and no method of the plugin.
    pub is_protocol: bool,
}

impl CallRequest {
    /// A call with nothing said about how it is to be made.
    #[must_use]
    pub fn new(target: Target, method: impl Into<Cow<'static, str>>) -> CallRequest {
        CallRequest {
            caller: Party::Program,
            target,
            method: method.into(),
            params: None,
            timeout: None,
            until: None,
            idempotent: false,
            retry: None,
            progress: false,
            chain: Chain::default(),
            fds: Fds::new(),
            is_protocol: false,
        }
    }

    /// Takes it out of where it is.
    #[must_use]
    pub fn take(&mut self) -> CallRequest {
        let left = CallRequest::new(self.target.clone(), "");
        std::mem::replace(self, left)
    }

    /// The same call once more. Nothing travels with it, because that can be sent once only.
    #[must_use]
    pub fn again(&self) -> CallRequest {
        CallRequest {
            caller: self.caller.clone(),
            target: self.target.clone(),
            method: self.method.clone(),
            params: self.params.clone(),
            chain: self.chain.clone(),
            fds: Fds::new(),
            ..*self
        }
    }
}

/// The end of a call. It goes to its caller in one box, because it is moved several times on its way.
#[derive(Debug)]
pub struct CallEnd {
    /// The result as it came, or why there is none.
    pub result: Result<Box<RawValue>, CallError>,
    /// The plugin that was asked, where there is one.
    pub plugin_id: Option<PluginId>,
    /// The generation that was asked.
    pub generation: Option<Generation>,
    /// From the outbox to the end; zero when it was not sent.
    pub took: Duration,
    /// How often it was tried.
    pub tries: u32,
    /// Its end was put on record right before.
    pub is_recorded: bool,
    /// Descriptors that came with the result.
    pub fds: Fds,
    /// The streams in band that came with it instead.
    pub streams: Vec<u64>,
}

impl CallEnd {
    /// The end of a call that that plugin and generation were asked, or were to be, which took no time so far.
    #[must_use]
    pub fn of(
        result: Result<Box<RawValue>, CallError>,
        plugin_id: Option<PluginId>,
        generation: Option<Generation>,
    ) -> Box<CallEnd> {
        let (took, tries, is_recorded, fds, streams) = (Duration::ZERO, 1, false, Fds::new(), Vec::new());
        Box::new(CallEnd { result, plugin_id, generation, took, tries, is_recorded, fds, streams })
    }

    /// The end of a call that was handed to no plugin.
    #[must_use]
    pub fn refused(error: CallError) -> Box<CallEnd> {
        let plugin_id = error.plugin_id.clone();
        CallEnd::of(Err(error), plugin_id, None)
    }
}
