//! One connection from the hello to its end, on the thread that reads.
//!
//! What it deliberately does not do: run handlers. It answers the protocol's own methods itself, so a
//! heartbeat is answered however busy the handlers are.
//!
//! What always holds: all frames of one read are dealt with before the next read, and their answers go
//! out together; a request's id is in use once; after the end nothing of the session still holds a lock
//! or the connection open, though a handler that ignores its cancellation keeps its thread.

use crate::answer::write_failure;
use crate::call::Call;
use crate::error::{End, Error};
use crate::handler::HandlerError;
use crate::outbox::{Closed, Outbox};
use crate::pool::{Job, Pool};
use crate::service::{Service, unpanicked};
use rpc_plugin_wire::life::{Cancel, METHOD_CANCEL, METHOD_CAPABILITIES, METHOD_HEARTBEAT, METHOD_SHUTDOWN};
use rpc_plugin_wire::message::params_into;
use rpc_plugin_wire::{ErrorCode, FrameDecoder, Message, Notification, Request};
use std::io::{self, Read};
use std::os::unix::net::UnixStream;
use std::sync::Arc;
use std::thread;
use std::time::{Duration, Instant};

/// Bytes asked of the socket at a time.
const READ_BYTES: usize = 64 * 1024;
/// Requests of one read that are handed to the pool together. Fewer would mean more locking, more would
/// keep the workers waiting while a long read is parsed.
const BATCH_MAX: usize = 32;
/// How long cancelled handlers have to answer when the session ends.
const END_GRACE: Duration = Duration::from_millis(500);

/// What to do when the host asks for the end.
pub(crate) type OnShutdown = Box<dyn FnOnce() + Send>;

pub(crate) struct Session {
    connection: Arc<UnixStream>,
    service: Arc<Service>,
    pool: Arc<Pool>,
    outbox: Arc<Outbox>,
    /// Requests of this read for the pool.
    batch: Vec<Job>,
    /// Answers of this read from this thread.
    answers: Vec<u8>,
}

/// What a frame means for the session.
enum Next {
    GoOn,
    Shutdown,
}

impl Session {
    /// Starts the threads: `threads` for the handlers, one to flush.
    pub(crate) fn start(
        connection: UnixStream,
        service: Service,
        threads: usize,
        queue_max: usize,
    ) -> Result<Session, Error> {
        let connection = Arc::new(connection);
        let session = Session {
            outbox: Arc::new(Outbox::new(Arc::clone(&connection))),
            pool: Arc::new(Pool::new(queue_max)),
            service: Arc::new(service),
            connection,
            batch: Vec::with_capacity(BATCH_MAX),
            answers: Vec::new(),
        };
        let started = session.start_threads(threads);
        started.map_err(|source| {
            session.close();
            Error::Os { step: "start a thread", source }
        })?;
        Ok(session)
    }

    fn start_threads(&self, threads: usize) -> io::Result<()> {
        let named = |name: String| thread::Builder::new().name(name);
        let outbox = Arc::clone(&self.outbox);
        named("plugin-flush".to_owned()).spawn(move || outbox.flush_handed_over())?;
        for number in 0..threads {
            let (service, pool, outbox) =
                (Arc::clone(&self.service), Arc::clone(&self.pool), Arc::clone(&self.outbox));
            named(format!("plugin-work-{number}")).spawn(move || service.work(&pool, &outbox))?;
        }
        Ok(())
    }

    /// Serves until the end. `decoder` holds what came after the answer to the hello.
    pub(crate) fn serve(mut self, mut decoder: FrameDecoder, on_shutdown: OnShutdown) -> Result<End, Error> {
        let end = self.read_frames(&mut decoder);
        if matches!(end, Ok(End::Shutdown)) {
            // The host has its answer by now; a fault in here can only be told to whoever reads stderr,
            // which the panic's own message does.
            let _ = unpanicked("on_shutdown", on_shutdown);
        }
        for call in self.pool.close() {
            self.refuse(&call, HandlerError::cancelled());
        }
        let deadline = Instant::now() + END_GRACE;
        // A worker may be the writer: it has to be done before everything can be written.
        let _ = self.outbox.push_from_reader(&mut self.answers);
        self.pool.wait_all_done(deadline);
        self.outbox.flush(deadline);
        self.close();
        end
    }

    fn close(&self) {
        self.pool.close();
        self.outbox.close();
    }

