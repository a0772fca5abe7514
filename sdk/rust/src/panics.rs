//! Panics of what a plugin's author wrote, as errors.

use rpc_plugin_interface::HandlerError;
use std::any::Any;
use std::panic::{AssertUnwindSafe, catch_unwind};

/// Runs what the plugin's author wrote; a panic in it is an error. What was shared with it may be half
/// changed: that is the author's to guard, as with any other thread that panics.
pub(crate) fn catch<T>(what: &str, run: impl FnOnce() -> T) -> Result<T, HandlerError> {
    catch_unwind(AssertUnwindSafe(run)).map_err(|payload| {
        HandlerError::internal(match panic_message(&*payload) {
            Some(message) => format!("{what} panicked: {message}"),
            None => format!("{what} panicked"),
        })
    })
}

fn panic_message(payload: &(dyn Any + Send)) -> Option<&str> {
    payload.downcast_ref::<&str>().copied().or_else(|| payload.downcast_ref::<String>().map(String::as_str))
}
