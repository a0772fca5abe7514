//! Opens a file by its path so that nobody but root and we can have written what is read.
//!
//! What this file is for: files that this process obeys, such as its configuration. Symbolic links are followed where
//! root or we made them: a configuration is often one. What it deliberately does not do: execute; for that
//! [`super::executable`] refuses links too.
//!
//! What always holds: the open file is a regular one that only root or our effective user could change, reached over
//! folders and links that only they could change ([`super::folder`]); or a pipe that root or our user made and nobody
//! else may write to, whatever its path, such as a shell's `<(...)`.
#![forbid(unsafe_code)]

use super::folder::{FolderError, FolderProblem, Trust, expected_uids, find_noting, kind, path_of_open};
use super::writable::WritablePaths;
use nix::errno::Errno;
use nix::sys::stat::{FileStat, SFlag, fstat};
use std::fmt;
use std::fs::File;
use std::io;
use std::path::{Path, PathBuf};

/// Why a file is not obeyed.
#[derive(Debug)]
pub enum TrustedFileError {
    /// A folder or link on the way cannot be trusted or opened.
    Way(FolderError),
    /// Others can write to it, or to folders on the way.
    Writable(WritablePaths),
    /// It belongs to somebody else: path, owner's uid, our effective uid.
    Owner(PathBuf, u32, u32),
    /// It is a folder, a device or the like.
    NotAFile(PathBuf),
    /// It cannot be opened.
    Io(io::Error),
}

impl fmt::Display for TrustedFileError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            TrustedFileError::Way(error) => error.fmt(f),
            TrustedFileError::Writable(paths) => paths.fmt(f),
            TrustedFileError::Owner(path, owner, uid) => write!(
                f,
                "{} belongs to uid {owner}, who could change it; expected {}; copy it or change its owner",
                path.display(),
                expected_uids(*uid)
            ),
            TrustedFileError::NotAFile(path) => write!(f, "{} is no regular file", path.display()),
            TrustedFileError::Io(error) => error.fmt(f),
        }
    }
}

impl std::error::Error for TrustedFileError {}

impl From<Errno> for TrustedFileError {
    fn from(errno: Errno) -> TrustedFileError {
        TrustedFileError::Io(errno.into())
    }
}

/// Opens a file for reading; a relative path counts from the current folder.
///
/// # Errors
/// Names the file or folder at fault, and what to do.
pub fn open_trusted_file(path: &Path) -> Result<File, TrustedFileError> {
    open_as(path, Trust::current())
}

fn open_as(path: &Path, trust: Trust) -> Result<File, TrustedFileError> {
    let mut writable = WritablePaths::default();
    let path = std::path::absolute(path).map_err(TrustedFileError::Io)?;
    if let Some(pipe) = open_pipe(&path, trust)? {
        check(&path, &path_of_open(&pipe), &fstat(&pipe)?, trust, &mut writable)?;
        return Ok(pipe);
    }
    let (folder, name) = find_noting(&path, trust, &mut writable).map_err(|error| match error.problem {
        FolderProblem::Missing => Errno::ENOENT.into(),
        FolderProblem::System(errno) => errno.into(),
        _ => TrustedFileError::Way(error),
    })?;
    let path = folder.path.join(&name);
    let (fd, _) = folder.open_file(&name, |fd, stat| {
        if kind(stat) != SFlag::S_IFREG {
            return Err(TrustedFileError::NotAFile(path.clone()));
        }
        check(&path, &path_of_open(fd), stat, trust, &mut writable)
    })?;
    Ok(fd.into())
}

/// A pipe, which may have no path of its own. Whose it is is asked before it is opened too: that waits for a writer.
fn open_pipe(path: &Path, trust: Trust) -> Result<Option<File>, TrustedFileError> {
    // Nothing else is opened: that can have effects.
    match nix::sys::stat::stat(path) {
        Ok(stat) if kind(&stat) == SFlag::S_IFIFO => {
            check(path, path, &stat, trust, &mut WritablePaths::default())?;
        }
        _ => return Ok(None),
    }
    let file = File::open(path).map_err(TrustedFileError::Io)?;
    Ok((kind(&fstat(&file)?) == SFlag::S_IFIFO).then_some(file))
}

/// Checks owner and permissions of what is found at `found`, and is called `path`.
fn check(
    path: &Path,
    found: &Path,
    stat: &FileStat,
    trust: Trust,
    writable: &mut WritablePaths,
) -> Result<(), TrustedFileError> {
    let owner = stat.st_uid;
    // An owner that a user namespace does not map may be the machine's root, who lays out configurations.
    if !trust.of_folder(owner) {
        return Err(TrustedFileError::Owner(path.to_owned(), owner, trust.uid()));
    }
    trust.note((path, found, stat), true, writable).map_err(TrustedFileError::Writable)
}

#[cfg(test)]
mod tests {
    use super::super::testing::{chmod, file, folder, subfolder};
    use super::*;
    use nix::sys::stat::Mode;
    use std::io::{Read, Write};
    use std::os::fd::AsRawFd;
    use std::os::unix::fs::symlink;