    fn read_frames(&mut self, decoder: &mut FrameDecoder) -> Result<End, Error> {
        loop {
            match self.handle_buffered(decoder) {
                Ok(Next::GoOn) => {}
                Ok(Next::Shutdown) => return Ok(End::Shutdown),
                Err(error) => {
                    // What the host asked before it broke the protocol is still answered.
                    let _ = self.submit();
                    return Err(error);
                }
            }
            if self.outbox.push_from_reader(&mut self.answers) == Err(Closed) {
                return Ok(End::HostGone);
            }
            match (&*self.connection).read(decoder.space(READ_BYTES)) {
                Ok(0) => {
                    decoder.finish().map_err(|error| Error::Violation(error.to_string()))?;
                    return Ok(End::HostGone);
                }
                Ok(bytes) => decoder.filled(bytes),
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) if is_gone(&error) => return Ok(End::HostGone),
                Err(source) => return Err(Error::Os { step: "read from the host", source }),
            }
        }
    }

    /// Deals with every whole frame that is there.
    fn handle_buffered(&mut self, decoder: &mut FrameDecoder) -> Result<Next, Error> {
        let received = Instant::now();
        while let Some(frame) = decoder.next_frame().map_err(|error| Error::Violation(error.to_string()))? {
            let message = Message::parse(frame).map_err(|error| Error::Violation(error.to_string()))?;
            if let Next::Shutdown = self.handle(message, received)? {
                return Ok(Next::Shutdown);
            }
        }
        self.submit()?;
        Ok(Next::GoOn)
    }

    fn handle(&mut self, message: Message<'_>, received: Instant) -> Result<Next, Error> {
        match message {
            Message::Request(Request { fds: 1.., .. })
            | Message::Notification(Notification { fds: 1.., .. }) => {
                Err(Error::Violation("it announces file descriptors, which were not agreed on".to_owned()))
            }
            Message::Request(request) => self.handle_request(request, received),
            Message::Notification(notification) if notification.method == METHOD_CANCEL => {
                let cancel: Cancel = params_into(notification.params)
                    .map_err(|error| Error::Violation(format!("{METHOD_CANCEL} has {}", error.message)))?;
                self.submit()?;
                if let Some(call) = self.pool.cancel(&cancel.id) {
                    self.refuse(&call, HandlerError::cancelled());
                }
                Ok(Next::GoOn)
            }
            // One that a later version of the protocol knows.
            Message::Notification(_) => Ok(Next::GoOn),
            Message::Response(response) => {
                let id = response.id.map_or_else(|| "null".to_owned(), |id| id.to_string());
                Err(Error::Violation(format!("it answered a request that was never made, id {id}")))
            }
        }
    }

    fn handle_request(&mut self, request: Request<'_>, received: Instant) -> Result<Next, Error> {
        if let Some(method) = self.service.methods.get(&*request.method) {
            let deadline = request
                .deadline_ms
                .and_then(|deadline_ms| received.checked_add(Duration::from_millis(deadline_ms)));
            let call = Call::new(request.id, Arc::clone(method), deadline);
            self.batch.push(Job { call, params: request.params.map(ToOwned::to_owned) });
            if self.batch.len() >= BATCH_MAX {
                self.submit()?;
            }
            return Ok(Next::GoOn);
        }
        // What is answered here must not overtake the check of the ids before it.
        self.submit()?;
        let id = request.id;
        if self.pool.is_unanswered(&id) {
            return Err(twice(&id));
        }
        match &*request.method {
            METHOD_HEARTBEAT => self.service.answer_heartbeat(&id, &mut self.answers),
            METHOD_CAPABILITIES => self.service.answer_capabilities(&id, &mut self.answers),
            METHOD_SHUTDOWN => {
                self.service.answer_shutdown(&id, &mut self.answers);
                // A host that is gone by now gets no answer; the plugin ends in any case.
                let _ = self.outbox.push_from_reader(&mut self.answers);
                return Ok(Next::Shutdown);
            }
            unknown => {
                let error = self.service.method_not_found(unknown).into_object();
                write_failure(&mut self.answers, &id, self.service.frame_bytes_max, error);
            }
        }
        Ok(Next::GoOn)
    }

    /// Hands the requests read so far to the pool.
    fn submit(&mut self) -> Result<(), Error> {
        let Session { pool, batch, answers, service, .. } = self;
        pool.submit(batch, |call| {
            let error = HandlerError::new(ErrorCode::Overloaded, "the plugin's queue of calls is full");
            write_failure(answers, call.id(), service.frame_bytes_max, error.into_object());
        })
        .map_err(|id| twice(&id))
    }

    fn refuse(&mut self, call: &Call, error: HandlerError) {
        write_failure(&mut self.answers, call.id(), self.service.frame_bytes_max, error.into_object());
    }
}

fn twice(id: &rpc_plugin_wire::RequestId) -> Error {
    Error::Violation(format!("it used the id {id} again before that request was answered"))
}

/// Whether a read failed because nobody is there any more.
fn is_gone(error: &io::Error) -> bool {
    matches!(
        error.kind(),
        io::ErrorKind::ConnectionReset | io::ErrorKind::BrokenPipe | io::ErrorKind::NotConnected
    )
}
