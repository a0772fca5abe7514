//! What is kept of standard error for the record of an exit: the last lines, and the first ones of the burst that they end.
//!
//! What always holds: a bounded number of lines of bounded length.

use crate::state::time::Time;
use rpc_plugin_wire::cut::beginning;
use std::collections::VecDeque;
use std::time::Duration;

/// Last lines that are kept.
const TAIL_LINES_MAX: usize = 20;
/// First lines of the last burst that are kept beside them: where a report is long, they name the cause.
const HEAD_LINES_MAX: usize = 5;
/// Longest such line. Bytes.
const TAIL_LINE_BYTES_MAX: usize = 1024;
/// Time without a line after which the next one begins another burst.
const BURST_GAP: Duration = Duration::from_secs(1);

/// The lines of standard error that become part of the exit's record.
#[derive(Debug, Default)]
pub(super) struct Tail {
    last: VecDeque<String>,
    first: Vec<String>,
    /// Lines of the burst.
    count: usize,
    last_at: Option<Time>,
}

impl Tail {
    pub(super) fn push(&mut self, now: Time, line: &str) {
        if self.last_at.is_some_and(|at| now.since(at) >= BURST_GAP) {
            self.first.clear();
            self.count = 0;
        }
        (self.last_at, self.count) = (Some(now), self.count.saturating_add(1));
        let line = beginning(line, TAIL_LINE_BYTES_MAX);
        if self.first.len() < HEAD_LINES_MAX {
            self.first.push(line.to_owned());
        }
        if self.last.len() == TAIL_LINES_MAX {
            self.last.pop_front();
        }
        self.last.push_back(line.to_owned());
    }

    /// The lines, with a line that says how many are left out between the first and the last ones.
    pub(super) fn take(&mut self) -> Vec<String> {
        let Tail { last, mut first, count, .. } = std::mem::take(self);
        // Those of the burst that are not among the last.
        let before = count.saturating_sub(last.len());
        first.truncate(before);
        let left_out = before - first.len();
        let mark = (left_out > 0).then(|| format!("[{left_out} lines left out]"));
        first.into_iter().chain(mark).chain(last).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// What is kept of lines at these milliseconds, each saying its number.
    fn kept(times: impl IntoIterator<Item = u64>) -> Vec<String> {
        let mut tail = Tail::default();
        for (number, ms) in times.into_iter().enumerate() {
            tail.push(Time::ZERO.plus(Duration::from_millis(ms)), &number.to_string());
        }
        tail.take()
    }

    fn numbers(range: std::ops::Range<usize>) -> Vec<String> {
        range.map(|number| number.to_string()).collect()
    }

    #[test]
    fn the_first_lines_of_the_last_burst_are_kept_beside_the_last_ones() {
        assert_eq!(kept([]), Vec::<String>::new());
        assert_eq!(kept(vec![0; 20]), numbers(0..20));
        assert_eq!(kept(vec![0; 23]), numbers(0..23), "nothing is said twice");
        assert_eq!(kept(vec![0; 25]), numbers(0..25));
        let long = [numbers(0..5), vec!["[75 lines left out]".to_owned()], numbers(80..100)].concat();
        assert_eq!(kept((0..100).map(|number| number * 999 / 100)), long);
        // What came long before is no part of the burst.
        let burst = [numbers(50..55), vec!["[25 lines left out]".to_owned()], numbers(80..100)].concat();
        assert_eq!(kept((0..100).map(|number| if number < 50 { 0 } else { 1000 })), burst);
        let short = (0..100).map(|number| if number < 95 { 0 } else { 1000 });
        assert_eq!(kept(short), numbers(80..100));
        let mut tail = Tail::default();
        tail.push(Time::ZERO, &"é".repeat(TAIL_LINE_BYTES_MAX));
        assert_eq!(tail.take(), ["é".repeat(TAIL_LINE_BYTES_MAX / 2)]);
    }
}
