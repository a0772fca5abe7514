//! The proof: what `host.hello` must say, in the order in which it is checked (protocol section 3).

use super::proof_error::ProofError;
use super::types::{Expectation, Introduction};
use crate::state::time::millis;
use rpc_plugin_wire::Request;
use rpc_plugin_wire::handshake::{FEATURE_FDS, FEATURE_STREAMS, FEATURES, Hello, HelloResult, METHOD_HELLO};
use rpc_plugin_wire::informational::ignored_of_hello;
use rpc_plugin_wire::limits::PROTOCOL_VERSION;
use rpc_plugin_wire::message::params_into;
use std::sync::Arc;
use std::time::Duration;

/// Checks a hello: token, then identity, then generation, then versions. What the plugin said of itself, and the answer.
///
/// # Errors
/// Why the proof fails.
pub(super) fn check_hello(
    expected: &Expectation,
    request: &Request<'_>,
    frame_bytes_max: usize,
    heartbeat_interval: Duration,
) -> Result<(Introduction, HelloResult), ProofError> {
    let hello: Hello =
        params_into(request.params).map_err(|error| format!("{METHOD_HELLO} has {}", error.message))?;
    if !expected.token.matches(&hello.token) {
        return Err("the token is not the one of this generation".to_owned().into());
    }
    if hello.plugin_id != expected.plugin_id {
        let (seen, launched) = (&hello.plugin_id, &expected.plugin_id);
        return Err(format!("it says it is plugin {seen:?}, launched was {launched:?}").into());
    }
    if hello.generation != expected.generation {
        let (seen, launched) = (hello.generation, expected.generation);
        return Err(format!("it says it is generation {seen}, launched was {launched}").into());
    }
    hello.check()?;
    let interfaces = hello.negotiate(&expected.interfaces)?;
    let offers = |feature: &str| hello.features.iter().any(|offered| offered == feature);
    // Bulk data goes one way or the other, never both.
    let left_out = if expected.passes_fds && offers(FEATURE_FDS) { FEATURE_STREAMS } else { FEATURE_FDS };
    let both = FEATURES.iter().filter(|feature| **feature != left_out && offers(feature));
    let features: Vec<String> = both.map(ToString::to_string).collect();
    let result = HelloResult {
        protocol: PROTOCOL_VERSION,
        host: concat!("rpc-plugin-system/", env!("CARGO_PKG_VERSION")).into(),
        frame_bytes_max,
        heartbeat_interval_ms: millis(heartbeat_interval),
        interfaces: interfaces.clone(),
        features: features.clone(),
    };
    let introduction = Introduction {
        version: hello.version,
        sdk: hello.sdk,
        capabilities: hello.capabilities,
        interfaces: Arc::new(interfaces),
        features,
        ignored: ignored_of_hello(request.params),
    };
    Ok((introduction, result))
}
