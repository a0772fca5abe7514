//! Why a launch failed, in words: the step, the kernel's reason, and what to do.
#![forbid(unsafe_code)]

use super::child::SpawnStep;
use super::executable::Format;
use super::file_error::is_shortage;
use super::launcher::LAUNCH_TIMEOUT;
use nix::errno::Errno;
use std::fmt;
use std::path::PathBuf;

/// A launch that failed. No process of it is left.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SpawnError {
    /// The step that failed.
    pub step: SpawnStep,
    /// The kernel's reason.
    pub errno: i32,
    pub(super) path: PathBuf,
    pub(super) format: Format,
}

impl SpawnError {
    /// Whether somebody has the file open for writing (`ETXTBSY`), which passes when they close it. A
    /// moment later is soon enough where it was this host that wrote the file: a launch in another thread
    /// holds copies of all descriptors until its exec.
    #[must_use]
    pub fn is_text_busy(&self) -> bool {
        self.step == SpawnStep::Execute && self.errno == libc::ETXTBSY
    }

    /// Whether the host lacks something, such as descriptors, processes or memory, which may pass.
    #[must_use]
    pub fn is_shortage(&self) -> bool {
        self.step != SpawnStep::Arguments && is_shortage(Errno::from_raw(self.errno))
    }

    /// Whether a further attempt fails too, until the executable, its interpreter or its loader is changed. Not where the
    /// kernel has a program of its own for the file (binfmt_misc), and that is missing: which, only the kernel knows.
    #[must_use]
    pub fn is_permanent(&self) -> bool {
        let is_named = match &self.format {
            Format::Script { .. } => true,
            Format::Elf(loader) => loader.is_some(),
            Format::Other => false,
        };
        self.step == SpawnStep::Execute
            && match self.errno {
                libc::ENOEXEC | libc::ELIBBAD => true,
                libc::ENOENT => is_named,
                _ => false,
            }
    }

    /// The failed step in words.
    #[must_use]
    pub fn step_name(&self) -> &'static str {
        match self.step {
            SpawnStep::Arguments => "pass arguments and environment",
            SpawnStep::Resources => "make pipes and memory for it",
            SpawnStep::Clone => "make a process",
            SpawnStep::Session => "make a session",
            SpawnStep::ParentDeathSignal => "set the parent-death signal",
            SpawnStep::StandardStreams => "connect stdin, stdout and stderr",
            SpawnStep::GivenDescriptor => "keep its connection, or the script for its interpreter, open",
            SpawnStep::WorkingFolder => "change to its working folder",
            SpawnStep::Limits => "set its limit of descriptors",
            SpawnStep::Confine => "take system calls from it",
            SpawnStep::CloseDescriptors => "close the host's descriptors",
            SpawnStep::Execute => "execute it",
        }
    }

    fn advice_on_execute(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let path = self.path.display();
        match (Errno::from_raw(self.errno), &self.format) {
            (Errno::ENOENT, Format::Script { interpreter })
                if interpreter.to_string_lossy().ends_with('\r') =>
            {
                write!(f, "its first line ends with a carriage return; save it with Unix line ends")
            }
            (Errno::ENOENT, Format::Script { interpreter }) => write!(
                f,
                "its interpreter {} does not exist; install it or correct the `#!` line (or the loader that the \
                 interpreter was linked for does not: `readelf -l` shows which)",
                interpreter.display()
            ),
            (Errno::ENOENT, Format::Elf(Some(loader))) => write!(
                f,
                "the loader it was linked for, {}, does not exist here; build it for this system's libc, or statically",
                loader.display()
            ),
            (Errno::ELIBBAD, format) => advice_on_bad_loader(f, format),
            (Errno::EACCES, Format::Script { interpreter }) => write!(
                f,
                "it or its interpreter {} may not be executed; check the permissions of both and whether their \
                 file systems are mounted noexec",
                interpreter.display()
            ),
            (Errno::EACCES, _) => write!(
                f,
                "it may not be executed; check its permissions, whether its file system is mounted noexec, and the \
                 rules of a security module"
            ),
            (Errno::ENOEXEC, Format::Elf(_)) => write!(
                f,
                "it is not a program for this machine's architecture ({}), or damaged; build it for this machine",
                std::env::consts::ARCH
            ),
            (Errno::ENOEXEC, Format::Script { .. }) => {
                write!(f, "its `#!` line names no interpreter; write one such as `#!/bin/sh`")
            }
            (Errno::ENOEXEC, Format::Other) => write!(
                f,
                "it is neither a program for this machine nor a script; a script begins with a line such as `#!/bin/sh`"
            ),
            (Errno::ETXTBSY, _) => write!(
                f,
                "somebody has the file open for writing; wait until it is written, and replace files by renaming a \
                 finished one (`fuser -v {path}` shows who)"
            ),
            (Errno::E2BIG, _) => {
                write!(f, "arguments and environment are too large together; name fewer or shorter variables")
            }
            (Errno::ELOOP, _) => write!(f, "interpreters name each other; correct the `#!` lines"),
            (Errno::ETIMEDOUT, _) => write!(
                f,
                "its exec did not end within {LAUNCH_TIMEOUT:?}, and it was killed; see whether the file system of the \
                 program, its interpreter or its loader hangs"
            ),
            (Errno::EPERM, _) => write!(f, "a security module or filter forbids it; look into its log"),
            _ => write!(f, "check the file with `file {path}`"),
        }
    }
}

