//! Both ends of the connection with the host: what is read from it, and what waits to be written.
//!
//! One thread at a time reads; [`Input`] goes from one to the next with the reading role. For the other direction there are
//! one buffer, one writer at a time, and many answers in one write(2): whoever finds nobody writing becomes the writer, and
//! writes until nothing is left. Everybody else only appends. So answers that come while a write is under way go out
//! together in the next one.
//!
//! What it deliberately does not do: order frames, or look into them. The wait for a host that does not read has no
//! deadline of its own: the host's end, seen by the write or the reader, is what ends it.
//!
//! What always holds: every read takes the descriptors along, so that none is left to anybody else; whoever pushes pushes
//! whole frames; while bytes are pending somebody is writing; the thread that reads from the host never waits for the host
//! to read, because the host may be waiting for
//! us to read.

use crate::attachments::{Attachments, Frames};
use crate::error::{End, Error};
use crate::wake_pipe::WakePipe;
use nix::sys::socket::{MsgFlags, send};
use rpc_plugin_interface::scm::{self, Received};
use rpc_plugin_peer::{BadFrames, Receiver, Role, Span, Time, Violation};
use std::io::{self, ErrorKind};
use std::mem::take;
use std::net::Shutdown;
use std::os::fd::{AsFd, AsRawFd, OwnedFd};
use std::os::unix::net::UnixStream;
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

/// Pending bytes from which on a worker waits until some are written. One frame always fits.
const PENDING_BYTES_MAX: usize = 1024 * 1024;
/// Pending bytes with answers of the reading thread itself, beyond which the host is taken as one that asks and
/// never reads. One frame always fits.
const READER_BYTES_MAX: usize = 16 * 1024 * 1024;
/// Writes that the reading thread makes in a row before it lets the main thread go on.
const READER_WRITES_MAX: usize = 4;

/// Bytes asked of the socket at a time.
pub(crate) const READ_BYTES: usize = 64 * 1024;

/// The receiving end. It goes from thread to thread with the reading role; in a box, because it does so at each call.
pub(crate) struct Input {
    pub(crate) receiver: Receiver<OwnedFd>,
    /// Whether it holds frames that nobody has looked at.
    pub(crate) unparsed: bool,
    bad_frames: BadFrames,
    /// When the first bad frame came, from which their time counts.
    first_bad: Option<Instant>,
}

impl Input {
    /// The receiving end of a connection whose hello is not answered.
    pub(crate) fn new(frame_bytes_max: usize) -> Box<Input> {
        let receiver = Receiver::new(Role::Plugin, frame_bytes_max);
        Box::new(Input { receiver, unparsed: true, bad_frames: BadFrames::default(), first_bad: None })
    }

    /// Counts a frame that is no message, by one of the ways in which [`BadFrames`] does.
    ///
    /// # Errors
    /// It is one too many within a minute.
    pub(crate) fn count_bad(
        &mut self,
        count: impl FnOnce(&mut BadFrames, Time) -> Result<(), Violation>,
    ) -> Result<(), Violation> {
        let now = Instant::now();
        let since = now.saturating_duration_since(*self.first_bad.get_or_insert(now));
        count(&mut self.bad_frames, Time::ZERO.plus(since))
    }

    /// Waits for bytes. Returns the end where there are no more.
    pub(crate) fn read(&mut self, connection: &UnixStream) -> Result<Option<End>, Error> {
        loop {
            match self.read_once(connection, READ_BYTES) {
                Ok(0) => {
                    self.receiver.finish()?;
                    return Ok(Some(End::HostGone));
                }
                Ok(_) => return Ok(None),
                Err(error) if error.kind() == ErrorKind::Interrupted => {}
                Err(error) if is_gone(&error) => return Ok(Some(End::HostGone)),
                Err(source) => return Err(Error::Os { step: "read from the host", source }),
            }
        }
    }

    /// Reads once. Returns how many bytes that were.
    pub(crate) fn read_once(&mut self, connection: &UnixStream, bytes_max: usize) -> io::Result<usize> {
        receive(connection, &mut self.receiver, bytes_max)
    }
}

