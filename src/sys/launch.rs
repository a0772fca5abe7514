//! Everything that is made before a plugin's process: generation, token, listener, open executable, as far as
//! its transport needs them.
//!
//! What this file is for: the order of protocol section 3, and taking it all back when one step fails.
//! What it deliberately does not do: launch. It blocks on the file system, so it belongs on a worker
//! thread; the result is handed to the thread that launches.
//!
//! What always holds: the generation is on disk before anything else is made, so a failed preparation
//! costs a number and leaves nothing else.
#![forbid(unsafe_code)]

use super::executable::{self, Executable, ExecutableError};
use super::file_error::FileError;
use super::generation::{self, GenerationError};
use super::listener::{self, ListenError};
use super::private_file::PrivateFile;
use super::private_folder::PrivateFolder;
use super::runtime_dir::plugin_socket_name;
use super::token;
use nix::errno::Errno;
use nix::fcntl::{OFlag, open};
use nix::sys::stat::Mode;
use rpc_plugin_wire::{Generation, PluginId, Token};
use std::fmt;
use std::os::fd::OwnedFd;
use std::os::unix::net::UnixListener;
use std::path::Path;

/// Connections that wait to be accepted. One is expected; the rest is room to see and refuse others.
const BACKLOG: u16 = 16;

/// A generation that is ready to be launched. Dropping it, or a part of it, removes the files.
#[derive(Debug)]
pub struct PreparedLaunch {
    /// The number, which is on disk.
    pub generation: Generation,
    /// What the plugin has to prove.
    pub token: Token,
    /// Holds the token for the plugin to read.
    pub token_file: Option<PrivateFile>,
    /// Where the plugin connects, nonblocking, and its file.
    pub listener: Option<(UnixListener, PrivateFile)>,
    /// What is executed.
    pub executable: Option<Executable>,
    /// The plugin's folder.
    pub folder: PrivateFolder,
    /// The folder that it starts in.
    pub working_folder: Option<OwnedFd>,
}

/// What a launch takes beside a generation and a token.
#[derive(Debug, Clone, Copy)]
pub struct Needs<'a> {
    /// Whether the token goes into a file.
    pub token_file: bool,
    /// Whether the plugin connects to a socket.
    pub listener: bool,
    /// What is executed, if anything, and the folder that it starts in.
    pub executable: Option<(&'a Path, &'a Path)>,
}

/// The step of a preparation that failed, and why.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum PrepareError {
    /// No generation number: nothing was made.
    Generation(GenerationError),
    /// No token file.
    Token(FileError),
    /// No listener.
    Listener(ListenError),
    /// The executable cannot be launched.
    Executable(ExecutableError),
    /// The folder that it starts in cannot be entered.
    WorkingFolder(FileError),
}

impl PrepareError {
    /// The number that was used already, if that is what failed.
    #[must_use]
    pub fn used(&self) -> Option<Generation> {
        match self {
            PrepareError::Generation(GenerationError::Used { last, .. }) => Some(*last),
            _ => None,
        }
    }

    /// The kernel's reason, where a system call failed.
    #[must_use]
    pub fn errno(&self) -> Option<Errno> {
        match self {
            PrepareError::Generation(GenerationError::File(error))
            | PrepareError::Token(error)
            | PrepareError::WorkingFolder(error)
            | PrepareError::Listener(ListenError::File(error)) => Some(error.errno),
            PrepareError::Executable(ExecutableError { problem, .. }) => problem.errno(),
            PrepareError::Generation(_) | PrepareError::Listener(_) => None,
        }
    }

    /// Whether a further attempt fails too, until files are changed.
    #[must_use]
    pub fn is_permanent(&self) -> bool {
        match self {
            PrepareError::Executable(_) | PrepareError::WorkingFolder(_) => {
                self.errno().is_none_or(is_about_a_path)
            }
            PrepareError::Generation(_) | PrepareError::Token(_) | PrepareError::Listener(_) => false,
        }
    }

    /// The failed step, as a word for events.
    #[must_use]
    pub fn step(&self) -> &'static str {
        match self {
            PrepareError::Generation(_) => "generation",
            PrepareError::Token(_) => "token",
            PrepareError::Listener(_) => "listener",
            PrepareError::Executable(_) => "executable",
            PrepareError::WorkingFolder(_) => "working folder",
        }
    }
}

impl fmt::Display for PrepareError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            PrepareError::Generation(error) => error.fmt(f),
            PrepareError::Token(error) => error.fmt(f),
            PrepareError::Listener(error) => error.fmt(f),
            PrepareError::Executable(error) => error.fmt(f),
            PrepareError::WorkingFolder(error) => error.fmt(f),
        }
    }
}

impl std::error::Error for PrepareError {}

