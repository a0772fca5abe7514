//! Opens a folder by its absolute path so that nobody but root and we can have changed what is found.
//!
//! What this file is for: walking from `/` component by component, each opened relative to the one
//! before and checked after it was opened, links included. What it deliberately does not do: create
//! anything, or look at what is in the last folder.
//!
//! What always holds: in a [`Folder`], every folder and symbolic link that was passed on the way is
//! owned by root or by our effective user, and no folder is writable for others unless it is sticky,
//! nor for a group unless that is its owner's private one ([`super::private_group`]). A POSIX access list that lets
//! somebody write shows as the group's write bit (acl(5)), so where there is a list that bit is refused.
//!
//! User namespaces: an owner that the namespace does not map is shown as the overflow uid, usually
//! 65534. That may be the machine's root, which owns `/` there. Nobody can change this from inside, so
//! *folders and links* of an unmapped owner pass (their write bits are still checked); *files* to
//! execute do not. Outside such a namespace 65534 is the ordinary user `nobody`, and is treated as such.
#![forbid(unsafe_code)]

use super::access_list::has_access_list;
use super::private_group::is_private_group;
use super::user_namespace::unmapped_uid;
use super::writable::{WritablePath, WritablePaths};
use nix::errno::Errno;
use nix::fcntl::{OFlag, open, openat, readlinkat};
use nix::sys::stat::{FileStat, Mode, SFlag, fstat};
use std::collections::VecDeque;
use std::ffi::{CStr, OsStr, OsString};
use std::fmt;
use std::os::fd::{AsRawFd, BorrowedFd, OwnedFd};
use std::path::{Component, Path, PathBuf};

/// Most folders and links passed on the way to one path. Also what ends a circle of links.
const STEPS_MAX: usize = 256;

/// Most links that are followed one after the other where a path ends, as the kernel does (path_resolution(7)).
const LINKS_MAX: usize = 40;

/// The owners whose files and folders are trusted: root, and one user.
#[derive(Debug, Clone, Copy)]
pub struct Trust {
    uid: u32,
    /// The uid that stands for every owner this user namespace does not map, if there is such a one.
    unmapped: Option<u32>,
    /// Whether the group of this gid is the private one of the user of this uid. May block.
    is_private_group: fn(u32, u32) -> bool,
}

impl Trust {
    /// Root and our effective user, as this process's user namespace shows them.
    #[must_use]
    pub fn current() -> Trust {
        Trust { uid: nix::unistd::geteuid().as_raw(), unmapped: unmapped_uid(), is_private_group }
    }

    /// The same, with another answer to whose group is private.
    #[cfg(test)]
    pub(super) fn with_groups(is_private_group: fn(u32, u32) -> bool) -> Trust {
        Trust { is_private_group, ..Trust::current() }
    }

    /// Whether a file of this owner may be executed.
    #[must_use]
    pub fn of_file(self, owner: u32) -> bool {
        (owner == 0 || owner == self.uid) && self.unmapped != Some(owner)
    }

    /// Whether a folder or link of this owner may stand on the way.
    #[must_use]
    pub fn of_folder(self, owner: u32) -> bool {
        owner == 0 || owner == self.uid || self.unmapped == Some(owner)
    }

    /// Whether users that are not trusted can write to a file or folder of a trusted owner. Stickiness is not looked at.
    /// `path` is where it is found, links followed, such as the path of an open file in `/proc`.
    pub(super) fn lets_others_write(self, path: &Path, stat: &FileStat) -> bool {
        let is_group_trusted = || {
            self.unmapped != Some(stat.st_uid)
                && !has_access_list(path)
                && (self.is_private_group)(stat.st_uid, stat.st_gid)
        };
        stat.st_mode & 0o002 != 0 || stat.st_mode & 0o020 != 0 && !is_group_trusted()
    }

