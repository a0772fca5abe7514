//! Notices that something changes in the folders in which packages are looked for.
//!
//! What this file is for: one inotify(7) instance with a watch on each of these folders and on all below. What it
//! deliberately does not do: look what has changed, or wait.
//!
//! What always holds: what cannot be told apart, because events or watches were lost, is told as a change of everything; at
//! most [`WATCHES_MAX`] folders are watched.

use nix::errno::Errno;
use nix::sys::inotify::{AddWatchFlags, InitFlags, Inotify, InotifyEvent, WatchDescriptor};
use std::collections::{BTreeMap, BTreeSet};
use std::io;
use std::os::fd::{AsFd, BorrowedFd};
use std::path::{Path, PathBuf};

/// Most folders that are watched. The system's own bound (`fs.inotify.max_user_watches`) is for all programs of a user.
pub const WATCHES_MAX: usize = 8192;
/// Deepest folder below a package's that is watched.
const DEPTH_MAX: usize = 32;

/// What has changed.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub enum WatchedChange {
    /// Anything may have.
    All,
    /// Something in this folder, which is or was in one of those in which packages are looked for.
    Folder(PathBuf),
}

/// What is watched by one watch.
#[derive(Debug, Clone, PartialEq, Eq)]
struct WatchPoint {
    path: PathBuf,
    /// The package's folder that it is, or is in. `None`: a folder in which packages are looked for.
    package: Option<PathBuf>,
}

/// The watches on folders of packages.
#[derive(Debug)]
pub struct PackageWatch {
    inotify: Inotify,
    watched: BTreeMap<WatchDescriptor, WatchPoint>,
    /// Why not all is watched that should be.
    missing: Option<String>,
}

const FLAGS: AddWatchFlags = AddWatchFlags::IN_CREATE
    .union(AddWatchFlags::IN_DELETE)
    .union(AddWatchFlags::IN_MOVED_FROM)
    .union(AddWatchFlags::IN_MOVED_TO)
    .union(AddWatchFlags::IN_CLOSE_WRITE)
    .union(AddWatchFlags::IN_MODIFY)
    .union(AddWatchFlags::IN_ATTRIB)
    .union(AddWatchFlags::IN_DELETE_SELF)
    .union(AddWatchFlags::IN_MOVE_SELF)
    .union(AddWatchFlags::IN_ONLYDIR)
    .union(AddWatchFlags::IN_DONT_FOLLOW);

impl PackageWatch {
    /// Watches nothing yet.
    ///
    /// # Errors
    /// Those of inotify_init1(2): `EMFILE` where this user has too many instances.
    pub fn new() -> io::Result<PackageWatch> {
        let inotify = Inotify::init(InitFlags::IN_CLOEXEC | InitFlags::IN_NONBLOCK)?;
        Ok(PackageWatch { inotify, watched: BTreeMap::new(), missing: None })
    }

    /// Watches these folders in which packages are looked for, and all below, from now on, and nothing else. To be called
    /// before they are looked at: what changes from then on is told.
    pub fn aim_at_all(&mut self, dirs: &[PathBuf]) {
        let before = std::mem::take(&mut self.watched);
        self.missing = None;
        for dir in dirs {
            self.add(dir, None);
            for path in folders_in(dir) {
                self.add_below(&path, &path, 0);
            }
        }
        for (descriptor, _) in before.iter().filter(|(descriptor, _)| !self.watched.contains_key(descriptor))
        {
            // One of a folder that is gone is not there any more.
            let _ = self.inotify.rm_watch(*descriptor);
        }
    }

    /// Watches a package's folder and all below, as they are now. To be called before it is looked at.
    pub fn aim_at(&mut self, package: &Path) {
        self.add_below(package, package, 0);
    }

    /// Why not all is watched that should be: then somebody has to look from time to time.
    #[must_use]
    pub fn missing(&self) -> Option<&str> {
        self.missing.as_deref()
    }

    fn add_below(&mut self, path: &Path, package: &Path, depth: usize) {
        if depth <= DEPTH_MAX && self.add(path, Some(package)) {
            for folder in folders_in(path) {
                self.add_below(&folder, package, depth + 1);
            }
        }
    }

    /// Adds a watch; whether there is one.
    fn add(&mut self, path: &Path, package: Option<&Path>) -> bool {
        let added = if self.watched.len() >= WATCHES_MAX {
            Err(format!("more than {WATCHES_MAX} folders"))
        } else {
            match self.inotify.add_watch(path, FLAGS) {
                Ok(descriptor) => Ok(descriptor),
                // It is gone, or was never a folder: its own folder tells if it comes.
                Err(Errno::ENOENT | Errno::ENOTDIR) if package.is_some() => return false,
                Err(Errno::ENOSPC) => Err("fs.inotify.max_user_watches is reached".to_owned()),
                Err(errno) => Err(errno.desc().to_owned()),
            }
        };
        match added {
            Ok(descriptor) => {
                let package = package.map(Path::to_owned);
                self.watched.insert(descriptor, WatchPoint { path: path.to_owned(), package });
                true
            }
            Err(problem) => {
                self.missing.get_or_insert(format!("{} is not watched: {problem}", super::shown_path(path)));
                false
            }
        }
    }

