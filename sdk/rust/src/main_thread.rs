//! What the main thread does: it begins a session, and attends to it until its end.
//!
//! It writes what the others leave to it, watches over the thread that reads, and ends the session. What
//! it deliberately does not do: read, or run handlers; the workers do that.
//!
//! What always holds: the main thread never waits longer than a tick while it is needed as monitor, and
//! has no wake-ups while nothing happens; after the end nothing of the session still holds a lock or the
//! connection open, though a handler that ignores its cancellation keeps its thread.

use crate::attachments::Frames;
use crate::call::catch;
use crate::connection::Input;
use crate::connection::Outbox;
use crate::error::{End, Error};
use crate::log::Event;
use crate::pool::Pool;
use crate::requester::Requester;
use crate::service::{Service, write_failure};
use crate::session::Session;
use crate::task::Tick;
use crate::wake_pipe::WakePipe;
use crate::worker::{Places, Worker};
use rpc_plugin_interface::HandlerError;
use rpc_plugin_wire::event::{Component, Level};
use std::io;
use std::os::unix::net::UnixStream;
use std::sync::Arc;
use std::time::{Duration, Instant};

/// How long cancelled handlers have to answer when the session ends.
const END_GRACE: Duration = Duration::from_millis(500);

/// What to do when the host asks for the end.
pub(crate) type OnShutdown = Box<dyn FnOnce() + Send>;

/// A session as the main thread has it.
pub(crate) struct MainThread {
    session: Arc<Session>,
    wake_pipe: Arc<WakePipe>,
}

impl MainThread {
    /// Starts the threads: one more than `threads`, which is how many handlers run at once, so that one is
    /// left to read.
    pub(crate) fn start(
        connection: UnixStream,
        service: Service,
        threads: usize,
        queue_max: usize,
        reentrant: bool,
    ) -> Result<MainThread, Error> {
        let wake_pipe = WakePipe::new().map_err(|source| Error::Os { step: "make an eventfd", source })?;
        let (wake_pipe, connection) = (Arc::new(wake_pipe), Arc::new(connection));
        let pool = Pool::new(threads, queue_max, reentrant, Arc::clone(&wake_pipe));
        let outbox = Arc::new(Outbox::new(Arc::clone(&connection), Arc::clone(&wake_pipe)));
        let session = Arc::new_cyclic(|session| {
            let places = Box::new(Places::new(session.clone()));
            let requester = Requester::new(Arc::clone(&service.terms), Arc::clone(&outbox), places);
            Session { connection, service, pool, outbox, requester: Arc::new(requester) }
        });
        let started = (0..=threads)
            .try_for_each(|number| Worker::start(&session, number))
            .and_then(|()| start_streams(&session));
        started.map_err(|source| {
            session.close();
            Error::Os { step: "start a thread", source }
        })?;
        Ok(MainThread { session, wake_pipe })
    }

    /// The way to the host, for whoever the author gave a handle on it.
    pub(crate) fn requester(&self) -> &Arc<Requester> {
        &self.session.requester
    }

    /// Serves until the end. `input` holds what came after the answer to the hello.
    pub(crate) fn serve(self, input: Box<Input>, on_shutdown: OnShutdown) -> Result<End, Error> {
        let Session { service, pool, outbox, .. } = &*self.session;
        pool.open(input);
        // Not before: the first answers are worth more than a record of how it began.
        service.log.start(Some(outbox));
        let end = self.attend();
        if matches!(end, Ok(End::Shutdown)) {
            // The host has its answer by now; a fault in here can only be told to whoever reads stderr,
            // which the panic's own message does.
            let _ = catch("on_shutdown", on_shutdown);
        }
        let mut answers = Frames::default();
        for call in pool.close() {
            let error = HandlerError::cancelled().into_object();
            write_failure(&mut answers, call.id(), service.terms.frame_bytes_max, error);
        }
        let deadline = Instant::now() + END_GRACE;
        outbox.leave(&mut answers);
        // A worker may be the writer: it has to be done before everything can be written.
        pool.wait_all_done(deadline);
        service.log.say(ended(&end));
        outbox.flush(deadline);
        service.log.finish();
        self.session.close();
        end
    }

    /// Writes and watches until nothing more is read.
    fn attend(&self) -> Result<End, Error> {
        let Session { connection, service, pool, outbox, .. } = &*self.session;
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
            self.wake_pipe.wait(is_left.then_some(&**connection), time);
        }
    }
}

/// Starts the thread that carries streams in band, where there are some.
fn start_streams(session: &Arc<Session>) -> io::Result<()> {
    let Some(streams) = session.service.terms.fd_transport.streams().map(Arc::clone) else { return Ok(()) };
    let outbox = Arc::clone(&session.outbox);
    let run = move || streams.run(|frames| outbox.push(frames).is_ok());
    crate::threads::builder("plugin-streams").spawn(run).map(|_| ())
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
