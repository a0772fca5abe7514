//! Names of things that the state machines hand out or are handed.

use super::time::Time;
use super::wheel::Wheel;
use rpc_plugin_wire::Generation;

/// One plugin in the care of one supervisor; never used twice.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct PluginKey(pub u32);

/// One call, chosen by who makes it; unique among calls that have not ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct CallKey(pub u64);

/// One wait for a state, chosen by who waits.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct WaitKey(pub u64);

/// Party that is told when a request of the host ends.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Caller {
    /// A caller outside of the state machines.
    Call(CallKey),
    /// The plugin's machine: its first or a later heartbeat.
    Heartbeat,
    /// The plugin's machine: what it can do.
    Capabilities,
    /// The plugin's machine: the request to end.
    Shutdown,
}

/// What a timer stands for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Timer {
    /// A step of a plugin's life.
    Life(PluginKey, LifeTimer),
    /// A request's deadline, or the grace after it.
    Call(PluginKey, Generation, u64),
    /// The end of a wait.
    Wait(WaitKey),
    /// The next try of a call that is repeated, or its deadline.
    Retry(CallKey),
    /// The deadline of a call that waits for a generation.
    Held(CallKey),
    /// The next look whether a plugin is used.
    Use(PluginKey),
}

/// Steps of a plugin's life that have a deadline or come again.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum LifeTimer {
    /// The current phase has lasted as long as it may.
    Phase,
    /// The next heartbeat is due.
    HeartbeatDue,
}

/// What every step of a machine is handed.
#[derive(Debug)]
pub struct Cx<'a> {
    /// The time of this step.
    pub now: Time,
    /// Where deadlines go.
    pub timers: &'a mut Wheel<Timer>,
}
