//! A thread whose end is awaited for a bounded time: a disk that hangs must not hang the program.

use crossbeam_channel::{Receiver, RecvTimeoutError, Sender, bounded};
use std::io;
use std::thread::JoinHandle;
use std::time::Duration;

/// A thread of the record. Dropping it waits for nothing.
#[derive(Debug)]
pub(super) struct RecordThread {
    /// Disconnected when the thread is at its end; nothing is ever sent.
    ended: Receiver<()>,
    thread: Option<JoinHandle<()>>,
}

impl RecordThread {
    /// Starts a thread of that name.
    ///
    /// # Errors
    /// It cannot be started.
    pub(super) fn start(name: &str, body: impl FnOnce() + Send + 'static) -> io::Result<RecordThread> {
        let (alive, ended) = bounded(0);
        let thread = crate::threads::builder(name).spawn(move || {
            let _alive: Sender<()> = alive;
            body();
        })?;
        Ok(RecordThread { ended, thread: Some(thread) })
    }

    /// Waits for its end, at most so long; a thread that hangs is left behind.
    pub(super) fn wait_end(&mut self, timeout: Duration) {
        if self.ended.recv_timeout(timeout) == Err(RecvTimeoutError::Disconnected)
            && let Some(thread) = self.thread.take()
        {
            // A panic in it is a bug that the panic handler has reported.
            let _ = thread.join();
        }
    }
}
