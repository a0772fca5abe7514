//! Limits of this process that its plugins do not inherit.
//!
//! What this file is for: a daemon needs descriptors for all its plugins, so it raises its soft limit to the hard one; a
//! program that loops over all possible descriptors, or uses select(2), wants the soft limit that it would have had. What it
//! deliberately does not do: raise a hard limit, or anything by itself; a library leaves its program's limits alone.
#![forbid(unsafe_code)]

use nix::sys::resource::{Resource, getrlimit, setrlimit};
use std::io;
use std::sync::OnceLock;

/// The soft limit that this process was given, once it has raised it, and its hard one.
static GIVEN: OnceLock<(u64, u64)> = OnceLock::new();

/// Raises the soft limit of descriptors to the hard one, for a program's `main`. Plugins get the soft one back.
///
/// # Errors
/// Those of setrlimit(2).
pub fn raise_descriptor_limit() -> io::Result<()> {
    let (soft, hard) = getrlimit(Resource::RLIMIT_NOFILE)?;
    if soft < hard {
        setrlimit(Resource::RLIMIT_NOFILE, hard, hard)?;
        // A second time there is nothing to raise.
        let _ = GIVEN.set((soft, hard));
    }
    Ok(())
}

/// What a plugin gets, soft and hard, where that is not what this process has.
pub(super) fn given_descriptor_limit() -> Option<(u64, u64)> {
    GIVEN.get().copied()
}
