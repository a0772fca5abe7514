//! What goes out beside the JSON of a call: file descriptors, and functions that can be called back.
//!
//! serde has no place for either. So whoever serialises params or a result does it inside [`collect`], where a
//! [`Stream`](crate::Stream) hands over its descriptor and writes its place among them. [`arrived`](crate::arrived) is
//! the other direction.
//!
//! What always holds: outside of [`collect`] such values do not serialise.

use rpc_plugin_wire::ErrorObject;
use rpc_plugin_wire::limits::FDS_PER_FRAME_MAX;
use serde_json::value::RawValue;
use std::cell::RefCell;
use std::fmt;
use std::os::fd::OwnedFd;
use std::sync::Arc;

/// A function of the caller that the callee may call while the call lasts: params in JSON and descriptors in, the
/// result in JSON out.
pub type CallBackFn =
    Arc<dyn Fn(Option<&RawValue>, Vec<OwnedFd>) -> Result<String, ErrorObject> + Send + Sync>;

/// Most functions that travel with one message.
pub const CALLBACKS_MAX: usize = 64;

/// What goes out beside a value.
#[derive(Default)]
pub struct Parcel {
    /// Descriptors, in the order of their places. At most 16.
    pub fds: Vec<OwnedFd>,
    /// Functions by the number under which the callee knows them. At most [`CALLBACKS_MAX`].
    pub callbacks: Vec<(u64, CallBackFn)>,
}

impl Parcel {
    /// Whether there is nothing beside the value.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.fds.is_empty() && self.callbacks.is_empty()
    }
}

impl fmt::Debug for Parcel {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let callbacks: Vec<u64> = self.callbacks.iter().map(|(id, _)| *id).collect();
        f.debug_struct("Parcel").field("fds", &self.fds).field("callbacks", &callbacks).finish()
    }
}

thread_local! {
    static GOING_OUT: RefCell<Option<Parcel>> = const { RefCell::new(None) };
}

/// Runs `serialise` and gives what it put beside its value. One inside another does not mix with it.
pub fn collect<R>(serialise: impl FnOnce() -> R) -> (R, Parcel) {
    let outer = GOING_OUT.with(|place| place.replace(Some(Parcel::default())));
    let restore = Restore(Some(outer));
    let result = serialise();
    let parcel = GOING_OUT.with(RefCell::take).unwrap_or_default();
    drop(restore);
    (result, parcel)
}

/// Puts back what was there, also where a value's serialisation panics.
struct Restore(Option<Option<Parcel>>);

impl Drop for Restore {
    fn drop(&mut self) {
        let outer = self.0.take().flatten();
        // Not dropped while borrowed: a parcel closes descriptors, which is nothing of ours.
        drop(GOING_OUT.with(|place| place.replace(outer)));
    }
}

/// Why a value cannot travel, or does not arrive.
pub(crate) type Refusal = &'static str;

/// Puts a descriptor beside the value that is being serialised; its place.
pub(crate) fn put_fd(fd: OwnedFd) -> Result<usize, Refusal> {
    GOING_OUT.with(|place| {
        let mut place = place.borrow_mut();
        let parcel = place.as_mut().ok_or("a file descriptor travels in a call only")?;
        if parcel.fds.len() >= usize::from(FDS_PER_FRAME_MAX) {
            return Err("more than 16 file descriptors in one message");
        }
        parcel.fds.push(fd);
        Ok(parcel.fds.len() - 1)
    })
}

/// Puts a function beside the value that is being serialised.
pub(crate) fn put_callback(id: u64, function: CallBackFn) -> Result<(), Refusal> {
    GOING_OUT.with(|place| {
        let mut place = place.borrow_mut();
        let parcel = place.as_mut().ok_or("a callback travels in a call only")?;
        if parcel.callbacks.len() >= CALLBACKS_MAX {
            return Err("more than 64 callbacks in one message");
        }
        parcel.callbacks.push((id, function));
        Ok(())
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_seventeenth_is_refused() {
        let fd = || std::io::pipe().unwrap().0.into();
        let (refused, parcel) = collect(|| (0..17).filter(|_| put_fd(fd()).is_err()).count());
        assert_eq!((refused, parcel.fds.len()), (1, 16));
    }
}
