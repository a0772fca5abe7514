//! The numbers that stand for whom this process's user namespace does not know (user_namespaces(7)).
//!
//! What this file is for: an owner or group that the namespace does not map is shown as the overflow uid or gid, usually
//! 65534. What it deliberately does not do: say who may be trusted; [`super::folder`] does.
#![forbid(unsafe_code)]

use super::proc_file::read_text;

/// A namespace's map is not longer: 340 lines of three numbers. Bytes.
const MAP_BYTES_MAX: usize = 340 * 33 + 1;
/// The overflow uid and gid unless the system says otherwise.
const OVERFLOW: u32 = 65534;

/// The uid that stands for every user that this namespace does not map, if there is such a one.
pub(super) fn unmapped_uid() -> Option<u32> {
    unmapped_in("/proc/self/uid_map", "/proc/sys/kernel/overflowuid")
}

/// The gid that stands for every group that it does not map, if there is such a one.
pub(super) fn unmapped_gid() -> Option<u32> {
    unmapped_in("/proc/self/gid_map", "/proc/sys/kernel/overflowgid")
}

fn unmapped_in(map: &str, overflow: &str) -> Option<u32> {
    let overflow = read_text(overflow, &mut [0; 16]).trim().parse();
    unmapped(read_text(map, &mut [0; MAP_BYTES_MAX]), overflow.unwrap_or(OVERFLOW))
}

/// The overflow number, where the namespace's map does not give it to a real user or group. A map that cannot be read
/// counts as complete, which is the stricter answer.
fn unmapped(map: &str, overflow: u32) -> Option<u32> {
    let mut ranges = map.lines().filter_map(|line| {
        let mut numbers = line.split_whitespace().map(str::parse::<u64>);
        let first = numbers.next()?.ok()?;
        let count = numbers.nth(1)?.ok()?;
        Some(first..first.saturating_add(count))
    });
    if map.is_empty() || ranges.any(|range| range.contains(&u64::from(overflow))) {
        return None;
    }
    Some(overflow)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_overflow_number_stands_for_others_where_no_range_has_it() {
        // Maps as user_namespaces(7) shows them: the whole machine, one user, a range, nothing.
        assert_eq!(unmapped("         0          0 4294967295\n", 65534), None);
        assert_eq!(unmapped("         0       1000          1\n", 65534), Some(65534));
        assert_eq!(unmapped("0 1000 1\n1 100000 65536\n", 65534), None);
        assert_eq!(unmapped("1000 1000 1\n", 65534), Some(65534));
        assert_eq!(unmapped("", 65534), None);
    }
}
