//! What an event loop is made of.

use super::{ControlService, Services};
use crate::eventlog::EventLog;
use crate::sys::attendants::Attendants;
use crate::sys::runtime_dir::RuntimeDir;
use rpc_plugin_wire::admin::SinkStatus;
use std::os::unix::net::UnixListener;
use std::sync::{Arc, OnceLock};

/// The control interface of a host.
pub(crate) struct Control {
    pub(crate) listener: UnixListener,
    pub(crate) service: Box<dyn ControlService>,
    /// Whether clients have to wait for [`LoopCommand::OpenControl`](super::LoopCommand::OpenControl).
    pub(crate) held: bool,
    pub(crate) clients_max: usize,
    pub(crate) frame_bytes_max: usize,
}

/// What a host is made of.
pub(crate) struct Setup {
    pub(crate) runtime_dir: Arc<RuntimeDir>,
    pub(crate) log: EventLog,
    pub(crate) control: Option<Control>,
    /// What plugins may ask of the embedding program.
    pub(crate) services: Box<dyn Services>,
    /// Adopt and end what plugins leave behind.
    pub(crate) subreaper: bool,
    /// Children that are no plugins, and whose own threads look after them.
    pub(crate) attendants: Attendants,
    /// How each sink of the record does.
    pub(crate) sinks: SinkQuestions,
    pub(crate) ended: EndReason,
}

/// Asks each sink how it does; set once they run.
pub(crate) type SinkQuestions = Arc<OnceLock<Vec<SinkQuestion>>>;
pub(crate) type SinkQuestion = Box<dyn Fn() -> SinkStatus + Send + Sync>;

/// How a host ended; set when it has.
pub(crate) type EndReason = Arc<OnceLock<HostEnd>>;

/// The end of a host.
#[derive(Debug)]
pub(crate) struct HostEnd {
    pub(crate) reason: String,
    /// Its event loop could not go on. Otherwise somebody asked for it.
    pub(crate) is_fault: bool,
}
