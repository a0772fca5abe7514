//! The pidfd of a child whose launch is on its way.
//!
//! What this file is for: whoever launches stands still until the child's exec, which can hang in a file system. The kernel
//! writes the child's pidfd before that, so another thread can end the child, and the launch with it.
//!
//! What always holds: a signal goes to the child of this launch or to nobody; the descriptor is taken out of the slot,
//! and can be closed and used again, only while nobody signals through it.
#![forbid(unsafe_code)]

use super::raw;
use nix::sys::signal::Signal;
use std::os::fd::RawFd;
use std::sync::atomic::{AtomicBool, AtomicI32, Ordering};
use std::sync::{Mutex, PoisonError};

/// What stands in a slot without a descriptor.
const NONE: RawFd = -1;

/// Where the kernel writes the pidfd of one launch.
#[derive(Debug)]
pub struct PidfdSlot {
    pidfd: AtomicI32,
    killed: AtomicBool,
    /// The lock of the descriptor: whoever signals through it has it, and whoever takes it away.
    signalling: Mutex<()>,
}

impl Default for PidfdSlot {
    fn default() -> PidfdSlot {
        PidfdSlot { pidfd: AtomicI32::new(NONE), killed: AtomicBool::new(false), signalling: Mutex::new(()) }
    }
}

impl PidfdSlot {
    /// Where clone(2) is to write.
    pub(super) fn as_ptr(&self) -> *mut RawFd {
        self.pidfd.as_ptr()
    }

    /// Takes the descriptor, which is the caller's then; `None`: there is no child.
    pub(super) fn take(&self) -> Option<RawFd> {
        // Nothing panics while it holds the lock.
        let _signalling = self.signalling.lock().unwrap_or_else(PoisonError::into_inner);
        Some(self.pidfd.swap(NONE, Ordering::SeqCst)).filter(|pidfd| *pidfd != NONE)
    }

    /// Sends SIGKILL to the child, if its launch is on its way; whether it is. Never waits.
    pub fn kill(&self) -> bool {
        let _signalling = self.signalling.lock().unwrap_or_else(PoisonError::into_inner);
        let pidfd = self.pidfd.load(Ordering::SeqCst);
        if pidfd == NONE {
            return false;
        }
        self.killed.store(true, Ordering::SeqCst);
        // It may have ended by itself.
        let _ = raw::signal_by_number(pidfd, Signal::SIGKILL);
        true
    }

    /// Whether the child was killed on its way.
    #[must_use]
    pub fn was_killed(&self) -> bool {
        self.killed.load(Ordering::SeqCst)
    }
}
