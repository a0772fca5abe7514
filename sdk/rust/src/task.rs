//! What the pool tells the threads to do.
//!
//! What it deliberately does not do: anything; the pool decides, the threads act.

use crate::call::Call;
use crate::error::{End, Error};
use crate::frames::Frames;
use crate::source::Source;
use serde_json::value::RawValue;
use std::time::Duration;

/// A request for a handler.
pub(crate) struct Job {
    pub(crate) call: Call,
    pub(crate) params: Option<Box<RawValue>>,
}

/// What a worker is to do.
pub(crate) enum Task {
    /// Take the reading role, with [`Pool::step`](crate::pool::Pool::step).
    Read,
    Run(Job),
    Stop,
}

/// What the thread with the reading role is to do next.
pub(crate) enum Step {
    /// Run it and keep the role; name the number when it is done.
    Run(Job, u64),
    /// The role is another's: run it as any worker does.
    HandedOver(Job),
    /// Send what was collected.
    Flush,
    /// Deal with the frames that are there, if so, else read.
    Read { source: Source, unparsed: bool, queue_room: usize },
    /// The role was taken away during the last call, whose answer is still to be sent.
    Lost,
    /// The session has ended.
    Stop,
}

/// What the main thread learns at a tick.
pub(crate) enum Tick {
    /// Nothing before the next ring.
    Asleep,
    /// Come back in this time.
    Watching(Duration),
    /// A call of this method blocked the reading thread. The answers were collected by that thread.
    Rescued {
        answers: Frames,
        method: usize,
    },
    End(Result<End, Error>),
}

/// Why a call is not queued.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Refusal {
    QueueFull,
    /// It could only wait for itself.
    WouldDeadlock,
}

/// How much the queue still takes.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) struct Room {
    pub(crate) jobs: usize,
    /// Whether a thread is free to take jobs out.
    pub(crate) worked_off: bool,
}
