//! System calls on processes and randomness that neither std nor nix has a safe form of.
//!
//! What this file is for: one checked function per call, with ordinary Rust types outside. What it
//! deliberately does not do: decide when to call. What always holds: an interrupted call is repeated,
//! and a failed one is an `io::Error` with the kernel's errno.
#![allow(unsafe_code)]

use super::exit_status::ExitStatus;
use nix::sys::signal::Signal;
use std::io;
use std::mem::MaybeUninit;
use std::os::fd::{AsRawFd, BorrowedFd, FromRawFd, OwnedFd, RawFd};

/// Whether to leave the exit status where it is, to be collected later.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Collect {
    /// Look only: the process stays a zombie, so its pid and its group cannot be recycled.
    Peek,
    /// Take it: the process is gone afterwards.
    Reap,
}

/// How a child ended; `None` while it runs. Never blocks.
///
/// # Errors
/// `ECHILD` where the pidfd is of a process that is not a child of this process.
pub(super) fn waitid(pidfd: BorrowedFd<'_>, collect: Collect) -> io::Result<Option<ExitStatus>> {
    let keep = if collect == Collect::Peek { libc::WNOWAIT } else { 0 };
    let flags = libc::WEXITED | libc::WNOHANG | keep;
    let id = libc::id_t::try_from(pidfd.as_raw_fd()).map_err(io::Error::other)?;
    let mut info = MaybeUninit::<libc::siginfo_t>::zeroed();
    let info = loop {
        // SAFETY: `info` is writable memory of the size the call fills, and lives throughout it.
        let result = unsafe { libc::waitid(libc::P_PIDFD, id, info.as_mut_ptr(), flags) };
        if result == 0 {
            // SAFETY: siginfo_t is plain data, valid in every bit pattern; it was zeroed at creation.
            break unsafe { info.assume_init() };
        }
        let error = io::Error::last_os_error();
        if error.kind() != io::ErrorKind::Interrupted {
            return Err(error);
        }
    };
    // SAFETY: waitid fills the fields of SIGCHLD, of which si_pid is one; without a change they are zero.
    let pid = unsafe { info.si_pid() };
    if pid == 0 {
        return Ok(None);
    }
    // SAFETY: as above, si_status is a field of SIGCHLD.
    let status = unsafe { info.si_status() };
    Ok(Some(match info.si_code {
        libc::CLD_EXITED => ExitStatus::Code(status),
        code => ExitStatus::Signal { signal: status, core_dumped: code == libc::CLD_DUMPED },
    }))
}

/// A pidfd for a process that exists now. Close-on-exec, as every pidfd is (pidfd_open(2)).
pub(super) fn pidfd_open(pid: u32) -> io::Result<OwnedFd> {
    // SAFETY: no pointers; an unknown pid is an error.
    let result = unsafe { libc::syscall(libc::SYS_pidfd_open, pid, 0) };
    let fd = RawFd::try_from(checked(result)?).map_err(io::Error::other)?;
    // SAFETY: the kernel has just made this descriptor for us, and nothing else owns it.
    Ok(unsafe { OwnedFd::from_raw_fd(fd) })
}

/// Sends a signal to the very process that the pidfd was made for, or `ESRCH`.
pub(super) fn pidfd_send_signal(pidfd: BorrowedFd<'_>, signal: Signal) -> io::Result<()> {
    signal_by_number(pidfd.as_raw_fd(), signal)
}

/// The same for a pidfd by its number, which the caller keeps from being closed meanwhile.
pub(super) fn signal_by_number(fd: RawFd, signal: Signal) -> io::Result<()> {
    let info: *const libc::siginfo_t = std::ptr::null();
    let signal = signal as libc::c_int;
    // SAFETY: a null siginfo is allowed and means what kill(2) would send.
    let result = unsafe { libc::syscall(libc::SYS_pidfd_send_signal, fd, signal, info, 0) };
    checked(result).map(drop)
}

/// Whether this process has told the kernel to reap its children by itself: SIGCHLD ignored, or
/// `SA_NOCLDWAIT` (wait(2), notes).
pub(super) fn sigchld_discards_statuses() -> io::Result<bool> {
    let mut action = MaybeUninit::<libc::sigaction>::zeroed();
    // SAFETY: a null new action changes nothing; `action` is writable memory of the size that is filled.
    let result = unsafe { libc::sigaction(libc::SIGCHLD, std::ptr::null(), action.as_mut_ptr()) };
    checked(result.into())?;
    // SAFETY: sigaction is plain data, zeroed at creation and filled by the call, which succeeded.
    let action = unsafe { action.assume_init() };
    Ok(action.sa_sigaction == libc::SIG_IGN || action.sa_flags & libc::SA_NOCLDWAIT != 0)
}

/// Gives SIGCHLD its default action: nothing happens, and exit statuses are kept.
pub(super) fn reset_sigchld() -> io::Result<()> {
    // SAFETY: the default action runs no code of this process.
    let previous = unsafe { libc::signal(libc::SIGCHLD, libc::SIG_DFL) };
    if previous == libc::SIG_ERR { Err(io::Error::last_os_error()) } else { Ok(()) }
}

/// What a host finds that was started with SIGCHLD ignored.
#[cfg(test)]
pub(super) fn ignore_sigchld() {
    // SAFETY: ignoring runs no code of this process.
    let previous = unsafe { libc::signal(libc::SIGCHLD, libc::SIG_IGN) };
    assert_ne!(previous, libc::SIG_ERR);
}

