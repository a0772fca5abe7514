//! The threads of this library and its programs: each is made here, with a stack of a size that is stated.
//!
//! What this file is for: address space is what a bounded host runs out of first, and the system's default for a stack is
//! 8 MiB, or what a variable says. What it deliberately does not do: keep track of threads; who makes one does.

use std::thread::Builder;

/// Stack of a thread that runs this project's code only. Bytes of address space; memory is taken as it is used.
const STACK_BYTES: usize = 512 * 1024;
/// Stack of a thread that also runs code of the embedding program: what std gives unless told otherwise. Bytes.
const PROGRAM_STACK_BYTES: usize = 2 * 1024 * 1024;

/// Makes a thread of that name that runs this project's code only.
pub(crate) fn builder(name: &str) -> Builder {
    Builder::new().name(name.to_owned()).stack_size(STACK_BYTES)
}

/// Makes a thread of that name that runs code of the embedding program.
pub(crate) fn program_builder(name: &str) -> Builder {
    Builder::new().name(name.to_owned()).stack_size(PROGRAM_STACK_BYTES)
}
