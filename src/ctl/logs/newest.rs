//! The newest events of one stream or of many, in the order of time.
//!
//! What it deliberately does not do: hold all streams open, or read on when it has enough. One stream is
//! read after the other, each from its end.
//!
//! What always holds: at most the limit's number of events are held, and of them at most
//! [`HELD_BYTES_MAX`]; the events of one stream stay in the order in which they were recorded, also where
//! the clock went back.

use super::filter::Filter;
use super::print::Printer;
use super::source::{RecordSource, Unread};
use super::trace::{Gap, Trace, tell};
use crate::ctl::exit::Failure;
use crate::ctl::out::Out;
use rpc_plugin_record::{Backward, parse_time};
use std::cmp::Reverse;
use std::collections::BinaryHeap;
use std::io;
use std::time::UNIX_EPOCH;

/// Most events that `--limit` may ask for.
pub(super) const LIMIT_MAX: usize = 100_000;

/// Most bytes of lines that are held to be put in order.
const HELD_BYTES_MAX: usize = 64 * 1024 * 1024;

/// Time (milliseconds since 1970), stream, and place in the stream counted from its end.
type At = (u64, usize, Reverse<u64>);

/// An event to be printed.
struct Pick {
    at: At,
    line: String,
    /// What is missing before it.
    gap: Option<Gap>,
}

impl PartialEq for Pick {
    fn eq(&self, other: &Pick) -> bool {
        self.at == other.at
    }
}

impl Eq for Pick {}

impl PartialOrd for Pick {
    fn partial_cmp(&self, other: &Pick) -> Option<std::cmp::Ordering> {
        Some(self.cmp(other))
    }
}

impl Ord for Pick {
    fn cmp(&self, other: &Pick) -> std::cmp::Ordering {
        self.at.cmp(&other.at)
    }
}

/// The newest events of the streams that were read so far.
pub(super) struct Newest {
    limit: usize,
    /// The oldest on top.
    picks: BinaryHeap<Reverse<Pick>>,
    held_bytes: usize,
    held_bytes_max: usize,
    /// Fewer than the limit are held, because of their bytes.
    is_cut: bool,
    /// As many as the limit says were found.
    is_full: bool,
    /// What is missing after the newest pick of a stream.
    gaps_at_end: Vec<(usize, Gap)>,
    traces: Vec<Trace>,
}

impl Newest {
    pub(super) fn new(limit: usize) -> Newest {
        Newest {
            limit,
            picks: BinaryHeap::new(),
            held_bytes: 0,
            held_bytes_max: HELD_BYTES_MAX,
            is_cut: false,
            is_full: false,
            gaps_at_end: Vec::new(),
            traces: Vec::new(),
        }
    }

    /// Reads what is wanted. `followed`: of each stream, the last number that is not left to its follower.
    pub(super) fn read(
        &mut self,
        out: &mut Out<'_>,
        sources: &[RecordSource],
        filter: &Filter,
        followed: Option<&[u64]>,
        unread: &mut Unread,
    ) -> Result<(), Failure> {
        for (index, source) in sources.iter().enumerate() {
            let mut trace = Trace::backward();
            let follows = followed.map(|seqs| seqs.get(index).copied().unwrap_or(0));
            let read = self.read_one((index, source), filter, follows, &mut trace);
            self.traces.push(trace);
            if let Err(error) = read {
                unread.note(out, source, &error)?;
            }
        }
        Ok(())
    }

    fn read_one(
        &mut self,
        (index, source): (usize, &RecordSource),
        filter: &Filter,
        mut follows: Option<u64>,
        trace: &mut Trace,
    ) -> io::Result<()> {
        let mut lines = Backward::new(&source.folder, source.name);
        let mut pick: Option<Pick> = None;
        let mut gap_at_end: Option<Gap> = None;
        let (mut ms, mut picked) = (u64::MAX, 0);
        while (picked as usize) < self.limit
            && let Some(line) = lines.next_line()?
        {
            // The rest is the follower's: a line that is not whole, and what came since it began.
            if follows.is_some_and(|last| !line.is_finished || line.seq.is_some_and(|seq| seq > last)) {
                continue;
            }
            if line.seq.is_some() {
                // Numbers may have begun anew: what is further back is larger then.
                follows = None;
            }
            let Some((record, text)) = line.record() else {
                trace.corrupt_line();
                continue;
            };
            if let Some(gap) = trace.record(record.seq, lines.damaged()) {
                let newer = pick.as_mut().map_or(&mut gap_at_end, |pick| &mut pick.gap);
                *newer = Some(gap.and_before(*newer));
            }
            if filter.ends_at(&record) {
                break;
            }
            ms = ms.min(ms_of(&record.time).unwrap_or(ms));
            let at = (ms, index, Reverse(picked));
            if !self.wants(&at) {
                break;
            }
            if !filter.matches(&record) {
                continue;
            }
            self.hold(pick.take());
            pick = Some(Pick { at, line: text.to_owned(), gap: None });
            picked += 1;
        }
        trace.damaged_parts(lines.damaged());
        trace.damage(lines.take_damage());
        self.hold(pick);
        self.gaps_at_end.extend(gap_at_end.map(|gap| (index, gap)));
        Ok(())
    }

    /// Whether an event as old as that would be held. If not, no older one would be.
    fn wants(&self, at: &At) -> bool {
        let is_full = self.is_cut || self.picks.len() >= self.limit;
        !is_full || self.picks.peek().is_some_and(|Reverse(oldest)| *at > oldest.at)
    }

