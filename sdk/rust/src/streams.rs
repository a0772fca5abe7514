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
pub(crate) struct Streams {
    table: Mutex<StreamTable>,
    epoll: Epoll,
    wake: EventFd,
    frame_bytes_max: usize,
}

#[derive(Debug, Default)]
struct StreamTable {
    /// The plugin's own have odd numbers, the host's even ones.
    relays: BTreeMap<u64, Relay>,
    /// Numbers whose frames have not gone out yet.
    reserved: BTreeSet<u64>,
    /// How many the plugin began.
    begun: u64,
    /// Those that may have something to move.
    ready: BTreeSet<u64>,
    is_woken: bool,
    is_closed: bool,
}

impl StreamTable {
    fn count(&self, is_ours: bool) -> usize {
        self.relays.keys().filter(|number| is_odd(**number) == is_ours).count()
    }
}

fn is_odd(number: u64) -> bool {
    !number.is_multiple_of(2)
}

/// Streams that a frame on its way announces. They begin with the frame; where it does not go out, they never were.
#[derive(Debug)]
pub(crate) struct Opening {
    streams: Arc<Streams>,
    named: Vec<(u64, OwnedFd)>,
}

impl Opening {
    pub(crate) fn numbers(&self) -> Vec<u64> {
        self.named.iter().map(|(number, _)| *number).collect()
    }

    /// The frame goes out: what is sent from now on comes after it.
    pub(crate) fn begin(mut self) {
        let mut table = self.streams.lock();
        for (number, fd) in take(&mut self.named) {
            table.reserved.remove(&number);
            self.streams.open(&mut table, number, Some(fd));
        }
        self.streams.wake(&mut table);
    }
}

impl Drop for Opening {
    fn drop(&mut self) {
        if !self.named.is_empty() {
            let mut table = self.streams.lock();
            table.reserved.retain(|number| self.named.iter().all(|(other, _)| other != number));
        }
    }
}

impl Streams {
    /// None is open. Frames have at most `frame_bytes_max` bytes.
    pub(crate) fn new(frame_bytes_max: usize) -> io::Result<Streams> {
        let epoll = Epoll::new(EpollCreateFlags::EPOLL_CLOEXEC)?;
        let wake = EventFd::from_flags(EfdFlags::EFD_CLOEXEC | EfdFlags::EFD_NONBLOCK)?;
        epoll.add(&wake, EpollEvent::new(EpollFlags::EPOLLIN, WAKE))?;
        Ok(Streams { table: Mutex::default(), epoll, wake, frame_bytes_max })
    }

    /// Gives numbers to descriptors that a frame is to announce.
    ///
    /// # Errors
    /// Too many are open.
    pub(crate) fn reserve(self: &Arc<Streams>, fds: Vec<OwnedFd>) -> Result<Opening, String> {
        let mut table = self.lock();
        let open = table.count(true) + table.reserved.len();
        if open + fds.len() > STREAMS_MAX {
            return Err(format!("{open} streams to the host are open in band, at most {STREAMS_MAX} may be"));
        }
        let numbers: Vec<u64> = (table.begun..).take(fds.len()).map(|begun| begun * 2 + 1).collect();
        table.begun += numbers.len() as u64;
        table.reserved.extend(&numbers);
        drop(table);
        Ok(Opening { streams: Arc::clone(self), named: numbers.into_iter().zip(fds).collect() })
    }

    /// A frame of the host brings these; a descriptor for each. Where there can be none, all of them have ended.
    ///
    /// # Errors
    /// What the host did wrong.
    pub(crate) fn came(&self, numbers: &[u64]) -> Result<Vec<OwnedFd>, String> {
        let mut table = self.lock();
        if table.count(false) + numbers.len() > STREAMS_MAX {
            return Err(format!("a frame brings more streams than the {STREAMS_MAX} that may be open"));
        }
        for number in numbers {
            if is_odd(*number) {
                return Err(format!("a frame brings stream {number}; the host's own have even numbers"));
            }
            if table.relays.contains_key(number) {
                return Err(format!("a frame brings stream {number}, which is open"));
            }
        }
        let pairs: io::Result<Vec<(UnixStream, UnixStream)>> =
            numbers.iter().map(|_| UnixStream::pair()).collect();
        // Out of descriptors: whoever reads the params misses them.
        let (ours, theirs): (Vec<_>, Vec<_>) = pairs.unwrap_or_default().into_iter().unzip();
        let mut ours = ours.into_iter().map(OwnedFd::from);
        numbers.iter().for_each(|number| self.open(&mut table, *number, ours.next()));
        self.wake(&mut table);
        Ok(theirs.into_iter().map(OwnedFd::from).collect())
    }

    /// A frame of a stream came.
    ///
    /// # Errors
    /// What the host did wrong.
    pub(crate) fn take(&self, frame: StreamFrame) -> Result<(), String> {
        let number = frame.stream();
        let mut table = self.lock();
        let relay = table.relays.get_mut(&number);
        let relay = relay.ok_or_else(|| format!("a frame is of stream {number}, which is not open"))?;
        relay.take(frame).map_err(|fault| format!("stream {number}: {fault}"))?;
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

    /// Moves bytes until the session is over. `send` takes whole frames and empties the buffer, or says that nothing
    /// more is sent. It waits while much waits for the host, so that no more is read than the host takes.
    pub(crate) fn run(&self, mut send: impl FnMut(&mut Vec<u8>) -> bool) {
        let mut frames = Vec::new();
        while self.wait() {
            let over = self.pump_all(&mut frames);
            if !frames.is_empty() && !send(&mut frames) {
                break;
            }
            // Not before: the host counts them until it has read that they are over.
            let mut table = self.lock();
            over.iter().for_each(|number| drop(table.relays.remove(number)));
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

    /// Moves some of each that is ready, at most a frame, so that all have their turn. The plugin's own that are over
    /// with these frames.
    fn pump_all(&self, frames: &mut Vec<u8>) -> Vec<u64> {
        let (mut made, mut over) = (Vec::new(), Vec::new());
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
            if is_over && is_odd(number) {
                over.push(number);
            } else if is_over {
                table.relays.remove(&number);
            } else if has_more {
                table.ready.insert(number);
            }
        }
        drop(table);
        made.iter().for_each(|frame| frame.write(frames));
        over
    }
}

#[cfg(test)]
#[path = "streams_tests.rs"]
mod tests;
