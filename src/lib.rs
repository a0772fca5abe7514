//! Supervisor for plugins that are processes of their own.

#[cfg(feature = "daemon")]
pub mod cli;
#[cfg(feature = "daemon")]
pub mod ctl;
#[cfg(feature = "daemon")]
pub mod daemon;
pub mod eventlog;
pub mod host;
mod reactor;
pub mod state;
pub mod sys;
