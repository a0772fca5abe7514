//! The runtime folder under a living host: removed, moved or replaced by somebody, and made again.
//!
//! What it deliberately does not do: touch the folder; a worker does.
//!
//! What always holds: what is removed in one go is looked after once, a moment after it; where another host has taken the
//! folder and keeps it, or it cannot be made again, this host ends with that reason; but what the host lacks for it is waited for,
//! and so is another host that has taken the lock, finds this one alive, and ends. So is
//! the place of a group's socket, which is elsewhere: without it the host goes on.

use super::hub::Hub;
use super::poller::Source;
use crate::state::action::Note;
use crate::state::shortage::Shortage;
use crate::state::time::Time;
use crate::sys::file_error::is_shortage;
use crate::sys::folder_watch::FolderWatch;
use crate::sys::group_socket::GroupSocketFile;
use crate::sys::listener::{self, ListenError};
use crate::sys::private_file::PrivateFile;
use crate::sys::runtime_dir::{ADMIN_SOCKET, Found, RuntimeDir, RuntimeDirError};
use mio::Interest;
use nix::errno::Errno;
use rpc_plugin_wire::event::EventKind;
use std::io;
use std::os::fd::{AsFd, AsRawFd};
use std::os::unix::net::UnixListener;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

/// Control connections that wait to be accepted.
pub(crate) const ADMIN_BACKLOG: u16 = 128;
/// How long after something was removed the folder is looked after: a whole folder is removed file by file.
const SETTLE: Duration = Duration::from_millis(200);
/// How often it is tried to make the folder where it is removed again meanwhile.
const ATTEMPTS_MAX: u32 = 5;
/// How long another host may have the lock before this one ends.
const TAKEN_MAX: Duration = Duration::from_secs(10);

/// What watches the runtime folder.
pub(super) struct RuntimeFolder {
    watch: io::Result<Arc<FolderWatch>>,
    look_at: Option<Time>,
    shortage: Shortage,
    /// Since when another host has the lock.
    taken_since: Option<Time>,
    /// The same of a group's socket that cannot be made again.
    group_trouble: Shortage,
}

/// The files of the admin sockets.
#[derive(Default)]
pub(super) struct AdminFiles {
    pub(super) own: Option<Arc<PrivateFile>>,
    /// That of a group of operators.
    pub(super) group: Option<Arc<GroupSocketFile>>,
}

/// Admin sockets that were made again.
#[derive(Default)]
pub(super) struct MadeSockets {
    pub(super) own: Option<(UnixListener, PrivateFile)>,
    pub(super) group: Option<(UnixListener, GroupSocketFile)>,
}

impl RuntimeFolder {
    /// Watches the folder of that path. Where that cannot be done, it is looked after when somebody asks for it.
    pub(super) fn new(hub: &mut Hub, path: &Path) -> RuntimeFolder {
        let watch = FolderWatch::new(path).map(Arc::new).and_then(|watch| {
            hub.poller.register(watch.as_fd().as_raw_fd(), Source::RuntimeDir, Interest::READABLE)?;
            Ok(watch)
        });
        if let Err(error) = &watch {
            let what = "the runtime folder cannot be watched; raise the sysctl fs.inotify.max_user_instances";
            hub.fault(what, error);
        }
        RuntimeFolder {
            watch,
            look_at: None,
            shortage: Shortage::default(),
            taken_since: None,
            group_trouble: Shortage::default(),
        }
    }

    /// Watches the socket of a group too.
    pub(super) fn watch_group(&self, runtime_dir: &Path, files: &AdminFiles) {
        if let (Ok(watch), Some(group)) = (&self.watch, &files.group) {
            // What cannot be watched is told where the watch is made.
            let _ = watch.aim(runtime_dir, Some(group.path()));
        }
    }

    /// When the folder is to be looked after.
    pub(super) fn next_at(&self) -> Option<Time> {
        self.look_at
    }

    /// Something was removed from the folder, or the folder itself.
    pub(super) fn changed(&mut self, now: Time) {
        if self.watch.as_ref().is_ok_and(|watch| watch.take()) {
            self.look_at = Some(now.plus(SETTLE));
        }
    }

    /// Has it looked after in this turn.
    pub(super) fn want(&mut self, now: Time) {
        self.look_at = Some(now);
    }

    /// Whether it is to be looked after now.
    pub(super) fn is_due(&mut self, now: Time) -> bool {
        self.look_at.take_if(|at| *at <= now).is_some()
    }

