//! Handlers that wait for requests of their own, and which call could only wait for itself.
//!
//! What it deliberately does not do: wait, start threads, or count places; the pool does.
//!
//! What always holds: at most [`WAITING_MAX`] wait without a place; further ones keep theirs.

use crate::reply_slot::ReplySlot;
use rpc_plugin_interface::deadlock::wait_for_each_other;
use rpc_plugin_wire::Chain;
use std::sync::Arc;

/// Handlers that wait without a place, and so threads beyond those that were asked for.
pub(crate) const WAITING_MAX: usize = 64;

/// A handler that waits.
struct Waiter {
    number: u64,
    /// Its call, as it stands in chains.
    entry: String,
    /// What it waits for.
    slot: Arc<ReplySlot>,
    keeps_place: bool,
}

/// All handlers of a session that wait.
#[derive(Default)]
pub(crate) struct Waiters {
    list: Vec<Waiter>,
    last: u64,
}

impl Waiters {
    /// Adds one. Returns its number.
    pub(crate) fn add(&mut self, entry: String, slot: &Arc<ReplySlot>, keeps_place: bool) -> u64 {
        self.last += 1;
        self.list.push(Waiter { number: self.last, entry, slot: Arc::clone(slot), keeps_place });
        self.last
    }

    /// Removes one. Returns whether it has kept its place; `None` where it is not there.
    pub(crate) fn remove(&mut self, number: u64) -> Option<bool> {
        let at = self.list.iter().position(|waiter| waiter.number == number)?;
        Some(self.list.swap_remove(at).keeps_place)
    }

    /// Whether all `running` handlers have kept their place, and every one that waits does so for a call that led to
    /// one of this chain.
    pub(crate) fn block(&self, chain: &Chain, running: usize) -> bool {
        let kept = self.list.iter().filter(|waiter| waiter.keeps_place).count();
        kept == running
            && self.list.iter().all(|waiter| !waiter.slot.is_over())
            && wait_for_each_other(self.list.iter().map(|waiter| waiter.entry.as_str()), [chain])
    }
}
