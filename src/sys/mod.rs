//! What this host asks of Linux: checked executables, launches, children, private files, credentials.
//!
//! What this folder is for: one place for every system call that std has no safe form of, and for the
//! order in which such calls are safe. What it deliberately does not do: decide anything about a
//! plugin's life, wait in an event loop, log, or know more of the project than its plain types
//! (`PluginId`, `Generation`, `Token`, limits).
//!
//! What always holds: every file descriptor is close-on-exec; a process is signalled only through a
//! pidfd, or through the group of a child that is not reaped yet; every wait has a bound. The only
//! files with unsafe code are `raw.rs`, `child.rs`, `fd_kind.rs`, `large_pieces.rs`, `access_list.rs`,
//! `file_capabilities.rs`, `local_time.rs`, `peer_groups.rs` and `terminal.rs`; `docs/unsafe-inventory.md` lists each block.

mod access_list;
pub mod attached;
mod checksum_file;
mod child;
pub mod clock;
pub mod command_name;
pub(crate) mod confine;
pub mod credentials;
pub mod elf;
pub mod executable;
pub mod executable_digest;
mod executable_error;
mod exit_status;
pub mod fd_kind;
mod file_capabilities;
pub mod file_error;
pub mod folder;
mod folder_lock;
pub mod folder_watch;
pub mod generation;
pub mod group_socket;
pub mod host_identity;
pub mod interrupts;
pub mod job_threads;
pub mod known_children;
pub mod large_pieces;
pub mod launch;
pub mod launch_files;
pub mod launcher;
pub mod leftovers;
pub mod limits;
mod listen_error;
pub mod listener;
pub mod local_time;
pub mod orphans;
pub mod peer_groups;
pub mod pidfd_slot;
pub mod private_file;
pub mod private_folder;
mod private_group;
mod proc_file;
pub mod process;
pub mod process_group;
pub mod process_use;
mod raw;
pub mod runtime_dir;
pub mod spawn;
mod spawn_error;
pub mod state_dir;
pub mod sweep;
pub mod sweeper;
pub(crate) mod temporary;
pub mod terminal;
#[cfg(test)]
pub(crate) mod testing;
pub mod thread_state;
pub mod token;
pub mod trusted_file;
pub mod unread;
mod user_namespace;
pub mod writable;