    fn read(path: &Path) -> Result<String, TrustedFileError> {
        read_as(path, Trust::with_groups(|_, _| false))
    }

    fn read_as(path: &Path, trust: Trust) -> Result<String, TrustedFileError> {
        let mut text = String::new();
        open_as(path, trust)?.read_to_string(&mut text).unwrap();
        Ok(text)
    }

    #[test]
    fn a_file_that_its_owners_private_group_can_change_is_obeyed() {
        let trust = Trust::with_groups(|owner, gid| {
            owner == nix::unistd::geteuid().as_raw() && gid == nix::unistd::getegid().as_raw()
        });
        let root = folder();
        let inner = subfolder(&root.path().join("inner"));
        let path = file(&inner, "config", "ours", 0o664);
        chmod(&inner, 0o775);
        assert_eq!(read_as(&path, trust).unwrap(), "ours");
        chmod(&path, 0o666);
        assert!(matches!(read_as(&path, trust), Err(TrustedFileError::Writable(_))));
        let fifo = root.path().join("fifo");
        nix::unistd::mkfifo(&fifo, Mode::from_bits_truncate(0o600)).unwrap();
        chmod(&fifo, 0o620);
        let stat = nix::sys::stat::stat(&fifo).unwrap();
        check(&fifo, &fifo, &stat, trust, &mut WritablePaths::default()).unwrap();
    }

    #[test]
    fn a_file_that_others_can_change_is_not_obeyed() {
        let root = folder();
        let inner = subfolder(&root.path().join("inner"));
        let path = file(&inner, "config", "ours", 0o644);
        assert_eq!(read(&path).unwrap(), "ours");
        let command = format!("chmod go-w {}`", path.display());
        for mode in [0o664, 0o646, 0o666] {
            chmod(&path, mode);
            let error = read(&path).unwrap_err();
            assert!(
                matches!(error, TrustedFileError::Writable(..)) && error.to_string().contains(&command),
                "{error}"
            );
        }
        // All that is to be mended is told at once.
        chmod(&inner, 0o775);
        let error = read(&path).unwrap_err().to_string();
        let command = format!("chmod go-w {} {}`", inner.display(), path.display());
        assert!(error.contains(&command), "{error}");
        chmod(&path, 0o600);
        let error = read(&path).unwrap_err().to_string();
        assert!(error.contains(&format!("chmod go-w {}`", inner.display())), "{error}");
        chmod(&inner, 0o757);
        let error = read(&path).unwrap_err();
        assert!(matches!(&error, TrustedFileError::Way(way) if way.path == inner), "{error}");
        assert!(!error.to_string().contains("chmod"), "everybody shares it: {error}");
        chmod(&inner, 0o1777);
        assert_eq!(read(&path).unwrap(), "ours", "nobody can replace it there");
        if nix::unistd::geteuid().is_root() && nix::unistd::chown(&path, Some(12345.into()), None).is_ok() {
            assert!(matches!(read(&path), Err(TrustedFileError::Owner(_, 12345, 0))));
        }
    }

    #[test]
    fn links_are_followed_where_they_can_be_trusted() {
        let root = folder();
        let open_folder = subfolder(&root.path().join("open"));
        let target = file(root.path(), "target", "text", 0o600);
        let link = root.path().join("link");
        symlink("open/second", &link).unwrap();
        symlink("../target", open_folder.join("second")).unwrap();
        assert_eq!(read(&link).unwrap(), "text");
        chmod(&open_folder, 0o777);
        assert!(matches!(read(&link), Err(TrustedFileError::Way(way)) if way.path == open_folder));
        chmod(&open_folder, 0o755);
        chmod(&target, 0o666);
        assert!(
            matches!(read(&link), Err(TrustedFileError::Writable(paths)) if paths.iter().any(|found| found.path == target))
        );
        let circle = root.path().join("circle");
        symlink("circle", &circle).unwrap();
        assert!(read(&circle).is_err());
    }

    #[test]
    fn a_pipe_of_ours_is_read_and_what_is_no_file_is_not() {
        let root = folder();
        let (reader, mut writer) = std::io::pipe().unwrap();
        writer.write_all(b"from a shell").unwrap();
        drop(writer);
        let path = PathBuf::from(format!("/proc/self/fd/{}", reader.as_raw_fd()));
        assert_eq!(read(&path).unwrap(), "from a shell");
        assert!(matches!(read(root.path()), Err(TrustedFileError::NotAFile(_))));
        assert!(matches!(read(Path::new("/dev/null")), Err(TrustedFileError::NotAFile(_))));
        // One that others may write to is refused at once: opening it would wait for one of them.
        let fifo = root.path().join("fifo");
        nix::unistd::mkfifo(&fifo, Mode::from_bits_truncate(0o600)).unwrap();
        chmod(&fifo, 0o666);
        assert!(matches!(read(&fifo), Err(TrustedFileError::Writable(..))));
        let missing = read(&root.path().join("none")).unwrap_err();
        assert!(matches!(missing, TrustedFileError::Io(error) if error.kind() == io::ErrorKind::NotFound));
    }
}