/// Reads once, in either role. Returns how many bytes that were.
pub(crate) fn receive(
    connection: &UnixStream,
    receiver: &mut Receiver<OwnedFd>,
    bytes_max: usize,
) -> io::Result<usize> {
    let Received { bytes, fds, truncated } = scm::receive(connection.as_fd(), receiver.space(bytes_max))?;
    receiver.filled(bytes, fds, truncated);
    Ok(bytes)
}

/// Whether a read failed because nobody is there any more.
fn is_gone(error: &io::Error) -> bool {
    matches!(error.kind(), ErrorKind::ConnectionReset | ErrorKind::BrokenPipe | ErrorKind::NotConnected)
}

/// Whether frames were sent or left to whoever writes, or did not fit and are still where they were.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Pushed {
    All,
    Nothing,
}

/// The connection takes no more bytes: the host is gone, or the session has ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Closed;

/// Why frames were not taken.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum PushError {
    Closed,
    /// This many bytes wait already, and the host does not read.
    Unread(usize),
    /// There was no room in time, or whoever sends changed its mind.
    TooLate,
}

impl PushError {
    /// What this is for the thread that reads.
    pub(crate) fn end(self) -> Result<End, Error> {
        match self {
            PushError::Closed | PushError::TooLate => Ok(End::HostGone),
            PushError::Unread(bytes) => Err(Error::Violation(format!(
                "it goes on asking and does not read: {bytes} bytes of answers wait for it"
            ))),
        }
    }
}

#[derive(Default)]
struct OutboxState {
    /// Whole frames that wait for the writer. Everything that is sent passes through it, so that its spans and
    /// [`SendQueue::begun`](rpc_plugin_peer::SendQueue::begun) tell what the host can have seen.
    queue: Frames,
    /// What could not be written without waiting; goes out before `queue`.
    handed: Frames,
    writing: bool,
    closed: bool,
    /// Threads that wait on `changed`: nobody is woken when nobody waits.
    waiting: usize,
}

/// The sending end of a connection, for all its threads.
pub(crate) struct Outbox {
    connection: Arc<UnixStream>,
    wake_pipe: Arc<WakePipe>,
    state: Mutex<OutboxState>,
    changed: Condvar,
    handed_over: Condvar,
}

impl Outbox {
    /// Wakes the main thread when there is something for [`Outbox::flush_now`].
    pub(crate) fn new(connection: Arc<UnixStream>, wake_pipe: Arc<WakePipe>) -> Outbox {
        let (changed, handed_over) = (Condvar::new(), Condvar::new());
        Outbox { connection, wake_pipe, state: Mutex::default(), changed, handed_over }
    }

    /// Sends whole frames, or leaves them to the thread that is writing; waits while too much is pending.
    /// Empties `frames`. For threads other than the one that reads.
    pub(crate) fn push(&self, frames: &mut Frames) -> Result<(), Closed> {
        let mut state = self.room_for(frames.waiting_bytes())?;
        if state.writing {
            state.queue.append(frames);
            return Ok(());
        }
        state.writing = true;
        state.queue.pass(frames);
        drop(state);
        let written = send_all(frames, &self.connection, true).is_ok();
        if !written {
            *frames = Frames::default();
        }
        self.drain(written)
    }

    /// As [`Outbox::push`], for the thread that reads, without any wait: what the socket does not take at once
    /// is left to the main thread.
    pub(crate) fn push_from_reader(&self, frames: &mut Frames) -> Result<(), PushError> {
        if frames.is_empty() {
            return Ok(());
        }
        let state = self.lock();
        if state.closed {
            return Err(PushError::Closed);
        }
        if !state.has_room(frames.waiting_bytes(), READER_BYTES_MAX) {
            return Err(PushError::Unread(state.queue.waiting_bytes()));
        }
        self.send_now(state, frames, |_| ()).map_err(|Closed| PushError::Closed)
    }

    /// The same, but takes nothing when as much is pending as makes others wait.
    pub(crate) fn try_push(&self, frames: &mut Frames) -> Result<Pushed, Closed> {
        let state = self.lock();
        if state.closed {
            return Err(Closed);
        }
        if !state.has_room(frames.waiting_bytes(), PENDING_BYTES_MAX) {
            return Ok(Pushed::Nothing);
        }
        self.send_now(state, frames, |_| ()).map(|()| Pushed::All)
    }

