//! What the current thread does for a session: running a handler, reading from the host, or waiting.
//!
//! A handler that is about to wait for a request of its own gives its place to another call, and only the thread
//! itself knows whose handler it runs.
//!
//! What always holds: a thread works for one session at most; one that is not a worker works for none.

use rpc_plugin_wire::RequestId;
use std::cell::RefCell;
use std::sync::atomic::{AtomicU64, Ordering};

/// Number of a session within this process; never the same again.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct SessionNumber(u64);

impl SessionNumber {
    /// Takes the next number.
    pub(crate) fn next() -> SessionNumber {
        static LAST: AtomicU64 = AtomicU64::new(0);
        SessionNumber(LAST.fetch_add(1, Ordering::Relaxed))
    }
}

/// What a worker thread does.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Activity {
    /// The reading role, or a look for something to do.
    Reading,
    /// A handler that runs. `run` is its number where the thread has the reading role meanwhile.
    Running { id: RequestId, run: Option<u64> },
    /// A wait for the end of a request that a handler made.
    Waiting,
}

struct Current {
    session: SessionNumber,
    activity: Activity,
}

thread_local! {
    static CURRENT: RefCell<Option<Current>> = const { RefCell::new(None) };
}

/// Makes this thread a worker of that session.
pub(crate) fn enter(session: SessionNumber) {
    CURRENT.with(|current| {
        *current.borrow_mut() = Some(Current { session, activity: Activity::Reading });
    });
}

/// Sets what this thread does from now on, if it is a worker. Returns what it did before.
pub(crate) fn set(activity: Activity) -> Option<Activity> {
    CURRENT.with(|current| {
        let mut current = current.borrow_mut();
        current.as_mut().map(|worker| std::mem::replace(&mut worker.activity, activity))
    })
}

/// What this thread does for that session; `None` where it is no worker of it.
pub(crate) fn activity(session: SessionNumber) -> Option<Activity> {
    CURRENT.with(|current| {
        let current = current.borrow();
        current.as_ref().filter(|worker| worker.session == session).map(|worker| worker.activity.clone())
    })
}
