//! Noticing that somebody removes or moves what is in a folder, the folder itself, or a folder above it.
//!
//! What this file is for: one inotify(7) instance, which the event loop polls; an idle host has no wake-ups for it. What it
//! deliberately does not do: tell what is left; whoever is told looks ([`super::runtime_dir`]).
//!
//! What always holds: reading it never waits. A folder above that this user may not read cannot be watched, and is passed
//! over; nor is it noticed that something is mounted over one.
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
    /// Its folders; at most as many as are on the way to a path ([`super::folder::open_trusted`]).
    aimed_at: Mutex<Vec<WatchDescriptor>>,
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

    /// Watches that folder, and those above it, from now on; they may be others of the same names. May block.
    ///
    /// # Errors
    /// Those of inotify_add_watch(2) for the folder itself.
    pub fn aim(&self, folder: &Path) -> io::Result<()> {
        let gone = AddWatchFlags::IN_DELETE | AddWatchFlags::IN_MOVED_FROM;
        let itself = AddWatchFlags::IN_DELETE_SELF | AddWatchFlags::IN_MOVE_SELF | AddWatchFlags::IN_UNMOUNT;
        let mut added = vec![self.inotify.add_watch(folder, gone | itself | AddWatchFlags::IN_ONLYDIR)?];
        let above = folder.ancestors().skip(1).filter(|above| above.parent().is_some());
        added.extend(
            above.filter_map(|above| self.inotify.add_watch(above, itself | AddWatchFlags::IN_ONLYDIR).ok()),
        );
        let mut aimed_at = self.aimed_at.lock().unwrap_or_else(PoisonError::into_inner);
        for before in aimed_at.iter().filter(|before| !added.contains(before)) {
            // A folder that is gone is not watched any more in any case.
            let _ = self.inotify.rm_watch(*before);
        }
        *aimed_at = added;
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

    #[test]
    fn a_folder_above_that_is_moved_is_noticed_and_what_happens_in_it_is_not() {
        let root = folder();
        let (above, beside) = (subfolder(&root.path().join("above")), subfolder(&root.path().join("beside")));
        let watched = subfolder(&subfolder(&above.join("between")).join("watched"));
        let watch = FolderWatch::new(&watched).unwrap();
        std::fs::rename(file(&above, "x", "1", 0o600), above.join("y")).unwrap();
        std::fs::remove_file(above.join("y")).unwrap();
        std::fs::rename(beside, root.path().join("elsewhere")).unwrap();
        assert!(!watch.take(), "it is no folder above");
        std::fs::rename(&above, root.path().join("moved")).unwrap();
        assert!(watch.take() && !watch.take());
        // Those that were left are not watched any more, but those of the same names.
        let between = subfolder(&subfolder(&above).join("between"));
        watch.aim(&subfolder(&between.join("watched"))).unwrap();
        watch.take();
        std::fs::rename(root.path().join("moved"), root.path().join("moved again")).unwrap();
        assert!(!watch.take());
        std::fs::rename(&between, above.join("other")).unwrap();
        assert!(watch.take());
    }
}
