//! Frames on their way to the host: one buffer, one writer at a time, many answers in one write(2).
//!
//! Whoever finds nobody writing becomes the writer, and writes until nothing is left. Everybody else only
//! appends. So answers that come while a write is under way go out together in the next one.
//!
//! What it deliberately does not do: order frames, or look into them. The wait for a host that does not
//! read has no deadline of its own: the host's end, seen by the write or the reader, is what ends it.
//!
//! What always holds: whoever pushes pushes whole frames; while bytes are pending somebody is writing;
//! the thread that reads from the host never waits for the host to read.

use crate::bell::Bell;
use nix::errno::Errno;
use nix::sys::socket::{MsgFlags, send};
use rpc_plugin_wire::frame::is_oversized;
use std::io::Write;
use std::mem::{swap, take};
use std::net::Shutdown;
use std::os::fd::AsRawFd;
use std::os::unix::net::UnixStream;
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::time::Instant;

/// Pending bytes from which on a worker waits until some are written. One frame always fits.
const PENDING_BYTES_MAX: usize = 1024 * 1024;
/// What the reading thread may add beyond that, so that heartbeats get through.
const READER_RESERVE_BYTES: usize = 256 * 1024;
/// Writes that the reading thread makes in a row before it lets the main thread go on.
const READER_WRITES_MAX: usize = 4;
/// Buffers that grew past this are given back once they are empty and little of them is used. Bytes.
const KEPT_BYTES_MAX: usize = 256 * 1024;

/// Whether frames were sent or left to whoever writes, or did not fit and are still where they were.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Pushed {
    All,
    Nothing,
}

/// The connection takes no more bytes: the host is gone, or the session has ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Closed;

#[derive(Default)]
struct State {
    /// Whole frames that wait for the writer.
    pending: Vec<u8>,
    /// What the reading thread could not write without waiting; goes out before `pending`.
    handed: Vec<u8>,
    /// Bytes of `handed` that are written already.
    handed_written: usize,
    /// An empty buffer to trade for `pending`.
    spare: Vec<u8>,
    writing: bool,
    closed: bool,
    /// Threads that wait on `changed`: nobody is woken when nobody waits.
    waiting: usize,
}

pub(crate) struct Outbox {
    connection: Arc<UnixStream>,
    bell: Arc<Bell>,
    state: Mutex<State>,
    changed: Condvar,
    handed_over: Condvar,
}

impl Outbox {
    /// Rings the bell when there is something for [`Outbox::flush_now`].
    pub(crate) fn new(connection: Arc<UnixStream>, bell: Arc<Bell>) -> Outbox {
        let (changed, handed_over) = (Condvar::new(), Condvar::new());
        Outbox { connection, bell, state: Mutex::default(), changed, handed_over }
    }

    /// Sends whole frames, or leaves them to the thread that is writing; waits while too much is pending.
    /// Empties `frames`. For threads other than the one that reads.
    pub(crate) fn push(&self, frames: &mut Vec<u8>) -> Result<(), Closed> {
        let mut state = self.room_for(frames.len(), PENDING_BYTES_MAX)?;
        if state.writing {
            append(&mut state.pending, frames);
            return Ok(());
        }
        state.writing = true;
        drop(state);
        let written = (&*self.connection).write_all(frames).is_ok();
        recycle(frames);
        self.drain(written)
    }

    /// As [`Outbox::push`], for the thread that reads: what the socket does not take at once is left to
    /// the main thread. It waits only when so much is pending that its reserve is used up too.
    pub(crate) fn push_from_reader(&self, frames: &mut Vec<u8>) -> Result<(), Closed> {
        if frames.is_empty() {
            return Ok(());
        }
        let state = self.room_for(frames.len(), PENDING_BYTES_MAX + READER_RESERVE_BYTES)?;
        self.send_from_reader(state, frames)
    }

    /// The same without any wait: takes nothing when too much is pending.
    pub(crate) fn try_push_from_reader(&self, frames: &mut Vec<u8>) -> Result<Pushed, Closed> {
        let state = self.lock();
        if state.closed {
            return Err(Closed);
        }
        if !state.has_room(frames.len(), PENDING_BYTES_MAX) {
            return Ok(Pushed::Nothing);
        }
        self.send_from_reader(state, frames).map(|()| Pushed::All)
    }

