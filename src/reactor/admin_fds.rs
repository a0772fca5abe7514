//! File descriptors that came over an admin connection and wait for the request that announces them.
//!
//! What it deliberately does not do: end the connection over them, as that of a plugin is ended; clients are operators' tools,
//! and a request whose descriptors do not add up is answered with an error.
//!
//! What always holds: at most [`WAITING_MAX`] wait; one that no request announces goes to its closer as soon as the bytes
//! that it came with are handled.

use crate::state::fds::{Fd, Fds};
use rpc_plugin_wire::fds::{FdsError, Waiting};
use rpc_plugin_wire::limits::{FDS_PER_FRAME_MAX, FDS_WAITING_MAX};
use rpc_plugin_wire::{ErrorCode, ErrorObject};

/// Descriptors of one client that wait for their request: those of one request, and those of the next, whose first byte
/// may come with the last ones of the request before.
const WAITING_MAX: usize = 32;
const _: () = assert!(WAITING_MAX == FDS_WAITING_MAX + FDS_PER_FRAME_MAX as usize);

/// The descriptors of one client that wait.
#[derive(Debug, Default)]
pub(super) struct AdminFds(Waiting<Fd>);

impl AdminFds {
    /// Takes in what one read brought. What is beyond the bound is closed, and its request is answered with an error.
    pub(super) fn received(&mut self, bytes: usize, fds: Fds, were_lost: bool) {
        // Those that are missing are found by the request that announces them.
        let _ = self.0.received(bytes, fds);
        if were_lost {
            self.0.lost();
        }
    }

    /// Those of a request that announces `count`.
    ///
    /// # Errors
    /// `invalid_request` where fewer came, `overloaded` where the process could not open all of them; those that are there
    /// go.
    pub(super) fn take(&mut self, count: usize) -> Result<Fds, ErrorObject> {
        self.0.take(count).map_err(|error| match error {
            FdsError::Lost => ErrorObject::new(
                ErrorCode::Overloaded,
                "file descriptors came with it that the host could not open: more came than a request may have, or \
                 the host cannot have more",
            ),
            FdsError::TooFew(announced, there) => {
                self.clear();
                let text =
                    format!("`fds` announces {announced} file descriptors, and {there} came with the request");
                ErrorObject::new(ErrorCode::InvalidRequest, text)
            }
            error => ErrorObject::new(ErrorCode::InvalidRequest, error.to_string()),
        })
    }

    /// Lets go of those that no request has announced. To be called when all whole lines are handled, and so many bytes of a
    /// further one are there.
    pub(super) fn settle(&mut self, unhandled_bytes: usize) {
        self.0.drop_unannounced(unhandled_bytes);
    }

    /// Lets go of all.
    pub(super) fn clear(&mut self) {
        self.0 = Waiting::default();
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::state::fds::held;

    #[test]
    fn each_goes_to_the_request_that_announces_it_and_others_are_closed() {
        let mut fds = AdminFds::default();
        let (first, came) = held(2);
        fds.received(10, came, false);
        fds.settle(10);
        assert_eq!(first.open(), 2, "their request is not whole");
        let taken = fds.take(1).unwrap();
        fds.settle(0);
        assert_eq!(first.open(), 1, "the other was announced by nobody");
        drop(taken);
        assert_eq!((first.open(), fds.take(0).unwrap().len()), (0, 0));
    }

    #[test]
    fn those_that_do_not_add_up_cost_their_request_only() {
        let mut fds = AdminFds::default();
        let (there, came) = held(1);
        fds.received(10, came, false);
        let error = fds.take(2).unwrap_err();
        assert_eq!((error.kind(), there.open()), (ErrorCode::InvalidRequest, 0), "{}", error.message);
        fds.received(10, held(1).1, true);
        assert_eq!(fds.take(2).unwrap_err().kind(), ErrorCode::Overloaded);
        fds.received(10, held(1).1, true);
        let (next, came) = held(2);
        fds.received(10, came, false);
        assert_eq!(fds.take(3).unwrap_err().kind(), ErrorCode::Overloaded, "they are the next request's");
        assert_eq!(fds.take(2).unwrap().len(), 2);
        assert_eq!(next.open(), 0);
        let (there, came) = held(WAITING_MAX + 3);
        fds.received(10, came, false);
        assert_eq!(there.open(), WAITING_MAX, "the others are closed at once");
        assert_eq!(fds.take(16).unwrap().len(), 16);
    }
}
