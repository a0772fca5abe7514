//! What all threads of a session share.
//!
//! What it deliberately does not do: start threads, read, or keep time.

use crate::attachments::Frames;
use crate::connection::Outbox;
use crate::error::{End, Error};
use crate::pool::Pool;
use crate::requester::Requester;
use crate::service::Service;
use rpc_plugin_interface::caller::{Outgoing, Reply, callback};
use rpc_plugin_interface::context::{CallerLink, Context};
use rpc_plugin_interface::parcel::Parcel;
use rpc_plugin_wire::message::{fits_nesting, write_progress};
use rpc_plugin_wire::{CallError, Chain, ErrorCode, ErrorObject, Outcome};
use std::os::unix::net::UnixStream;
use std::sync::Arc;

/// One connection from the answer to the hello to its end.
pub(crate) struct Session {
    pub(crate) connection: Arc<UnixStream>,
    pub(crate) service: Service,
    pub(crate) pool: Pool,
    pub(crate) outbox: Arc<Outbox>,
    pub(crate) requester: Arc<Requester>,
}

impl Session {
    /// Ends what depends on reading: nothing more is read, and no request is answered any more.
    pub(crate) fn end(&self, end: Result<End, Error>) {
        if !matches!(end, Ok(End::Shutdown)) {
            self.close_streams();
        }
        let why = match &end {
            Ok(End::Shutdown) => "the host asked this plugin to end".to_owned(),
            Ok(End::HostGone) => "the host is gone".to_owned(),
            Err(error) => error.to_string(),
        };
        self.requester.requests.close(&why);
        self.outbox.nudge();
        self.pool.end(end);
    }

    /// Ends all of it.
    pub(crate) fn close(&self) {
        self.requester.requests.close("this plugin ends");
        self.pool.close();
        self.close_streams();
        self.outbox.close();
    }

    fn close_streams(&self) {
        if let Some(streams) = self.service.terms.fd_transport.streams() {
            streams.close();
        }
    }
}

/// The error of a call that could only wait for itself, because of the calls of `chain`.
pub(crate) fn would_deadlock(chain: &Chain) -> ErrorObject {
    let text = format!("every thread of this plugin waits for a call that led to this one: {chain}");
    let data = serde_json::json!({"outcome": Outcome::NotSent, "chain": chain});
    ErrorObject::new(ErrorCode::WouldDeadlock, text).with_data(&data)
}

impl CallerLink for Session {
    /// Sends it at once, or leaves it out where so much waits for the host that a handler would have to wait too.
    fn progress(&self, call: &Context, value: &str) {
        if !self.pool.is_unanswered_call(call) || !fits_nesting(value.as_bytes()) {
            return;
        }
        let mut frames = Frames::default();
        let frame_bytes_max = self.service.terms.frame_bytes_max;
        if frames.write_within(frame_bytes_max, |out| write_progress(out, call.id(), value)).is_ok() {
            // A connection that has ended is found by whoever reads.
            let _ = self.outbox.try_push(&mut frames);
        }
    }

    fn call_back(
        &self,
        call: &Context,
        id: u64,
        params: Option<String>,
        parcel: Parcel,
    ) -> Result<Reply, CallError> {
        self.make(call, callback(id, params.as_deref(), parcel))
    }

    fn make(&self, call: &Context, made: Outgoing) -> Result<Reply, CallError> {
        self.requester.begin(Some(call), made, None)?.wait()
    }
}
