//! One capability of a host, whichever plugin serves it.

use super::call::Callee;
use super::shared::HostShared;
use crate::state::call::Target;
use rpc_plugin_interface::{Caller, Outgoing, Reply};
use rpc_plugin_wire::CallError;
use std::ops::Deref;
use std::sync::Arc;

/// A capability: its calls ([`Callee`]) go to the routable plugin that serves it and has the fewest calls in flight;
/// equals take turns. Each call is sent to one plugin; an idempotent one may go to another when it is repeated. Where
/// no plugin takes calls for it, a call ends as `unavailable` and names those that there are.
#[derive(Debug, Clone)]
pub struct CapabilityHandle {
    name: Arc<str>,
    callee: Callee,
}

impl CapabilityHandle {
    pub(super) fn new(host: Arc<HostShared>, name: &str) -> CapabilityHandle {
        let name: Arc<str> = name.into();
        CapabilityHandle { callee: Callee { host, target: Target::Capability(Arc::clone(&name)) }, name }
    }

    /// Its name.
    #[must_use]
    pub fn name(&self) -> &str {
        &self.name
    }
}

impl Deref for CapabilityHandle {
    type Target = Callee;

    fn deref(&self) -> &Callee {
        &self.callee
    }
}

/// For typed clients of an interface: `Client::new(&handle)`, or of a clone.
impl Caller for CapabilityHandle {
    fn make(&self, call: Outgoing) -> Result<Reply, CallError> {
        self.callee.make(call)
    }
}
