//! One connection of the protocol in either role, host or plugin: bytes and time in, bytes and events out.
//!
//! What this crate is for: all that both sides of a connection do alike, each in one part. [`Receiver`] turns bytes into
//! messages with their descriptors, [`SendQueue`] holds frames until they are written, [`RequestsOut`] and [`RequestsIn`]
//! know which requests are not answered, [`Streams`] which streams in band are open, [`Shares`] how much of a bound each party holds, and [`check()`] what may be sent at
//! all. What it deliberately does not do: read, write, wait, know the time, or decide what a request means. Its shells
//! do: the host's sessions (one thread, one of each part), and the SDK (many threads, a lock around each part).
//!
//! What always holds: no part holds another, or calls one; what a peer sends makes none grow without bound, or panic; what a descriptor is (`F`) is the shell's, and dropping it closes it.
//!
//! This crate is no API for programs: host and SDK match its enums completely, so that the compiler finds each place that a new
//! variant concerns. None of them is `#[non_exhaustive]`.
//!
//! # Locks of a shell with many threads
//!
//! Each part has a lock of its own, and two are held at once in one place only: a request's [`Span`] is noted
//! ([`RequestsOut::sent`]) before the lock of the queue that gave it is released, so that no answer can come before it.
//! Frames are made without any lock, in a [`SendQueue`] of the thread's own, and moved behind those that wait by
//! [`SendQueue::append`]. One thread at a time writes to the socket, without a lock: it appends what waits to a queue of
//! its own first, which counts it as begun. Where nobody writes and nothing waits, a thread writes its own frames at once
//! ([`SendQueue::pass`]).
#![forbid(unsafe_code)]

mod bad_frames;
mod check;
mod receiver;
mod requests_in;
mod requests_out;
mod role;
pub mod running_time;
mod send_queue;
mod shares;
mod streams;
pub mod time;
mod violation;

pub use bad_frames::{BAD_FRAMES_MAX, BAD_FRAMES_TIME, BadFrames};
pub use check::{Refused, check, check_fds, check_method_of_call, check_object, check_params};
pub use receiver::{Agreed, Receiver};
pub use requests_in::{NotEntered, RequestsIn};
pub use requests_out::{Expired, GivenUp, NewRequest, OWN_MAX, RequestsOut, Unanswered};
pub use role::Role;
pub use rpc_plugin_wire::ident::is_reserved;
pub use send_queue::{SendQueue, Span};
pub use shares::{Amount, COMMON_ONE_IN, Party, SHARE_ONE_IN, ShareUsed, Shares, admit};
pub use streams::{Named, Streams};
pub use time::Time;
pub use violation::{FDS_LOST, Unread, Violation};
