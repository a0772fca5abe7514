//! Who drives the event loop, and the ways into it and out of it: the right to drive, the queue of commands, reply slots.
//!
//! What this folder is for: everything that several threads touch at once. What it deliberately does not do: anything
//! of a loop itself; the loop is handed in, as an [`EventLoop`].
//!
//! What always holds: one thread at a time drives; no thread waits for another one's turn to end, but for its answer.

mod completions;
mod drive;
mod driver;
mod queue;
mod reply;
mod thread_wait;

pub(crate) use completions::CompletionQueue;
pub(crate) use drive::{Engine, EventLoop, Woken};
pub(crate) use driver::Driver;
pub(crate) use queue::{CommandQueue, CommandSender, PostError, open};
pub(crate) use reply::{Awaitable, NextProgress, ReplySender, ReplySlot, SharedWaiter, SlotContent};
