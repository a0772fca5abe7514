//! The contract between a host and its plugins, and between the daemon and its control clients.
//!
//! What this crate is for: turning bytes into frames, frames into messages, and messages into the
//! types of the handshake, the plugin's life and the admin interface; and back again. The host, the
//! SDK, the control client and the fuzz targets all use this one implementation.
//!
//! What it deliberately does not do: any I/O, any clock, any thread, any decision about what a
//! message means for a plugin. It never panics on bytes that a peer sent.
//!
//! What always holds: a [`frame::FrameDecoder`] never buffers more than its limit plus one read,
//! looks at each byte once for the line end, and yields the same frames for any split of the bytes.
//! This crate is no API for programs: host and SDK release it together with themselves. What they hand on of it is
//! `#[non_exhaustive]`; messages, frames and their errors are not, because host and SDK match them completely, so that the
//! compiler finds each place that a new one concerns.
#![forbid(unsafe_code)]

pub mod admin;
pub mod admin_install;
pub mod admin_packages;
pub mod answered_error;
mod bad_frame;
pub mod brief;
pub mod call_error;
pub mod cancel;
pub mod carried_error;
pub mod chain;
pub mod cut;
pub mod describe;
mod envelope;
pub mod error;
pub mod event;
pub mod fds;
pub mod frame;
pub mod handshake;
mod health_status;
pub mod ident;
pub mod informational;
pub mod json;
pub mod life;
pub mod limits;
pub mod memory;
pub mod message;
mod message_error;
mod objects;
pub mod phrase;
mod plugin_state;
mod request_id;
pub mod retry_limits;
mod scalar;
mod services;
pub mod stream;
pub mod suggest;
pub mod words;
mod write;

pub use bad_frame::{BadFrame, Meant};
pub use call_error::CallError;
pub use cancel::CancelCause;
pub use chain::Chain;
pub use error::{ErrorCode, ErrorObject, Outcome};
pub use frame::{FrameDecoder, FrameError};
pub use ident::{Generation, IdentError, PluginId, Token};
pub use message::{Message, MessageError, Notification, Request, RequestId, Response};
