//! What is wrong with a stream, as its lines pass by: missing numbers, lines that are no records.
//!
//! What it deliberately does not do: read, or verify a hash chain.
//!
//! What always holds: it takes the same memory however many lines pass.

use super::source::{NAMED_MAX, RecordSource};
use crate::ctl::out::Out;
use rpc_plugin_record::Damage;

/// Numbers that no line carries, between two lines that do.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Gap {
    /// The first one and the last one.
    pub(super) first: u64,
    pub(super) last: u64,
    /// How many they are; fewer than it seems where several gaps are told as one.
    pub(super) missing: u64,
    /// Lines that are no records there.
    pub(super) corrupt: u64,
    /// Damaged parts of packed files there.
    pub(super) damaged: u64,
}

impl Gap {
    /// The same with an older one.
    pub(super) fn and_before(self, newer: Option<Gap>) -> Gap {
        newer.map_or(self, |newer| Gap {
            first: self.first,
            last: newer.last,
            missing: self.missing.saturating_add(newer.missing),
            corrupt: self.corrupt + newer.corrupt,
            damaged: self.damaged + newer.damaged,
        })
    }

    /// One line for a person.
    pub(super) fn text(&self) -> String {
        let Gap { first, last, missing, corrupt, damaged } = *self;
        let seq = match last - first {
            0 => format!("seq {first}"),
            more if more == missing - 1 => format!("seq {first} to {last}"),
            _ => format!("between seq {first} and {last}"),
        };
        let mut text = match missing {
            1 => format!("1 event is missing here ({seq})"),
            missing => format!("{missing} events are missing here ({seq})"),
        };
        match corrupt {
            0 => {}
            1 => text.push_str("; 1 line here is no record"),
            corrupt => text += &format!("; {corrupt} lines here are no records"),
        }
        match damaged {
            0 => {}
            1 => text.push_str("; 1 part of a packed file here is damaged"),
            damaged => text += &format!("; {damaged} parts of packed files here are damaged"),
        }
        text
    }
}

/// What was seen of one stream.
#[derive(Debug, Clone, Default)]
pub(super) struct Trace {
    is_backward: bool,
    /// The number of the line before, in the order of reading.
    last_seq: Option<u64>,
    corrupt_since: u64,
    damaged_since: u64,
    /// What the reader has counted so far.
    damaged_total: u64,
    /// Lines that are no records.
    pub(super) corrupt: u64,
    /// Damaged parts of packed files that were passed over, and the first of them.
    pub(super) damaged: u64,
    damage: Vec<Damage>,
    pub(super) gaps: u64,
    /// Numbers in all gaps.
    pub(super) missing: u64,
    /// The smallest and the largest number.
    pub(super) range: Option<(u64, u64)>,
}

impl Trace {
    /// Of a stream that is read from its end.
    pub(super) fn backward() -> Trace {
        Trace { is_backward: true, ..Trace::default() }
    }

    /// Of a stream that is read on from a number; 0 from its beginning.
    pub(super) fn forward(after: u64) -> Trace {
        Trace { last_seq: Some(after).filter(|seq| *seq > 0), ..Trace::default() }
    }

    pub(super) fn corrupt_line(&mut self) {
        self.corrupt += 1;
        self.corrupt_since += 1;
    }

    /// How many damaged parts the reader has passed over so far.
    pub(super) fn damaged_parts(&mut self, total: u64) {
        let more = total - std::mem::replace(&mut self.damaged_total, total);
        self.damaged += more;
        self.damaged_since += more;
    }

    /// What the reader tells of damaged parts.
    pub(super) fn damage(&mut self, damage: Vec<Damage>) {
        let room = NAMED_MAX.saturating_sub(self.damage.len());
        self.damage.extend(damage.into_iter().take(room));
    }

    /// Whether there is anything to tell.
    pub(super) fn has_faults(&self) -> bool {
        self.corrupt + self.damaged + self.gaps > 0
    }

    /// What was counted; counts anew.
    pub(super) fn take_counts(&mut self) -> Trace {
        let counted = self.clone();
        (self.corrupt, self.damaged, self.gaps, self.missing) = (0, 0, 0, 0);
        self.damage.clear();
        counted
    }

    /// The next record's number; `damaged` as the reader counts. What is missing between it and the one
    /// before, if anything is. Where numbers begin anew nothing is.
    pub(super) fn record(&mut self, seq: Option<u64>, damaged: u64) -> Option<Gap> {
        self.damaged_parts(damaged);
        let seq = seq?;
        let (low, high) = self.range.unwrap_or((seq, seq));
        self.range = Some((low.min(seq), high.max(seq)));
        let before = self.last_seq.replace(seq);
        let corrupt = std::mem::take(&mut self.corrupt_since);
        let damaged = std::mem::take(&mut self.damaged_since);
        let (low, high) = if self.is_backward { (seq, before?) } else { (before?, seq) };
        let missing = high.saturating_sub(low).saturating_sub(1);
        if missing == 0 {
            return None;
        }
        self.gaps += 1;
        self.missing = self.missing.saturating_add(missing);
        Some(Gap { first: low + 1, last: high - 1, missing, corrupt, damaged })
    }
}

