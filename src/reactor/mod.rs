//! The event loop, by owner: it carries out what `state/` decides, and tells it what happened.
//!
//! What this folder is for: every socket, pipe, process and timer of a host. Each file owns its descriptors and its data;
//! `event_loop` only turns. What it deliberately does not do: decide; block; touch a file system (workers do).

mod admin_connection;
mod admin_connections;
#[cfg_attr(
    not(test),
    allow(dead_code, reason = "served by the daemon's package manager, where both features are there")
)]
mod admin_delegate;
mod admin_fds;
mod admin_frame;
mod admin_service;
mod captured_output;
mod closers;
mod confinement;
mod connections;
mod contract;
mod drain;
mod event_loop;
mod exits;
mod held_until_recorded;
mod hub;
mod in_band_streams;
mod instance;
mod instances;
mod launches;
mod left_behind;
mod loop_commands;
mod pending_replies;
mod plugin_commands;
mod plugin_requests;
mod poller;
mod preparations;
mod recorder;
mod relay_threads;
mod runtime_folder;
mod setup;
mod slab;
mod watchdog;

pub(crate) use admin_connection::{AdminAnswer, AdminResult};
pub(crate) use admin_connections::{AdminGroupSocket, AdminSocket};
pub(crate) use admin_delegate::{ClaimedRestarts, DelegatedRequest};
pub(crate) use admin_service::{AdminCx, AdminReply, AdminService, SinkQuestion, SinkQuestions};
pub use drain::CallCounts;
pub(crate) use drain::DrainCommand;
pub(crate) use event_loop::Reactor;
pub(crate) use loop_commands::{AdminCommand, LoopCommand, NewCall, PluginCommand};
pub(crate) use pending_replies::{Asker, WaitEnd};
pub(crate) use plugin_requests::{ServiceRequest, Services};
pub use recorder::LifecycleEvent;
pub(crate) use recorder::{CallAsked, EventFilter, is_said};
pub(crate) use runtime_folder::ADMIN_BACKLOG;
pub(crate) use setup::{EndReason, Setup};
pub(crate) use watchdog::OnHang;
