//! Why an executable cannot be launched, in words: what is wrong with it, and what to do.
#![forbid(unsafe_code)]

use super::folder::{FolderError, FolderProblem, expected_uids};
use super::writable::WritablePaths;
use nix::errno::Errno;
use std::fmt;
use std::path::{Path, PathBuf};

/// What is wrong with an executable.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum ExecutableProblem {
    /// The path does not begin with `/`.
    NotAbsolute,
    /// There is no such file.
    Missing,
    /// It is a symbolic link, to this.
    Symlink(PathBuf),
    /// It is something else, such as `a folder`.
    NotAFile(&'static str),
    /// A folder on the way cannot be trusted or opened.
    Folder(FolderError),
    /// Others can write to it, or to folders on the way.
    Writable(WritablePaths),
    /// It would run as another user or group: permission bits, owner's uid.
    SetId(u32, u32),
    /// It belongs to somebody else: owner's uid, our effective uid.
    Owner(u32, u32),
    /// We may not execute it: permission bits, owner's uid.
    NotExecutable(u32, u32),
    /// Its file system is mounted `noexec`.
    NoExecMount,
    /// The interpreter of this path, of its `#!` line or of the interpreter's own, may not be used.
    Interpreter(PathBuf, Box<ExecutableProblem>),
    /// The system call failed.
    System(Errno),
}

impl ExecutableProblem {
    /// The kernel's reason, where a system call failed.
    #[must_use]
    pub fn errno(&self) -> Option<Errno> {
        match self {
            ExecutableProblem::System(errno) => Some(*errno),
            ExecutableProblem::Folder(FolderError { problem: FolderProblem::System(errno), .. }) => {
                Some(*errno)
            }
            ExecutableProblem::Interpreter(_, problem) => problem.errno(),
            _ => None,
        }
    }
}

/// An executable that cannot be launched, and what to do about it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ExecutableError {
    /// The path that was to be opened.
    pub path: PathBuf,
    /// What is wrong.
    pub problem: ExecutableProblem,
}

impl fmt::Display for ExecutableError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "executable ")?;
        describe(f, &self.path, &self.problem)
    }
}

/// What is wrong with the file of that path, after a word for what it is.
fn describe(f: &mut fmt::Formatter<'_>, path: &Path, problem: &ExecutableProblem) -> fmt::Result {
    let path = path.display();
    write!(f, "{path} ")?;
    match problem {
        ExecutableProblem::Interpreter(interpreter, problem) => {
            write!(f, "is a script, and its interpreter ")?;
            describe(f, interpreter, problem)
        }
        ExecutableProblem::NotAbsolute => {
            write!(f, "is a relative path; expected an absolute path, which begins with '/'")
        }
        ExecutableProblem::Missing => write!(f, "does not exist; correct the path or put the file there"),
        ExecutableProblem::Symlink(target) => write!(
            f,
            "is a symbolic link to {}; expected the file itself, so that a changed link cannot change what \
                 runs; name the file it leads to",
            target.display()
        ),
        ExecutableProblem::NotAFile(seen) => {
            write!(f, "is {seen}; expected a regular file; correct the path")
        }
        ExecutableProblem::Folder(error) => write!(f, "cannot be trusted: {error}"),
        ExecutableProblem::Writable(paths) => write!(f, "cannot be trusted: {paths}"),
        ExecutableProblem::SetId(mode, owner) => write!(
            f,
            "would run as another user or group (mode {mode:04o}, owner uid {owner}); expected neither set-uid \
                 nor set-gid; run `chmod ug-s {path}`"
        ),
        ExecutableProblem::Owner(owner, uid) => write!(
            f,
            "belongs to uid {owner}; expected {}, so that nobody else can change it (in a user namespace, 65534 is \
                 any user that is not mapped into it); copy it or change its owner",
            expected_uids(*uid)
        ),
        ExecutableProblem::NotExecutable(mode, owner) => write!(
            f,
            "is not executable for uid {} (mode {mode:04o}, owner uid {owner}); run `chmod a+x {path}`",
            nix::unistd::geteuid()
        ),
        ExecutableProblem::NoExecMount => write!(
            f,
            "is on a file system mounted noexec; move it to another one, or mount that one with exec"
        ),
        ExecutableProblem::System(Errno::EACCES) => {
            write!(f, "cannot be opened for reading: permission denied; run `chmod a+r {path}`")
        }
        ExecutableProblem::System(errno) => write!(f, "cannot be opened: {} ({errno:?})", errno.desc()),
    }
}

impl std::error::Error for ExecutableError {}

impl From<Errno> for ExecutableProblem {
    fn from(errno: Errno) -> ExecutableProblem {
        match errno {
            Errno::ENOENT => ExecutableProblem::Missing,
            errno => ExecutableProblem::System(errno),
        }
    }
}
