//! From the bytes of the host to calls in the queue, on the thread that has the reading role.
//!
//! What it deliberately does not do: run handlers. It answers the protocol's own methods itself, so a
//! heartbeat is answered however busy the handlers are.
//!
//! What always holds: a request's id is in use once; between two calls nothing is left in here, so that
//! another thread can go on reading.

use crate::answer::write_failure;
use crate::call::Call;
use crate::error::{End, Error};
use crate::handler::HandlerError;
use crate::log::Event;
use crate::outbox::Closed;
use crate::pool::COLLECTED_BYTES_MAX;
use crate::task::Job;
use crate::worker::Shared;
use rpc_plugin_wire::event::{Component, Level};
use rpc_plugin_wire::life::{Cancel, METHOD_CANCEL, METHOD_CAPABILITIES, METHOD_HEARTBEAT, METHOD_SHUTDOWN};
use rpc_plugin_wire::message::params_into;
use rpc_plugin_wire::{ErrorCode, FrameDecoder, Message, Notification, Request};
use std::io::{self, Read};
use std::sync::Arc;
use std::time::{Duration, Instant};

/// Bytes asked of the socket at a time.
const READ_BYTES: usize = 64 * 1024;
/// Requests that are queued together. Fewer would mean more locking.
const BATCH_MAX: usize = 32;

pub(crate) struct Inbox {
    shared: Arc<Shared>,
    /// Requests for the queue, and how many there may be before they are queued.
    batch: Vec<Job>,
    batch_max: usize,
    /// Whether the queue is full, and a thread free to take from it.
    full: bool,
    /// Answers of this thread to what it has taken in.
    pub(crate) answers: Vec<u8>,
    /// When the bytes came, where somebody asked, and how many frames they were.
    pub(crate) received: Option<Instant>,
    pub(crate) frames: usize,
}

/// What became of the frames.
pub(crate) enum Taken {
    All,
    /// Some are left, because the queue is full and can be worked off.
    Full,
    End(End),
}

impl Inbox {
    pub(crate) fn new(shared: Arc<Shared>) -> Inbox {
        let (batch, answers) = (Vec::with_capacity(BATCH_MAX), Vec::new());
        Inbox { shared, batch, batch_max: 1, full: false, answers, received: None, frames: 0 }
    }

    /// Says how many calls the queue takes.
    pub(crate) fn expect_room(&mut self, queue_room: usize) {
        self.batch_max = queue_room.clamp(1, BATCH_MAX);
        self.full = false;
    }