/// Tells on standard error what the streams lack: a line for each kind. `gaps`: also those, because
/// standard output cannot.
pub(super) fn tell(out: &mut Out<'_>, sources: &[RecordSource], traces: &[Trace], gaps: bool) {
    let list = |count: &dyn Fn(&Trace) -> u64| -> Option<(u64, String)> {
        let found: Vec<_> = sources
            .iter()
            .zip(traces)
            .map(|(source, trace)| (source, count(trace)))
            .filter(|(_, n)| *n > 0)
            .collect();
        let total = found.iter().map(|(_, n)| n).sum::<u64>();
        let named = found.iter().take(NAMED_MAX).map(|(source, n)| match found.len() {
            1 => format!("{:?}", source.path()),
            _ => format!("{n} in {:?}", source.path()),
        });
        let more = found.len().checked_sub(NAMED_MAX).filter(|more| *more > 0);
        let named: Vec<String> = named.chain(more.map(|more| format!("{more} more files"))).collect();
        (total > 0).then(|| (total, named.join(", ")))
    };
    match list(&|trace| trace.corrupt) {
        Some((1, path)) => out.warn(&format!("1 line is not a record, and skipped: {path}")),
        Some((n, paths)) => out.warn(&format!("{n} lines are not records, and skipped: {paths}")),
        None => {}
    }
    let damaged: u64 = traces.iter().map(|trace| trace.damaged).sum();
    let named = || traces.iter().flat_map(|trace| &trace.damage).take(NAMED_MAX);
    for damage in named() {
        out.warn(&format!("{damage}; it is skipped"));
    }
    match damaged.saturating_sub(named().count() as u64) {
        0 => {}
        1 => out.warn("1 more part of a packed file is damaged, and skipped"),
        n => out.warn(&format!("{n} more parts of packed files are damaged, and skipped")),
    }
    match list(&|trace| trace.missing).filter(|_| gaps) {
        Some((1, path)) => out.warn(&format!("1 number is missing: {path}")),
        Some((n, paths)) => out.warn(&format!("{n} numbers are missing: {paths}")),
        None => {}
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn gaps_are_the_same_in_both_directions() {
        let gaps = |mut trace: Trace, seqs: &[u64]| {
            let gaps: Vec<_> = (seqs.iter())
                .filter_map(|seq| trace.record(Some(*seq), 0))
                .map(|gap| (gap.first, gap.last))
                .collect();
            (gaps, trace.gaps, trace.missing, trace.range)
        };
        let seqs = [1, 2, 5, 7];
        assert_eq!(gaps(Trace::forward(0), &seqs), (vec![(3, 4), (6, 6)], 2, 3, Some((1, 7))));
        assert_eq!(gaps(Trace::backward(), &[7, 5, 2, 1]), (vec![(6, 6), (3, 4)], 2, 3, Some((1, 7))));
        let (far, all) = (u64::MAX - 1, Some((0, u64::MAX)));
        assert_eq!(gaps(Trace::backward(), &[u64::MAX, 0]), (vec![(1, far)], 1, far, all));
        // They begin anew.
        assert_eq!(gaps(Trace::forward(100), &[1, 2, 2]), (vec![], 0, 0, Some((1, 2))));
        assert_eq!(gaps(Trace::backward(), &[2, 1, 100]), (vec![], 0, 0, Some((1, 100))));
    }

    #[test]
    fn a_gap_tells_what_is_there_instead() {
        let mut trace = Trace::backward();
        assert_eq!(trace.record(Some(9), 0), None);
        trace.corrupt_line();
        let gap = trace.record(Some(7), 0).unwrap();
        assert_eq!(gap.text(), "1 event is missing here (seq 8); 1 line here is no record");
        let older = trace.record(Some(4), 2).unwrap();
        assert_eq!((trace.gaps, trace.missing, trace.corrupt, trace.damaged), (2, 3, 1, 2));
        let both = older.and_before(Some(gap));
        assert_eq!((both.first, both.last, both.missing, both.corrupt, both.damaged), (5, 8, 3, 1, 2));
        assert_eq!(
            older.text(),
            "2 events are missing here (seq 5 to 6); 2 parts of packed files here are damaged"
        );
    }
}
