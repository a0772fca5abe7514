//! Noticing that somebody removes or moves what is in a folder, the folder itself, or a folder above it; or one file beside.
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

/// A watch on one folder at a time, and maybe on a file that is elsewhere.
#[derive(Debug)]
pub struct FolderWatch {
    inotify: Inotify,
    /// What it watches; at most as many as are on the way to two paths ([`super::folder::open_trusted`]).
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
        watch.aim(folder, None)?;
        Ok(watch)
    }

    /// Watches that folder, and those above it, from now on, and that file with those above; they may be others of the same
    /// names. A file that is not there is not watched. May block.
    ///
    /// # Errors
    /// Those of inotify_add_watch(2) for the folder itself.
    pub fn aim(&self, folder: &Path, file: Option<&Path>) -> io::Result<()> {
        let gone = AddWatchFlags::IN_DELETE | AddWatchFlags::IN_MOVED_FROM;
        let itself = AddWatchFlags::IN_DELETE_SELF | AddWatchFlags::IN_MOVE_SELF | AddWatchFlags::IN_UNMOUNT;
        let mut added = vec![self.inotify.add_watch(folder, gone | itself | AddWatchFlags::IN_ONLYDIR)?];
        // IN_ATTRIB: a file whose last name is removed lives on as long as it is open. Added: one folder may be above both.
        let of_file = itself | AddWatchFlags::IN_ATTRIB;
        let above = |path: &Path| {
            let above = path.ancestors().skip(1).filter(|above| above.parent().is_some());
            above.map(|above| (above.to_owned(), itself | AddWatchFlags::IN_ONLYDIR)).collect::<Vec<_>>()
        };
        let beside = file.map(|file| (file.to_owned(), of_file));
        let all = above(folder).into_iter().chain(beside).chain(file.map(above).unwrap_or_default());
        added.extend(all.filter_map(|(path, mask)| {
            self.inotify
                .add_watch(
                    &path,
                    mask | AddWatchFlags::from_bits_retain(libc::IN_MASK_ADD) | AddWatchFlags::IN_DONT_FOLLOW,
                )
                .ok()
        }));
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
        watch.aim(&again, None).unwrap();
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
        watch.aim(&subfolder(&between.join("watched")), None).unwrap();
        watch.take();
        std::fs::rename(root.path().join("moved"), root.path().join("moved again")).unwrap();
        assert!(!watch.take());
        std::fs::rename(&between, above.join("other")).unwrap();
        assert!(watch.take());
    }

    #[test]
    fn a_file_beside_is_noticed_though_it_is_open_and_what_is_beside_it_is_not() {
        let root = folder();
        let (watched, beside) =
            (subfolder(&root.path().join("watched")), subfolder(&root.path().join("beside")));
        let path = file(&beside, "sock", "1", 0o600);
        let watch = FolderWatch::new(&watched).unwrap();
        watch.aim(&watched, Some(&path)).unwrap();
        let open = std::fs::File::open(&path).unwrap();
        std::fs::remove_file(file(&beside, "other", "1", 0o600)).unwrap();
        std::fs::write(&path, "2").unwrap();
        assert!(!watch.take(), "it is there");
        std::fs::remove_file(&path).unwrap();
        assert!(watch.take() && !watch.take());
        drop(open);
        // Another of its name, which is replaced, and then its folder moved.
        file(&beside, "sock", "1", 0o600);
        watch.aim(&watched, Some(&path)).unwrap();
        watch.take();
        std::fs::rename(file(root.path(), "new", "1", 0o600), &path).unwrap();
        assert!(watch.take());
        watch.aim(&watched, Some(&path)).unwrap();
        watch.take();
        std::fs::rename(&beside, root.path().join("moved")).unwrap();
        assert!(watch.take());
    }

    #[test]
    fn a_file_in_a_folder_above_takes_nothing_from_the_watch() {
        let root = folder();
        let watched = subfolder(&root.path().join("watched"));
        let path = file(root.path(), "sock", "1", 0o600);
        let watch = FolderWatch::new(&watched).unwrap();
        watch.aim(&watched, Some(&path)).unwrap();
        std::fs::remove_file(file(&watched, "lock", "1", 0o600)).unwrap();
        assert!(watch.take() && !watch.take());
        std::fs::remove_file(&path).unwrap();
        assert!(watch.take());
    }
}
