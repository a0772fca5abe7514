//! What this process may take: limits that its plugins do not inherit, and bounds of its allocator.
//!
//! What this file is for: a daemon needs descriptors for all its plugins, so it raises its soft limit to the hard one; a
//! program that loops over all possible descriptors, or uses select(2), wants the soft limit that it would have had. What it
//! deliberately does not do: raise a hard limit, or anything by itself; a library leaves its program's limits alone.
#![forbid(unsafe_code)]

#[cfg(target_env = "gnu")]
use super::raw::set_allocator;
use nix::sys::resource::{Resource, getrlimit, setrlimit};
use std::io;
use std::sync::OnceLock;

/// Parameters of mallopt(3), as its header numbers them.
#[cfg(target_env = "gnu")]
const M_ARENA_MAX: i32 = -8;
#[cfg(target_env = "gnu")]
const M_MMAP_THRESHOLD: i32 = -3;
#[cfg(target_env = "gnu")]
const M_TRIM_THRESHOLD: i32 = -1;
/// Large pieces are mapped by themselves. Setting it keeps it: by itself it grows to 32 MiB.
#[cfg(target_env = "gnu")]
const LARGE_PIECE_BYTES: i32 = super::large_pieces::LARGE_BYTES as i32;
/// Bytes at the end of the heap that stay though nothing uses them.
#[cfg(target_env = "gnu")]
const UNUSED_BYTES_MAX: i32 = 2 * 1024 * 1024;

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

/// Has the allocator share one arena among all threads, and give large pieces back to the system when they are freed: a
/// further arena takes 64 MiB of address space, and what is freed within one stays there. For a program's `main`, before it
/// makes threads. With another C library than glibc, and where glibc refuses, everything stays as it is.
pub fn bound_allocator() {
    #[cfg(target_env = "gnu")]
    for (parameter, value) in
        [(M_ARENA_MAX, 1), (M_MMAP_THRESHOLD, LARGE_PIECE_BYTES), (M_TRIM_THRESHOLD, UNUSED_BYTES_MAX)]
    {
        set_allocator(parameter, value);
    }
}

/// What a plugin gets, soft and hard, where that is not what this process has.
pub(super) fn given_descriptor_limit() -> Option<(u64, u64)> {
    GIVEN.get().copied()
}