    /// Waits until there is room, until no time is left or it is not wanted any more, and sends then
    /// without waiting. `left` says how long it may sleep before it is asked again. `placed` is told where the frames lie before any byte of them can be answered; under the
    /// outbox's lock, so it must be short. For threads other than the one that reads.
    pub(crate) fn push_until(
        &self,
        frames: &mut Frames,
        mut left: impl FnMut() -> Duration,
        is_wanted: impl Fn() -> bool,
        placed: impl FnOnce(Span),
    ) -> Result<(), PushError> {
        let mut state = self.lock();
        loop {
            if state.closed {
                return Err(PushError::Closed);
            }
            if state.has_room(frames.waiting_bytes(), PENDING_BYTES_MAX) {
                return self.send_now(state, frames, placed).map_err(|Closed| PushError::Closed);
            }
            let left = left();
            if left.is_zero() || !is_wanted() {
                return Err(PushError::TooLate);
            }
            state.waiting += 1;
            state = self.changed.wait_timeout(state, left).unwrap_or_else(PoisonError::into_inner).0;
            state.waiting -= 1;
        }
    }

    /// Lets whoever waits for room ask whether it is still wanted.
    pub(crate) fn nudge(&self) {
        let state = self.lock();
        self.wake_waiting(&state);
    }

    /// How many bytes the host can have seen the beginning of: for the answers to requests.
    pub(crate) fn begun(&self) -> u64 {
        self.lock().queue.begun()
    }

