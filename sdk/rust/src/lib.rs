//! Write a plugin for rpc_plugin_system in a few lines.
//!
//! What this crate is for: a plugin author declares an interface and implements its trait, or names methods and gives
//! a handler for each. The rest is done here: configuration from the environment, the proof towards the host,
//! heartbeats, cancellation, a bounded pool of threads for the handlers, and the end when the host asks for it or is
//! gone.
//!
//! ```no_run
//! use rpc_plugin_sdk::{Context, HandlerError, Plugin, interface};
//!
//! interface! {
//!     /// Greets people.
//!     pub trait Greeter = "greeter" version 1, client GreeterClient {
//!         /// Returns a greeting for that name.
//!         fn greet(name: String) -> String;
//!     }
//! }
//!
//! struct Polite;
//!
//! impl Greeter for Polite {
//!     fn greet(&self, _: &Context, name: String) -> Result<String, HandlerError> {
//!         Ok(format!("Good day, {name}."))
//!     }
//! }
//!
//! fn main() -> std::process::ExitCode {
//!     Plugin::new("1.0.0").serve_interface(Polite.into_table()).run()
//! }
//! ```
//!
//! Whole programs to copy from, each a plugin with its host, are in the repository's `examples/`: `greeter`, `kv` (a
//! store on disk), `bidirectional` (the plugin calls back), `negotiated` (two versions), `streaming` (streams,
//! progress, cancelling). `docs/examples.md` shows what they print, `docs/plugin-authors.md` explains them.
//!
//! Handlers run on a small pool ([`Plugin::threads`]) behind a bounded queue ([`Plugin::queue_max`]), so
//! that a slow one does not stop the heartbeat. A handler that takes long asks its [`Call`] whether it is
//! cancelled, or sleeps with [`wait`](Context::wait):
//!
//! ```no_run
//! # use rpc_plugin_sdk::{Call, HandlerError, Plugin};
//! # use std::time::Duration;
//! # let plugin =
//! Plugin::new("1.0.0").method("count", |call: &Call, (): ()| -> Result<u32, HandlerError> {
//!     for _ in 0..100 {
//!         call.wait(Duration::from_millis(50))?; // ends with `cancelled` as soon as the caller gives up
//!     }
//!     Ok(100)
//! })
//! # ;
//! ```
//!
//! How a plugin's process ends is in [`exit`]. A handler that panics answers `internal_error` and the
//! plugin lives on; that needs the default `panic = "unwind"`.
//!
//! A plugin keeps a record of its own, `plugin-events.jsonl` in its folder: how it began and ended, handlers that
//! failed, and what its author says with [`Call::log`] and [`Plugin::log`].
//!
//! A handler may call too: services of the host, and other plugins through it ([`Call::host`], [`Host::during`]).
//! While it waits, the plugin serves others. [`Stream`] and [`Blob`] travel as file descriptors in params and results.
//!
//! What this crate deliberately does not do: install signal handlers, or print anything outside
//! [`Plugin::run`] (but that the record cannot be written).
//!
//! What always holds: every request is answered exactly once while the host is there; queue, unanswered
//! requests and outgoing bytes are bounded; nothing that the host sends makes it panic.
#![deny(unsafe_code)]

mod attachments;
mod call;
mod config;
mod connection;
mod current_call;
mod describe;
mod error;
mod hello;
mod host;
mod inbox;
mod inherited;
mod interface;
mod log;
mod main_thread;
mod monitor;
mod pending_call;
mod pipes;
mod plugin;
mod pool;
mod reply_slot;
mod requester;
mod requests_out;
mod run;
mod service;
mod session;
mod standstills;
mod stderr;
mod stdio;
mod streams;
mod suspension;
mod task;
mod terms;
pub mod testing;
mod threads;
mod wake_pipe;
mod worker;

pub use call::Call;
pub use config::{Channel, Config, HELLO_TIMEOUT_DEFAULT};
pub use error::{ConfigError, End, Error, exit};
pub use host::{Host, Remote};
pub use log::{Log, LogTarget};
pub use pending_call::PendingCall;
pub use plugin::{Plugin, QUEUE_MAX_DEFAULT, THREADS_DEFAULT};
#[doc(inline)]
pub use rpc_plugin_interface::{
    AppError, Blob, CallError, CallFailure, CallOptions, Callback, Caller, CancelCause, Context, Description,
    ErrorObject, Failure, HandlerError, InterfaceTable, Local, MethodDescription, Stream, StreamDuring,
    interface,
};
#[doc(inline)]
pub use rpc_plugin_wire::error::{ErrorCode, Outcome};
#[doc(inline)]
pub use rpc_plugin_wire::event::Level;
#[doc(inline)]
pub use rpc_plugin_wire::life::HealthStatus;
#[doc(inline)]
pub use rpc_plugin_wire::message::RequestId;

/// The guide for authors: its Rust blocks are compiled by `cargo test`.
#[cfg(doctest)]
#[doc = include_str!("../../../docs/plugin-authors.md")]
struct PluginAuthorsDoc;
