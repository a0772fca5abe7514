//! The moment between clone and exec: what runs in the child, and the one call that starts it.
//!
//! What this file is for: launching without copying the host's page tables, as posix_spawn(3) does:
//! `clone(CLONE_VM | CLONE_VFORK)`. The child borrows our memory on a stack of its own, and the calling
//! thread stands still until the child has executed the program or has ended. What it deliberately does
//! not do: allocate, lock, drop, panic or format anything in the child; [`super::spawn`] builds all it
//! needs before and explains failures after.
//!
//! What always holds:
//! - The child makes system calls only, of those that signal-safety(7) allows or that are bare.
//! - No signal handler of the host can run in the child, where it would change the host's memory: every
//!   signal is blocked before the clone, and unblocked in the child only after each has its default
//!   action. (libc keeps its two internal signals out of reach; it sends them to threads of one process
//!   by number, so never to the child.)
//! - The failing step and its errno are stored in the shared plan. Because the parent stands still until
//!   exec or end, it reads them at once: what a close-on-exec pipe would tell, without descriptors, a read
//!   or a deadline. A child that is killed before exec tells nothing in either design; its exit does.
#![allow(unsafe_code)]

use super::pidfd_slot::PidfdSlot;
use nix::errno::Errno;
use nix::sys::signal::{SigSet, SigmaskHow};
use std::cell::Cell;
use std::convert::Infallible;
use std::ffi::{CString, c_char, c_int, c_void};
use std::os::fd::{FromRawFd, OwnedFd, RawFd};

/// Stack of the child, which calls some thin libc functions and nothing else. Bytes.
const STACK_BYTES: usize = 64 * 1024;
/// Below the stack, never accessible. Covers a page on every architecture. Bytes.
const GUARD_BYTES: usize = 64 * 1024;
/// The highest signal number on Linux.
const SIGNAL_MAX: c_int = 64;
/// The first descriptor that a program may be given beside 0, 1 and 2: its channel, then the script for its
/// interpreter, which finds it as `/dev/fd/3`, or `/dev/fd/4` behind a channel.
pub(super) const FIRST_GIVEN_FD: RawFd = 3;
/// How many there are at the most; what they are made from is numbered after them.
pub(super) const GIVEN_FDS_MAX: RawFd = 2;
/// Files of the plugin are its own unless it says otherwise.
const UMASK: libc::mode_t = 0o077;

/// A step of a launch that can fail.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum SpawnStep {
    /// Arguments or environment cannot be passed on.
    Arguments,
    /// Making pipes, opening `/dev/null`, memory for the child.
    Resources,
    /// Making the process.
    Clone,
    /// Making its session.
    Session,
    /// Tying its life to ours.
    ParentDeathSignal,
    /// Its stdin, stdout and stderr.
    StandardStreams,
    /// Keeping the channel, or the script for its interpreter, open.
    GivenDescriptor,
    /// Changing to its working folder.
    WorkingFolder,
    /// Closing what is not meant for it.
    CloseDescriptors,
    /// Setting its limits.
    Limits,
    /// Taking system calls from it.
    Confine,
    /// Executing the program.
    Execute,
}

/// A null-terminated array of strings, as exec wants it.
pub(super) struct CStringArray {
    pointers: Vec<*const c_char>,
    // Owns what the pointers lead to; a CString's bytes do not move with it.
    _strings: Vec<CString>,
}

impl CStringArray {
    pub(super) fn new(strings: Vec<CString>) -> CStringArray {
        let end = std::iter::once(std::ptr::null());
        let pointers = strings.iter().map(|s| s.as_ptr()).chain(end).collect();
        CStringArray { pointers, _strings: strings }
    }
}