    /// Tells what was missing of the folder and was made again; gives the new admin sockets, if there are any. For want of
    /// something that the host lacks, it is looked after again.
    ///
    /// # Errors
    /// The folder cannot be made again: the host cannot go on.
    pub(super) fn take_looked(
        &mut self,
        hub: &mut Hub,
        now: Time,
        looked: Result<LookedAfter, String>,
    ) -> Result<MadeSockets, String> {
        let taken_at = looked.as_ref().is_ok_and(|looked| looked.is_taken).then_some(now);
        self.taken_since = self.taken_since.or(taken_at).filter(|_| taken_at.is_some());
        let is_lost = self.taken_since.is_some_and(|since| now.since(since) >= TAKEN_MAX);
        let looked = match looked {
            Ok(LookedAfter { lacks: Some(error), .. }) if is_lost => Err(error),
            looked => looked,
        };
        match &looked {
            Ok(LookedAfter { lacks: Some(error), .. }) => {
                if self.shortage.failed(now) {
                    let text = "the runtime folder cannot be looked after; it is tried again";
                    hub.recorder.record(Note::new(EventKind::HostShortage, text).error(error.clone()));
                }
                self.look_at = self.shortage.next_at();
            }
            _ if self.shortage.passed() => {
                let text = "the runtime folder was looked after";
                hub.recorder.record(Note::new(EventKind::HostShortageOver, text));
            }
            _ => {}
        }
        if let Ok(LookedAfter { lacks: None, group_fault, .. }) = &looked {
            self.take_group_fault(hub, now, group_fault.as_deref());
        }
        take_looked(hub, looked)
    }

    /// Tells once that the group's socket cannot be made again, and has it tried again.
    fn take_group_fault(&mut self, hub: &mut Hub, now: Time, fault: Option<&str>) {
        let Some(fault) = fault else {
            self.group_trouble.passed();
            return;
        };
        if self.group_trouble.failed(now) {
            let text = "the admin group's socket was removed or replaced, and cannot be made again; it is tried again";
            hub.recorder.record(Note::new(EventKind::HostFault, text).error(fault));
        }
        self.look_at = self.look_at.into_iter().chain(self.group_trouble.next_at()).min();
    }

    /// The watch, for who looks after it.
    pub(super) fn watch(&self) -> Option<Arc<FolderWatch>> {
        self.watch.as_ref().ok().map(Arc::clone)
    }
}

/// What a worker found and did.
pub(crate) struct LookedAfter {
    found: Found,
    /// What the host lacked for it: it was not done to its end.
    lacks: Option<String>,
    /// Whether that is the lock, which another host has.
    is_taken: bool,
    /// Why the group's socket, which is gone, could not be made again.
    group_fault: Option<String>,
    /// The admin sockets that had to be made again.
    sockets: MadeSockets,
}

impl LookedAfter {
    /// What was missing, if anything was.
    pub(super) fn what(&self) -> Option<&'static str> {
        match (self.found, &self.sockets.own) {
            (Found::Whole, None) => None,
            (Found::Whole, Some(_)) => Some("the admin socket was removed"),
            (Found::LockMade, _) => Some("the lock of the runtime folder was removed or replaced"),
            (Found::FolderMade, _) => Some("the runtime folder was removed or replaced"),
        }
    }
}

/// Looks after the folder and the admin sockets. Runs on a worker.
pub(super) fn look_after(
    runtime_dir: &RuntimeDir,
    watch: Option<&FolderWatch>,
    files: &AdminFiles,
) -> Result<LookedAfter, String> {
    again_while_removed(|| look_once(runtime_dir, watch, files))
}

/// Why it cannot be done, with the error number where there is one.
type LookError = (Option<Errno>, String);

/// Tries again where what was just made is not there: whoever removes a folder file by file may be at it still.
fn again_while_removed<T>(mut look: impl FnMut() -> Result<T, LookError>) -> Result<T, String> {
    let mut attempts = 1;
    loop {
        match look() {
            Err((Some(Errno::ENOENT), _)) if attempts < ATTEMPTS_MAX => attempts += 1,
            looked => return looked.map_err(|(_, text)| text),
        }
    }
}

