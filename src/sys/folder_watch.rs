//! Noticing that somebody removes or moves what is in a folder, or the folder itself.
//!
//! What this file is for: one inotify(7) instance, which the event loop polls; an idle host has no wake-ups for it. What it
//! deliberately does not do: tell what is left; whoever is told looks ([`super::runtime_dir`]).
//!
//! What always holds: reading it never waits.
#![forbid(unsafe_code)]

use nix::errno::Errno;
use nix::sys::inotify::{AddWatchFlags, InitFlags, Inotify, WatchDescriptor};
use std::io;
use std::os::fd::{AsFd, BorrowedFd};
use std::path::Path;
use std::sync::{Mutex, PoisonError};

/// A watch on one folder at a time.
#[derive(Debug)]
pub struct FolderWatch {
    inotify: Inotify,
    aimed_at: Mutex<Option<WatchDescriptor>>,
}

impl FolderWatch {
    /// Watches a folder.
    ///
    /// # Errors
    /// Those of inotify_init1(2) and inotify_add_watch(2): `EMFILE` where this user has too many instances.
    pub fn new(folder: &Path) -> io::Result<FolderWatch> {
        let inotify = Inotify::init(InitFlags::IN_CLOEXEC | InitFlags::IN_NONBLOCK)?;
        let watch = FolderWatch { inotify, aimed_at: Mutex::default() };
        watch.aim(folder)?;
        Ok(watch)
    }

    /// Watches that folder from now on, which may be another one of the same name.
    ///
    /// # Errors
    /// Those of inotify_add_watch(2).
    pub fn aim(&self, folder: &Path) -> io::Result<()> {
        let gone = AddWatchFlags::IN_DELETE | AddWatchFlags::IN_MOVED_FROM;
        let itself = AddWatchFlags::IN_DELETE_SELF | AddWatchFlags::IN_MOVE_SELF | AddWatchFlags::IN_UNMOUNT;
        let added = self.inotify.add_watch(folder, gone | itself | AddWatchFlags::IN_ONLYDIR)?;
        let mut aimed_at = self.aimed_at.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(before) = aimed_at.replace(added).filter(|before| *before != added) {
            // A folder that is gone is not watched any more in any case.
            let _ = self.inotify.rm_watch(before);
        }
        Ok(())
    }

    /// Takes what happened; whether anything did.
    pub fn take(&self) -> bool {
        let mut any = false;
        loop {
            match self.inotify.read_events() {
                Ok(events) => any |= !events.is_empty(),
                Err(Errno::EINTR) => {}
                Err(_) => return any,
            }
        }
    }
}

impl AsFd for FolderWatch {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.inotify.as_fd()
    }
}

#[cfg(test)]
mod tests {
    use super::super::testing::{file, folder, subfolder};
    use super::*;

    #[test]
    fn what_is_removed_or_moved_is_noticed_and_what_is_written_is_not() {
        let root = folder();
        let watched = subfolder(&root.path().join("watched"));
        let watch = FolderWatch::new(&watched).unwrap();
        let path = file(&watched, "lock", "1", 0o600);
        std::fs::write(&path, "2").unwrap();
        subfolder(&watched.join("echo"));
        file(&watched.join("echo"), "generation", "1", 0o600);
        std::fs::remove_file(watched.join("echo/generation")).unwrap();
        assert!(!watch.take(), "nothing is missing");
        std::fs::remove_file(&path).unwrap();
        assert!(watch.take() && !watch.take());
        let path = file(&watched, "lock", "1", 0o600);
        std::fs::rename(&path, root.path().join("lock")).unwrap();
        assert!(watch.take());
        std::fs::rename(&watched, root.path().join("moved")).unwrap();
        assert!(watch.take());
        // Another folder of that name.
        let again = subfolder(&watched);
        watch.aim(&again).unwrap();
        watch.take();
        let path = file(&again, "lock", "1", 0o600);
        std::fs::remove_file(path).unwrap();
        assert!(watch.take());
    }
}