    fn send_from_reader<'s>(
        &'s self,
        mut state: MutexGuard<'s, State>,
        frames: &mut Vec<u8>,
    ) -> Result<(), Closed> {
        if state.writing {
            append(&mut state.pending, frames);
            return Ok(());
        }
        state.writing = true;
        for _ in 0..READER_WRITES_MAX {
            drop(state);
            let Ok(sent) = self.send_now(frames) else { return self.fail() };
            frames.drain(..sent);
            state = self.lock();
            if !frames.is_empty() {
                break;
            }
            if state.pending.is_empty() {
                state.writing = false;
                self.wake(&state);
                recycle(frames);
                return Ok(());
            }
            swap(&mut state.pending, frames);
            self.wake(&state);
        }
        self.hand_over(state, take(frames));
        Ok(())
    }

    /// Leaves frames to the main thread. Without any bound: for few and short ones, and for the end.
    pub(crate) fn leave(&self, frames: &mut Vec<u8>) {
        let mut state = self.lock();
        if state.closed || frames.is_empty() {
            frames.clear();
        } else if state.writing {
            append(&mut state.pending, frames);
        } else {
            state.writing = true;
            self.hand_over(state, take(frames));
        }
    }

    fn hand_over(&self, mut state: MutexGuard<'_, State>, frames: Vec<u8>) {
        (state.handed, state.handed_written) = (frames, 0);
        drop(state);
        self.handed_over.notify_one();
        self.bell.ring();
    }

    /// Writes of what was handed over as much as the socket takes. Says whether something is left. For
    /// the main thread, which has to look after the others between two writes.
    pub(crate) fn flush_now(&self) -> bool {
        loop {
            let mut state = self.lock();
            let (handed, written) = (take(&mut state.handed), state.handed_written);
            drop(state);
            let rest = handed.get(written..).unwrap_or_default();
            if rest.is_empty() {
                return false;
            }
            let Ok(sent) = self.send_now(rest) else {
                self.close();
                return false;
            };
            let is_sent = sent == rest.len();
            let mut state = self.lock();
            if state.closed {
                return false;
            }
            if !is_sent {
                (state.handed, state.handed_written) = (handed, written + sent);
                drop(state);
                // The main thread may have been replaced meanwhile: see `flush_handed_over`.
                self.handed_over.notify_one();
                return true;
            }
            if state.pending.is_empty() {
                state.writing = false;
                self.wake(&state);
                return false;
            }
            (state.handed, state.handed_written) = (take(&mut state.pending), 0);
            self.wake(&state);
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
            let (handed, written) = (take(&mut state.handed), state.handed_written);
            drop(state);
            let rest = handed.get(written..).unwrap_or_default();
            let written = (&*self.connection).write_all(rest).is_ok();
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
        (state.pending, state.handed) = (Vec::new(), Vec::new());
        drop(state);
        self.changed.notify_all();
        self.handed_over.notify_all();
        // Wakes whoever is blocked in read(2) or write(2). It fails only on a connection that is down.
        let _ = self.connection.shutdown(Shutdown::Both);
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn wake(&self, state: &State) {
        if state.waiting > 0 {
            self.changed.notify_all();
        }
    }

    fn room_for(&self, bytes: usize, bytes_max: usize) -> Result<MutexGuard<'_, State>, Closed> {
        let mut state = self.lock();
        loop {
            if state.closed {
                return Err(Closed);
            }
            // Bytes are pending only while somebody writes, so this wait ends with that write.
            if state.has_room(bytes, bytes_max) {
                return Ok(state);
            }
            state.waiting += 1;
            state = self.changed.wait(state).unwrap_or_else(PoisonError::into_inner);
            state.waiting -= 1;
        }
    }

    /// The writer's loop: writes what came while it wrote, until nothing is left.
    fn drain(&self, mut written: bool) -> Result<(), Closed> {
        let mut buffer = Vec::new();
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
                if buffer.capacity() > 0 {
                    recycle(&mut buffer);
                    state.spare = buffer;
                }
                self.wake(&state);
                return Ok(());
            }
            if buffer.capacity() == 0 {
                buffer = take(&mut state.spare);
            }
            buffer.clear();
            swap(&mut state.pending, &mut buffer);
            self.wake(&state);
            drop(state);
            written = (&*self.connection).write_all(&buffer).is_ok();
        }
    }

    fn fail(&self) -> Result<(), Closed> {
        self.close();
        Err(Closed)
    }

    /// Writes as much as the socket takes without waiting.
    fn send_now(&self, frames: &[u8]) -> Result<usize, Errno> {
        let mut sent = 0;
        while let Some(rest) = frames.get(sent..).filter(|rest| !rest.is_empty()) {
            let flags = MsgFlags::MSG_DONTWAIT | MsgFlags::MSG_NOSIGNAL;
            match send(self.connection.as_raw_fd(), rest, flags) {
                Ok(bytes) => sent += bytes,
                Err(Errno::EAGAIN) => break,
                Err(Errno::EINTR) => {}
                Err(errno) => return Err(errno),
            }
        }
        Ok(sent)
    }
}

impl State {
    fn has_room(&self, bytes: usize, bytes_max: usize) -> bool {
        self.pending.is_empty() || self.pending.len() + bytes <= bytes_max
    }
}

fn append(pending: &mut Vec<u8>, frames: &mut Vec<u8>) {
    pending.extend_from_slice(frames);
    recycle(frames);
}

/// Empties a buffer, and gives most of it back where it has become large and little of it is used.
pub(crate) fn recycle(buffer: &mut Vec<u8>) {
    let is_oversized = is_oversized(buffer.capacity(), buffer.len(), KEPT_BYTES_MAX);
    buffer.clear();
    if is_oversized {
        buffer.shrink_to(KEPT_BYTES_MAX);
    }
}

#[cfg(test)]
#[path = "outbox_tests.rs"]
mod tests;
