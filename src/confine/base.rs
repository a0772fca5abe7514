//! The base: what is taken from every plugin, because none needs it.
//!
//! What always holds: what a kernel learns after this was written is as if it were not there; calls of another architecture,
//! which have other numbers, end the process.

use super::bpf::SyscallVerdict;
use super::bpf::{Rule, Segment, SyscallFilter};
use super::syscalls::{ARCHITECTURE, OWN_FROM, Row, UNKNOWN_FROM, rows};

/// The filter of the base. `None`: the numbers of this architecture's calls are not known here.
pub(crate) fn base_filter() -> Option<SyscallFilter> {
    Some(SyscallFilter::new(ARCHITECTURE?, &segments(rows())))
}

/// The table as segments that cover every number.
fn segments(mut rows: Vec<Row>) -> Vec<Segment> {
    rows.sort_by_key(|(_, number, _)| *number);
    let mut segments: Vec<Segment> = vec![(0, Rule::ALLOW)];
    let mut begin = |first: u32, rule: Rule| match segments.last_mut() {
        Some((last, before)) if *last == first => *before = rule,
        Some((_, before)) if *before == rule => {}
        _ => segments.push((first, rule)),
    };
    for (_, number, rule) in rows {
        if let Ok(number) = u32::try_from(number) {
            begin(number, rule);
            begin(number.saturating_add(1), Rule::ALLOW);
        }
    }
    begin(UNKNOWN_FROM, Rule::always(SyscallVerdict::Errno(libc::ENOSYS)));
    if let Some(own) = OWN_FROM {
        begin(own, Rule::ALLOW);
    }
    segments
}

#[cfg(test)]
mod tests {
    use super::super::bpf::Condition;
    use super::super::bpf::machine::{Call, run};
    use super::*;
    use std::collections::BTreeMap;

    fn said(number: u32, arguments: [u64; 6]) -> u32 {
        let filter = base_filter().unwrap();
        run(&filter, &Call { number, architecture: ARCHITECTURE.unwrap(), arguments }).0
    }

    fn errno(errno: i32) -> u32 {
        libc::SECCOMP_RET_ERRNO | errno as u32
    }

    const ALLOW: u32 = libc::SECCOMP_RET_ALLOW;

    /// Every number, so also every one that is in no row.
    #[test]
    fn what_is_in_the_table_is_refused_and_nothing_else_that_a_kernel_has() {
        let refused: BTreeMap<u32, Row> =
            rows().into_iter().map(|row| (u32::try_from(row.1).unwrap(), row)).collect();
        assert_eq!(refused.len(), rows().len(), "no call has two rules");
        for number in 0..UNKNOWN_FROM {
            let expected = match refused.get(&number) {
                Some((_, _, Rule { condition: Condition::Always, verdict: SyscallVerdict::Errno(code) })) => {
                    errno(*code)
                }
                _ => ALLOW,
            };
            assert_eq!(said(number, [0; 6]), expected, "number {number}, {:?}", refused.get(&number));
        }
        for number in [UNKNOWN_FROM, UNKNOWN_FROM + 1, 0x4000_0000, 0x4000_0000 + 101, u32::MAX] {
            assert_eq!(said(number, [0; 6]), errno(libc::ENOSYS), "number {number:#x}");
        }
    }

    #[test]
    fn arguments_decide_where_a_call_is_of_use_otherwise() {
        let number = |number: libc::c_long| u32::try_from(number).unwrap();
        let (clone, unshare) = (number(libc::SYS_clone), number(libc::SYS_unshare));
        let (ioctl, prlimit) = (number(libc::SYS_ioctl), number(libc::SYS_prlimit64));
        let flags = |flags: libc::c_int| [flags as u32 as u64, 0, 0, 0, 0, 0];
        let thread =
            libc::CLONE_VM | libc::CLONE_FS | libc::CLONE_FILES | libc::CLONE_SIGHAND | libc::CLONE_THREAD;
        for (what, number, arguments, expected) in [
            ("a thread", clone, flags(thread), ALLOW),
            ("a child", clone, flags(libc::SIGCHLD), ALLOW),
            ("the highest signal", clone, flags(64), ALLOW),
            ("a user namespace", clone, flags(libc::CLONE_NEWUSER | libc::SIGCHLD), errno(libc::EPERM)),
            ("a mount namespace", clone, flags(libc::CLONE_NEWNS), errno(libc::EPERM)),
            ("its own files", unshare, flags(libc::CLONE_FILES), ALLOW),
            ("a network namespace", unshare, flags(libc::CLONE_NEWNET), errno(libc::EPERM)),
            ("a clock namespace", unshare, flags(0x80), errno(libc::EPERM)),
            ("FIONREAD", ioctl, [0, 0x541B, 0, 0, 0, 0], ALLOW),
            ("TIOCSTI", ioctl, [0, 0x5412, 0, 0, 0, 0], errno(libc::EPERM)),
            (
                "TIOCSTI with bits that the kernel drops",
                ioctl,
                [0, 1 << 40 | 0x5412, 0, 0, 0, 0],
                errno(libc::EPERM),
            ),
            ("TIOCLINUX", ioctl, [0, 0x541C, 0, 0, 0, 0], errno(libc::EPERM)),
            ("its own limits", prlimit, [0; 6], ALLOW),
            ("limits of init", prlimit, [1, 0, 0, 0, 0, 0], errno(libc::EPERM)),
        ] {
            assert_eq!(said(number, arguments), expected, "{what}");
        }
    }

    #[test]
    fn a_call_of_another_architecture_ends_the_process() {
        let filter = base_filter().unwrap();
        // AUDIT_ARCH_I386: number 26 is ptrace there, and msync here.
        let call = Call { number: 26, architecture: 0x4000_0003, arguments: [0; 6] };
        assert_eq!(run(&filter, &call).0, libc::SECCOMP_RET_KILL_PROCESS);
    }

    #[test]
    fn an_ordinary_call_is_judged_after_few_instructions() {
        let filter = base_filter().unwrap();
        let arguments = [0; 6];
        let counts = (0..UNKNOWN_FROM)
            .map(|number| run(&filter, &Call { number, architecture: ARCHITECTURE.unwrap(), arguments }).1);
        assert!(counts.max().unwrap() <= 14, "{} instructions", filter.instructions().len());
    }

    /// Every call that a row names stands on the page, and no other.
    #[test]
    fn the_page_names_what_is_taken() {
        let page = include_str!("../../docs/confinement.md");
        let table =
            page.split("## What the base takes").nth(1).unwrap().split("\nA call of another").next().unwrap();
        let names = |line: &str| {
            let calls = line.split('|').nth(2).unwrap_or_default();
            calls.split('`').skip(1).step_by(2).map(str::to_owned).collect::<Vec<_>>()
        };
        let mut on_page: Vec<String> = table.lines().flat_map(names).collect();
        // Those of other architectures are on the page too.
        on_page.retain(|name| cfg!(target_arch = "x86_64") || !["ioperm", "iopl"].contains(&&**name));
        on_page.retain(|name| cfg!(not(target_arch = "arm")) || name != "kexec_file_load");
        on_page.sort();
        let mut in_table: Vec<String> = rows().into_iter().map(|(name, ..)| name.to_owned()).collect();
        in_table.sort();
        assert_eq!(on_page, in_table);
    }
}
