//! Many calls in the hands of one thread, taken in the order in which they end.
//!
//! What always holds: adding a call and taking an end cost the same however many calls there are; dropping the set
//! cancels what is still in it.

use super::call_reply::CallResult;
use super::call_set_metrics::CallSetMetrics;
use super::pending::PendingCall;
use super::services::current_call::wait_with;
use crate::engine::{CompletionQueue, Engine};
use crate::reactor::Reactor;
use std::sync::Arc;
use std::time::Duration;

/// Calls, each with a key of the caller's choice: one thread keeps thousands in flight.
///
/// ```no_run
/// # fn f(kv: &rpc_plugin_system::host::PluginHandle) -> Result<(), Box<dyn std::error::Error>> {
/// use rpc_plugin_system::host::{CallOptions, CallSet};
///
/// let mut calls = CallSet::new();
/// for number in 0..1000 {
///     let params = serde_json::json!({"key": format!("key {number}")});
///     calls.add(number, kv.call_start("kv.get", &params, CallOptions::default())?);
/// }
/// for (number, result) in &mut calls {
///     println!("{number}: {}", result?.result);
/// }
/// # Ok(())
/// # }
/// ```
pub struct CallSet<K> {
    completions: CompletionQueue,
    /// What is driven while it waits: the host of the first call.
    home: Option<Arc<Engine<Reactor>>>,
    /// By number; a place is free again once its end was taken.
    calls: Vec<Option<(K, PendingCall)>>,
    free: Vec<usize>,
    metrics: CallSetMetrics,
}

impl<K> std::fmt::Debug for CallSet<K> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("CallSet").field("len", &self.len()).finish_non_exhaustive()
    }
}

impl<K> Default for CallSet<K> {
    fn default() -> CallSet<K> {
        let (completions, metrics) = (CompletionQueue::default(), CallSetMetrics::default());
        CallSet { completions, home: None, calls: Vec::new(), free: Vec::new(), metrics }
    }
}

impl<K> CallSet<K> {
    /// An empty one.
    #[must_use]
    pub fn new() -> CallSet<K> {
        CallSet::default()
    }

    /// Takes a call over. Its progress cannot be asked for any more. Keys need not differ.
    pub fn add(&mut self, key: K, call: PendingCall) {
        self.metrics.count_submitted();
        let number = self.free.pop().unwrap_or(self.calls.len());
        let home = self.home.get_or_insert_with(|| Arc::clone(call.engine()));
        call.forward(&self.completions, number, home);
        match self.calls.get_mut(number) {
            Some(place) => *place = Some((key, call)),
            None => self.calls.push(Some((key, call))),
        }
    }

    /// How many there are whose end was not taken.
    #[must_use]
    pub fn len(&self) -> usize {
        self.calls.len() - self.free.len()
    }

    /// Whether there are none.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// What became of its calls so far, those included whose end was taken.
    #[must_use]
    pub fn metrics(&self) -> CallSetMetrics {
        self.metrics
    }

    /// Waits for the next end as [`Iterator::next`] does, for so long; `None` also when no call has ended by then.
    pub fn next_within(&mut self, timeout: Duration) -> Option<(K, CallResult)> {
        self.next_by(Some(timeout))
    }

    fn next_by(&mut self, timeout: Option<Duration>) -> Option<(K, CallResult)> {
        let (number, end) = match self.completions.take() {
            Some(ended) => ended,
            None => {
                let home = self.home.as_ref().filter(|_| !self.is_empty())?;
                let calls = self.calls.iter().flatten().map(|(_, call)| call);
                wait_with(|| PendingCall::canceller_of(calls), || home.wait_for(&self.completions, timeout));
                self.completions.take()?
            }
        };
        let (key, call) = self.calls.get_mut(number)?.take()?;
        self.free.push(number);
        let end = call.ended(end);
        self.metrics.count(&end);
        Some((key, end))
    }
}

/// The ends in the order in which they come. Between two, further calls can be added: `while let Some(..) = calls.next()`.
impl<K> Iterator for CallSet<K> {
    type Item = (K, CallResult);

    /// Waits for the next end; `None` if there are no calls. It comes by the first deadline.
    fn next(&mut self) -> Option<(K, CallResult)> {
        self.next_by(None)
    }

    fn size_hint(&self) -> (usize, Option<usize>) {
        // Calls may be added between two.
        (self.len(), None)
    }
}

impl<K> Drop for CallSet<K> {
    fn drop(&mut self) {
        PendingCall::cancel_all(self.calls.drain(..).flatten().map(|(_, call)| call));
    }
}