/// Everything the child needs.
pub(super) struct Plan<'a> {
    /// For 0, 1 and 2. None of these descriptors is below 3, so that none is overwritten before its use.
    pub(super) streams: [RawFd; 3],
    /// What becomes [`FIRST_GIVEN_FD`], if anything. Not below [`FIRST_GIVEN_FD`] + [`GIVEN_FDS_MAX`].
    pub(super) channel: Option<RawFd>,
    /// The program, not below that either.
    pub(super) program: RawFd,
    /// Whether the program stays open, after the channel.
    pub(super) keep_program: bool,
    /// Where it starts; `None`: in `/`.
    pub(super) working_folder: Option<RawFd>,
    pub(super) arguments: &'a CStringArray,
    pub(super) environment: &'a CStringArray,
    pub(super) parent: libc::pid_t,
    /// Whether the kernel closes descriptors in one call. Only a test says no, to run the fallback.
    pub(super) close_range: bool,
    /// One more than the highest descriptor that can be open, for the fallback.
    pub(super) descriptors_max: RawFd,
    /// The limit of descriptors that it gets, soft and hard, where that is not the parent's.
    pub(super) descriptors_soft: Option<(u64, u64)>,
    /// Whether the parent's oom_score_adj spares it, which is not inherited.
    pub(super) is_protected: bool,
    /// The filter of its system calls, which goes along with it and all that it starts; `None`: it has none.
    pub(super) filter: Option<&'a [libc::sock_filter]>,
    /// What failed, set by the child. The parent reads it when the child no longer shares its memory.
    pub(super) failure: Cell<Option<(SpawnStep, Errno)>>,
}

/// Starts the child and returns once it has executed its program or has failed, which the plan then says.
/// The pid belongs to an unreaped child in both cases. `slot` holds its pidfd meanwhile.
///
/// # Errors
/// The step and errno if there is no child.
pub(super) fn start(plan: &Plan<'_>, slot: &PidfdSlot) -> Result<(libc::pid_t, OwnedFd), (SpawnStep, Errno)> {
    let stack = Stack::new().map_err(|errno| (SpawnStep::Resources, errno))?;
    let blocked = Blocked::all().map_err(|errno| (SpawnStep::Resources, errno))?;
    let flags = libc::CLONE_VM | libc::CLONE_VFORK | libc::CLONE_PIDFD | libc::SIGCHLD;
    let argument = std::ptr::from_ref(plan).cast_mut().cast::<c_void>();
    let pidfd_at = slot.as_ptr();
    // SAFETY: `stack.top()` is the aligned end of writable memory that only the child uses; `child_main`
    // takes the plan that `argument` points to and never unwinds. Plan, stack and slot outlive the
    // child's use of them, because CLONE_VFORK holds this thread until it has executed or ended.
    let pid = unsafe { libc::clone(child_main, stack.top(), flags, argument, pidfd_at) };
    let errno = Errno::last();
    drop(blocked);
    let Some(pidfd) = slot.take().filter(|_| pid >= 0) else { return Err((SpawnStep::Clone, errno)) };
    // SAFETY: clone succeeded, so the kernel stored a new descriptor there, which nothing else owns.
    Ok((pid, unsafe { OwnedFd::from_raw_fd(pidfd) }))
}

