//! What the host makes of an error, and what a program outside of the repository can rely on.
//!
//! A `match` has an arm `_`, so that a further variant does not break it:
//!
//! ```
//! use rpc_plugin_system::host::RestartPolicy;
//! fn word(policy: RestartPolicy) -> &'static str {
//!     match policy {
//!         RestartPolicy::Always => "always",
//!         RestartPolicy::OnFailure => "sometimes",
//!         RestartPolicy::Never => "never",
//!         _ => "otherwise",
//!     }
//! }
//! ```
//!
//! ```compile_fail,E0004
//! use rpc_plugin_system::host::RestartPolicy;
//! fn word(policy: RestartPolicy) -> &'static str {
//!     match policy {
//!         RestartPolicy::Always => "always",
//!         RestartPolicy::OnFailure => "sometimes",
//!         RestartPolicy::Never => "never",
//!     }
//! }
//! ```
//!
//! Settings are changed from their defaults, and not written as a literal, so that a further one does not break it:
//!
//! ```
//! use rpc_plugin_system::host::Policy;
//! let policy = Policy::default().with(|policy| policy.restarts_max = 7);
//! ```
//!
//! ```compile_fail,E0639
//! use rpc_plugin_system::host::Policy;
//! let policy = Policy { restarts_max: 7, ..Policy::default() };
//! ```
//!
//! What is not in `host` or `interface` is private:
//!
//! ```compile_fail,E0603
//! use rpc_plugin_system::state::policy::Policy;
//! ```

use rpc_plugin_system::host::{CallError, Outcome};

/// What to do after a call that failed.
#[must_use]
pub fn advice(error: &CallError) -> &'static str {
    match error.outcome {
        Outcome::NotSent => "it may be called again",
        Outcome::Answered => "it said no",
        _ => "find out whether it was done",
    }
}
