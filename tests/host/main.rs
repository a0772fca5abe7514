//! The host library: launching plugins, the proof of who they are, their health, failures and ends.
#![allow(missing_docs, unreachable_pub, dead_code)]
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::indexing_slicing)]
#![allow(clippy::print_stdout, clippy::print_stderr, clippy::type_complexity)]

mod awaited;
#[cfg(feature = "confine")]
mod confined;
mod describe;
mod digest;
mod drive;
mod end;
mod failures;
#[path = "../fixtures/mod.rs"]
mod fixtures;
mod floods;
mod health;
mod languages;
mod launch;
mod library;
mod output;
#[cfg(feature = "package")]
mod packages;
mod presence;
mod proof;
mod smoke;
mod transports;
mod watched;

/// What this program is when a test starts it once more, by name.
const BODIES: &[(&str, fn())] = &[
    ("connect_as_somebody_else", proof::connect_as_somebody_else),
    ("says_why_it_is_refused", proof::says_why_it_is_refused),
    ("says_a_broken_hello", proof::says_a_broken_hello),
    ("floods", floods::flood_body),
    ("describes", describe::describes),
];
