//! Streams in band, where the connection passes no descriptors (protocol section 6): the plugin's side.
//!
//! What this file is for: which streams are open, and the one thread that moves bytes between the descriptors that
//! handlers hold and the frames that the host sees. What it deliberately does not do: keep account of credit, or
//! know how a descriptor is read; [`rpc_plugin_interface::relay`] does.
//!
//! What always holds: the thread that reads from the host never waits here; one thread alone sends frames of
//! streams, so that they go out in the order in which they were made, and none before the frame that announces its
//! stream; at most [`STREAMS_MAX`] are open of those that either side began; all end with the session.

use nix::errno::Errno;
use nix::sys::epoll::{Epoll, EpollCreateFlags, EpollEvent, EpollFlags, EpollTimeout};
use nix::sys::eventfd::{EfdFlags, EventFd};
use rpc_plugin_interface::relay::Relay;
use rpc_plugin_peer::{Refused, Role, SendQueue, Streams, Violation};
use rpc_plugin_wire::limits::STREAMS_MAX;
use rpc_plugin_wire::stream::StreamFrame;
use std::collections::{BTreeMap, BTreeSet};
use std::io;
use std::mem::take;
use std::os::fd::OwnedFd;
use std::os::unix::net::UnixStream;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

/// Events taken from the kernel at once: one for each stream, and the wake-up.
const EVENTS_MAX: usize = 2 * STREAMS_MAX + 1;
/// What epoll says of a wake-up; no stream has that number.
const WAKE: u64 = u64::MAX;

/// The streams in band of one connection.
#[derive(Debug)]
pub(crate) struct InBandStreams {
    table: Mutex<StreamTable>,
    epoll: Epoll,
    wake: EventFd,
    frame_bytes_max: usize,
}

#[derive(Debug)]
struct StreamTable {
    /// Which are open, and whose they are.
    known: Streams<OwnedFd>,
    /// One for each whose frame has gone out or come.
    relays: BTreeMap<u64, Relay>,
    /// Those that may have something to move.
    ready: BTreeSet<u64>,
    is_woken: bool,
    is_closed: bool,
}

/// Streams that a frame on its way announces. They begin with the frame; where it does not go out, they never were.
#[derive(Debug)]
pub(crate) struct Opening {
    streams: Arc<InBandStreams>,
    numbers: Vec<u64>,
}

impl Opening {
    pub(crate) fn numbers(&self) -> &[u64] {
        &self.numbers
    }

    /// Begins them, just before the first byte of the frame is written: what is sent of them comes after it, and what
    /// the host may answer finds them open.
    pub(crate) fn begin(&mut self) {
        let mut table = self.streams.lock();
        for (number, fd) in table.known.begin(&take(&mut self.numbers)) {
            self.streams.open(&mut table, number, Some(fd));
        }
        self.streams.wake(&mut table);
    }
}

impl Drop for Opening {
    fn drop(&mut self) {
        if !self.numbers.is_empty() {
            self.streams.lock().known.never_sent(&self.numbers);
        }
    }
}

impl InBandStreams {
    /// None is open. Frames have at most `frame_bytes_max` bytes.
    pub(crate) fn new(frame_bytes_max: usize) -> io::Result<InBandStreams> {
        let epoll = Epoll::new(EpollCreateFlags::EPOLL_CLOEXEC)?;
        let wake = EventFd::from_flags(EfdFlags::EFD_CLOEXEC | EfdFlags::EFD_NONBLOCK)?;
        epoll.add(&wake, EpollEvent::new(EpollFlags::EPOLLIN, WAKE))?;
        let mut known = Streams::new(Role::Plugin);
        known.agree();
        let (relays, ready) = (BTreeMap::new(), BTreeSet::new());
        let table = StreamTable { known, relays, ready, is_woken: false, is_closed: false };
        Ok(InBandStreams { table: Mutex::new(table), epoll, wake, frame_bytes_max })
    }

    /// Gives numbers to descriptors that a frame is to announce.
    ///
    /// # Errors
    /// Too many are open.
    pub(crate) fn reserve(self: &Arc<InBandStreams>, fds: Vec<OwnedFd>) -> Result<Opening, Refused> {
        let numbers = self.lock().known.open(fds)?;
        Ok(Opening { streams: Arc::clone(self), numbers })
    }

    /// Opens what a frame of the host brings. Returns a descriptor for each; where there can be none, all of them have
    /// ended.
    ///
    /// # Errors
    /// What the host did wrong.
    pub(crate) fn came(&self, numbers: &[u64]) -> Result<Vec<OwnedFd>, Violation> {
        if numbers.is_empty() {
            return Ok(Vec::new());
        }
        let mut table = self.lock();
        table.known.came(numbers)?;
        let pairs: io::Result<Vec<(UnixStream, UnixStream)>> =
            numbers.iter().map(|_| UnixStream::pair()).collect();
        // Out of descriptors: whoever reads the params misses them.
        let (ours, theirs): (Vec<_>, Vec<_>) = pairs.unwrap_or_default().into_iter().unzip();
        let mut ours = ours.into_iter().map(OwnedFd::from);
        numbers.iter().for_each(|number| self.open(&mut table, *number, ours.next()));
        self.wake(&mut table);
        Ok(theirs.into_iter().map(OwnedFd::from).collect())
    }