    /// Adds a file to what others can change, if its owner is trusted and they can; then nothing of it may be used. `path` is
    /// what it is called, `found` is as for [`Trust::lets_others_write`].
    pub(super) fn note(
        self,
        (path, found, stat): (&Path, &Path, &FileStat),
        is_owner_trusted: bool,
        writable: &mut WritablePaths,
    ) -> Result<(), WritablePaths> {
        if is_owner_trusted && self.lets_others_write(found, stat) {
            writable.add(WritablePath::new(path, stat));
        }
        writable.none()
    }

    /// What keeps an entry of a folder from being trusted: its owner, or who can write to it. `None`: nothing does. `stat` is
    /// that of the entry, links not followed.
    #[must_use]
    pub fn fault_of(self, folder: BorrowedFd<'_>, name: &CStr, stat: &FileStat) -> Option<String> {
        // A link has no permissions, and whose it is does not matter where it is not followed.
        if kind(stat) == SFlag::S_IFLNK {
            return None;
        }
        let is_folder = kind(stat) == SFlag::S_IFDIR;
        if !(self.of_file(stat.st_uid) || is_folder && self.of_folder(stat.st_uid)) {
            let (owner, expected) = (stat.st_uid, expected_uids(self.uid));
            return Some(format!("belongs to uid {owner}; expected {expected}; change the owner"));
        }
        if stat.st_mode & 0o022 == 0 {
            return None;
        }
        let flags = OFlag::O_PATH | OFlag::O_NOFOLLOW | OFlag::O_CLOEXEC;
        let is_writable = match openat(folder, name, flags, Mode::empty()) {
            Ok(fd) => self.lets_others_write(&path_of_open(&fd), stat),
            Err(_) => true,
        };
        let mode = permissions(stat);
        is_writable
            .then(|| format!("can be changed by other users (mode {mode:04o}); run `chmod go-w` for it"))
    }

    /// Our effective user.
    #[must_use]
    pub fn uid(self) -> u32 {
        self.uid
    }
}

/// Where an open file is found by a path, though it may have none of its own.
pub(super) fn path_of_open(file: &impl AsRawFd) -> PathBuf {
    format!("/proc/self/fd/{}", file.as_raw_fd()).into()
}

/// A folder that was reached by a trusted way.
#[derive(Debug)]
pub struct Folder {
    /// The folder, opened with `O_PATH`.
    pub fd: OwnedFd,
    /// Its path without links, `.` or `..`.
    pub path: PathBuf,
}

impl Folder {
    /// Opens a file for reading; links are not followed. `check` is asked twice: first without opening the file as such, because
    /// opening a device can have effects, then about the file that is open, which is what counts.
    pub(super) fn open_file<E: From<Errno>>(
        &self,
        name: &OsStr,
        mut check: impl FnMut(&OwnedFd, &FileStat) -> Result<(), E>,
    ) -> Result<(OwnedFd, FileStat), E> {
        let mut open = |flags| -> Result<(OwnedFd, FileStat), E> {
            let flags = flags | OFlag::O_NOFOLLOW | OFlag::O_CLOEXEC;
            let fd = openat(&self.fd, name, flags, Mode::empty())?;
            let stat = fstat(&fd)?;
            check(&fd, &stat)?;
            Ok((fd, stat))
        };
        open(OFlag::O_PATH)?;
        open(OFlag::O_RDONLY | OFlag::O_NONBLOCK | OFlag::O_NOCTTY)
    }

    /// What has that name, opened with `O_PATH`; and where it leads, if it is a link of a trusted owner.
    fn look(&self, name: &OsStr, trust: Trust) -> Result<(OwnedFd, Option<OsString>), FolderProblem> {
        let flags = OFlag::O_PATH | OFlag::O_NOFOLLOW | OFlag::O_CLOEXEC;
        let fd = openat(&self.fd, name, flags, Mode::empty())?;
        let stat = fstat(&fd)?;
        if kind(&stat) != SFlag::S_IFLNK {
            return Ok((fd, None));
        }
        // In a sticky folder anybody may have put a link.
        check_owner(&stat, trust)?;
        let target = readlinkat(&fd, "")?;
        Ok((fd, Some(target)))
    }
}

