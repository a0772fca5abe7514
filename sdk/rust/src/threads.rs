//! The threads of a plugin: each is made here, with a name, and a stack of a size that is stated.
//!
//! What this file is for: a plugin may have little address space, and the system's default for a stack is 8 MiB, or what a
//! variable says. What it deliberately does not do: keep track of threads; who makes one does.

use std::thread::Builder;

/// Stack of a thread that runs the SDK's own code only. Bytes of address space; memory is taken as it is used.
const STACK_BYTES: usize = 512 * 1024;
/// Stack of a thread that runs handlers: what std gives unless told otherwise. Bytes.
const HANDLER_STACK_BYTES: usize = 2 * 1024 * 1024;

/// Makes a thread of that name that runs the SDK's own code only.
pub(crate) fn builder(name: &str) -> Builder {
    Builder::new().name(name.to_owned()).stack_size(STACK_BYTES)
}

/// Makes a thread of that name that runs handlers.
pub(crate) fn handler_builder(name: String) -> Builder {
    Builder::new().name(name).stack_size(HANDLER_STACK_BYTES)
}
