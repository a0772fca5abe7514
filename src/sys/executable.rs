//! Opens an executable so that what was checked is what will run.
//!
//! What this file is for: the checks of ownership, permissions and kind, made on the open file, and the
//! first bytes, which say how the kernel will start it. What it deliberately does not do: execute,
//! hash, or copy; it may block on a slow file system, so it belongs on a worker thread.
//!
//! What always holds: an [`Executable`] is an open regular file that only root or our effective user
//! could change, reached over folders that only they could change ([`super::folder`]). The launch
//! executes this open file, so a path that is swapped afterwards changes nothing. The interpreter that a `#!` line
//! names, and the one that it names itself, and so on, are checked as the executable is, but that links to them are
//! followed, as `/bin/sh` is one. The kernel opens them by their paths, which only root and our user can change.
//! What an interpreter goes on to run is its own affair: of `#!/usr/bin/env X`, `env` is checked and `X` is not.
//!
//! File capabilities (capabilities(7)) are not refused. The kernel clears the parent-death signal of such a program at its
//! start (prctl(2)), so they are told of. Those of the last file of the chain count.
#![forbid(unsafe_code)]

use super::elf;
pub use super::executable_error::{ExecutableError, ExecutableProblem};
use super::file_capabilities::has_capabilities;
use super::folder::{
    Folder, FolderError, FolderProblem, Trust, find_noting, kind, open_noting, path_of_open, permissions,
};
use super::writable::WritablePaths;
use nix::errno::Errno;
use nix::fcntl::{AT_FDCWD, AtFlags, readlinkat};
use nix::sys::stat::{FileStat, SFlag};
use nix::sys::statvfs::{FsFlags, fstatvfs};
use nix::unistd::{AccessFlags, faccessat};
use std::ffi::OsStr;
use std::fs::File;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};

/// How much of a file the kernel looks at to see how it is started: `BINPRM_BUF_SIZE`. Bytes.
const HEAD_BYTES: usize = 256;

/// Interpreters one after the other that the kernel follows (fs/exec.c).
pub(super) const INTERPRETERS_MAX: usize = 6;

/// How the kernel starts a file.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Format {
    /// `#!` and an interpreter: a script. Its interpreter finds it as `/dev/fd/3`.
    Script {
        /// The interpreter as the first line names it, which need not exist.
        interpreter: PathBuf,
    },
    /// A program for some architecture, and the loader that it names, which need not exist.
    Elf(Option<PathBuf>),
    /// Something else; the kernel may know it (binfmt_misc) or refuse it.
    Other,
}

/// An open file that passed every check.
#[derive(Debug)]
pub struct Executable {
    path: PathBuf,
    file: File,
    format: Format,
    has_capabilities: bool,
}

impl Executable {
    /// The absolute path it was opened by.
    #[must_use]
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// How the kernel will start it.
    #[must_use]
    pub fn format(&self) -> &Format {
        &self.format
    }

    /// Whether the program that runs in the end has file capabilities: this file, or its last interpreter.
    #[must_use]
    pub fn has_capabilities(&self) -> bool {
        self.has_capabilities
    }
}

impl AsFd for Executable {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.file.as_fd()
    }
}

/// Opens and checks an executable.
///
/// # Errors
/// Names the file or folder at fault, what was expected and seen, and what to do.
pub fn open(path: &Path) -> Result<Executable, ExecutableError> {
    open_as(path, Trust::current()).map_err(|problem| ExecutableError { path: path.to_owned(), problem })
}

fn open_as(path: &Path, trust: Trust) -> Result<Executable, ExecutableProblem> {
    if !path.is_absolute() {
        return Err(ExecutableProblem::NotAbsolute);
    }
    let (Some(parent), Some(name)) = (path.parent(), path.file_name()) else {
        return Err(ExecutableProblem::NotAFile("a folder"));
    };
    let mut writable = WritablePaths::default();
    let folder = open_noting(parent, trust, &mut writable).map_err(ExecutableProblem::Folder)?;
    let (file, format) = open_in(&folder, name, trust, &mut writable, |owner| trust.of_file(owner))?;
    let interpreter = check_interpreter(&format, trust, INTERPRETERS_MAX)?;
    let has_capabilities = has_capabilities(interpreter.as_ref().unwrap_or(&file));
    Ok(Executable { path: path.to_owned(), file, format, has_capabilities })
}

/// Opens a file of a folder and checks all about it but what its first line names. Not if the folder is `writable`.
fn open_in(
    folder: &Folder,
    name: &OsStr,
    trust: Trust,
    writable: &mut WritablePaths,
    is_trusted: impl Fn(u32) -> bool,
) -> Result<(File, Format), ExecutableProblem> {
    let path = folder.path.join(name);
    let (fd, stat) = folder.open_file(name, |fd, stat| {
        check_kind(fd, stat)?;
        let noted = trust.note((&path, &path_of_open(fd), stat), is_trusted(stat.st_uid), writable);
        noted.map_err(ExecutableProblem::Writable)
    })?;
    check_permissions(&stat, trust, is_trusted)?;
    check_access(&fd, &stat)?;
    let file = File::from(fd);
    let format = format_of(&file)?;
    Ok((file, format))
}

