//! What programs want called when a call ends.
//!
//! Threads of their own, and not the event loop's workers: a callback may wait for a plugin, and a plugin for a
//! worker that prepares its launch. What it deliberately does not do: keep an order among callbacks.
//!
//! What always holds: each runs once; they are bounded; the threads are there only where there is a callback, and
//! end with the host once those that were taken have run.

use crossbeam_channel::{Receiver, Sender, unbounded};
use rpc_plugin_wire::{CallError, ErrorCode};
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};

/// Callbacks that may wait for the end of their call, or for a thread.
const CALLBACKS_MAX: usize = 65_536;
/// Threads that run them.
const THREADS: usize = 2;

type CallbackJob = Box<dyn FnOnce() + Send>;

/// Runs the functions that a program wants called when its calls end, on threads of their own.
#[derive(Default)]
pub(super) struct Callbacks {
    /// `None` before the first callback.
    jobs: Mutex<Option<Sender<CallbackJob>>>,
    waiting: Arc<AtomicUsize>,
}

/// The place of one callback.
pub(super) struct CallbackPlace {
    jobs: Sender<CallbackJob>,
    waiting: Arc<AtomicUsize>,
}

impl Drop for CallbackPlace {
    fn drop(&mut self) {
        self.waiting.fetch_sub(1, Ordering::Relaxed);
    }
}

impl CallbackPlace {
    /// Has it run. Never waits: there is room for as many as there are places.
    pub(super) fn run(self, job: CallbackJob) {
        let jobs = self.jobs.clone();
        // The place is free once it has run, or could not.
        let held = move || {
            let _place = self;
            job();
        };
        let _ = jobs.send(Box::new(held));
    }
}

impl Callbacks {
    /// A place for one more; `None` when there are as many as may be, or no thread can be made.
    pub(super) fn reserve(&self) -> Option<CallbackPlace> {
        let jobs = {
            let mut jobs = self.jobs.lock().ok()?;
            match &*jobs {
                Some(jobs) => jobs.clone(),
                None => jobs.insert(start()?).clone(),
            }
        };
        if self.waiting.fetch_add(1, Ordering::Relaxed) >= CALLBACKS_MAX {
            self.waiting.fetch_sub(1, Ordering::Relaxed);
            return None;
        }
        Some(CallbackPlace { jobs, waiting: Arc::clone(&self.waiting) })
    }
}

/// Starts the threads. They end when nobody can send any more: no host, and no call that has a callback.
fn start() -> Option<Sender<CallbackJob>> {
    let (sender, receiver) = unbounded::<CallbackJob>();
    let mut started = 0;
    for _ in 0..THREADS {
        let jobs: Receiver<CallbackJob> = receiver.clone();
        let thread = crate::threads::program_builder("rpcplugin-done");
        let spawned = thread.spawn(move || {
            for job in jobs {
                // The panic handler has reported it.
                let _ = catch_unwind(AssertUnwindSafe(job));
            }
        });
        started += usize::from(spawned.is_ok());
    }
    (started > 0).then_some(sender)
}

/// What a callback is told that found no place.
pub(super) fn too_many() -> CallError {
    CallError::not_sent(
        ErrorCode::Overloaded,
        format!(
            "{CALLBACKS_MAX} callbacks wait already, or their threads cannot be started; the call was cancelled"
        ),
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn places_are_bounded_and_free_again_once_they_have_run() {
        let callbacks = Callbacks::default();
        let mut places: Vec<CallbackPlace> =
            (0..CALLBACKS_MAX).map(|_| callbacks.reserve().unwrap()).collect();
        assert!(callbacks.reserve().is_none());
        let (sender, receiver) = crossbeam_channel::bounded::<()>(0);
        places.pop().unwrap().run(Box::new(|| panic!("as this test wants")));
        // Dropped with the job, after its place.
        places.pop().unwrap().run(Box::new(move || drop(sender)));
        assert!(
            receiver
                .recv_timeout(std::time::Duration::from_secs(20))
                .is_err_and(|error| error.is_disconnected())
        );
        drop(places);
        assert!(callbacks.reserve().is_some());
    }
}
