//! Decisions, pure: events and the time in, actions out. No clock, no fd, no thread, no file.
#![forbid(unsafe_code)]

pub mod policy;