    /// Takes what has changed since, each once.
    pub fn take(&mut self) -> BTreeSet<WatchedChange> {
        let mut changes = BTreeSet::new();
        loop {
            match self.inotify.read_events() {
                Ok(events) if events.is_empty() => return changes,
                Ok(events) => events.iter().for_each(|event| {
                    changes.insert(self.change_of(event));
                }),
                Err(Errno::EINTR) => {}
                Err(Errno::EAGAIN) => return changes,
                Err(_) => {
                    changes.insert(WatchedChange::All);
                    return changes;
                }
            }
        }
    }

    fn change_of(&mut self, event: &InotifyEvent) -> WatchedChange {
        if event.mask.contains(AddWatchFlags::IN_Q_OVERFLOW) {
            return WatchedChange::All;
        }
        let Some(watched) = self.watched.get(&event.wd) else {
            // The last event of a watch that was removed says nothing new.
            return WatchedChange::All;
        };
        let is_itself = event.mask.intersects(
            AddWatchFlags::IN_DELETE_SELF
                | AddWatchFlags::IN_MOVE_SELF
                | AddWatchFlags::IN_UNMOUNT
                | AddWatchFlags::IN_IGNORED,
        );
        let change = match (&watched.package, &event.name) {
            (Some(package), _) => WatchedChange::Folder(package.clone()),
            (None, Some(name)) if !is_itself => WatchedChange::Folder(watched.path.join(name)),
            (None, _) => WatchedChange::All,
        };
        if event.mask.contains(AddWatchFlags::IN_IGNORED) {
            self.watched.remove(&event.wd);
        }
        change
    }
}

impl AsFd for PackageWatch {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.inotify.as_fd()
    }
}

/// The folders in a folder, links aside.
fn folders_in(path: &Path) -> Vec<PathBuf> {
    let entries = std::fs::read_dir(path).into_iter().flatten().flatten();
    entries
        .filter(|entry| entry.file_type().is_ok_and(|kind| kind.is_dir()))
        .map(|entry| entry.path())
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::fs;

    fn watching(dir: &Path) -> PackageWatch {
        let mut watch = PackageWatch::new().unwrap();
        watch.aim_at_all(&[dir.to_owned()]);
        assert_eq!(watch.missing(), None);
        assert!(watch.take().is_empty());
        watch
    }

    fn changed(path: &Path) -> BTreeSet<WatchedChange> {
        BTreeSet::from([WatchedChange::Folder(path.to_owned())])
    }

    #[test]
    fn what_changes_anywhere_below_is_told_by_its_package() {
        let root = tempfile::tempdir().unwrap();
        let (kv, deep) = (root.path().join("kv"), root.path().join("kv/bin/deep"));
        fs::create_dir_all(&deep).unwrap();
        let mut watch = watching(root.path());
        fs::write(deep.join("file"), "1").unwrap();
        assert_eq!(watch.take(), changed(&kv));
        fs::set_permissions(deep.join("file"), std::os::unix::fs::PermissionsExt::from_mode(0o600)).unwrap();
        assert_eq!(watch.take(), changed(&kv));
        // A folder that comes is told, and what is in it once it is watched.
        let new = root.path().join("new");
        fs::create_dir(&new).unwrap();
        assert_eq!(watch.take(), changed(&new));
        watch.aim_at(&new);
        fs::write(new.join("plugin.json"), "{}").unwrap();
        assert_eq!(watch.take(), changed(&new));
        let moved = root.path().join("moved");
        fs::rename(&new, &moved).unwrap();
        assert_eq!(watch.take(), &changed(&new) | &changed(&moved));
        fs::remove_dir_all(&kv).unwrap();
        assert!(watch.take().contains(&WatchedChange::Folder(kv)));
    }

    #[test]
    fn a_folder_that_goes_itself_is_a_change_of_all() {
        let root = tempfile::tempdir().unwrap();
        let dir = root.path().join("plugins");
        fs::create_dir(&dir).unwrap();
        let mut watch = watching(&dir);
        fs::rename(&dir, root.path().join("elsewhere")).unwrap();
        assert_eq!(watch.take(), BTreeSet::from([WatchedChange::All]));
        watch.aim_at_all(&[dir]);
        assert!(watch.missing().is_some_and(|why| why.contains("is not watched: ")), "{:?}", watch.missing());
    }
}