fn look_once(
    runtime_dir: &RuntimeDir,
    watch: Option<&FolderWatch>,
    files: &AdminFiles,
) -> Result<LookedAfter, LookError> {
    let lacks = |error: String| {
        let (lacks, sockets) = (Some(error), MadeSockets::default());
        Ok(LookedAfter { found: Found::Whole, lacks, is_taken: false, group_fault: None, sockets })
    };
    let group_path = files.group.as_ref().map(|group| group.path());
    let found = match runtime_dir.look_after() {
        Ok(found) => found,
        Err(error) if error.errno().is_some_and(is_shortage) => return lacks(error.to_string()),
        // One that starts takes the lock before it looks whether another host lives, and lets it go if one does.
        Err(error @ RuntimeDirError::Locked { .. }) => {
            return lacks(error.to_string()).map(|looked| LookedAfter { is_taken: true, ..looked });
        }
        Err(error) => return Err((error.errno(), error.to_string())),
    };
    // Always: the folder may be what it was, and one above it another.
    if let Some(watch) = watch
        && let Err(error) = watch.aim(runtime_dir.path(), group_path)
        && found == Found::FolderMade
    {
        let errno = error.raw_os_error().map(Errno::from_raw);
        return Err((errno, format!("it cannot be watched: {error}")));
    }
    let is_gone = files.own.as_ref().is_some_and(|socket| found == Found::FolderMade || !socket.is_there());
    let bind = || listener::bind(&runtime_dir.folder(), ADMIN_SOCKET, ADMIN_BACKLOG);
    let own = match is_gone.then(bind).transpose() {
        Ok(own) => own,
        Err(ListenError::File(error)) if is_shortage(error.errno) => return lacks(error.to_string()),
        Err(ListenError::File(error)) => return Err((Some(error.errno), error.to_string())),
        Err(error) => return Err((None, error.to_string())),
    };
    let gone = files.group.as_ref().filter(|group| !group.is_there());
    let (group, group_fault) = match gone.map(|group| group.bind_again(ADMIN_BACKLOG)).transpose() {
        Ok(group) => (group, None),
        Err(error) => (None, Some(error.to_string())),
    };
    if group.is_some()
        && let Some(watch) = watch
    {
        // The folder is watched; the file is another one now.
        let _ = watch.aim(runtime_dir.path(), group_path);
    }
    let sockets = MadeSockets { own, group };
    Ok(LookedAfter { found, lacks: None, is_taken: false, group_fault, sockets })
}

fn take_looked(hub: &mut Hub, looked: Result<LookedAfter, String>) -> Result<MadeSockets, String> {
    let looked = looked.map_err(|error| {
        let reason = format!("the runtime folder was removed or replaced, and cannot be made again: {error}");
        let note = Note::new(EventKind::HostFault, "the host ends");
        hub.recorder.record(note.error(reason.clone()));
        hub.recorder.log().tell_end(&reason);
        reason
    })?;
    if looked.found == Found::FolderMade {
        // Where it was moved to, its files would go on being written.
        hub.recorder.log().reopen();
    }
    if let Some(what) = looked.what() {
        let note = Note::new(EventKind::RuntimeDirMade, format!("{what}; it was made again"));
        hub.recorder.record(note);
    }
    if looked.sockets.group.is_some() {
        let text = "the admin group's socket was removed or replaced; it was made again";
        hub.recorder.record(Note::new(EventKind::RuntimeDirMade, text));
    }
    Ok(looked.sockets)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::sys::testing::{folder, subfolder};
    use std::fs::rename;

    #[test]
    fn a_folder_that_is_removed_while_it_is_made_is_made_again_a_few_times() {
        let look = |fails: u32, errno: Option<Errno>| {
            let mut looks = 0;
            let result = again_while_removed(|| {
                looks += 1;
                if looks <= fails { Err((errno, "why".to_owned())) } else { Ok(()) }
            });
            (result, looks)
        };
        let failed = || Err("why".to_owned());
        assert_eq!(look(0, None), (Ok(()), 1));
        assert_eq!(look(4, Some(Errno::ENOENT)), (Ok(()), 5));
        assert_eq!(look(9, Some(Errno::ENOENT)), (failed(), ATTEMPTS_MAX));
        assert_eq!(look(1, Some(Errno::EACCES)), (failed(), 1));
        assert_eq!(look(1, None), (failed(), 1), "another host has it");
    }

    #[test]
    fn a_folder_above_that_was_replaced_around_it_is_watched_too() {
        let root = folder();
        let (above, moved) = (root.path().join("above"), root.path().join("moved"));
        let path = subfolder(&above).join("runtime");
        let runtime_dir = RuntimeDir::open(&path).unwrap();
        let watch = FolderWatch::new(&path).unwrap();
        let look = || look_after(&runtime_dir, Some(&watch), &AdminFiles::default()).unwrap().what();
        assert_eq!(look(), None);
        assert!(!watch.take(), "looking changes nothing");
        rename(&above, &moved).unwrap();
        rename(moved.join("runtime"), subfolder(&above).join("runtime")).unwrap();
        assert!(watch.take());
        assert_eq!(look(), None, "it is where it was");
        watch.take();
        rename(&above, root.path().join("elsewhere")).unwrap();
        assert!(watch.take(), "the folder above is another one");
    }
}
