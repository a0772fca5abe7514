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

    /// Says whether to tell when a socket takes bytes again. Only while some wait for that: otherwise each
    /// read of the peer, which makes room, would wake the loop (unix(7) sockets, epoll(7) with EPOLLET).
    pub(super) fn watch_writing(&mut self, fd: RawFd, source: u64, writing: bool) {
        let interest = if writing { Interest::READABLE | Interest::WRITABLE } else { Interest::READABLE };
        let token = Token(usize::try_from(source).unwrap_or(0));
        if let Err(error) = self.poll.registry().reregister(&mut SourceFd(&fd), token, interest) {
            self.fault("a connection cannot be watched any more", &error);
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
