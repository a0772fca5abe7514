//! What the pool tells the threads to do.

use crate::attachments::Frames;
use crate::call::Call;
use crate::connection::Input;
use crate::error::{End, Error};
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
    /// Send what was collected, and ask again.
    Flush,
    /// Send what was collected, if anything; then deal with the frames that are there, if so, else read.
    Read { input: Box<Input>, queue_room: usize },
    /// The role was taken away during the last call, whose answer is still to be sent.
    Lost,
    /// The session has ended.
    Stop,
}

/// What is left to do for whoever suspends a handler.
#[derive(Default)]
pub(crate) struct AfterSuspend {
    /// For [`Pool::resume`](crate::pool::Pool::resume).
    pub(crate) number: u64,
    /// Answers of this thread that were collected and not sent.
    pub(crate) answers: Frames,
    /// The number of the method that had the reading role.
    pub(crate) method: Option<usize>,
    /// Calls that could only wait for themselves now, to be answered.
    pub(crate) stuck: Vec<Job>,
}

/// What the main thread learns at a tick.
pub(crate) enum Tick {
    /// Nothing before the next wake-up.
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
