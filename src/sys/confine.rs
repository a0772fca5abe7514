//! The step between clone and exec that takes system calls from a process.
//!
//! What always holds: it makes system calls only, as the child that it runs in has to ([`super::child`]); what it puts in
//! force stays so for all that the process starts, and nothing takes it back (seccomp(2)).
#![allow(unsafe_code)]

use nix::errno::Errno;

/// Puts a filter of system calls in force for this process, and gives up what set-id files and file capabilities would bring,
/// without which the kernel takes no filter of an ordinary user.
///
/// # Errors
/// Those of prctl(2) and seccomp(2).
pub(super) fn enforce(filter: &[libc::sock_filter]) -> Result<(), Errno> {
    let (yes, unused): (libc::c_ulong, libc::c_ulong) = (1, 0);
    // SAFETY: no pointers; changes the calling thread only, which is the whole child.
    let result = unsafe { libc::prctl(libc::PR_SET_NO_NEW_PRIVS, yes, unused, unused, unused) };
    Errno::result(result)?;
    // The kernel refuses what is too long, which a cut number would not tell.
    let len = libc::c_ushort::try_from(filter.len()).unwrap_or(libc::c_ushort::MAX);
    let program = libc::sock_fprog { len, filter: filter.as_ptr().cast_mut() };
    let (mode, flags, program) = (libc::SECCOMP_SET_MODE_FILTER, 0_u32, &raw const program);
    // SAFETY: the struct and the instructions that it points to live throughout; the kernel copies them and writes nothing.
    let result = unsafe { libc::syscall(libc::SYS_seccomp, mode, flags, program) };
    Errno::result(result).map(drop)
}

/// Whether this kernel has filters that let a call fail (CONFIG_SECCOMP_FILTER; Linux 4.14).
#[cfg(feature = "confine")]
pub(crate) fn has_filters() -> bool {
    let (action, flags) = (libc::SECCOMP_RET_ERRNO, 0_u32);
    // SAFETY: the kernel reads the four bytes that the pointer leads to, and writes nothing.
    let result =
        unsafe { libc::syscall(libc::SYS_seccomp, libc::SECCOMP_GET_ACTION_AVAIL, flags, &raw const action) };
    result == 0
}

#[cfg(test)]
#[cfg(feature = "confine")]
mod tests {
    use super::super::testing::alone;
    use super::*;
    use crate::confine::base_filter;
    use std::io;
    use std::os::fd::AsRawFd;

    /// A system call by its number, which gets zeros and nothing that it could write to; its error, or 0.
    fn errno(number: libc::c_long, arguments: [libc::c_long; 3]) -> i32 {
        let [first, second, third] = arguments;
        // SAFETY: the calls of this test take null pointers for wrong arguments, at most.
        let result = unsafe { libc::syscall(number, first, second, third, 0, 0, 0) };
        if result < 0 { io::Error::last_os_error().raw_os_error().unwrap() } else { 0 }
    }

    /// Calls that an ordinary process may make or that fail for another reason, and whether they are for the base to refuse.
    #[test]
    fn what_the_base_takes_fails_and_what_it_leaves_goes_on() {
        alone(|| {
            let own = libc::c_long::from(std::process::id());
            let thread_files = libc::c_long::from(libc::CLONE_FILES);
            let clock = libc::c_long::from(libc::CLOCK_MONOTONIC);
            let (reader, writer) = io::pipe().unwrap();
            let read_end = libc::c_long::from(reader.as_raw_fd());
            // What, the call, and what is expected: what it does unconfined is another thing in each case.
            let taken = [
                ("ptrace", libc::SYS_ptrace, [1, own, 0], libc::EPERM),
                ("reading its own memory", libc::SYS_process_vm_readv, [own, 0, 0], libc::EPERM),
                ("kcmp", libc::SYS_kcmp, [own, own, 0], libc::EPERM),
                ("a key ring", libc::SYS_keyctl, [0, -3, 0], libc::EPERM),
                ("userfaultfd", libc::SYS_userfaultfd, [-1, 0, 0], libc::EPERM),
                ("perf", libc::SYS_perf_event_open, [0, 0, 0], libc::EPERM),
                ("bpf", libc::SYS_bpf, [-1, 0, 0], libc::EPERM),
                ("fsopen", 430, [0, 0, 0], libc::EPERM),
                ("mount", libc::SYS_mount, [0, 0, 0], libc::EPERM),
                ("chroot", libc::SYS_chroot, [0, 0, 0], libc::EPERM),
                ("setns", libc::SYS_setns, [read_end, 0, 0], libc::EPERM),
                ("a user namespace", libc::SYS_unshare, [libc::CLONE_NEWUSER.into(), 0, 0], libc::EPERM),
                ("limits of another", libc::SYS_prlimit64, [own, 7, 0], libc::EPERM),
                ("typing for a terminal", libc::SYS_ioctl, [read_end, 0x5412, 0], libc::EPERM),
                ("io_uring", 425, [0, 0, 0], libc::ENOSYS),
                ("clone3", 435, [0, 0, 0], libc::ENOSYS),
                ("pidfd_getfd", 438, [-1, 0, 0], libc::EPERM),
                ("what no kernel has yet", 600, [0, 0, 0], libc::ENOSYS),
            ];
            let left = [
                ("its pid", libc::SYS_getpid, [0, 0, 0]),
                ("files of its own", libc::SYS_unshare, [thread_files, 0, 0]),
                ("its own limits", libc::SYS_prlimit64, [0, 7, 0]),
                ("the time", libc::SYS_clock_gettime, [clock, 0, 0]),
            ];
            // Some need a privilege before anything else is looked at, and some this kernel may lack.
            let of_root = ["userfaultfd", "bpf", "fsopen", "mount"];
            let of_any = [
                "ptrace",
                "reading its own memory",
                "kcmp",
                "perf",
                "chroot",
                "setns",
                "limits of another",
                "clone3",
            ];
            let is_root = nix::unistd::geteuid().is_root();
            let proves = |what| of_any.contains(what) || is_root && of_root.contains(what);
            for (what, number, arguments, expected) in taken.iter().filter(|(what, ..)| proves(what)) {
                assert_ne!(errno(*number, *arguments), *expected, "{what}, unconfined");
            }
            assert!(has_filters());
            enforce(base_filter().unwrap().instructions()).unwrap();
            for (what, number, arguments, expected) in taken {
                assert_eq!(errno(number, arguments), expected, "{what}");
            }
            for (what, number, arguments) in left {
                assert!(!matches!(errno(number, arguments), libc::EPERM | libc::ENOSYS), "{what}");
            }
            // Threads and children are made as ever.
            let thread = crate::threads::builder("test").spawn(|| 3);
            assert_eq!(thread.unwrap().join().unwrap(), 3);
            assert!(std::process::Command::new("true").status().unwrap().success());
            drop(writer);
        });
    }

    #[test]
    fn a_filter_that_is_too_long_is_refused() {
        alone(|| {
            let allow = libc::sock_filter { code: 6, jt: 0, jf: 0, k: libc::SECCOMP_RET_ALLOW };
            assert_eq!(enforce(&vec![allow; 70_000]), Err(Errno::EINVAL));
            assert_eq!(enforce(&[]), Err(Errno::EINVAL));
        });
    }
}
