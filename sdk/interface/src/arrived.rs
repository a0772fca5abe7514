//! What came in beside the JSON of a call: file descriptors, and the call through which functions of its caller are
//! called.
//!
//! Whoever deserialises params or a result does it inside [`provide`], where a [`Stream`](crate::Stream) takes the
//! descriptor of its place. [`parcel`](crate::parcel) is the other direction.
//!
//! What always holds: a descriptor is taken once; one that nobody takes is closed when [`provide`] ends; outside of it
//! such values do not deserialise.

use crate::context::Context;
use crate::parcel::Refusal;
use std::cell::RefCell;
use std::fmt;
use std::os::fd::OwnedFd;

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
    static COMING_IN: RefCell<Option<Open>> = const { RefCell::new(None) };
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
pub(crate) fn served_call() -> Result<Context, Refusal> {
    COMING_IN.with(|place| {
        let place = place.borrow();
        let open = place.as_ref().ok_or("a callback arrives in a call only")?;
        open.call.clone().ok_or("a callback can only stand in the params of a call")
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::parcel::{collect, put_fd};

    fn fd() -> OwnedFd {
        std::io::pipe().unwrap().0.into()
    }

    #[test]
    fn what_is_put_beside_a_value_is_taken_once() {
        assert!(put_fd(fd()).is_err() && take_fd(0).is_err() && served_call().is_err());
        let (places, parcel) = collect(|| {
            let first = put_fd(fd());
            let ((), inner) = collect(|| assert_eq!(put_fd(fd()), Ok(0)));
            (first, put_fd(fd()), inner.fds.len())
        });
        assert_eq!((places, parcel.fds.len()), ((Ok(0), Ok(1), 1), 2));
        provide(Arrived { fds: parcel.fds, call: None }, || {
            assert!(
                take_fd(1).is_ok() && take_fd(1).is_err() && take_fd(2).is_err() && served_call().is_err()
            );
            provide(Arrived::default(), || assert!(take_fd(0).is_err()));
            assert!(take_fd(0).is_ok());
        });
        assert!(take_fd(0).is_err());
    }
}
