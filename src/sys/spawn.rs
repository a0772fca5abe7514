//! Launches a checked executable as the leader of a session of its own.
//!
//! What this file is for: everything before and after the clone: arguments, environment, pipes. What it deliberately
//! does not do: repeat a failed launch (the caller decides; see [`SpawnError::is_text_busy`]), read the pipes, or add
//! anything to the environment.
//!
//! What the program finds: exactly the environment given; stdin from `/dev/null`; stdout and stderr as
//! pipes, or this process's own; no other descriptor, but its channel, if it is given one, as 3 or as stdin and stdout;
//! and the next for a script (and whatever else is not ELF), which is the script itself: its interpreter reads
//! it as `/dev/fd/3`, so `/proc` has to be mounted. No controlling
//! terminal; umask 077; every signal unblocked and with its default action. It is killed when the
//! *thread* that launched it ends. Limits (RLIMIT_*), priority and cgroup are the host's.
//!
//! The calling thread stands still until the program is executed, so a file system that hangs in exec
//! hangs it too, as with posix_spawn(3), until the child is killed through the slot of its pidfd. [`super::launcher`] is
//! the thread for it, and [`super::executable::open`] has read from the file before, on a worker thread.
#![forbid(unsafe_code)]

pub use super::child::SpawnStep;
use super::child::{CStringArray, FIRST_GIVEN_FD, GIVEN_FDS_MAX, Plan, start};
use super::executable::{Executable, Format};
use super::limits::given_descriptor_limit;
use super::pidfd_slot::PidfdSlot;
use super::proc_file::read_text;
use super::process::Child;
use super::raw;
pub use super::spawn_error::SpawnError;
use nix::errno::Errno;
use nix::fcntl::{FcntlArg, OFlag, fcntl, open};
use nix::sys::resource::{Resource, getrlimit};
use nix::sys::stat::Mode;
use nix::unistd::pipe2;
use std::cell::Cell;
use std::ffi::{CString, OsStr, OsString};
use std::io;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd, RawFd};
use std::os::unix::ffi::OsStrExt;
use std::time::Duration;

/// Where the fallback of close_range(2) stops. A host with more open descriptors than that runs on a
/// kernel that has the call.
const DESCRIPTORS_MAX: RawFd = 65_536;
/// How long a child that failed before exec may take to vanish; it has nothing left to do.
const FAILED_CHILD_TIMEOUT: Duration = Duration::from_secs(5);

/// A connection that a program is given, and as what.
#[derive(Debug, Clone, Copy, Default)]
pub enum Channel<'a> {
    /// No connection.
    #[default]
    None,
    /// As [`CHANNEL_FD`].
    Descriptor(BorrowedFd<'a>),
    /// As its standard input and output; then there is no pipe for the latter.
    Stdio(BorrowedFd<'a>),
}

/// The number of [`Channel::Descriptor`] in the program.
pub const CHANNEL_FD: RawFd = FIRST_GIVEN_FD;

/// Instruction of a filter of system calls (linux/filter.h).
pub type FilterInstruction = libc::sock_filter;

/// What to launch.
#[derive(Debug, Clone)]
pub struct SpawnSpec<'a> {
    /// The open program.
    pub executable: &'a Executable,
    /// What the program sees as its own name. A script's interpreter does not see it.
    pub arg0: &'a OsStr,
    /// The other arguments.
    pub args: &'a [OsString],
    /// The whole environment: names, which are not empty and hold no `=`, and values.
    pub env: &'a [(OsString, OsString)],
    /// The open folder it starts in; `None`: `/`.
    pub working_folder: Option<BorrowedFd<'a>>,
    /// Its stdout and stderr are this process's own, instead of pipes.
    pub inherit_output: bool,
    /// Its connection.
    pub channel: Channel<'a>,
    /// The filter of its system calls; `None`: it has none.
    pub filter: Option<&'a [FilterInstruction]>,
}

