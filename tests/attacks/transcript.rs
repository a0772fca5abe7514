//! The plugin's side of a whole life, from the hello to the answer of the shutdown: cut at every byte, split at
//! every byte, changed at every byte, against the host's pure machines; and cut at a sample of bytes against a live
//! host. A clear error each, the same outcome for any split, every call ended once, no panic, no hang.
//!
//! What it deliberately does not do: the host's side of a life against the SDK; `tests/sdk/session.rs` does.
#![allow(missing_docs, unreachable_pub, clippy::unwrap_used, clippy::expect_used, clippy::panic)]
#![allow(clippy::indexing_slicing, clippy::print_stderr)]

mod live;
mod pure;