/// What to do where the loader is there, and no loader for what names it (`ELIBBAD`).
fn advice_on_bad_loader(f: &mut fmt::Formatter<'_>, format: &Format) -> fmt::Result {
    match format {
        Format::Script { interpreter } => write!(
            f,
            "the loader that its interpreter {} was linked for is not one for the interpreter's architecture, or damaged; \
             install the interpreter anew",
            interpreter.display()
        ),
        Format::Elf(Some(loader)) => write!(
            f,
            "the loader it was linked for, {}, is not one for this program's architecture, or damaged; install the libc of \
             its architecture",
            loader.display()
        ),
        Format::Elf(None) | Format::Other => {
            write!(f, "what runs it is not for its architecture, or damaged")
        }
    }
}

impl fmt::Display for SpawnError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let errno = Errno::from_raw(self.errno);
        let (path, step) = (self.path.display(), self.step_name());
        write!(f, "launching {path} failed at the step \"{step}\": {} ({errno:?}): ", errno.desc())?;
        match (self.step, errno) {
            (SpawnStep::Execute, _) => self.advice_on_execute(f),
            (SpawnStep::Arguments, _) => {
                write!(f, "no argument or variable may hold a NUL byte, and a variable's name no '='")
            }
            (SpawnStep::WorkingFolder, _) => {
                write!(f, "its working folder cannot be entered any more")
            }
            (SpawnStep::Confine, Errno::ENOSYS | Errno::EINVAL) => write!(
                f,
                "this kernel has no filters of system calls (CONFIG_SECCOMP_FILTER); `confine: off` launches it without"
            ),
            (SpawnStep::Clone, Errno::EAGAIN) => write!(
                f,
                "the limit of processes is reached; raise `ulimit -u`, the service's TasksMax, or the cgroup's pids.max"
            ),
            (SpawnStep::Resources, Errno::ECHILD) => write!(
                f,
                "this process ignores SIGCHLD, so that exit statuses are lost; give SIGCHLD its default action"
            ),
            (SpawnStep::Clone, Errno::EINVAL) => write!(f, "Linux 5.4 or newer is needed"),
            (_, Errno::EMFILE) => write!(f, "this host has too many open files; raise `ulimit -n`"),
            (_, Errno::ENFILE) => {
                write!(f, "the machine has too many open files; raise the sysctl fs.file-max")
            }
            (_, Errno::ENOMEM) => write!(f, "memory is short; free some or raise the cgroup's memory.max"),
            _ => write!(f, "a limit or a security module of this machine forbids it"),
        }
    }
}

impl std::error::Error for SpawnError {}