impl<'a> SpawnSpec<'a> {
    /// No arguments, no environment, working folder `/`, named by its path.
    #[must_use]
    pub fn new(executable: &'a Executable) -> SpawnSpec<'a> {
        SpawnSpec {
            executable,
            arg0: executable.path().as_os_str(),
            args: &[],
            env: &[],
            working_folder: None,
            inherit_output: false,
            channel: Channel::None,
            filter: None,
        }
    }
}

/// A launched program.
#[derive(Debug)]
pub struct Spawned {
    /// The process.
    pub child: Child,
    /// What it writes to stdout. Nonblocking. `None` where it has this process's own, or its channel.
    pub stdout: Option<OwnedFd>,
    /// What it writes to stderr. Nonblocking. `None` where it has this process's own.
    pub stderr: Option<OwnedFd>,
}

/// Launches a program. Returns when it is executing, and blocks no longer than that takes; killing the child through
/// `slot` ends it earlier.
///
/// # Errors
/// Names the failed step, and what to do.
pub fn spawn(spec: &SpawnSpec<'_>, slot: &PidfdSlot) -> Result<Spawned, SpawnError> {
    spawn_with(spec, None, slot, (true, oom_score_adj(&mut [0; 16]))).map_err(|failure| failed(spec, failure))
}

/// The same for a program that reads `stdin` instead of nothing.
///
/// # Errors
/// As [`spawn`].
pub fn spawn_reading(spec: &SpawnSpec<'_>, stdin: OwnedFd, slot: &PidfdSlot) -> Result<Spawned, SpawnError> {
    spawn_with(spec, Some(stdin), slot, (true, oom_score_adj(&mut [0; 16])))
        .map_err(|failure| failed(spec, failure))
}

fn failed(spec: &SpawnSpec<'_>, (step, errno): (SpawnStep, Errno)) -> SpawnError {
    SpawnError {
        step,
        errno: errno as i32,
        path: spec.executable.path().to_owned(),
        format: spec.executable.format().clone(),
    }
}

fn spawn_with(
    spec: &SpawnSpec<'_>,
    stdin: Option<OwnedFd>,
    slot: &PidfdSlot,
    (close_range, oom_score_adj): (bool, &str),
) -> Result<Spawned, (SpawnStep, Errno)> {
    let resources = |errno: Errno| (SpawnStep::Resources, errno);
    let arguments = CStringArray::new(arguments(spec)?);
    let environment = CStringArray::new(environment(spec)?);
    if raw::sigchld_discards_statuses().map_err(|error| resources(errno_of(&error)))? {
        return Err(resources(Errno::ECHILD));
    }
    let program = above_given(spec.executable.as_fd())?;
    let stdio = match spec.channel {
        Channel::Stdio(channel) => Some(above_given(channel)?),
        _ => None,
    };
    let channel = match spec.channel {
        Channel::Descriptor(channel) => Some(above_given(channel)?),
        _ => None,
    };
    let stdin = match (stdin, &stdio) {
        (Some(stdin), _) => stdin,
        (None, Some(channel)) => above_given(channel.as_fd())?,
        (None, None) => {
            open("/dev/null", OFlag::O_RDONLY | OFlag::O_CLOEXEC, Mode::empty()).map_err(resources)?
        }
    };
    let stdin = above_stdio(stdin)?;
    let (stdout, stdout_child) = match stdio {
        Some(channel) => (None, channel),
        None => output(spec, io::stdout().as_fd())?,
    };
    let (stderr, stderr_child) = output(spec, io::stderr().as_fd())?;
    let plan = Plan {
        streams: [stdin.as_raw_fd(), stdout_child.as_raw_fd(), stderr_child.as_raw_fd()],
        channel: channel.as_ref().map(AsRawFd::as_raw_fd),
        program: program.as_raw_fd(),
        keep_program: !matches!(spec.executable.format(), Format::Elf(_)),
        working_folder: spec.working_folder.map(|folder| folder.as_raw_fd()),
        arguments: &arguments,
        environment: &environment,
        parent: nix::unistd::getpid().as_raw(),
        close_range,
        descriptors_max: descriptors_max(),
        descriptors_soft: given_descriptor_limit(),
        // A service manager may have asked that of the daemon, not of its plugins.
        is_protected: oom_score_adj.trim_start().starts_with('-'),
        filter: spec.filter,
        failure: Cell::new(None),
    };
    let (pid, pidfd) = start(&plan, slot)?;
    let mut child = Child::new(pid, pidfd);
    // One that was killed before its exec tells nothing; one that was killed just after it has ended too.
    let killed = slot.was_killed().then_some((SpawnStep::Execute, Errno::ETIMEDOUT));
    if let Some(failure) = plan.failure.get().or(killed) {
        // It is ending by itself; dropping it would do the same more rudely.
        let _ = child.wait_exit(FAILED_CHILD_TIMEOUT);
        let _ = child.reap();
        return Err(failure);
    }
    Ok(Spawned { child, stdout, stderr })
}

fn arguments(spec: &SpawnSpec<'_>) -> Result<Vec<CString>, (SpawnStep, Errno)> {
    std::iter::once(spec.arg0).chain(spec.args.iter().map(OsString::as_os_str)).map(c_string).collect()
}

fn environment(spec: &SpawnSpec<'_>) -> Result<Vec<CString>, (SpawnStep, Errno)> {
    let entry = |(name, value): &(OsString, OsString)| {
        if name.is_empty() || name.as_bytes().contains(&b'=') {
            return Err((SpawnStep::Arguments, Errno::EINVAL));
        }
        let mut entry = name.clone();
        entry.push("=");
        entry.push(value);
        c_string(&entry)
    };
    spec.env.iter().map(entry).collect()
}

fn c_string(text: &OsStr) -> Result<CString, (SpawnStep, Errno)> {
    CString::new(text.as_bytes()).map_err(|_| (SpawnStep::Arguments, Errno::EINVAL))
}

/// An output of the child: our end, if there is one, and the child's. `own` is what it may inherit; where that
/// is closed in this process, it is nowhere.
fn output(
    spec: &SpawnSpec<'_>,
    own: BorrowedFd<'_>,
) -> Result<(Option<OwnedFd>, OwnedFd), (SpawnStep, Errno)> {
    if !spec.inherit_output {
        let (read, write) = output_pipe()?;
        return Ok((Some(read), write));
    }
    // A duplicate is numbered from 3 on.
    let child = match own.try_clone_to_owned() {
        Ok(child) => child,
        Err(_) => {
            let null = open("/dev/null", OFlag::O_WRONLY | OFlag::O_CLOEXEC, Mode::empty());
            above_stdio(null.map_err(|errno| (SpawnStep::Resources, errno))?)?
        }
    };
    Ok((None, child))
}

/// A pipe: our end to read from, nonblocking, and the child's end, which blocks as programs expect.
fn output_pipe() -> Result<(OwnedFd, OwnedFd), (SpawnStep, Errno)> {
    let resources = |errno: Errno| (SpawnStep::Resources, errno);
    let (read, write) = pipe2(OFlag::O_CLOEXEC).map_err(resources)?;
    fcntl(&read, FcntlArg::F_SETFL(OFlag::O_NONBLOCK)).map_err(resources)?;
    Ok((read, above_stdio(write)?))
}

/// The same open file under a number above all that a program is given, also where the host's own descriptors
/// leave lower ones free.
fn above_given(fd: BorrowedFd<'_>) -> Result<OwnedFd, (SpawnStep, Errno)> {
    // Held until a number is high enough, of which there are few.
    let mut lower = Vec::new();
    loop {
        let copy = fd.try_clone_to_owned().map_err(|error| (SpawnStep::Resources, errno_of(&error)))?;
        if copy.as_raw_fd() >= FIRST_GIVEN_FD + GIVEN_FDS_MAX {
            return Ok(copy);
        }
        lower.push(copy);
    }
}

/// The same open file under a number that is not 0, 1 or 2. Duplicates are made from 3 on.
fn above_stdio(fd: OwnedFd) -> Result<OwnedFd, (SpawnStep, Errno)> {
    if fd.as_raw_fd() > libc::STDERR_FILENO {
        return Ok(fd);
    }
    fd.try_clone().map_err(|error| (SpawnStep::Resources, errno_of(&error)))
}

fn descriptors_max() -> RawFd {
    let limit = getrlimit(Resource::RLIMIT_NOFILE).map_or(u64::MAX, |(_, hard)| hard);
    RawFd::try_from(limit).map_or(DESCRIPTORS_MAX, |limit| limit.min(DESCRIPTORS_MAX))
}

/// How the kernel spares this process when memory is short (below 0), or takes it first (above 0).
fn oom_score_adj(buffer: &mut [u8; 16]) -> &str {
    read_text("/proc/self/oom_score_adj", buffer)
}

fn errno_of(error: &std::io::Error) -> Errno {
    Errno::from_raw(error.raw_os_error().unwrap_or(libc::EIO))
}

#[cfg(test)]
#[path = "spawn_tests.rs"]
mod tests;
