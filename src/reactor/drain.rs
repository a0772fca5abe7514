//! Draining: a host that takes no more calls, and who is told once those that it has are done.
//!
//! What it deliberately does not do: end anything. Calls that are under way, repeats included, end as they would have.
//!
//! What always holds: a call that is made for one under way is taken, since that could not be done otherwise; what is
//! refused has been sent nowhere.

use crossbeam_channel::Sender;
use rpc_plugin_wire::{CallError, Chain, ErrorCode};

/// Threads that wait until all is done; the one that began to wait longest ago is told nothing when there is one more.
const WAITING_MAX: usize = 64;

/// The error of a call that is refused.
pub(super) fn refused() -> CallError {
    CallError::not_sent(ErrorCode::Unavailable, "the host takes no more calls")
}

/// What a thread asks about all calls of a host.
pub(crate) enum DrainCommand {
    /// Take no more calls, and say so.
    Begin(Sender<()>),
    /// Tell when none is left.
    WhenDone(Sender<()>),
}

/// The calls of a host at one moment, over all plugins; from [`Host::call_counts`](crate::host::Host::call_counts).
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct CallCounts {
    /// Calls that were sent to plugins, or wait to be, and are unanswered.
    pub in_flight: u64,
    /// Idempotent calls that wait for their next try.
    pub to_repeat: u64,
    /// Calls of plugins that services of the host work on.
    pub services_running: u64,
    /// Calls of plugins that wait for a thread of the services.
    pub services_waiting: u64,
    /// Whether the host takes no more calls.
    pub is_draining: bool,
}

/// Whether a host takes calls, and who waits for the end of those that it has.
#[derive(Default)]
pub(super) struct Drain {
    is_draining: bool,
    waiting: Vec<Sender<()>>,
}

impl Drain {
    /// Whether a call that these led to is refused.
    pub(super) fn refuses(&self, chain: &Chain) -> bool {
        self.is_draining && chain.is_empty()
    }

    /// Whether the host takes no more calls.
    pub(super) fn is_draining(&self) -> bool {
        self.is_draining
    }

    /// Does what a thread asks.
    pub(super) fn handle(&mut self, command: DrainCommand) {
        match command {
            DrainCommand::Begin(reply) => {
                self.is_draining = true;
                // Who does not wait any more needs no answer.
                let _ = reply.try_send(());
            }
            DrainCommand::WhenDone(reply) => {
                if self.waiting.len() >= WAITING_MAX {
                    self.waiting.remove(0);
                }
                self.waiting.push(reply);
            }
        }
    }

    /// Tells those who wait, where all is done.
    pub(super) fn look(&mut self, is_done: impl FnOnce() -> bool) {
        if !self.waiting.is_empty() && is_done() {
            for reply in self.waiting.drain(..) {
                let _ = reply.try_send(());
            }
        }
    }
}
