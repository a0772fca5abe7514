//! What a host and its plugins have in common beyond the wire: the call that is served, values that are file
//! descriptors, and typed interfaces.
//!
//! What this crate is for: [`interface!`], one declaration of an interface for both sides; [`Context`], a call as
//! whoever serves it sees it; [`Caller`], whatever a call can be made through; [`Stream`] and [`Blob`], which travel as
//! file descriptors, and [`Callback`], a function of the caller; [`scm`], the passing of descriptors. Host library and
//! SDK both build on it, and re-export it.
//!
//! A crate of one's own with nothing but declarations and their types needs this one and `serde` alone. The repository's
//! `examples/` show five of them with plugin and host: `greeter`, `kv`, `bidirectional`, `negotiated`, `streaming`.
//!
//! What it deliberately does not do: own a connection, or start a thread.
//!
//! What always holds: a descriptor has one owner at any time, and dropping that closes it.
#![deny(unsafe_code)]

pub mod app_error;
mod arguments;
pub mod arrived;
pub mod callback;
pub mod caller;
pub mod client;
pub mod context;
pub mod deadlock;
pub mod describe;
mod during;
pub mod error;
pub mod fd;
mod interface;
pub mod local;
pub mod parcel;
pub mod relay;
mod schema;
pub mod scm;
pub mod stream_account;
pub mod stream_descriptor;
pub mod table;
mod trace;

pub use app_error::{AppError, CallFailure, Failure};
pub use arguments::{PassedAs, Value};
pub use arrived::Arrived;
pub use callback::Callback;
pub use caller::{Caller, Outgoing, Reply};
pub use client::CallOptions;
pub use context::Context;
pub use during::StreamDuring;
pub use error::HandlerError;
pub use fd::{Blob, BlobReader, Stream};
pub use local::Local;
pub use parcel::Parcel;
pub use rpc_plugin_wire::call_error::CallError;
pub use rpc_plugin_wire::cancel::CancelCause;
pub use rpc_plugin_wire::describe::{Description, MethodDescription};
pub use rpc_plugin_wire::error::{ErrorCode, ErrorObject};
pub use rpc_plugin_wire::retry_limits::RetryLimits;
pub use table::{InterfaceError, InterfaceTable, Interfaces};

/// What the code that [`interface!`] writes is made of. Not for others.
#[doc(hidden)]
pub mod written {
    pub use crate::arguments::Value;
    pub use crate::client::{check_method, check_name, make};

    /// Says at its place that a type cannot be an argument or a result.
    pub const fn value<T: Value>() {}

    /// Says at its place that a type cannot be an application error.
    pub const fn app_error<E: crate::AppError>() {}
}