/// Prepares a generation of a plugin in its folder. One caller at a time for each plugin. Blocks.
///
/// # Errors
/// The failed step. The generation number is used up in any case.
pub fn prepare(
    folder: &PrivateFolder,
    id: &PluginId,
    generation: Generation,
    needs: Needs<'_>,
) -> Result<PreparedLaunch, PrepareError> {
    generation::claim(folder, generation).map_err(PrepareError::Generation)?;
    let (token, token_file) = if needs.token_file {
        let (token, file) = token::create(folder, generation).map_err(PrepareError::Token)?;
        (token, Some(file))
    } else {
        (token::random().map_err(PrepareError::Token)?, None)
    };
    let listener = match needs.listener {
        true => {
            Some(listener::bind(folder, &plugin_socket_name(id), BACKLOG).map_err(PrepareError::Listener)?)
        }
        false => None,
    };
    let (executable, starts_in) = needs.executable.unzip();
    let executable = executable.map(executable::open).transpose().map_err(PrepareError::Executable)?;
    let working_folder = starts_in.map(open_folder).transpose().map_err(PrepareError::WorkingFolder)?;
    let folder = folder.clone();
    Ok(PreparedLaunch { generation, token, token_file, listener, executable, folder, working_folder })
}

/// Whether a path leads to nothing that may be used, and does so until something on its way is changed.
fn is_about_a_path(errno: Errno) -> bool {
    matches!(errno, Errno::ENOENT | Errno::ENOTDIR | Errno::EACCES | Errno::ELOOP | Errno::ENAMETOOLONG)
}

pub(super) fn open_folder(path: &Path) -> Result<OwnedFd, FileError> {
    let flags = OFlag::O_PATH | OFlag::O_DIRECTORY | OFlag::O_CLOEXEC;
    open(path, flags, Mode::empty()).map_err(|errno| FileError::new("enter working folder", path, errno))
}

#[cfg(test)]
mod tests {
    use super::super::testing::{file, folder, private, script};
    use super::*;
    use std::os::unix::net::UnixStream;

    fn names(folder: &Path) -> Vec<String> {
        let mut names: Vec<String> = std::fs::read_dir(folder)
            .unwrap()
            .map(|entry| entry.unwrap().file_name().into_string().unwrap())
            .collect();
        names.sort();
        names
    }

    fn all(executable: &Path) -> Needs<'_> {
        Needs { token_file: true, listener: true, executable: Some((executable, Path::new("/"))) }
    }

    fn number(number: u64) -> Generation {
        number.try_into().unwrap()
    }

    #[test]
    fn a_preparation_makes_all_and_dropping_it_leaves_the_number() {
        let root = folder();
        let program = script(root.path(), "exit");
        let plugin = root.path().join("echo");
        let id = "echo".parse().unwrap();
        let prepared = prepare(&private(&plugin), &id, number(1), all(&program)).unwrap();
        assert_eq!(names(&plugin), ["echo.sock", "generation", "token.1"]);
        let (listener, socket_file) = prepared.listener.as_ref().unwrap();
        UnixStream::connect(socket_file.path()).unwrap();
        listener.accept().unwrap();
        drop(prepared);
        assert_eq!(names(&plugin), ["generation"]);
    }

    #[test]
    fn what_is_not_needed_is_not_made() {
        let root = folder();
        let plugin = root.path().join("echo");
        let id = "echo".parse().unwrap();
        let needs = Needs { token_file: false, listener: false, executable: None };
        let prepared = prepare(&private(&plugin), &id, number(1), needs).unwrap();
        assert_eq!(names(&plugin), ["generation"]);
        let other = prepare(&private(&plugin), &id, number(2), needs).unwrap();
        assert!(!prepared.token.matches(&other.token));
        assert!(prepared.executable.is_none() && prepared.listener.is_none());
    }

    #[test]
    fn a_failed_preparation_names_its_step_costs_its_number_and_leaves_nothing() {
        let root = folder();
        let program = script(root.path(), "exit");
        let plugin = root.path().join("echo");
        let id: PluginId = "echo".parse().unwrap();
        let fails = |next, program: &Path| {
            prepare(&private(&plugin), &id, number(next), all(program)).unwrap_err().step()
        };

        assert_eq!(fails(1, Path::new("/does/not/exist")), "executable");
        assert_eq!(names(&plugin), ["generation"]);
        assert_eq!(fails(1, &program), "generation", "a failed start has used its number");
        let used = prepare(&private(&plugin), &id, number(1), all(&program)).unwrap_err();
        assert_eq!(used.used(), Some(number(1)));

        file(&plugin, "echo.sock", "in the way", 0o600);
        assert_eq!(fails(2, &program), "listener");
        std::fs::remove_file(plugin.join("echo.sock")).unwrap();

        file(&plugin, "token.3", "in the way", 0o600);
        assert_eq!(fails(3, &program), "token");

        file(&plugin, "generation", "garbage", 0o600);
        assert_eq!(fails(4, &program), "generation");
        assert_eq!(names(&plugin), ["generation", "token.3"]);
    }
}
