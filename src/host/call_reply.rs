//! How a call ends for its caller: a reply, or one error.

use crate::state::call::{CallEnd, Target};
use crate::state::closing::into_owned;
use rpc_plugin_interface::arrived::{Arrived, provide};
use rpc_plugin_wire::{CallError, ErrorCode, Generation, PluginId};
use serde::de::DeserializeOwned;
use serde_json::value::RawValue;
use std::os::fd::OwnedFd;
use std::time::Duration;

/// How a call ends for who waits for it.
pub type CallResult = Result<CallReply, CallError>;

/// What a call came to, unparsed.
#[derive(Debug)]
#[non_exhaustive]
pub struct CallReply {
    /// The result as the plugin sent it.
    pub result: Box<RawValue>,
    /// File descriptors that came with it.
    pub fds: Vec<OwnedFd>,
    /// The plugin that answered.
    pub plugin_id: Option<PluginId>,
    /// The generation that answered.
    pub generation: Option<Generation>,
    /// From the host's send to the answer; of several tries, of the last.
    pub took: Duration,
    /// How often the host tried: more than once only where the call is idempotent.
    pub tries: u32,
}

impl CallReply {
    /// Reads the result as a type. A stream in it can be read once; see [`CallReply::into_typed`].
    ///
    /// # Errors
    /// What serde says.
    pub fn parse<R: DeserializeOwned>(&self) -> Result<R, serde_json::Error> {
        serde_json::from_str(self.result.get())
    }

    /// Reads the result, and the streams and blobs in it, as a type.
    ///
    /// # Errors
    /// What serde says.
    pub fn into_typed<R: DeserializeOwned>(self) -> Result<R, serde_json::Error> {
        let arrived = Arrived { fds: self.fds, ..Arrived::default() };
        provide(arrived, || serde_json::from_str(self.result.get()))
    }
}

/// The error with the plugin, where the caller named one.
pub(super) fn at(error: CallError, target: &Target) -> CallError {
    match target {
        Target::Plugin(id) => error.at(id, None),
        Target::Capability(_) => error,
    }
}

/// What the caller is told. `None`: the host ended before the call did.
pub(super) fn reply(end: Option<Box<CallEnd>>, target: &Target) -> Result<CallReply, CallError> {
    let Some(end) = end else {
        let error = CallError::indeterminate(ErrorCode::PluginLost, "the host ended during the call");
        return Err(at(error, target));
    };
    let CallEnd { result, plugin_id, generation, took, tries, fds, .. } = *end;
    let result = result?;
    let fds = into_owned(fds);
    Ok(CallReply { result, fds, plugin_id, generation, took, tries })
}
