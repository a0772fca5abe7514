//! What travels beside the JSON of a call: file descriptors, and functions that can be called back.
//!
//! serde has no place for either. So whoever serialises params or a result does it inside [`collect`], where a
//! [`Stream`](crate::Stream) hands over its descriptor and writes its place among them; and whoever reads them does
//! it inside [`provide`], where it takes the descriptor of that place.
//!
//! What always holds: a descriptor is taken once; one that nobody takes is closed when [`provide`] ends; outside of
//! both, such values neither serialise nor deserialise.

use crate::context::Context;
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

/// What came in beside a value.
#[derive(Default)]
pub struct Arrived {
    /// Descriptors, in the order of their places.
    pub fds: Vec<OwnedFd>,
    /// The call whose params these are, through which functions of the caller are called; `None` in a result, which
    /// has none.
    pub call: Option<Context>,
}

impl fmt::Debug for Arrived {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Arrived").field("fds", &self.fds).finish_non_exhaustive()
    }
}

struct Open {
    fds: Vec<Option<OwnedFd>>,
    call: Option<Context>,
}

thread_local! {
    static GOING_OUT: RefCell<Option<Parcel>> = const { RefCell::new(None) };
    static COMING_IN: RefCell<Option<Open>> = const { RefCell::new(None) };
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

/// Runs `deserialise` with what came in beside its value. What it does not take is closed.
pub fn provide<R>(arrived: Arrived, deserialise: impl FnOnce() -> R) -> R {
    struct Close(Option<Open>);
    impl Drop for Close {
        fn drop(&mut self) {
            drop(COMING_IN.with(|place| place.replace(self.0.take())));
        }
    }
    let open = Open { fds: arrived.fds.into_iter().map(Some).collect(), call: arrived.call };
    let _close = Close(COMING_IN.with(|place| place.replace(Some(open))));
    deserialise()
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

/// Takes the descriptor of that place.
pub(crate) fn take_fd(index: usize) -> Result<OwnedFd, Refusal> {
    COMING_IN.with(|place| {
        let mut place = place.borrow_mut();
        let open = place.as_mut().ok_or("a file descriptor arrives in a call only")?;
        let slot = open.fds.get_mut(index).ok_or("no file descriptor came for this place")?;
        slot.take().ok_or("this file descriptor is named twice")
    })
}

/// The call whose params are read, through which functions of the caller are called.
pub(crate) fn call() -> Result<Context, Refusal> {
    COMING_IN.with(|place| {
        let place = place.borrow();
        let open = place.as_ref().ok_or("a callback arrives in a call only")?;
        open.call.clone().ok_or("a callback can only stand in the params of a call")
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn fd() -> OwnedFd {
        std::io::pipe().unwrap().0.into()
    }

    #[test]
    fn what_is_put_beside_a_value_is_taken_once() {
        assert!(put_fd(fd()).is_err() && take_fd(0).is_err() && call().is_err());
        let (places, parcel) = collect(|| {
            let first = put_fd(fd());
            let ((), inner) = collect(|| assert_eq!(put_fd(fd()), Ok(0)));
            (first, put_fd(fd()), inner.fds.len())
        });
        assert_eq!((places, parcel.fds.len()), ((Ok(0), Ok(1), 1), 2));
        provide(Arrived { fds: parcel.fds, call: None }, || {
            assert!(take_fd(1).is_ok() && take_fd(1).is_err() && take_fd(2).is_err() && call().is_err());
            provide(Arrived::default(), || assert!(take_fd(0).is_err()));
            assert!(take_fd(0).is_ok());
        });
        assert!(take_fd(0).is_err());
    }

    #[test]
    fn the_seventeenth_is_refused() {
        let (refused, parcel) = collect(|| (0..17).filter(|_| put_fd(fd()).is_err()).count());
        assert_eq!((refused, parcel.fds.len()), (1, 16));
    }
}
