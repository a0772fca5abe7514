//! From a plugin's definition to its session, which comes later and ends earlier than some who use it.
//!
//! What it deliberately does not do: keep the session alive.

use crate::worker::Shared;
use rpc_plugin_wire::{CallError, ErrorCode};
use std::sync::{Arc, Mutex, PoisonError, Weak};

/// Clones lead to the same session.
#[derive(Clone, Default)]
pub(crate) struct Link(Arc<Mutex<Weak<Shared>>>);

impl Link {
    /// The session is up.
    pub(crate) fn join(&self, session: &Arc<Shared>) {
        *self.0.lock().unwrap_or_else(PoisonError::into_inner) = Arc::downgrade(session);
    }

    /// The session, while there is one.
    pub(crate) fn session(&self) -> Result<Arc<Shared>, CallError> {
        let session = self.0.lock().unwrap_or_else(PoisonError::into_inner).upgrade();
        session.ok_or_else(no_session)
    }
}

pub(crate) fn no_session() -> CallError {
    CallError::not_sent(ErrorCode::Unavailable, "there is no session with a host, or not yet, or no longer")
}