    /// Sends without waiting; what the socket does not take is handed over.
    fn send_now<'s>(
        &'s self,
        mut state: MutexGuard<'s, OutboxState>,
        frames: &mut Frames,
        placed: impl FnOnce(Span),
    ) -> Result<(), Closed> {
        if state.writing {
            placed(state.queue.append(frames));
            return Ok(());
        }
        state.writing = true;
        placed(state.queue.pass(frames));
        for _ in 0..READER_WRITES_MAX {
            drop(state);
            let Ok(is_sent) = send_all(frames, &self.connection, false) else {
                *frames = Frames::default();
                return self.fail();
            };
            state = self.lock();
            if !is_sent {
                break;
            }
            if state.queue.is_empty() {
                state.writing = false;
                self.wake_waiting(&state);
                return Ok(());
            }
            frames.append(&mut state.queue);
            self.wake_waiting(&state);
        }
        self.hand_over(state, take(frames));
        Ok(())
    }

    /// Leaves frames to the main thread. Without any bound: for few and short ones, and for the end.
    pub(crate) fn leave(&self, frames: &mut Frames) {
        let mut state = self.lock();
        if state.closed || frames.is_empty() {
            *frames = Frames::default();
        } else if state.writing {
            state.queue.append(frames);
        } else {
            state.writing = true;
            state.queue.pass(frames);
            self.hand_over(state, take(frames));
        }
    }

    fn hand_over(&self, mut state: MutexGuard<'_, OutboxState>, frames: Frames) {
        if !state.closed {
            state.handed = frames;
        }
        drop(state);
        self.handed_over.notify_one();
        self.wake_pipe.wake();
    }

    /// Writes of what was handed over as much as the socket takes. Says whether something is left. For
    /// the main thread, which has to look after the others between two writes.
    pub(crate) fn flush_now(&self) -> bool {
        loop {
            let mut handed = take(&mut self.lock().handed);
            if handed.is_empty() {
                return false;
            }
            let Ok(is_sent) = send_all(&mut handed, &self.connection, false) else {
                self.close();
                return false;
            };
            let mut state = self.lock();
            if state.closed {
                return false;
            }
            if !is_sent {
                state.handed = handed;
                drop(state);
                // The main thread may have been replaced meanwhile: see `flush_handed_over`.
                self.handed_over.notify_one();
                return true;
            }
            if state.queue.is_empty() {
                state.writing = false;
                self.wake_waiting(&state);
                return false;
            }
            handed.append(&mut state.queue);
            state.handed = handed;
            self.wake_waiting(&state);
        }
    }

    /// Writes what is handed over, until the outbox is closed. For the thread that stands in for the main
    /// thread at the end.
    pub(crate) fn flush_handed_over(&self) {
        loop {
            let mut state = self.lock();
            while state.handed.is_empty() && !state.closed {
                state = self.handed_over.wait(state).unwrap_or_else(PoisonError::into_inner);
            }
            if state.closed {
                return;
            }
            let mut handed = take(&mut state.handed);
            drop(state);
            let written = send_all(&mut handed, &self.connection, true).is_ok();
            if self.drain(written).is_err() {
                return;
            }
        }
    }

    /// Waits until everything is written, at most until `deadline`.
    pub(crate) fn flush(&self, deadline: Instant) {
        let mut state = self.lock();
        while state.writing && !state.closed {
            let left = deadline.saturating_duration_since(Instant::now());
            if left.is_zero() {
                return;
            }
            state.waiting += 1;
            state = self.changed.wait_timeout(state, left).unwrap_or_else(PoisonError::into_inner).0;
            state.waiting -= 1;
        }
    }

    /// Ends the connection and everybody's wait. What is pending is lost.
    pub(crate) fn close(&self) {
        let mut state = self.lock();
        state.closed = true;
        let lost = (take(&mut state.queue), take(&mut state.handed));
        drop(state);
        drop(lost);
        self.changed.notify_all();
        self.handed_over.notify_all();
        // Wakes whoever is blocked in read(2) or write(2). It fails only on a connection that is down.
        let _ = self.connection.shutdown(Shutdown::Both);
    }

    fn lock(&self) -> MutexGuard<'_, OutboxState> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn wake_waiting(&self, state: &OutboxState) {
        if state.waiting > 0 {
            self.changed.notify_all();
        }
    }

    fn room_for(&self, bytes: usize) -> Result<MutexGuard<'_, OutboxState>, Closed> {
        let mut state = self.lock();
        loop {
            if state.closed {
                return Err(Closed);
            }
            // Bytes are pending only while somebody writes, so this wait ends with that write.
            if state.has_room(bytes, PENDING_BYTES_MAX) {
                return Ok(state);
            }
            state.waiting += 1;
            state = self.changed.wait(state).unwrap_or_else(PoisonError::into_inner);
            state.waiting -= 1;
        }
    }

    /// The writer's loop: writes what came while it wrote, until nothing is left.
    fn drain(&self, mut written: bool) -> Result<(), Closed> {
        let mut buffer = Frames::default();
        loop {
            if !written {
                return self.fail();
            }
            let mut state = self.lock();
            if state.closed {
                return Err(Closed);
            }
            if state.queue.is_empty() {
                state.writing = false;
                self.wake_waiting(&state);
                return Ok(());
            }
            buffer.append(&mut state.queue);
            self.wake_waiting(&state);
            drop(state);
            written = send_all(&mut buffer, &self.connection, true).is_ok();
        }
    }

    fn fail(&self) -> Result<(), Closed> {
        self.close();
        Err(Closed)
    }
}

impl OutboxState {
    fn has_room(&self, bytes: usize, bytes_max: usize) -> bool {
        self.queue.is_empty() || self.queue.waiting_bytes() + bytes <= bytes_max
    }
}

/// Writes all of it, or as much as the socket takes without waiting. Returns whether that was all.
fn send_all(frames: &mut Frames, socket: &UnixStream, wait: bool) -> io::Result<bool> {
    while !frames.is_empty() {
        frames.attached_mut().iter_mut().for_each(Attachments::begin);
        let (part, attached) = frames.waiting();
        let sent = match attached.first() {
            Some(Attachments::Fds(fds)) => scm::send(socket.as_fd(), part, fds, wait),
            _ => {
                let patience = if wait { MsgFlags::empty() } else { MsgFlags::MSG_DONTWAIT };
                send(socket.as_raw_fd(), part, MsgFlags::MSG_NOSIGNAL | patience).map_err(io::Error::from)
            }
        };
        match sent {
            Ok(bytes) => frames.wrote(bytes),
            Err(error) if error.kind() == ErrorKind::Interrupted => {}
            Err(error) if error.kind() == ErrorKind::WouldBlock && !wait => return Ok(false),
            Err(error) => return Err(error),
        }
    }
    Ok(true)
}

#[cfg(test)]
#[path = "connection_tests.rs"]
mod tests;