/// Checks the interpreter that a first line names, and what that names in turn. Gives the last of them, if there is one.
fn check_interpreter(format: &Format, trust: Trust, left: usize) -> Result<Option<File>, ExecutableProblem> {
    let Format::Script { interpreter } = format else { return Ok(None) };
    // What names nothing, or too many one after the other, the kernel refuses.
    if interpreter.as_os_str().is_empty() || left == 0 {
        return Ok(None);
    }
    let fail = |problem| ExecutableProblem::Interpreter(interpreter.clone(), Box::new(problem));
    if !interpreter.is_absolute() {
        // The kernel would look for it in the working folder.
        return Err(fail(ExecutableProblem::NotAbsolute));
    }
    let mut writable = WritablePaths::default();
    let (folder, name) = match find_noting(interpreter, trust, &mut writable) {
        Ok(found) => found,
        // Only root or our user can put one there; the launch says that there is none, and what to do.
        Err(FolderError { problem: FolderProblem::Missing, .. }) => return Ok(None),
        Err(error) => return Err(fail(ExecutableProblem::Folder(error))),
    };
    // An owner that a user namespace does not map is as good as that of the folders it lies in: else no script of the
    // machine's could run there.
    let (file, format) =
        open_in(&folder, &name, trust, &mut writable, |owner| trust.of_folder(owner)).map_err(fail)?;
    Ok(check_interpreter(&format, trust, left - 1).map_err(fail)?.or(Some(file)))
}

fn check_kind(fd: &OwnedFd, stat: &FileStat) -> Result<(), ExecutableProblem> {
    let seen = match kind(stat) {
        SFlag::S_IFREG => return Ok(()),
        SFlag::S_IFLNK => return Err(ExecutableProblem::Symlink(readlinkat(fd, "")?.into())),
        SFlag::S_IFDIR => "a folder",
        SFlag::S_IFIFO => "a named pipe",
        SFlag::S_IFSOCK => "a socket",
        _ => "a device",
    };
    Err(ExecutableProblem::NotAFile(seen))
}

fn check_permissions(
    stat: &FileStat,
    trust: Trust,
    is_trusted: impl Fn(u32) -> bool,
) -> Result<(), ExecutableProblem> {
    let (mode, owner) = (permissions(stat), stat.st_uid);
    if !is_trusted(owner) {
        return Err(ExecutableProblem::Owner(owner, trust.uid()));
    }
    if mode & 0o6000 != 0 {
        return Err(ExecutableProblem::SetId(mode, owner));
    }
    if mode & 0o111 == 0 {
        return Err(ExecutableProblem::NotExecutable(mode, owner));
    }
    Ok(())
}

/// Asks the kernel, which knows groups, access lists and mount options. Through `/proc` because
/// faccessat(2) takes no open file before Linux 5.8; without `/proc` the launch itself will say it.
fn check_access(fd: &OwnedFd, stat: &FileStat) -> Result<(), ExecutableProblem> {
    if fstatvfs(fd)?.flags().contains(FsFlags::ST_NOEXEC) {
        return Err(ExecutableProblem::NoExecMount);
    }
    match faccessat(AT_FDCWD, &path_of_open(fd), AccessFlags::X_OK, AtFlags::AT_EACCESS) {
        Err(Errno::EACCES) => Err(ExecutableProblem::NotExecutable(permissions(stat), stat.st_uid)),
        _ => Ok(()),
    }
}

pub(super) fn format_of(file: &File) -> Result<Format, ExecutableProblem> {
    let head = elf::read(file, 0, HEAD_BYTES)
        .map_err(|error| Errno::from_raw(error.raw_os_error().unwrap_or(libc::EIO)))?;
    if head.starts_with(elf::MAGIC) {
        return Ok(Format::Elf(elf::loader_of(file, &head)));
    }
    let Some(line) = head.strip_prefix(b"#!") else { return Ok(Format::Other) };
    // As the kernel does (fs/binfmt_script.c): blanks are space and tab, so a '\r' belongs to the name.
    let line = line.split(|b| *b == b'\n').next().unwrap_or_default();
    let name =
        line.split(|b| matches!(b, b' ' | b'\t' | 0)).find(|word| !word.is_empty()).unwrap_or_default();
    Ok(Format::Script { interpreter: PathBuf::from(OsStr::from_bytes(name)) })
}

#[cfg(test)]
#[path = "executable_tests.rs"]
mod tests;
