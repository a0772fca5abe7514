//! What the thread that asks is doing for a session: running a handler, reading from the host, or nothing.
//!
//! What this file is for: a handler that is about to wait gives its place to another one, and only the thread
//! itself knows whose handler it runs.
//!
//! What always holds: a thread is in one seat; one that is not a worker is in none.

use rpc_plugin_wire::RequestId;
use std::cell::RefCell;

/// What a thread does.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Doing {
    /// Reading, or looking for something to do.
    Reading,
    /// A handler. `run` is its number where the thread has the reading role meanwhile.
    Running { id: RequestId, run: Option<u64> },
    /// Waiting for a call that a handler made.
    Waiting,
}

struct Seat {
    /// Which session: the address of what its threads share, which a worker keeps.
    session: usize,
    doing: Doing,
}

thread_local! {
    static SEAT: RefCell<Option<Seat>> = const { RefCell::new(None) };
}

/// This thread is a worker of that session from now on.
pub(crate) fn take(session: usize) {
    SEAT.with(|seat| *seat.borrow_mut() = Some(Seat { session, doing: Doing::Reading }));
}

/// What this thread does from now on, if it is a worker; gives what it did.
pub(crate) fn set(doing: Doing) -> Option<Doing> {
    SEAT.with(|seat| seat.borrow_mut().as_mut().map(|seat| std::mem::replace(&mut seat.doing, doing)))
}

/// What this thread does for that session.
pub(crate) fn doing(session: usize) -> Option<Doing> {
    SEAT.with(|seat| {
        let seat = seat.borrow();
        seat.as_ref().filter(|seat| seat.session == session).map(|seat| seat.doing.clone())
    })
}
