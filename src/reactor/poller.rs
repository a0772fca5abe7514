//! epoll(7): the descriptors that the kernel watches for the event loop, the tokens that name them, and the sources
//! that are to be looked at again without an event.
//!
//! What it deliberately does not do: own a descriptor; whoever registers one does.
//!
//! What always holds: a token names one source until that is unregistered, and nothing after that.

use super::slab::Slab;
use crate::state::keys::PluginKey;
use crate::state::output::OutputStream;
use mio::unix::SourceFd;
use mio::{Events, Interest, Poll, Token, Waker};
use rpc_plugin_wire::Generation;
use std::collections::VecDeque;
use std::io;
use std::os::fd::RawFd;
use std::time::Duration;

/// Events taken from the kernel at once.
const EVENTS_MAX: usize = 256;
/// The waker's token; slab keys never have this value.
const WAKER: Token = Token(usize::MAX);

/// Kind of a registered descriptor, and whose it is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Source {
    /// A generation's socket, before anybody has proven anything.
    Listener(PluginKey, Generation),
    /// A generation's connection.
    Connection(PluginKey, Generation),
    /// The pidfd of a generation's process.
    Exit(PluginKey, Generation),
    /// A pipe that a generation's process prints to.
    Pipe(PluginKey, Generation, OutputStream),
    /// The admin socket.
    AdminListener,
    /// What tells that the runtime folder, or something in it, was removed.
    RuntimeDir,
    /// An admin connection, by its key.
    AdminConnection(u64),
}

/// The epoll instance of one event loop, with its buffers.
#[derive(Debug)]
pub(super) struct Poller {
    poll: Poll,
    events: Events,
    sources: Slab<Source>,
    /// Sources whose turn was over before they were drained.
    unfinished: VecDeque<u64>,
    /// Whether the last wait was interrupted, or brought as many events as it may: there may be more.
    is_cut_short: bool,
}

impl Poller {
    /// A poller without sources, and what wakes it.
    ///
    /// # Errors
    /// Those of epoll_create1(2) and eventfd(2).
    pub(super) fn new() -> io::Result<(Poller, Waker)> {
        let poll = Poll::new()?;
        let waker = Waker::new(poll.registry(), WAKER)?;
        let events = Events::with_capacity(EVENTS_MAX);
        Ok((
            Poller {
                poll,
                events,
                sources: Slab::default(),
                unfinished: VecDeque::new(),
                is_cut_short: false,
            },
            waker,
        ))
    }

    /// Waits for events, at most so long.
    ///
    /// # Errors
    /// Those of epoll_wait(2), but for EINTR, which is no event.
    pub(super) fn wait(&mut self, timeout: Option<Duration>) -> io::Result<()> {
        let waited = self.poll.poll(&mut self.events, timeout);
        self.is_cut_short = waited.is_err() || self.events.iter().nth(EVENTS_MAX - 1).is_some();
        match waited {
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {
                self.events.clear();
                Ok(())
            }
            other => other,
        }
    }

    /// Whether all that had come when the last wait began was handled.
    pub(super) fn is_drained(&self) -> bool {
        !self.is_cut_short && self.unfinished.is_empty()
    }

    /// Has each source handled that has an event, or is unfinished from an earlier turn; the flag says whether the
    /// other side may have closed its end. A source that is closed meanwhile finds nothing.
    pub(super) fn take_ready(&mut self) -> (Events, usize) {
        let events = std::mem::replace(&mut self.events, Events::with_capacity(0));
        (events, self.unfinished.len())
    }

    /// Gives the buffer of [`Poller::take_ready`] back.
    pub(super) fn give_back(&mut self, events: Events) {
        self.events = events;
    }

    /// Keys of the sources of these events, and whether their other side has closed its end.
    pub(super) fn sources_of(events: &Events) -> impl Iterator<Item = (u64, bool)> {
        let events = events.iter().filter(|event| event.token() != WAKER);
        events.map(|event| (event.token().0 as u64, event.is_read_closed()))
    }

