//! What waits for the socket: one buffer, one writer at a time, many answers in one write(2).
//!
//! Whoever finds nobody writing becomes the writer, and writes until nothing is left. Everybody else only
//! appends. So answers that come while a write is under way go out together in the next one.
//!
//! What it deliberately does not do: order frames, or look into them. The wait for a host that does not
//! read has no deadline of its own: the host's end, seen by the write or the reader, is what ends it.
//!
//! What always holds: whoever pushes pushes whole frames; while bytes are pending somebody is writing;
//! the thread that reads from the host never waits for the host to read, because the host may be waiting for
//! us to read.

use crate::error::{End, Error};
use crate::frames::Frames;
use crate::wake_pipe::WakePipe;
use std::mem::{swap, take};
use std::net::Shutdown;
use std::os::unix::net::UnixStream;
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::time::Instant;

/// Pending bytes from which on a worker waits until some are written. One frame always fits.
const PENDING_BYTES_MAX: usize = 1024 * 1024;
/// Pending bytes with answers of the reading thread itself, beyond which the host is taken as one that asks and
/// never reads. One frame always fits.
const READER_BYTES_MAX: usize = 16 * 1024 * 1024;
/// Writes that the reading thread makes in a row before it lets the main thread go on.
const READER_WRITES_MAX: usize = 4;

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
    /// Whole frames that wait for the writer.
    pending: Frames,
    /// What could not be written without waiting; goes out before `pending`.
    handed: Frames,
    /// An empty buffer to trade for `pending`.
    spare: Frames,
    writing: bool,
    closed: bool,
    /// Threads that wait on `changed`: nobody is woken when nobody waits.
    waiting: usize,
}

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
        let mut state = self.room_for(frames.len())?;
        if state.writing {
            state.pending.append(frames);
            return Ok(());
        }
        state.writing = true;
        drop(state);
        let written = frames.send(&self.connection, true).is_ok();
        frames.clear();
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
        if !state.has_room(frames.len(), READER_BYTES_MAX) {
            return Err(PushError::Unread(state.pending.len()));
        }
        self.send_now(state, frames).map_err(|Closed| PushError::Closed)
    }

    /// The same, but takes nothing when as much is pending as makes others wait.
    pub(crate) fn try_push(&self, frames: &mut Frames) -> Result<Pushed, Closed> {
        let state = self.lock();
        if state.closed {
            return Err(Closed);
        }
        if !state.has_room(frames.len(), PENDING_BYTES_MAX) {
            return Ok(Pushed::Nothing);
        }
        self.send_now(state, frames).map(|()| Pushed::All)
    }

    /// Waits until there is room, at most until `deadline` or until it is not wanted any more, and sends then
    /// without waiting. For threads other than the one that reads.
    pub(crate) fn push_until(
        &self,
        frames: &mut Frames,
        deadline: Instant,
        is_wanted: impl Fn() -> bool,
    ) -> Result<(), PushError> {
        let mut state = self.lock();
        loop {
            if state.closed {
                return Err(PushError::Closed);
            }
            if state.has_room(frames.len(), PENDING_BYTES_MAX) {
                return self.send_now(state, frames).map_err(|Closed| PushError::Closed);
            }
            let left = deadline.saturating_duration_since(Instant::now());
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

    /// Sends without waiting; what the socket does not take is handed over.
    fn send_now<'s>(
        &'s self,
        mut state: MutexGuard<'s, OutboxState>,
        frames: &mut Frames,
    ) -> Result<(), Closed> {
        if state.writing {
            state.pending.append(frames);
            return Ok(());
        }
        state.writing = true;
        for _ in 0..READER_WRITES_MAX {
            drop(state);
            let Ok(is_sent) = frames.send(&self.connection, false) else { return self.fail() };
            state = self.lock();
            if !is_sent {
                break;
            }
            frames.clear();
            if state.pending.is_empty() {
                state.writing = false;
                self.wake_waiting(&state);
                return Ok(());
            }
            swap(&mut state.pending, frames);
            self.wake_waiting(&state);
        }
        self.hand_over(state, take(frames));
        Ok(())
    }

    /// Leaves frames to the main thread. Without any bound: for few and short ones, and for the end.
    pub(crate) fn leave(&self, frames: &mut Frames) {
        let mut state = self.lock();
        if state.closed || frames.is_empty() {
            frames.clear();
        } else if state.writing {
            state.pending.append(frames);
        } else {
            state.writing = true;
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
            let Ok(is_sent) = handed.send(&self.connection, false) else {
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
            if state.pending.is_empty() {
                state.writing = false;
                self.wake_waiting(&state);
                return false;
            }
            state.handed = take(&mut state.pending);
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
            let written = handed.send(&self.connection, true).is_ok();
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
        let lost = (take(&mut state.pending), take(&mut state.handed));
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
            if state.pending.is_empty() {
                state.writing = false;
                if buffer.bytes.capacity() > 0 {
                    buffer.clear();
                    state.spare = buffer;
                }
                self.wake_waiting(&state);
                return Ok(());
            }
            if buffer.bytes.capacity() == 0 {
                buffer = take(&mut state.spare);
            }
            buffer.clear();
            swap(&mut state.pending, &mut buffer);
            self.wake_waiting(&state);
            drop(state);
            written = buffer.send(&self.connection, true).is_ok();
        }
    }

    fn fail(&self) -> Result<(), Closed> {
        self.close();
        Err(Closed)
    }
}

impl OutboxState {
    fn has_room(&self, bytes: usize, bytes_max: usize) -> bool {
        self.pending.is_empty() || self.pending.len() + bytes <= bytes_max
    }
}

#[cfg(test)]
#[path = "outbox_tests.rs"]
mod tests;
