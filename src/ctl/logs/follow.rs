//! Events as they come, after the newest that are there.
//!
//! What it deliberately does not do: ask the kernel to be woken (inotify(7) misses what other machines write
//! to a shared file system, and needs a watch for each folder). It looks every [`LOOK_INTERVAL`].
//!
//! What always holds: of each stream one block and one line are in memory; each event is printed once, also
//! when its file is rotated; what several streams have at one look is printed in the order of time.

use super::filter::Filter;
use super::newest::Newest;
use super::print::Printer;
use super::source::{RecordSource, Unread};
use super::trace::{Gap, Trace, tell};
use crate::ctl::exit::Failure;
use crate::ctl::out::Out;
use rpc_plugin_record::{Forward, Position, record_of};
use std::io;
use std::time::{Duration, Instant};

/// How often to look for more.
const LOOK_INTERVAL: Duration = Duration::from_millis(200);

/// Lines that are read before what is printed is flushed, and the deadline looked at.
const LINES_PER_TURN_MAX: usize = 10_000;

/// Finds the streams that are there now.
pub(super) type Find<'a> = &'a dyn Fn() -> Result<Vec<RecordSource>, Failure>;

/// One stream that is followed.
struct Followed {
    source: RecordSource,
    /// `None` once it could not be read.
    lines: Option<Forward>,
    trace: Trace,
    /// What is missing before the head.
    gap: Option<Gap>,
    /// A record to be printed, and its time.
    head: Option<(String, String)>,
}

impl Followed {
    /// Finds the next record that is wanted; it looks at `lines_max` lines at the most.
    fn look(&mut self, filter: &Filter, lines_max: &mut usize) -> io::Result<()> {
        while let Some(lines) = &mut self.lines
            && self.head.is_none()
            && *lines_max > 0
        {
            let Some(line) = lines.next_line()? else { return Ok(()) };
            *lines_max -= 1;
            self.trace.damage(lines.take_damage());
            let Some((record, text)) = line.bytes.as_deref().and_then(record_of) else {
                self.trace.corrupt_line();
                continue;
            };
            if let Some(newer) = self.trace.record(record.seq, lines.damaged()) {
                self.gap = Some(self.gap.take().map_or(newer, |older| older.and_before(Some(newer))));
            }
            self.head = filter.matches(&record).then(|| (record.time, text.to_owned()));
        }
        Ok(())
    }
}

struct Following<'a> {
    all: Vec<Followed>,
    filter: &'a Filter,
    printer: Printer,
    unread: Unread,
}

/// Prints the newest `limit` events, then those that come, for so long or until interrupted. `find` finds
/// streams that come later.
pub(super) fn run(
    out: &mut Out<'_>,
    sources: Vec<RecordSource>,
    filter: &Filter,
    limit: usize,
    timeout: Option<Duration>,
    find: Option<Find<'_>>,
) -> Result<(), Failure> {
    let deadline = timeout.map(|timeout| Instant::now() + timeout);
    let (printer, unread) = (Printer::new(&[]), Unread::new(sources.len()));
    let mut following = Following { all: Vec::new(), filter, printer, unread };
    for source in &sources {
        // They begin before the newest are read: what comes meanwhile is theirs.
        following.add(out, source.clone(), Position::End)?;
    }
    following.newest(out, &sources, limit)?;
    loop {
        if let Some(find) = find {
            let found = find()?;
            following.unread.of = found.len();
            for source in found {
                if !following.all.iter().any(|one| one.source == source) {
                    following.add(out, source, Position::Oldest)?;
                }
            }
        }
        let is_idle = following.turn(out)?;
        out.flush()?;
        let left = deadline.map_or(LOOK_INTERVAL, |at| at.saturating_duration_since(Instant::now()));
        if left.is_zero() {
            return following.unread.end();
        }
        if is_idle {
            std::thread::sleep(left.min(LOOK_INTERVAL));
        }
    }
}

impl Following<'_> {
    fn add(&mut self, out: &mut Out<'_>, source: RecordSource, from: Position) -> Result<(), Failure> {
        let lines = match Forward::new(&source.folder, source.name, from) {
            Ok(lines) => Some(lines),
            Err(error) => {
                self.unread.note(out, &source, &error)?;
                None
            }
        };
        let trace = Trace::forward(lines.as_ref().map_or(0, Forward::last_seq));
        self.printer.add(&source);
        self.all.push(Followed { source, lines, trace, gap: None, head: None });
        Ok(())
    }

    /// Prints what is there before what is followed.
    fn newest(&mut self, out: &mut Out<'_>, sources: &[RecordSource], limit: usize) -> Result<(), Failure> {
        let last_seq = |one: &Followed| one.lines.as_ref().map_or(0, Forward::last_seq);
        let followed: Vec<u64> = self.all.iter().map(last_seq).collect();
        let mut newest = Newest::new(limit);
        newest.read(out, sources, self.filter, Some(&followed), &mut self.unread)?;
        newest.print(out, &mut self.printer, false)?;
        newest.tell(out, sources, true);
        Ok(())
    }

    /// Prints what has come, up to a bound. Whether nothing is left.
    fn turn(&mut self, out: &mut Out<'_>) -> Result<bool, Failure> {
        let mut lines_max = LINES_PER_TURN_MAX;
        let printed = self.print_all(out, &mut lines_max);
        self.tell(out);
        printed.map(|()| lines_max > 0)
    }

    fn print_all(&mut self, out: &mut Out<'_>, lines_max: &mut usize) -> Result<(), Failure> {
        for index in 0..self.all.len() {
            self.look(out, index, lines_max)?;
        }
        // Of equals, the earlier stream comes first.
        while let Some((index, _)) = (self.all.iter().enumerate())
            .filter_map(|(index, one)| one.head.as_ref().map(|(time, _)| (index, time)))
            .min_by(|(_, a), (_, b)| a.cmp(b))
        {
            self.print(out, index)?;
            self.look(out, index, lines_max)?;
        }
        // What is missing before events that are not wanted.
        (0..self.all.len()).try_for_each(|index| self.print(out, index))
    }

    fn look(&mut self, out: &mut Out<'_>, index: usize, lines_max: &mut usize) -> Result<(), Failure> {
        let Some(one) = self.all.get_mut(index) else { return Ok(()) };
        one.look(self.filter, lines_max).or_else(|error| {
            one.lines = None;
            self.unread.note(out, &one.source, &error)
        })
    }

    /// Prints what one stream has to be printed: what is missing, and an event.
    fn print(&mut self, out: &mut Out<'_>, index: usize) -> Result<(), Failure> {
        let Some(one) = self.all.get_mut(index) else { return Ok(()) };
        if let Some(gap) = one.gap.take() {
            self.printer.gap(out, index, &gap)?;
        }
        match one.head.take() {
            Some((_, line)) => self.printer.line(out, index, &line),
            None => Ok(()),
        }
    }

    /// Tells what was passed over, as it comes: there may be no end at which to tell it.
    fn tell(&mut self, out: &mut Out<'_>) {
        let found: (Vec<RecordSource>, Vec<Trace>) = (self.all.iter_mut())
            .filter(|one| one.trace.has_faults())
            .map(|one| (one.source.clone(), one.trace.take_counts()))
            .unzip();
        tell(out, &found.0, &found.1, out.json);
    }
}
