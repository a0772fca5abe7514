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
use super::executable_digest::{self, DigestCache, DigestError, ExpectedDigest};
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
    /// What is executed, if anything.
    pub executable: Option<Executes<'a>>,
}

/// What a launch executes.
#[derive(Debug, Clone, Copy)]
pub struct Executes<'a> {
    /// The executable.
    pub path: &'a Path,
    /// The folder that it starts in.
    pub working_folder: &'a Path,
    /// The SHA-256 that the executable has to have.
    pub digest: Option<ExpectedDigest<'a>>,
    /// Digests that are known already.
    pub cache: &'a DigestCache,
}

impl Executes<'_> {
    /// Opens and checks the executable.
    pub(super) fn open(&self) -> Result<Executable, PrepareError> {
        let executable = executable::open(self.path).map_err(PrepareError::Executable)?;
        if let Some(digest) = self.digest {
            executable_digest::check(&executable, digest, self.cache).map_err(PrepareError::Digest)?;
        }
        Ok(executable)
    }

    /// Opens the folder that it starts in.
    pub(super) fn open_folder(&self) -> Result<OwnedFd, PrepareError> {
        open_folder(self.working_folder).map_err(PrepareError::WorkingFolder)
    }
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
    /// The executable is not the one that was expected.
    Digest(DigestError),
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
            PrepareError::Digest(DigestError::Read(_, errno)) => Some(*errno),
            PrepareError::Generation(_) | PrepareError::Listener(_) | PrepareError::Digest(_) => None,
        }
    }

    /// Whether a further attempt fails too, until files are changed.
    #[must_use]
    pub fn is_permanent(&self) -> bool {
        match self {
            PrepareError::Executable(_) | PrepareError::WorkingFolder(_) => {
                self.errno().is_none_or(is_about_a_path)
            }
            PrepareError::Digest(error) => {
                matches!(error, DigestError::Mismatch { .. } | DigestError::List(..))
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
            PrepareError::Digest(_) => "digest",
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
            PrepareError::Digest(error) => error.fmt(f),
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
    let executable = needs.executable.map(|executes| executes.open()).transpose()?;
    let working_folder = needs.executable.map(|executes| executes.open_folder()).transpose()?;
    let folder = folder.clone();
    Ok(PreparedLaunch { generation, token, token_file, listener, executable, folder, working_folder })
}

/// Whether a path leads to nothing that may be used, and does so until something on its way is changed.
fn is_about_a_path(errno: Errno) -> bool {
    matches!(errno, Errno::ENOENT | Errno::ENOTDIR | Errno::EACCES | Errno::ELOOP | Errno::ENAMETOOLONG)
}

fn open_folder(path: &Path) -> Result<OwnedFd, FileError> {
    let flags = OFlag::O_PATH | OFlag::O_DIRECTORY | OFlag::O_CLOEXEC;
    open(path, flags, Mode::empty()).map_err(|errno| FileError::new("enter working folder", path, errno))
}

#[cfg(test)]
mod tests {
    use super::super::testing::{file, folder, private, script};
    use super::*;
    use std::os::unix::net::UnixStream;
    use std::sync::LazyLock;

    fn names(folder: &Path) -> Vec<String> {
        let mut names: Vec<String> = std::fs::read_dir(folder)
            .unwrap()
            .map(|entry| entry.unwrap().file_name().into_string().unwrap())
            .collect();
        names.sort();
        names
    }

    /// Nothing is known beforehand.
    static CACHE: LazyLock<DigestCache> = LazyLock::new(DigestCache::default);

    fn executes(path: &Path) -> Executes<'_> {
        Executes { path, working_folder: Path::new("/"), digest: None, cache: &CACHE }
    }

    fn all(executable: &Path) -> Needs<'_> {
        Needs { token_file: true, listener: true, executable: Some(executes(executable)) }
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
    fn an_executable_of_another_digest_is_refused_until_a_file_is_changed() {
        let root = folder();
        let program = script(root.path(), "exit");
        let id: PluginId = "echo".parse().unwrap();
        let runtime = private(&root.path().join("echo"));
        let prepared = |next, digest: ExpectedDigest<'_>| {
            let executable = Some(Executes { digest: Some(digest), ..executes(&program) });
            let needs = Needs { token_file: false, listener: false, executable };
            prepare(&runtime, &id, number(next), needs)
        };
        let other = "0".repeat(64);
        let refused = prepared(1, ExpectedDigest::Is(&other)).unwrap_err();
        assert_eq!((refused.step(), refused.is_permanent(), refused.errno()), ("digest", true, None));
        assert!(refused.to_string().contains(&format!("expected SHA-256 {other}, seen ")), "{refused}");
        let list = file(root.path(), "SHA256SUMS", "", 0o644);
        let refused = prepared(2, ExpectedDigest::ListedIn(&list)).unwrap_err();
        assert_eq!((refused.step(), refused.is_permanent()), ("digest", true));
        let output = std::process::Command::new("sha256sum").arg(&program).output().unwrap();
        std::fs::write(&list, output.stdout).unwrap();
        assert!(prepared(3, ExpectedDigest::ListedIn(&list)).unwrap().executable.is_some());
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