    /// Takes a frame of a stream that came.
    ///
    /// # Errors
    /// What the host did wrong.
    pub(crate) fn take(&self, frame: StreamFrame) -> Result<(), Violation> {
        let number = frame.stream();
        let mut table = self.lock();
        table.known.received(&frame)?;
        let not_begun = || Violation::invalid(format!("a frame is of stream {number}, which is not open"));
        let relay = table.relays.get_mut(&number).ok_or_else(not_begun)?;
        relay.take(frame).map_err(|fault| Violation::invalid(format!("stream {number}: {fault}")))?;
        table.ready.insert(number);
        self.wake(&mut table);
        Ok(())
    }

    /// The session is over, and all streams with it.
    pub(crate) fn close(&self) {
        let mut table = self.lock();
        table.is_closed = true;
        let relays = take(&mut table.relays);
        self.wake(&mut table);
        drop(table);
        drop(relays);
    }

    fn open(&self, table: &mut StreamTable, number: u64, fd: Option<OwnedFd>) {
        if table.is_closed {
            return;
        }
        let watched = fd.map(|fd| self.watched(number, fd)).transpose().ok().flatten();
        let relay = watched.unwrap_or_else(|| Relay::refused(number, self.frame_bytes_max));
        table.relays.insert(number, relay);
        table.ready.insert(number);
    }

    fn watched(&self, number: u64, fd: OwnedFd) -> io::Result<Relay> {
        let relay = Relay::new(number, fd, self.frame_bytes_max)?;
        if let Some(fd) = relay.waited_fd() {
            let flags = EpollFlags::EPOLLIN | EpollFlags::EPOLLOUT | EpollFlags::EPOLLRDHUP;
            self.epoll.add(fd, EpollEvent::new(flags | EpollFlags::EPOLLET, number))?;
        }
        Ok(relay)
    }

    fn wake(&self, table: &mut StreamTable) {
        if !std::mem::replace(&mut table.is_woken, true) {
            // It fails only at 2^64 wake-ups that nobody took, and then it is readable.
            let _ = self.wake.write(1);
        }
    }

    fn lock(&self) -> MutexGuard<'_, StreamTable> {
        self.table.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Moves bytes until the session is over. `send` takes whole frames and empties the queue, or says that nothing
    /// more is sent. It waits while much waits for the host, so that no more is read than the host takes.
    pub(crate) fn run<F>(&self, mut send: impl FnMut(&mut SendQueue<F>) -> bool) {
        let mut frames = SendQueue::default();
        while self.wait() {
            let ends = self.pump_all(&mut frames);
            if !frames.is_empty() && !send(&mut frames) {
                break;
            }
            // Not before: a frame that begins another one in their place has to come after them.
            let mut table = self.lock();
            ends.iter().for_each(|frame| table.known.sent(frame));
        }
        self.close();
    }

    /// Waits until there may be something to move; whether the session goes on.
    fn wait(&self) -> bool {
        let mut events = [EpollEvent::empty(); EVENTS_MAX];
        let is_idle = self.lock().ready.is_empty();
        let timeout = if is_idle { EpollTimeout::NONE } else { EpollTimeout::ZERO };
        let count = match self.epoll.wait(&mut events, timeout) {
            Ok(count) => count,
            Err(Errno::EINTR) => 0,
            Err(_) => return false,
        };
        let mut table = self.lock();
        for event in events.iter().take(count) {
            if event.data() == WAKE {
                let _ = self.wake.read();
                table.is_woken = false;
            } else {
                table.ready.insert(event.data());
            }
        }
        !table.is_closed
    }

    /// Moves some of each that is ready, at most a frame, so that all have their turn. Returns the ends and drops
    /// of streams of the plugin's own among these frames. Those of the host's are noted here: it may begin another one as
    /// soon as it has read them.
    fn pump_all<F>(&self, frames: &mut SendQueue<F>) -> Vec<StreamFrame> {
        let (mut made, mut ends) = (Vec::new(), Vec::new());
        let mut table = self.lock();
        for number in take(&mut table.ready) {
            let Some(relay) = table.relays.get_mut(&number) else { continue };
            let has_more = relay.pump(1, &mut made);
            let is_over = relay.is_over();
            if is_over || relay.is_fd_done() {
                if let Some(fd) = relay.waited_fd() {
                    // Closing alone would not do where there are duplicates.
                    let _ = self.epoll.delete(fd);
                }
                drop(relay.take_fd());
            }
            if is_over {
                table.relays.remove(&number);
            } else if has_more {
                table.ready.insert(number);
            }
        }
        for frame in made {
            frames.write(|out| frame.write(out));
            if !Role::Plugin.owns(frame.stream()) {
                table.known.sent(&frame);
            } else if matches!(frame, StreamFrame::End { .. } | StreamFrame::Drop { .. }) {
                ends.push(frame);
            }
        }
        ends
    }
}

#[cfg(test)]
#[path = "streams_tests.rs"]
mod tests;