/// Takes a lease on a file that nobody else has open: whoever opens it waits until it is closed.
#[cfg(test)]
pub(super) fn hold_lease(file: BorrowedFd<'_>) -> io::Result<()> {
    /// fcntl(2); the libc crate lacks it.
    const F_SETSIG: libc::c_int = 10;
    // SAFETY: no pointers. Whoever waits is told of by a signal that is ignored unless somebody wants it.
    let result = unsafe { libc::fcntl(file.as_raw_fd(), F_SETSIG, libc::SIGURG) };
    checked(result.into())?;
    // SAFETY: no pointers.
    let result = unsafe { libc::fcntl(file.as_raw_fd(), libc::F_SETLEASE, libc::F_WRLCK) };
    checked(result.into()).map(drop)
}

/// Random bytes from the operating system (getrandom(2)); blocks only until the kernel's generator
/// has been seeded once after boot.
pub(super) fn random_bytes<const N: usize>() -> io::Result<[u8; N]> {
    let mut bytes = [0_u8; N];
    let mut filled = 0;
    while let Some(rest) = bytes.get_mut(filled..).filter(|rest| !rest.is_empty()) {
        // SAFETY: the pointer and the length are those of one exclusive slice.
        let result = unsafe { libc::getrandom(rest.as_mut_ptr().cast(), rest.len(), 0) };
        match usize::try_from(result) {
            Ok(count) => filled += count,
            Err(_) => {
                let error = io::Error::last_os_error();
                if error.kind() != io::ErrorKind::Interrupted {
                    return Err(error);
                }
            }
        }
    }
    Ok(bytes)
}

/// Bytes in a pipe that were written and not read, asked at either end (FIONREAD, pipe(7)).
pub(super) fn pipe_unread_bytes(fd: BorrowedFd<'_>) -> io::Result<u64> {
    bytes_of(fd, libc::FIONREAD)
}

/// Bytes that were sent on a Unix socket and not received, with what the kernel needs to hold them
/// (SIOCOUTQ, which is TIOCOUTQ; unix_outq_len in the kernel).
pub(super) fn socket_unread_bytes(fd: BorrowedFd<'_>) -> io::Result<u64> {
    bytes_of(fd, libc::TIOCOUTQ)
}

fn bytes_of(fd: BorrowedFd<'_>, request: libc::Ioctl) -> io::Result<u64> {
    let mut bytes: libc::c_int = 0;
    // SAFETY: both requests write one int, and the pointer is to one that lives throughout the call.
    let result = unsafe { libc::ioctl(fd.as_raw_fd(), request, &raw mut bytes) };
    checked(result.into())?;
    Ok(u64::try_from(bytes).unwrap_or(0))
}

/// Sets a parameter of glibc's allocator; whether it was taken.
#[cfg(target_env = "gnu")]
pub(super) fn set_allocator(parameter: libc::c_int, value: libc::c_int) -> bool {
    // SAFETY: no pointers; glibc takes its own locks for what it changes.
    unsafe { libc::mallopt(parameter, value) == 1 }
}

fn checked(result: libc::c_long) -> io::Result<libc::c_long> {
    if result < 0 { Err(io::Error::last_os_error()) } else { Ok(result) }
}

#[cfg(test)]
mod tests {
    use super::super::process::wait_readable;
    use super::super::testing::{DEADLINE, Sleeper};
    use super::*;
    use std::os::fd::AsFd;

    #[cfg(target_env = "gnu")]
    #[test]
    fn a_parameter_that_glibc_lacks_is_not_taken() {
        // It ignores what it does not know, and says that it took it; what is too small for its own rules it refuses.
        assert!(!set_allocator(libc::M_MXFAST, -1) && set_allocator(libc::M_TRIM_THRESHOLD, 1 << 20));
    }

    #[test]
    fn random_bytes_differ_and_fill_the_array() {
        let first = random_bytes::<64>().unwrap();
        let second = random_bytes::<64>().unwrap();
        assert_ne!(first, second);
        assert!(first.iter().skip(48).any(|b| *b != 0), "the last bytes were not filled");
        assert_eq!(random_bytes::<0>().unwrap(), [0_u8; 0]);
    }

    #[test]
    fn a_pidfd_of_no_child_cannot_be_waited_for() {
        let own = pidfd_open(std::process::id()).unwrap();
        let error = waitid(own.as_fd(), Collect::Peek).unwrap_err();
        assert_eq!(error.raw_os_error(), Some(libc::ECHILD));
        assert!(pidfd_open(u32::MAX).is_err());
    }

    #[test]
    fn status_and_signal_go_through_the_pidfd() {
        let sleeper = Sleeper::new(&[]);
        let pidfd = pidfd_open(sleeper.pid()).unwrap();
        assert_eq!(waitid(pidfd.as_fd(), Collect::Reap).unwrap(), None);
        pidfd_send_signal(pidfd.as_fd(), Signal::SIGTERM).unwrap();
        let expected = ExitStatus::Signal { signal: libc::SIGTERM, core_dumped: false };
        assert!(wait_readable(pidfd.as_fd(), DEADLINE).unwrap());
        assert_eq!(waitid(pidfd.as_fd(), Collect::Peek).unwrap(), Some(expected));
        assert_eq!(waitid(pidfd.as_fd(), Collect::Reap).unwrap(), Some(expected));
        assert_eq!(
            pidfd_send_signal(pidfd.as_fd(), Signal::SIGTERM).unwrap_err().raw_os_error(),
            Some(libc::ESRCH)
        );
    }
}
