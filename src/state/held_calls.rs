//! Calls that wait for a plugin to be started by them.
//!
//! What this file is for: keeping such calls in their order, within bounds that their callers share. What it deliberately does
//! not do: start a plugin, send a call or end one; the plugin's machine does.
//!
//! What always holds: a call is here at most until its own deadline.

use super::call::CallRequest;
use super::keys::{CallKey, PluginKey, Timer};
use super::time::Time;
use super::wheel::{TimerKey, Wheel};
use rpc_plugin_peer::{Amount, Shares};
use rpc_plugin_wire::{CallError, ErrorCode};
use std::collections::BTreeMap;
use std::time::Duration;

/// Such calls at once, which their callers share; a further one ends at once as `overloaded`.
pub const HELD_MAX: usize = 4096;
/// Their params and methods together, which is shared too. Bytes; a call beyond it ends at once as `overloaded`.
pub const HELD_BYTES_MAX: usize = 16 * 1024 * 1024;
/// Descriptors that travel with them, which is shared too.
pub const HELD_FDS_MAX: usize = 256;

/// A call that waits.
#[derive(Debug)]
pub(super) struct HeldCall {
    pub(super) key: CallKey,
    pub(super) request: CallRequest,
    pub(super) deadline: Time,
    /// From its begin to its deadline, for people.
    pub(super) timeout: Duration,
    timer: TimerKey,
}

impl HeldCall {
    fn amount(&self) -> Amount {
        amount(&self.request)
    }
}

fn amount(request: &CallRequest) -> Amount {
    let params_bytes = request.params.as_ref().map_or(0, String::len);
    Amount { count: 1, bytes: request.method.len() + params_bytes }
}

/// The plugin that a call waits for, and its number among all calls that ever waited.
type HeldPlace = (PluginKey, u64);

/// Table of the calls that wait.
#[derive(Debug)]
pub struct HeldCalls {
    /// By the plugin that they wait for, and by when they came.
    calls: BTreeMap<HeldPlace, HeldCall>,
    places: BTreeMap<CallKey, HeldPlace>,
    next: u64,
    shares: Shares,
    fds: Shares,
}

impl Default for HeldCalls {
    fn default() -> HeldCalls {
        let max = Amount { count: HELD_MAX, bytes: HELD_BYTES_MAX };
        HeldCalls {
            calls: BTreeMap::new(),
            places: BTreeMap::new(),
            next: 0,
            shares: Shares::new(max),
            fds: Shares::new(Amount::of(HELD_FDS_MAX)),
        }
    }
}

impl HeldCalls {
    /// Enters a call, which is taken out of `request`.
    ///
    /// # Errors
    /// `overloaded`: there is no room, or the share of its caller is used up.
    pub(super) fn enter(
        &mut self,
        now: Time,
        (key, plugin): (CallKey, PluginKey),
        request: &mut CallRequest,
        timeout: Duration,
        timers: &mut Wheel<Timer>,
    ) -> Result<(), CallError> {
        let caller = &request.caller;
        let overloaded = |text| CallError::not_sent(ErrorCode::Overloaded, text);
        let fds = Amount { count: request.fds.len(), bytes: 0 };
        self.fds
            .check(caller, fds)
            .map_err(|used| overloaded(used.tell(caller, "descriptors of calls that wait for plugins")))?;
        self.shares
            .enter(caller, amount(request))
            .map_err(|used| overloaded(used.tell(caller, "calls that wait for plugins")))?;
        self.fds.add(caller, fds);
        let deadline = now.plus(timeout);
        let timer = timers.insert(deadline, Timer::Held(key));
        let call = HeldCall { key, request: request.take(), deadline, timeout, timer };
        self.next += 1;
        self.places.insert(key, (plugin, self.next));
        self.calls.insert((plugin, self.next), call);
        Ok(())
    }

    /// How many wait.
    #[must_use]
    pub fn len(&self) -> usize {
        self.calls.len()
    }

    /// Whether none waits.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.calls.is_empty()
    }

    /// Whether one waits for that plugin.
    #[must_use]
    pub fn has_some_of(&self, plugin: PluginKey) -> bool {
        self.first_of(plugin).is_some()
    }

    /// The plugin that a call waits for.
    #[must_use]
    pub fn plugin_of(&self, key: CallKey) -> Option<PluginKey> {
        self.places.get(&key).map(|(plugin, _)| *plugin)
    }

    fn first_of(&self, plugin: PluginKey) -> Option<CallKey> {
        self.calls.range((plugin, 0)..=(plugin, u64::MAX)).next().map(|(_, call)| call.key)
    }

    /// Takes a call out that waits no more.
    pub(super) fn take(&mut self, key: CallKey, timers: &mut Wheel<Timer>) -> Option<HeldCall> {
        let call = self.calls.remove(&self.places.remove(&key)?)?;
        timers.cancel(call.timer);
        self.shares.leave(&call.request.caller, call.amount());
        self.fds.leave(&call.request.caller, Amount { count: call.request.fds.len(), bytes: 0 });
        Some(call)
    }

    /// Takes the first call out that waits for that plugin.
    pub(super) fn take_first(&mut self, plugin: PluginKey, timers: &mut Wheel<Timer>) -> Option<HeldCall> {
        self.take(self.first_of(plugin)?, timers)
    }
}
