//! Supervisor for plugins that are processes of their own: the host library, and what the two programs
//! `rpcplugind` and `rpcpluginctl` are made of.
//!
//! What this crate is for: launching executables, having each prove that it is the one that was launched,
//! calling it, watching it, replacing it when it fails, ending it, and keeping a record of all that. A
//! program embeds it through [`host`]; `rpcplugind` is such a program. Plugins are written with the crate
//! `rpc-plugin-sdk`, or in any language that can read a variable and connect to a Unix socket.
//!
//! ```no_run
//! use rpc_plugin_system::host::{Host, PluginConfig};
//! use std::time::Duration;
//!
//! # fn main() -> Result<(), Box<dyn std::error::Error>> {
//! let host = Host::builder("/run/user/1000/my-program").start()?;
//! let echo = host.add(PluginConfig::new("echo".parse()?, "/usr/local/lib/plugins/echo"))?;
//! echo.start()?;
//! echo.wait_routable(None, Duration::from_secs(10))?;
//! let answer: serde_json::Value = echo.call("echo", &serde_json::json!({"message": "hello"}))?;
//! # Ok(())
//! # }
//! ```
//!
//! A plugin that serves a typed interface ([`interface!`]) is called as if it were a local object. Whole programs, each a
//! plugin with its host, are in the repository's `examples/`: `greeter`, `kv`, `bidirectional`, `negotiated` and
//! `streaming`; `docs/examples.md` shows what they print, `docs/embedding.md` explains them. In short:
//!
//! ```no_run
//! use rpc_plugin_system::host::{Host, PluginConfig};
//! use std::time::Duration;
//!
//! rpc_plugin_system::interface! {
//!     /// Greets people.
//!     pub trait Greeter = "greeter" version 1, client GreeterClient {
//!         /// Returns a greeting for that name.
//!         fn greet(name: String) -> String;
//!     }
//! }
//!
//! # fn main() -> Result<(), Box<dyn std::error::Error>> {
//! let host = Host::temporary().start()?;
//! let config = PluginConfig::new("greeter".parse()?, "/usr/local/lib/plugins/greeter");
//! let plugin = host.launch(config, Duration::from_secs(10))?;
//! println!("{}", GreeterClient::new(&plugin).greet("Ann")?);
//! # Ok(())
//! # }
//! ```
//!
//! | module | what it is |
//! |---|---|
//! | [`host`] | what an embedding program uses: [`host::Host`], [`host::PluginHandle`] |
//! | [`interface`](mod@interface) | what a typed interface is made of, and what travels in it |
//! | [`state`] | every decision, pure: events and the time in, actions out |
//! | `reactor` | the event loop that carries the decisions out; not public |
//! | `engine` | which thread drives the loop, and how others reach it; not public |
//! | [`sys`] | what is asked of Linux; the only unsafe code |
//! | [`eventlog`] | the record: JSON lines |
//! | `threads` | how threads are made; not public |
//! | `daemon`, `ctl`, `dev`, `cli` | the two programs; only with feature `daemon` |
//!
//! What it deliberately does not do: install signal handlers, print, or keep global state (the programs
//! do, the library does not); run plugins inside this process; need an async runtime. Linux only, from
//! 5.4 on.
//!
//! What always holds: every call ends once, with a result or one error that says whether the plugin can
//! have seen it; every wait has a deadline; dropping the last handle of a host ends its plugins.

#[cfg(feature = "daemon")]
pub mod cli;
#[cfg(feature = "daemon")]
pub mod ctl;
#[cfg(feature = "daemon")]
pub mod daemon;
#[cfg(feature = "daemon")]
pub mod dev;
mod engine;
pub mod eventlog;

pub mod host;
mod reactor;
pub mod state;
pub mod sys;
mod threads;

/// Typed interfaces, and what travels in them: the crate `rpc-plugin-interface`, which host and plugin share.
pub use rpc_plugin_interface as interface;
pub use rpc_plugin_interface::interface;

/// The guide for embedding programs: its Rust blocks are compiled by `cargo test`.
#[cfg(doctest)]
#[doc = include_str!("../docs/embedding.md")]
struct EmbeddingDoc;