/// What is wrong with something on the way.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub enum FolderProblem {
    /// The path does not begin with `/`.
    NotAbsolute,
    /// There is no such folder.
    Missing,
    /// It is something else.
    NotAFolder,
    /// It ends with `/` or `..`, and a file is expected.
    NotAFile,
    /// Others can write to it, and maybe to more on the way.
    Writable(WritablePaths),
    /// It belongs to somebody else.
    Owner {
        /// Owner's uid.
        owner: u32,
        /// Our effective uid.
        uid: u32,
    },
    /// More than 256 folders and links, or links in a circle.
    TooManySteps,
    /// The system call failed.
    System(Errno),
}

/// A folder on the way that cannot be trusted or opened.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct FolderError {
    /// The folder or link at fault.
    pub path: PathBuf,
    /// What is wrong with it.
    pub problem: FolderProblem,
}

/// The owners that are trusted by a process of that user, in words.
pub(crate) fn expected_uids(uid: u32) -> String {
    if uid == 0 { "uid 0".to_owned() } else { format!("uid 0 or {uid}") }
}

impl fmt::Display for FolderError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let path = self.path.display();
        match &self.problem {
            FolderProblem::NotAbsolute => {
                write!(f, "path {path} is relative; expected an absolute path, which begins with '/'")
            }
            FolderProblem::Missing => {
                write!(f, "folder {path} does not exist; create it or correct the path")
            }
            FolderProblem::NotAFolder => write!(f, "{path} is not a folder; correct the path"),
            FolderProblem::NotAFile => write!(f, "{path} is a folder; expected a file; correct the path"),
            FolderProblem::Writable(paths) => paths.fmt(f),
            FolderProblem::Owner { owner, uid } => write!(
                f,
                "{path} on the way belongs to uid {owner}; expected {}, so that nobody else can replace what is in \
                 it; move to another folder or change the owner",
                expected_uids(*uid)
            ),
            FolderProblem::TooManySteps => {
                write!(f, "{path} is reached over more than {STEPS_MAX} folders and links; shorten the path")
            }
            FolderProblem::System(errno) => {
                write!(f, "folder {path} cannot be opened: {}; check its permissions", errno.desc())
            }
        }
    }
}

impl std::error::Error for FolderError {}

/// Opens a folder, checking every step of the way.
///
/// # Errors
/// Names the first folder or link that is missing or cannot be trusted, or all that others can write to, and what to do.
pub fn open_trusted(path: &Path, trust: Trust) -> Result<Folder, FolderError> {
    let mut writable = WritablePaths::default();
    let folder = open_noting(path, trust, &mut writable)?;
    none_writable(&writable)?;
    Ok(folder)
}

fn none_writable(writable: &WritablePaths) -> Result<(), FolderError> {
    let Some(first) = writable.iter().next() else { return Ok(()) };
    Err(FolderError { path: first.path.clone(), problem: FolderProblem::Writable(writable.clone()) })
}

/// Opens a folder as [`open_trusted`] does, but goes on behind folders that others can write to, and adds them to
/// `writable`: what is found is not to be used then, but may be added too. Ends at one that others share.
pub(super) fn open_noting(
    path: &Path,
    trust: Trust,
    writable: &mut WritablePaths,
) -> Result<Folder, FolderError> {
    let fail = |path: &Path, problem| FolderError { path: path.to_owned(), problem };
    if !path.is_absolute() {
        return Err(fail(path, FolderProblem::NotAbsolute));
    }
    let flags = OFlag::O_PATH | OFlag::O_DIRECTORY | OFlag::O_CLOEXEC;
    let root = PathBuf::from("/");
    let root_fd =
        open("/", flags, Mode::empty()).map_err(|errno| fail(&root, FolderProblem::System(errno)))?;
    check_folder(&root_fd, trust, &root, writable).map_err(|problem| fail(&root, problem))?;
    let mut here = Folder { fd: root_fd, path: root };
    // The folders above `here`. `..` goes back to the very folder that was passed and checked.
    let mut above: Vec<Folder> = Vec::new();
    let mut pending: VecDeque<OsString> = VecDeque::new();
    queue(&mut pending, path);
    let mut steps = 0;
    while let Some(name) = pending.pop_front() {
        steps += 1;
        if steps > STEPS_MAX {
            return Err(fail(path, FolderProblem::TooManySteps));
        }
        if name == ".." {
            here = above.pop().unwrap_or(here);
            continue;
        }
        let next_path = here.path.join(&name);
        let found = here.look(&name, trust).and_then(|found| {
            if let (fd, None) = &found {
                check_folder(fd, trust, &next_path, writable)?;
            }
            Ok(found)
        });
        match found.map_err(|problem| fail(&next_path, problem))? {
            (_, Some(target)) => {
                let target = PathBuf::from(target);
                if target.is_absolute() && !above.is_empty() {
                    here = above.swap_remove(0);
                    above.clear();
                }
                queue(&mut pending, &target);
            }
            (fd, None) => above.push(std::mem::replace(&mut here, Folder { fd, path: next_path })),
        }
    }
    Ok(here)
}