extern "C" fn child_main(plan: *mut c_void) -> c_int {
    // SAFETY: `start` passes a pointer to a plan that lives until this child has executed or ended, and
    // nobody else touches it in the meantime.
    let plan = unsafe { &*plan.cast::<Plan<'_>>() };
    let Err(failure) = become_program(plan);
    plan.failure.set(Some(failure));
    // libc's clone ends the process with this status; nobody sees it, because the parent has the failure.
    127
}

/// Runs in the child. See the rules at the top of the file.
fn become_program(plan: &Plan<'_>) -> Result<Infallible, (SpawnStep, Errno)> {
    reset_signal_actions();
    // SAFETY: no pointers; changes this process only.
    check(SpawnStep::Session, unsafe { libc::setsid() })?;
    die_with_parent(plan.parent)?;
    enter_folder(plan.working_folder)?;
    connect_streams(plan.streams)?;
    let mut first_to_close = FIRST_GIVEN_FD;
    if let Some(channel) = plan.channel {
        give(channel, first_to_close)?;
        first_to_close += 1;
    }
    let mut program = plan.program;
    if plan.keep_program {
        program = give(plan.program, first_to_close)?;
        first_to_close += 1;
    }
    // SAFETY: no pointers, cannot fail.
    unsafe { libc::umask(UMASK) };
    close_on_exec(plan, first_to_close)?;
    if let Some((soft, hard)) = plan.descriptors_soft {
        limit_descriptors(soft, hard)?;
    }
    if plan.is_protected {
        unprotect();
    }
    unblock_signals();
    if let Some(filter) = plan.filter {
        super::confine::enforce(filter).map_err(|errno| (SpawnStep::Confine, errno))?;
    }
    let (arguments, environment) = (plan.arguments.pointers.as_ptr(), plan.environment.pointers.as_ptr());
    let (empty, flags) = (c"".as_ptr(), libc::AT_EMPTY_PATH);
    // SAFETY: the two arrays end with a null pointer, and they and their C strings live in the plan.
    unsafe { libc::syscall(libc::SYS_execveat, program, empty, arguments, environment, flags) };
    Err((SpawnStep::Execute, Errno::last()))
}

/// Changes to the working folder, before anything can take its descriptor's number.
fn enter_folder(folder: Option<RawFd>) -> Result<(), (SpawnStep, Errno)> {
    let result = match folder {
        // SAFETY: no pointers; the descriptor is open in the child's copy of the table.
        Some(folder) => unsafe { libc::fchdir(folder) },
        // SAFETY: the pointer is that of a constant C string.
        None => unsafe { libc::chdir(c"/".as_ptr()) },
    };
    check(SpawnStep::WorkingFolder, result)
}

/// Sets the limit of descriptors; those that are open stay so.
fn limit_descriptors(soft: u64, hard: u64) -> Result<(), (SpawnStep, Errno)> {
    let limit = libc::rlimit { rlim_cur: soft as libc::rlim_t, rlim_max: hard as libc::rlim_t };
    // SAFETY: reads a struct that lives here. A process has limits of its own (no CLONE_THREAD).
    check(SpawnStep::Limits, unsafe { libc::setrlimit(libc::RLIMIT_NOFILE, &raw const limit) })
}

/// Takes a protection from the out-of-memory killer back. Where that is refused, or /proc is not there, the launch goes on.
fn unprotect() {
    let flags = libc::O_WRONLY | libc::O_CLOEXEC;
    // SAFETY: the path is a C string; opens a descriptor of the child's own table.
    let fd = unsafe { libc::open(c"/proc/self/oom_score_adj".as_ptr(), flags) };
    if fd >= 0 {
        // SAFETY: the buffer is one readable byte.
        unsafe { libc::write(fd, c"0".as_ptr().cast(), 1) };
        // SAFETY: the descriptor was opened above and nobody else uses it.
        unsafe { libc::close(fd) };
    }
}

/// Gives every signal its default action, ignored ones included, which exec would leave ignored.
fn reset_signal_actions() {
    // The kernel's own struct: all zero is SIG_DFL, no flags, no mask, on every architecture. At most this
    // large. libc's wrapper would refuse its internal signals.
    let default = [0_u64; 4];
    let (action, old) = (default.as_ptr(), std::ptr::null_mut::<u64>());
    let mut signal = 1;
    while signal <= SIGNAL_MAX {
        // SAFETY: `action` points to 32 readable bytes, no less than the kernel reads; nothing is written.
        // The set of actions is not shared (no CLONE_SIGHAND). SIGKILL and SIGSTOP are refused: no matter.
        unsafe { libc::syscall(libc::SYS_rt_sigaction, signal, action, old, 8_usize) };
        signal += 1;
    }
}

fn unblock_signals() {
    let (none, old) = (0_u64, std::ptr::null_mut::<u64>());
    let mask: *const u64 = &raw const none;
    // SAFETY: `mask` points to the 8 bytes that the kernel reads; nothing is written. Each thread has its
    // own mask, so the parent's is not touched. Cannot fail with these arguments.
    unsafe { libc::syscall(libc::SYS_rt_sigprocmask, libc::SIG_SETMASK, mask, old, 8_usize) };
}

/// SIGKILL when the thread that launched us ends.
fn die_with_parent(parent: libc::pid_t) -> Result<(), (SpawnStep, Errno)> {
    let signal = libc::SIGKILL as libc::c_ulong;
    // SAFETY: no pointers; changes this process only.
    check(SpawnStep::ParentDeathSignal, unsafe { libc::prctl(libc::PR_SET_PDEATHSIG, signal) })?;
    // SAFETY: no pointers, cannot fail.
    let seen = unsafe { libc::getppid() };
    // The parent died before the signal was set: nobody would send it, and nobody reads this errno.
    if seen == parent { Ok(()) } else { Err((SpawnStep::ParentDeathSignal, Errno::ESRCH)) }
}

fn connect_streams(streams: [RawFd; 3]) -> Result<(), (SpawnStep, Errno)> {
    let [input, output, error] = streams;
    // SAFETY: no pointers; the descriptor table is the child's own copy (no CLONE_FILES).
    check(SpawnStep::StandardStreams, unsafe { libc::dup2(input, libc::STDIN_FILENO) })?;
    // SAFETY: as above.
    check(SpawnStep::StandardStreams, unsafe { libc::dup2(output, libc::STDOUT_FILENO) })?;
    // SAFETY: as above.
    check(SpawnStep::StandardStreams, unsafe { libc::dup2(error, libc::STDERR_FILENO) })?;
    Ok(())
}

/// Makes a descriptor another one, which survives exec.
fn give(fd: RawFd, given: RawFd) -> Result<RawFd, (SpawnStep, Errno)> {
    // SAFETY: no pointers; the descriptor table is the child's own copy. What is replaced is not meant for the
    // child: what is given lies above all that it is given as.
    check(SpawnStep::GivenDescriptor, unsafe { libc::dup2(fd, given) })?;
    Ok(given)
}

/// The host's descriptors are close-on-exec already; this is for those of the program that embeds it.
fn close_on_exec(plan: &Plan<'_>, first: RawFd) -> Result<(), (SpawnStep, Errno)> {
    let flags = libc::CLOSE_RANGE_CLOEXEC;
    if plan.close_range {
        // SAFETY: no pointers; the descriptor table is the child's own copy.
        let result = unsafe { libc::syscall(libc::SYS_close_range, first, libc::c_uint::MAX, flags) };
        if result == 0 {
            return Ok(());
        }
    }
    // Before Linux 5.11, or where a filter denies the call: one by one.
    let mut fd = first;
    while fd < plan.descriptors_max {
        // SAFETY: as above.
        let result = unsafe { libc::fcntl(fd, libc::F_SETFD, libc::FD_CLOEXEC) };
        if result < 0 && Errno::last() != Errno::EBADF {
            return Err((SpawnStep::CloseDescriptors, Errno::last()));
        }
        fd += 1;
    }
    Ok(())
}

fn check(step: SpawnStep, result: c_int) -> Result<(), (SpawnStep, Errno)> {
    if result < 0 { Err((step, Errno::last())) } else { Ok(()) }
}

/// The child's stack: a mapping of its own, so that an overflow ends the child instead of writing into
/// the host's heap.
struct Stack {
    lowest: *mut c_void,
}

impl Stack {
    fn new() -> Result<Stack, Errno> {
        let protection = libc::PROT_READ | libc::PROT_WRITE;
        let flags = libc::MAP_PRIVATE | libc::MAP_ANONYMOUS | libc::MAP_STACK;
        // SAFETY: a new anonymous mapping, at an address of the kernel's choice, overlaps nothing.
        let lowest =
            unsafe { libc::mmap(std::ptr::null_mut(), GUARD_BYTES + STACK_BYTES, protection, flags, -1, 0) };
        if lowest == libc::MAP_FAILED {
            return Err(Errno::last());
        }
        let stack = Stack { lowest };
        // SAFETY: the range is the lower part of the mapping just made, which nothing uses yet.
        let result = unsafe { libc::mprotect(lowest, GUARD_BYTES, libc::PROT_NONE) };
        if result < 0 { Err(Errno::last()) } else { Ok(stack) }
    }

    /// One past the highest byte; a page boundary, so aligned for every architecture.
    fn top(&self) -> *mut c_void {
        self.lowest.wrapping_byte_add(GUARD_BYTES + STACK_BYTES)
    }
}

impl Drop for Stack {
    fn drop(&mut self) {
        // SAFETY: the mapping is ours, whole, and no child uses it: `start` returns after CLONE_VFORK let go.
        unsafe { libc::munmap(self.lowest, GUARD_BYTES + STACK_BYTES) };
    }
}

/// All signals blocked in this thread until dropped.
struct Blocked {
    before: SigSet,
}

impl Blocked {
    fn all() -> Result<Blocked, Errno> {
        Ok(Blocked { before: SigSet::all().thread_swap_mask(SigmaskHow::SIG_SETMASK)? })
    }
}

impl Drop for Blocked {
    fn drop(&mut self) {
        // Restoring a mask that was in force cannot fail.
        let _ = self.before.thread_set_mask();
    }
}
