//! The folders of packages, watched: what is to be looked at, and when.
//!
//! What this file is for: a thread that waits for inotify(7), as the thread of packages waits for channels. What it
//! deliberately does not do: look at a folder.
//!
//! What always holds: a change is told once the folder is quiet, or has changed for too long; where something cannot be
//! watched, all is looked at from time to time.

use crate::package::debounce::{Debounce, Delays, Due};
use crate::package::watch::{PackageWatch, WatchedChange};
use crate::state::time::Time;
use crossbeam_channel::{Receiver, bounded};
use nix::errno::Errno;
use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use std::io::{self, PipeReader, PipeWriter};
use std::os::fd::{AsFd, OwnedFd};
use std::path::PathBuf;
use std::time::{Duration, Instant};

/// How often all is looked at where something is not watched.
const LOOK_INTERVAL: Duration = Duration::from_secs(30);

/// The watch on the folders of packages.
pub(super) struct Watching {
    dirs: Vec<PathBuf>,
    watch: PackageWatch,
    debounce: Debounce,
    began: Instant,
    /// When all was looked at last.
    looked_at: Instant,
    /// The end of a channel of the watching thread, which sends where there is something to take, and waits until it is received.
    ready: Receiver<()>,
    /// Dropped, it ends the thread.
    _end: PipeWriter,
}

impl Watching {
    /// Begins to watch these folders.
    ///
    /// # Errors
    /// The instance, the pipe or the thread cannot be made.
    pub(super) fn start(dirs: &[PathBuf], delays: Delays) -> io::Result<Watching> {
        let mut watch = PackageWatch::new()?;
        watch.aim_at_all(dirs);
        let polled = watch.as_fd().try_clone_to_owned()?;
        let (ended, end) = io::pipe()?;
        let (sender, ready) = bounded(0);
        let body = move || while wait(&polled, &ended) && sender.send(()).is_ok() {};
        crate::threads::builder("packages-watch").spawn(body)?;
        let (dirs, debounce, now) = (dirs.to_vec(), Debounce::new(delays), Instant::now());
        Ok(Watching { dirs, watch, debounce, began: now, looked_at: now, ready, _end: end })
    }

    /// The channel that says that there is something to [`take`](Watching::take).
    pub(super) fn ready(&self) -> &Receiver<()> {
        &self.ready
    }

    fn now(&self) -> Time {
        Time::ZERO.plus(self.began.elapsed())
    }

    /// Takes what has changed.
    pub(super) fn take(&mut self) {
        let now = self.now();
        for change in self.watch.take() {
            match change {
                WatchedChange::All => self.debounce.all_changed(now),
                WatchedChange::Folder(path) => {
                    // What was made meanwhile in a new folder below is found when it is looked at.
                    self.watch.aim_at(&path);
                    self.debounce.changed(now, &path);
                }
            }
        }
    }

    /// Notes that anything may have changed.
    pub(super) fn all_changed(&mut self) {
        self.debounce.all_changed(self.now());
    }

    /// Whether something has changed that is to be looked at now; takes what has.
    pub(super) fn has_changes(&mut self) -> bool {
        self.take();
        self.wait().is_some_and(|wait| wait.is_zero())
    }

    /// How long until something is due.
    pub(super) fn wait(&self) -> Option<Duration> {
        let until = self.debounce.next_at().map(|at| at.since(self.now()));
        let again = self.watch.missing().map(|_| LOOK_INTERVAL.saturating_sub(self.looked_at.elapsed()));
        until.into_iter().chain(again).min()
    }

    /// What is to be looked at now.
    pub(super) fn due(&mut self) -> Option<Due> {
        self.take();
        if self.watch.missing().is_some() && self.looked_at.elapsed() >= LOOK_INTERVAL {
            self.aim();
            return Some(Due::All);
        }
        let due = self.debounce.take_due(self.now());
        if due == Some(Due::All) {
            self.aim();
        }
        due
    }

    /// Watches anew what is there. To be called before all is looked at.
    pub(super) fn aim(&mut self) {
        self.watch.aim_at_all(&self.dirs);
        self.looked_at = Instant::now();
    }

    /// Why not all is watched.
    pub(super) fn missing(&self) -> Option<&str> {
        self.watch.missing()
    }

    /// Whether nothing has changed that is not looked at.
    pub(super) fn is_settled(&self) -> bool {
        self.debounce.is_settled()
    }
}

/// Waits until there is something to read; whether there is, and it is not the end.
fn wait(polled: &OwnedFd, ended: &PipeReader) -> bool {
    loop {
        let mut fds =
            [PollFd::new(polled.as_fd(), PollFlags::POLLIN), PollFd::new(ended.as_fd(), PollFlags::empty())];
        match poll(&mut fds, PollTimeout::NONE) {
            Err(Errno::EINTR) => {}
            Err(_) => return false,
            Ok(_) => {
                let [watched, end] = fds;
                let has = |fd: &PollFd<'_>| fd.revents().is_some_and(|events| !events.is_empty());
                return has(&watched) && !has(&end);
            }
        }
    }
}
