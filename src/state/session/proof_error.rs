//! Why a proof fails: by what a plugin is, or by what it said this time.

use super::{Session, SessionEvent};
use crate::state::keys::Cx;
use rpc_plugin_wire::RequestId;
use rpc_plugin_wire::handshake::HelloError;
use std::fmt;

/// Why a hello is refused.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum ProofError {
    /// No version of the protocol or of an interface is common to both sides, in words: the same program says the same
    /// again.
    NoCommonVersion(String),
    /// Anything else, in words.
    Other(String),
}

/// Fails the proof for a hello, and says whether the next one would be refused too.
pub(super) fn reject_hello(session: &mut Session, cx: &mut Cx<'_>, id: &RequestId, error: &ProofError) {
    if matches!(error, ProofError::NoCommonVersion(_)) {
        session.events.push_back(SessionEvent::LacksVersion);
    }
    session.reject(cx, Some(id), error.to_string());
}

impl fmt::Display for ProofError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (ProofError::NoCommonVersion(why) | ProofError::Other(why)) = self;
        f.write_str(why)
    }
}

impl From<String> for ProofError {
    fn from(why: String) -> ProofError {
        ProofError::Other(why)
    }
}

impl From<HelloError> for ProofError {
    fn from(error: HelloError) -> ProofError {
        match error {
            HelloError::NoCommonInterface(..) | HelloError::NoCommonProtocol(_) => {
                ProofError::NoCommonVersion(error.to_string())
            }
            _ => ProofError::Other(error.to_string()),
        }
    }
}
