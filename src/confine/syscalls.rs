//! System calls that no plugin needs, by the number that they have on this architecture.
//!
//! What this file is for: the table. What it deliberately does not do: name a call that is of use to an ordinary program:
//! whatever a language's runtime tries and does without if it fails is here only where its failure is one that it expects.
//!
//! Numbers from 424 on are the same on every architecture that is named here (Linux, `scripts/syscall.tbl`); those before
//! are from the C library's headers.

use super::bpf::{Condition, Rule, SyscallVerdict};
use libc::{
    CLONE_NEWCGROUP, CLONE_NEWIPC, CLONE_NEWNET, CLONE_NEWNS, CLONE_NEWPID, CLONE_NEWUSER, CLONE_NEWUTS,
};
use libc::{ENOSYS, EPERM, c_long};

/// The audit number of this architecture (linux/audit.h), where the numbers of its calls are known here.
#[cfg(all(target_arch = "x86_64", target_pointer_width = "64"))]
pub(super) const ARCHITECTURE: Option<u32> = Some(0xC000_003E);
#[cfg(target_arch = "aarch64")]
pub(super) const ARCHITECTURE: Option<u32> = Some(0xC000_00B7);
#[cfg(target_arch = "riscv64")]
pub(super) const ARCHITECTURE: Option<u32> = Some(0xC000_00F3);
#[cfg(target_arch = "arm")]
pub(super) const ARCHITECTURE: Option<u32> = Some(0x4000_0028);
#[cfg(not(any(
    all(target_arch = "x86_64", target_pointer_width = "64"),
    target_arch = "aarch64",
    target_arch = "riscv64",
    target_arch = "arm"
)))]
pub(super) const ARCHITECTURE: Option<u32> = None;

/// The first number that no kernel had when this was written (Linux 6.18). From here on a call is as one that the kernel lacks,
/// which a C library that was made later expects; on x86-64 that is x32 too.
pub(super) const UNKNOWN_FROM: u32 = 470;
/// Where numbers begin that are the architecture's own (ARM: setting the thread's pointer, flushing the cache).
pub(super) const OWN_FROM: Option<u32> = if cfg!(target_arch = "arm") { Some(0x000F_0000) } else { None };

/// New namespaces, in the flags of clone(2), where the lowest byte is the signal at the end.
const NAMESPACES: u32 = (CLONE_NEWNS
    | CLONE_NEWCGROUP
    | CLONE_NEWUTS
    | CLONE_NEWIPC
    | CLONE_NEWUSER
    | CLONE_NEWPID
    | CLONE_NEWNET) as u32;
/// Those that unshare(2) makes: also of clocks, which clone(2) cannot.
const UNSHARED_NAMESPACES: u32 = NAMESPACES | 0x80;
/// Requests to a terminal that type for its user: TIOCSTI, and TIOCLINUX, which pastes on a console (ioctl_tty(2)).
const TYPING: [u32; 2] = [0x5412, 0x541C];

const DENIED: Rule = Rule::always(SyscallVerdict::Errno(EPERM));
const LACKING: Rule = Rule::always(SyscallVerdict::Errno(ENOSYS));

const fn denied_if(condition: Condition) -> Rule {
    Rule { condition, verdict: SyscallVerdict::Errno(EPERM) }
}

/// A call's name, its number and its rule.
pub(super) type Row = (&'static str, c_long, Rule);

/// Rows for calls that have one rule, of which the C library knows the numbers.
macro_rules! rows {
    ($rule:expr; $($name:literal $number:ident),* $(,)?) => { [$(($name, libc::$number, $rule)),*] };
}

/// What no plugin needs. Not ordered.
pub(super) fn rows() -> Vec<Row> {
    let mut rows = Vec::from(rows! { DENIED;
        // Other processes.
        "ptrace" SYS_ptrace, "process_vm_readv" SYS_process_vm_readv, "process_vm_writev" SYS_process_vm_writev,
        "kcmp" SYS_kcmp,
        // The tree of files.
        "mount" SYS_mount, "umount2" SYS_umount2, "pivot_root" SYS_pivot_root, "chroot" SYS_chroot,
        "open_by_handle_at" SYS_open_by_handle_at, "quotactl" SYS_quotactl, "acct" SYS_acct,
        "swapon" SYS_swapon, "swapoff" SYS_swapoff,
        // Namespaces of others.
        "setns" SYS_setns,
        // The kernel itself.
        "bpf" SYS_bpf, "kexec_load" SYS_kexec_load, "init_module" SYS_init_module,
        "finit_module" SYS_finit_module, "delete_module" SYS_delete_module, "reboot" SYS_reboot,
        "perf_event_open" SYS_perf_event_open, "userfaultfd" SYS_userfaultfd,
        // Keys, which outlive their process and are not of one namespace.
        "add_key" SYS_add_key, "request_key" SYS_request_key, "keyctl" SYS_keyctl,
    });
    #[cfg(not(target_arch = "arm"))]
    rows.push(("kexec_file_load", libc::SYS_kexec_file_load, DENIED));
    #[cfg(target_arch = "x86_64")]
    rows.extend(rows! { DENIED; "ioperm" SYS_ioperm, "iopl" SYS_iopl });
    rows.extend([
        ("open_tree", 428, DENIED),
        ("move_mount", 429, DENIED),
        ("fsopen", 430, DENIED),
        ("fsconfig", 431, DENIED),
        ("fsmount", 432, DENIED),
        ("fspick", 433, DENIED),
        ("pidfd_getfd", 438, DENIED),
        ("mount_setattr", 442, DENIED),
        ("quotactl_fd", 443, DENIED),
        ("open_tree_attr", 467, DENIED),
        // Runtimes try these and do without where the kernel lacks them. EPERM would be an error to them.
        ("io_uring_setup", 425, LACKING),
        ("io_uring_enter", 426, LACKING),
        ("io_uring_register", 427, LACKING),
        // Its flags are in memory, which no filter sees; threads are made by clone(2) then.
        ("clone3", 435, LACKING),
        ("clone", libc::SYS_clone, denied_if(Condition::AnyBit(0, NAMESPACES))),
        ("unshare", libc::SYS_unshare, denied_if(Condition::AnyBit(0, UNSHARED_NAMESPACES))),
        ("ioctl", libc::SYS_ioctl, denied_if(Condition::OneOf(1, TYPING))),
        // Of other processes. One's own is 0.
        ("prlimit64", libc::SYS_prlimit64, denied_if(Condition::AnyBit(0, u32::MAX))),
    ]);
    rows
}