    fn hold(&mut self, pick: Option<Pick>) {
        let Some(pick) = pick else { return };
        self.held_bytes += pick.line.len();
        self.picks.push(Reverse(pick));
        loop {
            let is_heavy = self.held_bytes > self.held_bytes_max;
            if self.picks.len() <= self.limit && !is_heavy {
                return;
            }
            self.is_cut |= is_heavy;
            let Some(Reverse(oldest)) = self.picks.pop() else { return };
            self.held_bytes -= oldest.line.len();
        }
    }

    /// Prints what was found, the oldest first unless `is_reverse`.
    pub(super) fn print(
        &mut self,
        out: &mut Out<'_>,
        printer: &mut Printer,
        is_reverse: bool,
    ) -> Result<(), Failure> {
        let mut picks: Vec<Pick> =
            std::mem::take(&mut self.picks).into_iter().map(|Reverse(pick)| pick).collect();
        picks.sort_unstable();
        self.is_full = picks.len() >= self.limit;
        printer.fit(picks.iter().map(|pick| (pick.at.1, pick.line.as_str())));
        if is_reverse {
            picks.reverse();
            self.print_gaps_at_end(out, printer)?;
        }
        for pick in &picks {
            let gap = pick.gap.as_ref();
            if let Some(gap) = gap.filter(|_| !is_reverse) {
                printer.gap(out, pick.at.1, gap)?;
            }
            printer.line(out, pick.at.1, &pick.line)?;
            if let Some(gap) = gap.filter(|_| is_reverse) {
                printer.gap(out, pick.at.1, gap)?;
            }
        }
        if is_reverse { Ok(()) } else { self.print_gaps_at_end(out, printer) }
    }

    fn print_gaps_at_end(&self, out: &mut Out<'_>, printer: &mut Printer) -> Result<(), Failure> {
        self.gaps_at_end.iter().try_for_each(|(index, gap)| printer.gap(out, *index, gap))
    }

    /// Tells on standard error what was passed over.
    pub(super) fn tell(&self, out: &mut Out<'_>, sources: &[RecordSource], limit_was_given: bool) {
        tell(out, sources, &self.traces, out.json);
        if self.is_cut {
            let mib = self.held_bytes_max >> 20;
            out.warn(&format!(
                "older events were left out: more than {mib} MiB are not put in order; use --until"
            ));
        } else if !limit_was_given && self.limit == LIMIT_MAX && self.is_full {
            out.warn(&format!("older events were left out: {LIMIT_MAX} are the most; use --until"));
        }
    }
}

fn ms_of(time: &str) -> Option<u64> {
    let since = parse_time(time)?.duration_since(UNIX_EPOCH).ok()?;
    u64::try_from(since.as_millis()).ok()
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::fs;

    #[test]
    fn what_its_follower_will_print_is_left_to_it() {
        let folder = std::env::temp_dir().join(format!("rpc-newest-{}", std::process::id()));
        fs::create_dir(&folder).unwrap();
        let line = |seq: u64| {
            format!(
                "{{\"time\":\"2026-01-01T00:00:00.000Z\",\"seq\":{seq},\"level\":\"info\",\
                 \"component\":\"kernel\",\"event\":\"exited\"}}\n"
            )
        };
        // Numbers began anew after 9.
        let text: String = [8, 9, 1, 2, 3, 4, 5].map(line).concat();
        fs::write(folder.join("events.jsonl"), text + "{\"time\":").unwrap();
        let source = RecordSource { folder: folder.clone(), name: "events.jsonl", plugin_id: None };
        let read = |follows| {
            let (mut newest, mut trace) = (Newest::new(50), Trace::backward());
            newest.read_one((0, &source), &Filter::default(), follows, &mut trace).unwrap();
            let mut picks: Vec<Pick> = newest.picks.into_iter().map(|Reverse(pick)| pick).collect();
            picks.sort_unstable();
            (picks.into_iter().map(|pick| pick.line + "\n").collect::<String>(), trace.corrupt)
        };
        assert_eq!(read(Some(3)), ([8, 9, 1, 2, 3].map(line).concat(), 0));
        assert_eq!(read(None), ([8, 9, 1, 2, 3, 4, 5].map(line).concat(), 1));
        fs::remove_dir_all(&folder).unwrap();
    }

    #[test]
    fn what_is_held_is_bounded_and_the_newest_of_all() {
        let pick =
            |ms, bytes: usize| Pick { at: (ms, 0, Reverse(100 - ms)), line: "x".repeat(bytes), gap: None };
        let mut newest = Newest { held_bytes_max: 100, ..Newest::new(50) };
        for ms in (40..50).rev() {
            assert!(newest.wants(&(ms, 0, Reverse(100 - ms))));
            newest.hold(Some(pick(ms, 10)));
        }
        assert!(!newest.is_cut);
        newest.hold(Some(pick(39, 10)));
        assert!(newest.is_cut && !newest.wants(&(39, 0, Reverse(61))) && newest.wants(&(41, 0, Reverse(0))));
        newest.hold(Some(pick(60, 45)));
        let mut held: Vec<u64> = newest.picks.iter().map(|Reverse(pick)| pick.at.0).collect();
        held.sort_unstable();
        assert_eq!((held, newest.held_bytes), (vec![45, 46, 47, 48, 49, 60], 95));
    }
}