    /// The source of that key, unless it was unregistered.
    pub(super) fn source(&self, key: u64) -> Option<Source> {
        self.sources.get(key).copied()
    }

    /// Has a source looked at again in the next turn.
    pub(super) fn go_on_later(&mut self, source: Option<u64>) {
        self.unfinished.extend(source);
    }

    /// The next source that is to be looked at again.
    pub(super) fn pop_unfinished(&mut self) -> Option<u64> {
        self.unfinished.pop_front()
    }

    /// Number of registered descriptors.
    #[cfg(test)]
    pub(super) fn registered(&self) -> usize {
        self.sources.len()
    }

    /// Whether a source is to be looked at again.
    pub(super) fn has_unfinished(&self) -> bool {
        !self.unfinished.is_empty()
    }

    /// Watches a descriptor, and names it.
    ///
    /// # Errors
    /// Those of epoll_ctl(2).
    pub(super) fn register(&mut self, fd: RawFd, source: Source, interest: Interest) -> io::Result<u64> {
        let key = self.sources.insert(source);
        match self.poll.registry().register(&mut SourceFd(&fd), token(key), interest) {
            Ok(()) => Ok(key),
            Err(error) => {
                self.sources.remove(key);
                Err(error)
            }
        }
    }

    /// Says whether to tell when there are bytes to read, and when a socket takes bytes again. The latter only while some wait: otherwise each
    /// read of the peer, which makes room, would wake the loop (unix(7) sockets, epoll(7) with EPOLLET).
    ///
    /// # Errors
    /// Those of epoll_ctl(2).
    pub(super) fn watch(&self, fd: RawFd, source: u64, reading: bool, writing: bool) -> io::Result<()> {
        // Nothing watched here has urgent bytes: they stand for no interest at all, which mio has no word for.
        let interest = if reading { Interest::READABLE } else { Interest::PRIORITY };
        let interest = if writing { interest | Interest::WRITABLE } else { interest };
        self.poll.registry().reregister(&mut SourceFd(&fd), token(source), interest)
    }

    /// Watches a descriptor no longer. Before it is closed: a duplicate of it elsewhere would keep the registration
    /// alive.
    pub(super) fn unregister(&mut self, fd: RawFd, source: u64) {
        if self.sources.remove(source).is_some() {
            // It may have been refused; closing it removes it in any case.
            let _ = self.poll.registry().deregister(&mut SourceFd(&fd));
        }
    }
}

fn token(key: u64) -> Token {
    Token(usize::try_from(key).unwrap_or(0))
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::io::Write;
    use std::os::fd::AsRawFd;
    use std::os::unix::net::UnixStream;

    #[test]
    fn what_was_cut_short_or_left_over_is_not_drained() {
        let (mut poller, _waker) = Poller::new().unwrap();
        let now = Some(Duration::ZERO);
        poller.wait(now).unwrap();
        assert!(poller.is_drained(), "nothing came");
        let pairs: Vec<_> = (0..EVENTS_MAX).map(|_| UnixStream::pair().unwrap()).collect();
        for (ours, _) in &pairs {
            poller.register(ours.as_raw_fd(), Source::AdminListener, Interest::READABLE).unwrap();
        }
        (&pairs[0].1).write_all(b"x").unwrap();
        poller.wait(now).unwrap();
        assert!(poller.is_drained(), "one event is all there was");
        poller.go_on_later(Some(7));
        assert!(!poller.is_drained(), "a source was not read to its end");
        poller.pop_unfinished();
        pairs.iter().for_each(|(_, other)| (&*other).write_all(b"x").unwrap());
        poller.wait(now).unwrap();
        assert!(!poller.is_drained(), "as many events as fit: there may be more");
        poller.wait(now).unwrap();
        assert!(poller.is_drained());
    }
}