/// Finds a file by its absolute path, checking every step of the way, and following links also where the path ends: the
/// folder that the file itself is in, and its name there. The file need not be what it should be, but it is there.
///
/// # Errors
/// As [`open_trusted`], of which others can write to where others share it; of the file itself, that it is missing.
pub(super) fn find_noting(
    path: &Path,
    trust: Trust,
    writable: &mut WritablePaths,
) -> Result<(Folder, OsString), FolderError> {
    let mut path = path.to_owned();
    for _ in 0..LINKS_MAX {
        let fail = |problem| FolderError { path: path.clone(), problem };
        let (Some(parent), Some(name)) = (path.parent(), path.file_name()) else {
            return Err(fail(FolderProblem::NotAFile));
        };
        let folder = open_noting(parent, trust, writable)?;
        match folder.look(name, trust).map_err(fail)? {
            (_, None) => return Ok((folder, name.to_owned())),
            (_, Some(target)) => path = folder.path.join(target),
        }
    }
    Err(FolderError { path, problem: FolderProblem::TooManySteps })
}

/// Puts the path's components before what is pending already.
fn queue(pending: &mut VecDeque<OsString>, path: &Path) {
    for component in path.components().rev() {
        match component {
            Component::Normal(name) => pending.push_front(name.to_owned()),
            Component::ParentDir => pending.push_front("..".into()),
            Component::RootDir | Component::CurDir | Component::Prefix(_) => {}
        }
    }
}

fn check_folder(
    fd: &OwnedFd,
    trust: Trust,
    path: &Path,
    writable: &mut WritablePaths,
) -> Result<(), FolderProblem> {
    let stat = fstat(fd)?;
    if kind(&stat) != SFlag::S_IFDIR {
        return Err(FolderProblem::NotAFolder);
    }
    check_owner(&stat, trust)?;
    if permissions(&stat) & 0o1000 == 0 && trust.lets_others_write(&path_of_open(fd), &stat) {
        let found = WritablePath::new(path, &stat);
        let is_shared = found.is_shared;
        writable.add(found);
        // What others put there on purpose is not looked into.
        if is_shared {
            return Err(FolderProblem::Writable(writable.clone()));
        }
    }
    Ok(())
}

fn check_owner(stat: &FileStat, trust: Trust) -> Result<(), FolderProblem> {
    let owner = stat.st_uid;
    if trust.of_folder(owner) { Ok(()) } else { Err(FolderProblem::Owner { owner, uid: trust.uid() }) }
}

/// The type bits of a file.
pub(super) fn kind(stat: &FileStat) -> SFlag {
    SFlag::from_bits_truncate(stat.st_mode & SFlag::S_IFMT.bits())
}

/// The permission bits of a file, set-uid, set-gid and sticky included.
pub(super) fn permissions(stat: &FileStat) -> u32 {
    stat.st_mode & 0o7777
}

impl From<Errno> for FolderProblem {
    fn from(errno: Errno) -> FolderProblem {
        match errno {
            Errno::ENOENT => FolderProblem::Missing,
            errno => FolderProblem::System(errno),
        }
    }
}

#[cfg(test)]
#[path = "folder_tests.rs"]
mod tests;
