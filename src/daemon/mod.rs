//! The daemon around the host library: configuration, signals, the tour.
//!
//! What this folder is for: `rpcplugind`, from its arguments to its exit code. What it deliberately does
//! not do: anything that an embedding program would miss; that belongs to `host`.

mod awaited;
pub mod config;
mod config_error;
mod config_log;
mod config_plugin;
#[cfg(test)]
mod config_refusal_tests;
mod config_runtime_dir;
mod config_settings;
mod config_show;
mod config_sinks;
#[cfg(test)]
mod config_sinks_tests;
#[cfg(test)]
mod config_tests;
mod config_text;
mod demo;
#[path = "../../examples/echo/plugin.rs"]
mod echo;
mod flags;
mod run;
pub mod settings;
#[cfg(test)]
mod settings_tests;
mod settings_value;
pub(crate) mod signals;

pub use flags::PROGRAM;
pub use run::main;
