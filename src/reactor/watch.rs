//! Descriptors that the kernel watches for the event loop, and the tokens that name them.
//!
//! What always holds: a token names one source until that is unregistered, and nothing after that.

use super::{Reactor, Source};
use mio::unix::SourceFd;
use mio::{Interest, Token};
use std::io;
use std::os::fd::RawFd;

impl Reactor {
    pub(super) fn register(&mut self, fd: RawFd, source: Source, interest: Interest) -> io::Result<u64> {
        let key = self.sources.insert(source);
        let token = Token(usize::try_from(key).unwrap_or(0));
        match self.poll.registry().register(&mut SourceFd(&fd), token, interest) {
            Ok(()) => Ok(key),
            Err(error) => {
                self.sources.remove(key);
                Err(error)
            }
        }
    }

    /// Before the descriptor is closed: a duplicate of it elsewhere would keep the registration alive.
    pub(super) fn unregister(&mut self, fd: RawFd, source: u64) {
        if self.sources.remove(source).is_some() {
            // It may have been refused; closing it removes it in any case.
            let _ = self.poll.registry().deregister(&mut SourceFd(&fd));
        }
    }
}