    /// Waits for bytes; gives the end where there are no more.
    pub(crate) fn read(&self, decoder: &mut FrameDecoder) -> Result<Option<End>, Error> {
        loop {
            match (&*self.shared.connection).read(decoder.space(READ_BYTES)) {
                Ok(0) => {
                    decoder.finish().map_err(|error| Error::Violation(error.to_string()))?;
                    return Ok(Some(End::HostGone));
                }
                Ok(bytes) => {
                    decoder.filled(bytes);
                    return Ok(None);
                }
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) if is_gone(&error) => return Ok(Some(End::HostGone)),
                Err(source) => return Err(Error::Os { step: "read from the host", source }),
            }
        }
    }

    /// Deals with every whole frame that is there, as long as the queue takes what they ask for.
    pub(crate) fn take_in(&mut self, decoder: &mut FrameDecoder) -> Result<Taken, Error> {
        (self.received, self.frames) = (None, 0);
        while let Some(frame) = decoder.next_frame().map_err(|error| Error::Violation(error.to_string()))? {
            let message = Message::parse(frame).map_err(|error| Error::Violation(error.to_string()))?;
            self.frames += 1;
            if let Some(end) = self.handle(message)? {
                return Ok(Taken::End(end));
            }
            if self.batch.len() >= self.batch_max {
                self.submit()?;
            }
            if self.full {
                return Ok(Taken::Full);
            }
            if self.answers.len() >= COLLECTED_BYTES_MAX
                && self.shared.outbox.push_from_reader(&mut self.answers) == Err(Closed)
            {
                return Ok(Taken::End(End::HostGone));
            }
        }
        self.submit()?;
        Ok(Taken::All)
    }

    /// Queues the requests read so far.
    pub(crate) fn submit(&mut self) -> Result<(), Error> {
        let Inbox { shared, batch, answers, .. } = self;
        if batch.is_empty() {
            return Ok(());
        }
        let room = shared.pool.submit(batch, |call| {
            let error = HandlerError::new(ErrorCode::Overloaded, "the plugin's queue of calls is full");
            write_failure(answers, call.id(), shared.service.frame_bytes_max, error.into_object());
        });
        let room = room.map_err(|id| twice(&id))?;
        self.expect_room(room.jobs);
        self.full = room.jobs == 0 && room.worked_off;
        Ok(())
    }

    /// The end, where the message asks for it.
    fn handle(&mut self, message: Message<'_>) -> Result<Option<End>, Error> {
        match message {
            Message::Request(Request { fds: 1.., .. })
            | Message::Notification(Notification { fds: 1.., .. }) => {
                Err(Error::Violation("it announces file descriptors, which were not agreed on".to_owned()))
            }
            Message::Request(request) => self.handle_request(request),
            Message::Notification(notification) if notification.method == METHOD_CANCEL => {
                let cancel: Cancel = params_into(notification.params)
                    .map_err(|error| Error::Violation(format!("{METHOD_CANCEL} has {}", error.message)))?;
                self.submit()?;
                if let Some(call) = self.shared.pool.cancel(&cancel.id) {
                    let error = HandlerError::cancelled().into_object();
                    write_failure(&mut self.answers, call.id(), self.shared.service.frame_bytes_max, error);
                }
                Ok(None)
            }
            // One that a later version of the protocol knows.
            Message::Notification(_) => Ok(None),
            Message::Response(response) => {
                let id = response.id.map_or_else(|| "null".to_owned(), |id| id.to_string());
                Err(Error::Violation(format!("it answered a request that was never made, id {id}")))
            }
        }
    }

    fn handle_request(&mut self, request: Request<'_>) -> Result<Option<End>, Error> {
        let shared = Arc::clone(&self.shared);
        let service = &shared.service;
        if let Some(method) = service.methods.get(&*request.method) {
            let deadline = request.deadline_ms.and_then(|deadline_ms| {
                let received = *self.received.get_or_insert_with(Instant::now);
                received.checked_add(Duration::from_millis(deadline_ms))
            });
            let call = Call::new(request.id, Arc::clone(method), deadline);
            self.batch.push(Job { call, params: request.params.map(ToOwned::to_owned) });
            return Ok(None);
        }
        // What is answered here must not overtake the check of the ids before it.
        self.submit()?;
        let id = request.id;
        if shared.pool.is_unanswered(&id) {
            return Err(twice(&id));
        }
        match &*request.method {
            METHOD_HEARTBEAT => service.answer_heartbeat(&id, &mut self.answers),
            METHOD_CAPABILITIES => {
                service.answer_capabilities(&id, &mut self.answers);
                let said = format!("the host asked, and was told: {}", service.capabilities.join(", "));
                service.log.say(Event::new("capabilities_reported", Component::Runtime, Level::Info, said));
            }
            METHOD_SHUTDOWN => {
                let said = "the host asked for the end";
                service.log.say(Event::new("shutdown_requested", Component::Runtime, Level::Info, said));
                service.answer_shutdown(&id, &mut self.answers);
                return Ok(Some(End::Shutdown));
            }
            unknown => {
                let error = service.method_not_found(unknown).into_object();
                write_failure(&mut self.answers, &id, service.frame_bytes_max, error);
            }
        }
        Ok(None)
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
