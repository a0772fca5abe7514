//! Which runtime folder: the same rule for the daemon and its control client, so that they meet.
//!
//! What it deliberately does not do: touch the folder. The daemon makes and checks it.
//!
//! What always holds: the path is absolute, and it is known where it came from.

use std::ffi::{OsStr, OsString};
use std::fmt;
use std::path::{Path, PathBuf};

/// Names the runtime folder.
pub const VARIABLE: &str = "RPC_PLUGIN_SYSTEM_RUNTIME_DIR";
/// Set by systemd for a unit with `RuntimeDirectory=` (systemd.exec(5)).
pub const SERVICE_VARIABLE: &str = "RUNTIME_DIRECTORY";
/// The user's own folder for sockets (XDG Base Directory Specification).
pub const SESSION_VARIABLE: &str = "XDG_RUNTIME_DIR";
/// The runtime folder of root.
pub const ROOT_DIR: &str = "/run/rpcplugind";
/// The name of the runtime folder inside the user's own folder for sockets.
pub const SESSION_NAME: &str = "rpcplugind";
/// The flag.
pub const FLAG: super::Flag = super::Flag::with_value(
    "runtime-dir",
    "DIR",
    "The daemon's runtime folder; without it $RUNTIME_DIRECTORY, for root /run/rpcplugind, \
     for other users the folder rpcplugind in $XDG_RUNTIME_DIR",
)
.variable(VARIABLE);

/// Where a runtime folder came from.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum DirSource {
    /// `--runtime-dir`.
    Flag,
    /// `RPC_PLUGIN_SYSTEM_RUNTIME_DIR`.
    Variable,
    /// `RUNTIME_DIRECTORY`.
    Service,
    /// The folder of the admin socket that `--admin-socket` or its variable names.
    AdminSocket,
    /// The default for root.
    Root,
    /// The default for everybody else, in `XDG_RUNTIME_DIR`.
    Session,
}

impl fmt::Display for DirSource {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(match self {
            DirSource::Flag => "--runtime-dir",
            DirSource::Variable => VARIABLE,
            DirSource::Service => SERVICE_VARIABLE,
            DirSource::AdminSocket => "--admin-socket",
            DirSource::Root => "the default for root",
            DirSource::Session => SESSION_VARIABLE,
        })
    }
}

/// A runtime folder and where it came from.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ResolvedDir {
    /// The absolute path; the folder need not exist.
    pub path: PathBuf,
    /// What named it.
    pub source: DirSource,
}

/// Why no runtime folder is known.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum ResolveDirError {
    /// Nothing names one.
    Unknown,
    /// The flag has an empty value.
    Empty,
    /// A variable names a folder that depends on the working directory.
    Relative(DirSource, PathBuf),
    /// The flag names one, and the working directory that it starts from cannot be read.
    NoWorkingDirectory(PathBuf),
}

impl fmt::Display for ResolveDirError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            ResolveDirError::Unknown => write!(
                f,
                "no runtime folder is known: {SESSION_VARIABLE} is not set (not a login session?); \
                 give --runtime-dir DIR or set {VARIABLE}"
            ),
            ResolveDirError::Empty => write!(f, "--runtime-dir is empty; give it a folder"),
            ResolveDirError::Relative(source, path) => {
                write!(f, "{source} is {path:?}; it must be an absolute path")
            }
            ResolveDirError::NoWorkingDirectory(path) => write!(
                f,
                "--runtime-dir {path:?} is relative, and the working directory cannot be read; \
                 give an absolute path"
            ),
        }
    }
}

impl std::error::Error for ResolveDirError {}

