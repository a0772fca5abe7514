//! The call of a plugin that a thread of this host works on: calls made meanwhile are made for it.
//!
//! So that nobody has to hand it along: its chain, what is left of its deadline, and its cancellation reach every call
//! that its handler makes on its own thread, through whatever handle.
//!
//! What always holds: a thread works on at most one; outside of a service there is none, which costs one look.

use super::pool::{Pool, ServedCall};
use crate::state::call::CallRequest;
use rpc_plugin_interface::context::CancelHook;
use rpc_plugin_wire::{CallError, ErrorCode};
use std::cell::RefCell;
use std::sync::Arc;

/// The call that a thread works on, and the pool that the thread is of.
pub(super) struct CurrentCall {
    pub(super) served: Arc<ServedCall>,
    pub(super) pool: Pool,
}

thread_local! {
    static CURRENT: RefCell<Option<Arc<CurrentCall>>> = const { RefCell::new(None) };
}

/// Puts back the thread's outer call, also in a panic.
struct RestoreOuter(Option<Arc<CurrentCall>>);

impl Drop for RestoreOuter {
    fn drop(&mut self) {
        let outer = self.0.take();
        drop(CURRENT.with(|place| place.replace(outer)));
    }
}

impl CurrentCall {
    /// Runs what is part of it.
    pub(super) fn enter<R>(self: &Arc<CurrentCall>, run: impl FnOnce() -> R) -> R {
        let _restore = RestoreOuter(CURRENT.with(|place| place.replace(Some(Arc::clone(self)))));
        run()
    }
}

/// What the calling thread works on.
fn current() -> Option<Arc<CurrentCall>> {
    CURRENT.with(|place| place.borrow().clone())
}

/// Makes a call part of what this thread works on.
pub(crate) fn inherit(request: &mut CallRequest) -> Result<(), CallError> {
    let Some(current) = current() else { return Ok(()) };
    // By the time of the loop: what this thread sees of a clock tells nothing of a standstill.
    request.until = current.served.until;
    if current.served.context.is_cancelled() {
        return Err(CallError::not_sent(
            ErrorCode::Cancelled,
            "the call that this one is made for was cancelled",
        ));
    }
    let chain = current.served.context.chain();
    request.chain = chain.and(&current.served.entry)?;
    Ok(())
}

/// The place of a thread that waits, which is another's meanwhile.
struct YieldedPlace(Pool);

impl YieldedPlace {
    fn give_up(current: &CurrentCall) -> YieldedPlace {
        current.pool.begin_wait();
        YieldedPlace(current.pool.clone())
    }
}

impl Drop for YieldedPlace {
    fn drop(&mut self) {
        self.0.end_wait();
    }
}

/// Waits as `wait` does: the place of this thread is another's meanwhile, and where what it works on is cancelled, so is
/// what it waits for.
pub(crate) fn wait_with<T>(cancel: impl FnOnce() -> CancelHook, wait: impl FnOnce() -> T) -> T {
    let Some(current) = current() else { return wait() };
    let place = YieldedPlace::give_up(&current);
    let hook = current.served.context.hook(cancel());
    let end = wait();
    drop((hook, place));
    end
}

/// Waits as `wait` does, which gives nothing once `cancel` was called: its place is another's meanwhile, and where what
/// this thread works on is cancelled, so is the wait.
pub(crate) fn wait_for<T>(
    cancel: impl FnOnce() -> CancelHook,
    wait: impl FnOnce() -> Option<T>,
) -> Result<Option<T>, CallError> {
    let Some(current) = current() else { return Ok(wait()) };
    let place = YieldedPlace::give_up(&current);
    let hook = current.served.context.hook(cancel());
    let end = wait();
    drop((hook, place));
    if end.is_none() && current.served.context.is_cancelled() {
        let text = "the call that this one was made for was cancelled; the plugin may have executed it";
        return Err(CallError::indeterminate(ErrorCode::Cancelled, text));
    }
    Ok(end)
}
