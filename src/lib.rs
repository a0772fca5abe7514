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
//! [`host`] is what an embedding program uses, [`interface`](mod@interface) what a typed interface is made of. All else is
//! private, and may change from one version to the next; the repository's `docs/architecture.md` explains it.
//!
//! | feature | what it adds |
//! |---|---|
//! | `daemon` (default) | the two programs, with `compress` |
//! | `package` (default) | packages: manifests, and the store that they are imported into (`host::packages`); with `daemon` the commands |
//! | `compress` | files of the record are packed ([`LogOptions::compress`](host::LogOptions)) |
//! | `anyhow` | errors of services are made of `anyhow::Error`s with their codes, and become one by `?` |
//! | `internals` | for this repository's own tests, without any promise: private modules are public |
//!
//! What it deliberately does not do: install signal handlers, print, or keep global state (the programs
//! do, the library does not); run plugins inside this process; need an async runtime. Linux only, from
//! 5.4 on.
//!
//! What always holds: every call ends once, with a result or one error that says whether the plugin can
//! have seen it; every wait has a deadline; dropping the last handle of a host ends its plugins.

// Private to the world. The tests and fuzz targets of this repository see them by feature `internals`; without it much that
// is `pub` for them is used by nobody.
#[cfg(all(feature = "daemon", feature = "internals"))]
pub mod cli;
#[cfg(all(feature = "daemon", not(feature = "internals")))]
#[allow(dead_code, unreachable_pub, unused_imports)]
mod cli;
#[cfg(all(feature = "daemon", feature = "internals"))]
pub mod ctl;
#[cfg(all(feature = "daemon", not(feature = "internals")))]
#[allow(dead_code, unreachable_pub, unused_imports)]
mod ctl;
#[cfg(all(feature = "daemon", feature = "internals"))]
pub mod daemon;
#[cfg(all(feature = "daemon", not(feature = "internals")))]
#[allow(dead_code, unreachable_pub, unused_imports)]
mod daemon;
#[cfg(all(feature = "daemon", feature = "internals"))]
pub mod dev;
#[cfg(all(feature = "daemon", not(feature = "internals")))]
#[allow(dead_code, unreachable_pub, unused_imports)]
mod dev;
#[cfg(feature = "internals")]
pub mod eventlog;
#[cfg(not(feature = "internals"))]
#[allow(dead_code, unreachable_pub, unused_imports)]
mod eventlog;
#[cfg(all(feature = "package", feature = "internals"))]
pub mod package;
#[cfg(all(feature = "package", not(feature = "internals")))]
#[allow(dead_code, unreachable_pub, unused_imports)]
mod package;
#[cfg(feature = "internals")]
pub mod state;
#[cfg(not(feature = "internals"))]
#[allow(dead_code, unreachable_pub, unused_imports)]
mod state;
#[cfg(feature = "internals")]
pub mod sys;
#[cfg(not(feature = "internals"))]
#[allow(dead_code, unreachable_pub, unused_imports)]
mod sys;

#[cfg(feature = "confine")]
mod confine;
mod engine;
pub mod host;
#[cfg(feature = "daemon")]
#[doc(hidden)]
pub mod programs;
mod reactor;
#[cfg(any(feature = "daemon", feature = "package"))]
#[allow(unreachable_pub)]
#[cfg_attr(
    not(all(feature = "daemon", feature = "package")),
    allow(dead_code, unused_imports, reason = "the daemon's configuration and manifests are read with it")
)]
mod settings;
mod threads;

/// Typed interfaces, and what travels in them: the crate `rpc-plugin-interface`, which host and plugin share.
pub use rpc_plugin_interface as interface;
pub use rpc_plugin_interface::interface;

/// The guide for embedding programs: its Rust blocks are compiled by `cargo test`.
#[cfg(doctest)]
#[doc = include_str!("../docs/embedding.md")]
struct EmbeddingDoc;