/// Finds the runtime folder: the flag, then `RPC_PLUGIN_SYSTEM_RUNTIME_DIR`, then `RUNTIME_DIRECTORY`
/// (the first of its folders, which systemd separates by colons), then `/run/rpcplugind` for root,
/// then `$XDG_RUNTIME_DIR/rpcplugind`. An empty variable counts as not set.
///
/// # Errors
/// Says what is missing or which variable is wrong, and what to give.
pub fn resolve(
    flag: Option<&OsStr>,
    env: &dyn Fn(&str) -> Option<OsString>,
    is_root: bool,
) -> Result<ResolvedDir, ResolveDirError> {
    if let Some(flag) = flag {
        if flag.is_empty() {
            return Err(ResolveDirError::Empty);
        }
        let path = std::path::absolute(flag)
            .map_err(|_| ResolveDirError::NoWorkingDirectory(PathBuf::from(flag)))?;
        return Ok(ResolvedDir { path, source: DirSource::Flag });
    }
    let set = |name: &str| env(name).filter(|value| !value.is_empty()).map(PathBuf::from);
    if let Some(path) = set(VARIABLE) {
        return absolute(path, DirSource::Variable);
    }
    if let Some(path) = set(SERVICE_VARIABLE) {
        return absolute(first_of_list(&path), DirSource::Service);
    }
    if is_root {
        return Ok(ResolvedDir { path: PathBuf::from(ROOT_DIR), source: DirSource::Root });
    }
    match set(SESSION_VARIABLE) {
        Some(path) => absolute(path.join(SESSION_NAME), DirSource::Session),
        None => Err(ResolveDirError::Unknown),
    }
}

fn absolute(path: PathBuf, source: DirSource) -> Result<ResolvedDir, ResolveDirError> {
    if path.is_absolute() {
        Ok(ResolvedDir { path, source })
    } else {
        Err(ResolveDirError::Relative(source, path))
    }
}

fn first_of_list(path: &Path) -> PathBuf {
    use std::os::unix::ffi::OsStrExt;
    let first = path.as_os_str().as_bytes().split(|byte| *byte == b':').next().unwrap_or_default();
    PathBuf::from(OsStr::from_bytes(first))
}

#[cfg(test)]
mod tests {
    use super::*;

    type Case<'a> = (Option<&'a str>, &'a [(&'a str, &'a str)], bool, Result<(&'a str, DirSource), &'a str>);

    #[test]
    fn the_first_source_that_says_something_wins() {
        let all: &[(&str, &str)] = &[(VARIABLE, "/v"), (SERVICE_VARIABLE, "/s:/t"), (SESSION_VARIABLE, "/x")];
        let table: &[Case<'_>] = &[
            (Some("/f"), all, true, Ok(("/f", DirSource::Flag))),
            (None, all, true, Ok(("/v", DirSource::Variable))),
            (None, &[(VARIABLE, ""), (SERVICE_VARIABLE, "/s:/t")], true, Ok(("/s", DirSource::Service))),
            (None, &[(SESSION_VARIABLE, "/x")], true, Ok((ROOT_DIR, DirSource::Root))),
            (None, &[(SESSION_VARIABLE, "/x")], false, Ok(("/x/rpcplugind", DirSource::Session))),
            (None, &[], false, Err("no runtime folder is known")),
            (Some(""), all, false, Err("--runtime-dir is empty")),
            (None, &[(VARIABLE, "v")], true, Err(VARIABLE)),
            (None, &[(SERVICE_VARIABLE, ":/t")], true, Err(SERVICE_VARIABLE)),
            (None, &[(SESSION_VARIABLE, "x")], false, Err(SESSION_VARIABLE)),
        ];
        for (flag, variables, is_root, expected) in table {
            let env = |name: &str| {
                variables.iter().find(|(variable, _)| *variable == name).map(|(_, value)| value.into())
            };
            match (resolve(flag.map(OsStr::new), &env, *is_root), expected) {
                (Ok(found), Ok((path, source))) => {
                    assert_eq!((found.path.as_path(), found.source), (Path::new(path), *source));
                }
                (Err(error), Err(part)) => assert!(error.to_string().contains(part), "{error}"),
                (found, expected) => panic!("{found:?}, expected {expected:?}"),
            }
        }
    }

    #[test]
    fn a_relative_flag_starts_from_the_working_directory() {
        let found = resolve(Some(OsStr::new("r/d")), &|_| None, false).unwrap();
        assert_eq!(found.path, std::env::current_dir().unwrap().join("r/d"));
    }
}
