//! Confinement: what a plugin's process may ask of the kernel.
//!
//! What this room is for: deciding which system calls a plugin may make, as a program that the kernel runs before each of
//! them (seccomp(2)). Pure: the program is made and looked at here, and put in force between clone and exec by
//! [`crate::sys`]. What it deliberately does not do: make a system call, or know a plugin.

mod base;
mod bpf;
mod syscalls;

pub(crate) use base::base_filter;
pub(crate) use bpf::SyscallFilter;
