//! One connection from the hello to its end: what the main thread does.
//!
//! It writes what the others leave to it, watches over the thread that reads, and ends the session. What
//! it deliberately does not do: read, or run handlers; the workers do that.
//!
//! What always holds: the main thread never waits longer than a tick while it is needed as monitor, and
//! has no wake-ups while nothing happens; after the end nothing of the session still holds a lock or the
//! connection open, though a handler that ignores its cancellation keeps its thread.

use crate::answer::write_failure;
use crate::bell::Bell;
use crate::calls::Calls;
use crate::error::{End, Error};
use crate::frames::Frames;
use crate::handler::HandlerError;
use crate::log::Event;
use crate::outbox::Outbox;
use crate::pool::Pool;
use crate::service::{Service, unpanicked};
use crate::source::Source;
use crate::task::Tick;
use crate::worker::Shared;
use rpc_plugin_wire::event::{Component, Level};
use std::os::unix::net::UnixStream;
use std::sync::Arc;
use std::time::{Duration, Instant};

/// How long cancelled handlers have to answer when the session ends.
const END_GRACE: Duration = Duration::from_millis(500);

/// What to do when the host asks for the end.
pub(crate) type OnShutdown = Box<dyn FnOnce() + Send>;

pub(crate) struct Session {
    shared: Arc<Shared>,
    bell: Arc<Bell>,
}

impl Session {
    /// Starts the threads: one more than `threads`, which is how many handlers run at once, so that one is
    /// left to read.
    pub(crate) fn start(
        connection: UnixStream,
        service: Service,
        threads: usize,
        queue_max: usize,
        reentrant: bool,
    ) -> Result<Session, Error> {
        let bell = Bell::new().map_err(|source| Error::Os { step: "make an eventfd", source })?;
        let (bell, connection) = (Arc::new(bell), Arc::new(connection));
        let pool = Pool::new(threads, queue_max, reentrant, Arc::clone(&bell));
        let outbox = Outbox::new(Arc::clone(&connection), Arc::clone(&bell));
        let shared = Arc::new_cyclic(|me| {
            let (calls, me) = (Calls::default(), me.clone());
            Shared { connection, service, pool, outbox, calls, me }
        });
        let session = Session { shared, bell };
        let started = (0..=threads)
            .try_for_each(|number| session.shared.start_worker(number))
            .and_then(|()| session.shared.start_streams());
        started.map_err(|source| {
            session.close();
            Error::Os { step: "start a thread", source }
        })?;
        Ok(session)
    }

    /// What all threads of it share.
    pub(crate) fn shared(&self) -> &Arc<Shared> {
        &self.shared
    }

    /// Serves until the end. `source` holds what came after the answer to the hello.
    pub(crate) fn serve(self, source: Source, on_shutdown: OnShutdown) -> Result<End, Error> {
        let Shared { service, pool, outbox, .. } = &*self.shared;
        pool.open(source);
        // Not before: the first answers are worth more than a record of how it began.
        service.log.start(Some(&self.shared));
        let end = self.attend();
        if matches!(end, Ok(End::Shutdown)) {
            // The host has its answer by now; a fault in here can only be told to whoever reads stderr,
            // which the panic's own message does.
            let _ = unpanicked("on_shutdown", on_shutdown);
        }
        let mut answers = Frames::default();
        for call in pool.close() {
            let error = HandlerError::cancelled().into_object();
            write_failure(&mut answers, call.id(), service.frame_bytes_max, error);
        }
        let deadline = Instant::now() + END_GRACE;
        outbox.leave(&mut answers);
        // A worker may be the writer: it has to be done before everything can be written.
        pool.wait_all_done(deadline);
        service.log.say(ended(&end));
        outbox.flush(deadline);
        service.log.finish();
        self.close();
        end
    }

    /// Writes and watches until nothing more is read.
    fn attend(&self) -> Result<End, Error> {
        let Shared { connection, service, pool, outbox, .. } = &*self.shared;
        loop {
            let is_left = outbox.flush_now();
            let time = match pool.tick(Instant::now()) {
                Tick::End(end) => return end,
                Tick::Rescued { mut answers, method } => {
                    service.blocked(method);
                    outbox.leave(&mut answers);
                    continue;
                }
                Tick::Watching(time) => Some(time),
                Tick::Asleep => None,
            };
            self.bell.wait(is_left.then_some(&**connection), time);
        }
    }

    fn close(&self) {
        self.shared.calls.close();
        self.shared.pool.close();
        self.shared.close_streams();
        self.shared.outbox.close();
    }
}

/// The last event of a session.
fn ended(end: &Result<End, Error>) -> Event {
    let event = |level, said| Event::new("stopped", Component::Runtime, level, said);
    match end {
        Ok(End::Shutdown) => event(Level::Info, "the session ended as the host asked"),
        Ok(End::HostGone) => event(Level::Warn, "the session ended because the host is gone"),
        Err(error) => event(Level::Error, "the session ended by a fault").error(error.to_string()),
    }
}
