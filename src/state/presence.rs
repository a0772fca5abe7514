//! What is kept of a plugin for its starts on demand and its stops when it is idle.

use super::wheel::TimerKey;

/// What is kept of a plugin beside its generations.
#[derive(Debug, Default)]
pub(super) struct Presence {
    /// What it was last able to do: a call by capability finds it although it is down.
    pub(super) capabilities: Vec<String>,
    /// What is known of its use.
    pub(super) idle: Idle,
}

/// What is known of a plugin's use.
#[derive(Debug, Default)]
pub(super) struct Idle {
    /// The next look.
    pub(super) timer: Option<TimerKey>,
    /// Looks in a row that found it unused.
    pub(super) unused: u32,
    /// Calls so far at the look before.
    pub(super) calls: u64,
    /// Streams that it holds without any call.
    pub(super) own_streams: Option<usize>,
}
