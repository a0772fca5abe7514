//! What a host and its plugins have in common beyond the wire: the call that is served, values that are file
//! descriptors, and typed interfaces.
//!
//! What this crate is for: [`Context`], a call as whoever serves it sees it; [`Caller`], whatever a call can be made
//! through; [`Stream`] and [`Blob`], which travel as file descriptors; [`scm`], the passing of them. Host library and
//! SDK both build on it, so that an interface is declared once for both.
//!
//! What it deliberately does not do: own a connection, or start a thread.
//!
//! What always holds: a descriptor has one owner at any time, and dropping that closes it.

pub mod caller;
pub mod context;
pub mod error;
pub mod fd;
pub mod scm;
pub mod transfer;

pub use caller::{Caller, Outgoing, Reply};
pub use context::Context;
pub use error::HandlerError;
pub use fd::{Blob, Stream};
pub use rpc_plugin_wire::call_error::CallError;
pub use transfer::{Arrived, Parcel};
