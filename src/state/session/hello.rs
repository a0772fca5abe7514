//! The proof: what `host.hello` must say, in the order in which it is checked (protocol section 3).

use super::core::{Core, Stage};
use super::types::{Fault, Introduction, SessionEvent};
use crate::state::keys::Cx;
use crate::state::time::millis;
use rpc_plugin_wire::handshake::{FEATURE_FDS, FEATURE_STREAMS, FEATURES, Hello, HelloResult, METHOD_HELLO};
use rpc_plugin_wire::limits::PROTOCOL_VERSION;
use rpc_plugin_wire::message::{self, params_into};
use rpc_plugin_wire::{ErrorCode, ErrorObject, Request, RequestId};
use std::sync::Arc;

impl Core {
    pub(super) fn handle_hello(&mut self, cx: &mut Cx<'_>, request: &Request<'_>) {
        match self.check_hello(request) {
            Err(why) => self.reject(cx, Some(&request.id), why),
            Ok((introduction, result)) => {
                let Ok(result) = serde_json::value::to_raw_value(&result) else {
                    return self.reject(cx, Some(&request.id), "the answer does not serialise".into());
                };
                message::write_result(self.outbox.buffer(), &request.id, &result, 0);
                self.stage = Stage::Open;
                let has = |name| introduction.features.iter().any(|feature| feature == name);
                self.takes_fds = has(FEATURE_FDS);
                if has(FEATURE_STREAMS) {
                    self.streams.agree();
                }
                self.events.push_back(SessionEvent::Authenticated(introduction));
            }
        }
    }

    /// Token, then identity, then generation, then versions (protocol section 3).
    pub(super) fn check_hello(&self, request: &Request<'_>) -> Result<(Introduction, HelloResult), String> {
        let expected = &self.expectation;
        let hello: Hello =
            params_into(request.params).map_err(|error| format!("{METHOD_HELLO} has {}", error.message))?;
        if !expected.token.matches(&hello.token) {
            return Err("the token is not the one of this generation".into());
        }
        if hello.plugin_id != expected.plugin_id {
            return Err(format!(
                "it says it is plugin {:?}, launched was {:?}",
                hello.plugin_id, expected.plugin_id
            ));
        }
        if hello.generation != expected.generation {
            return Err(format!(
                "it says it is generation {}, launched was {}",
                hello.generation, expected.generation
            ));
        }
        hello.check().map_err(|error| error.to_string())?;
        let interfaces = hello.negotiate(&expected.interfaces).map_err(|error| error.to_string())?;
        // Bulk data goes one way or the other, never both.
        let left_out = if expected.passes_fds { FEATURE_STREAMS } else { FEATURE_FDS };
        let ours = FEATURES.iter().filter(|feature| **feature != left_out);
        let both = ours.filter(|feature| hello.features.iter().any(|offered| offered == *feature));
        let features: Vec<String> = both.map(ToString::to_string).collect();
        let result = HelloResult {
            protocol: PROTOCOL_VERSION,
            host: concat!("rpc-plugin-system/", env!("CARGO_PKG_VERSION")).into(),
            frame_bytes_max: self.frame_bytes_max,
            heartbeat_interval_ms: millis(self.heartbeat_interval),
            interfaces: interfaces.clone(),
            features: features.clone(),
        };
        let introduction = Introduction {
            version: hello.version,
            sdk: hello.sdk,
            capabilities: hello.capabilities,
            interfaces: Arc::new(interfaces),
            features,
        };
        Ok((introduction, result))
    }

    /// Fails the proof: tells the peer why and ends.
    pub(super) fn reject(&mut self, cx: &mut Cx<'_>, id: Option<&RequestId>, why: String) {
        let error = ErrorObject::new(ErrorCode::NotAuthenticated, why.clone());
        message::write_error(self.outbox.buffer(), id, &error);
        self.fault(cx, Fault::NotAuthenticated(why));
    }
}
