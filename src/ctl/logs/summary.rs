//! `--summary`: how many events there are of which kind, and whether the record is whole.
//!
//! What it deliberately does not do: verify a hash chain.
//!
//! What always holds: memory is bounded, also where a plugin makes up names without end.

use super::filter::Filter;
use super::source::{RecordSource, Unread};
use super::trace::Trace;
use crate::cli::columns::{Cell, table};
use crate::cli::text::Style;
use crate::ctl::exit::Failure;
use crate::ctl::out::Out;
use rpc_plugin_record::{Backward, segments};
use rpc_plugin_wire::PluginId;
use rpc_plugin_wire::event::Record;
use serde::Serialize;
use std::collections::BTreeMap;
use std::io;
use std::path::PathBuf;

/// Names that are counted one by one; further ones are counted as [`OTHER`].
const NAMES_MAX: usize = 1000;
const OTHER: &str = "(other)";

#[derive(Default, Serialize)]
struct Summary {
    /// Events that the flags ask for.
    events: u64,
    first_time: Option<String>,
    last_time: Option<String>,
    by_level: BTreeMap<String, u64>,
    by_component: BTreeMap<String, u64>,
    by_event: BTreeMap<String, u64>,
    streams: Vec<StreamSummary>,
}

/// Faults are counted over all lines that were read, events over those that the flags ask for.
#[derive(Serialize)]
struct StreamSummary {
    /// Absent for the daemon's own.
    #[serde(skip_serializing_if = "Option::is_none")]
    plugin_id: Option<PluginId>,
    path: PathBuf,
    events: u64,
    errors: u64,
    warnings: u64,
    first_time: Option<String>,
    last_time: Option<String>,
    first_seq: Option<u64>,
    last_seq: Option<u64>,
    gaps: u64,
    missing: u64,
    corrupt_lines: u64,
    damaged_parts: u64,
    files: usize,
    bytes: u64,
}

pub(super) fn run(out: &mut Out<'_>, sources: &[RecordSource], filter: &Filter) -> Result<(), Failure> {
    let mut summary = Summary::default();
    let mut unread = Unread::new(sources.len());
    for source in sources {
        match summary.read(source, filter) {
            Ok(stream) => summary.streams.push(stream),
            Err(error) => unread.note(out, source, &error)?,
        }
    }
    if out.json {
        out.value(&summary)?;
    } else {
        let text = summary.text(out.stdout_colour);
        out.safe(&text)?;
    }
    unread.end()
}

impl Summary {
    fn read(&mut self, source: &RecordSource, filter: &Filter) -> io::Result<StreamSummary> {
        let files = segments(&source.folder, source.name)?;
        let mut trace = Trace::backward();
        let mut stream = StreamSummary {
            plugin_id: source.plugin_id.clone(),
            path: source.path(),
            events: 0,
            errors: 0,
            warnings: 0,
            first_time: None,
            last_time: None,
            first_seq: None,
            last_seq: None,
            gaps: 0,
            missing: 0,
            corrupt_lines: 0,
            damaged_parts: 0,
            files: files.len(),
            bytes: files.iter().map(|file| file.bytes).sum(),
        };
        let mut lines = Backward::new(&source.folder, source.name);
        while let Some(line) = lines.next_line()? {
            let Some((record, _)) = line.record() else {
                trace.corrupt_line();
                continue;
            };
            trace.record(record.seq, lines.damaged());
            if filter.ends_at(&record) {
                break;
            }
            if filter.matches(&record) {
                self.count(record, &mut stream);
            }
        }
        trace.damaged_parts(lines.damaged());
        (stream.first_seq, stream.last_seq) = trace.range.unzip();
        (stream.gaps, stream.missing) = (trace.gaps, trace.missing);
        (stream.corrupt_lines, stream.damaged_parts) = (trace.corrupt, trace.damaged);
        Ok(stream)
    }

    fn count(&mut self, record: Record, stream: &mut StreamSummary) {
        self.events += 1;
        stream.events += 1;
        stream.errors += u64::from(record.level == "error");
        stream.warnings += u64::from(record.level == "warn");
        for (first, last) in
            [(&mut self.first_time, &mut self.last_time), (&mut stream.first_time, &mut stream.last_time)]
        {
            if first.as_ref().is_none_or(|first| record.time < *first) {
                *first = Some(record.time.clone());
            }
            if last.as_ref().is_none_or(|last| record.time > *last) {
                *last = Some(record.time.clone());
            }
        }
        add(&mut self.by_level, record.level);
        add(&mut self.by_component, record.component);
        add(&mut self.by_event, record.event);
    }

    fn text(&self, colour: bool) -> String {
        let time = |time: &Option<String>| Cell::option(time.as_ref());
        let seq = |stream: &StreamSummary| match stream.first_seq.zip(stream.last_seq) {
            Some((first, last)) => format!("{first}-{last}").into(),
            None => Cell::option(None::<u64>),
        };
        let streams = self.streams.iter().map(|stream| {
            [
                stream.plugin_id.as_ref().map_or("daemon", PluginId::as_str).into(),
                stream.events.to_string().into(),
                bad(stream.errors, Style::Bad),
                bad(stream.warnings, Style::Warn),
                time(&stream.first_time),
                time(&stream.last_time),
                seq(stream),
                bad(stream.missing, Style::Bad),
                bad(stream.corrupt_lines, Style::Bad),
                bad(stream.damaged_parts, Style::Bad),
                stream.files.to_string().into(),
                stream.bytes.to_string().into(),
            ]
        });
        let heading = [
            "RECORD", "EVENTS", "ERRORS", "WARNINGS", "FIRST", "LAST", "SEQ", "MISSING", "CORRUPT",
            "DAMAGED", "FILES", "BYTES",
        ];
        let mut text = table(heading, streams.collect(), colour);
        for (name, counts) in
            [("LEVEL", &self.by_level), ("COMPONENT", &self.by_component), ("EVENT", &self.by_event)]
        {
            let mut counts: Vec<(&String, &u64)> = counts.iter().collect();
            counts.sort_by_key(|(_, count)| std::cmp::Reverse(**count));
            let rows =
                counts.into_iter().map(|(name, count)| [name.as_str().into(), count.to_string().into()]);
            text.push('\n');
            text.push_str(&table([name, "EVENTS"], rows.collect(), colour));
        }
        text
    }
}

/// A count that should be zero.
fn bad(count: u64, style: Style) -> Cell {
    Cell::new(count.to_string(), if count == 0 { Style::Plain } else { style })
}

fn add(counts: &mut BTreeMap<String, u64>, name: String) {
    let is_known = counts.len() < NAMES_MAX || counts.contains_key(&name);
    *counts.entry(if is_known { name } else { OTHER.to_owned() }).or_default() += 1;
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_without_end_are_counted_together() {
        let mut counts = BTreeMap::new();
        for n in 0..NAMES_MAX + 50 {
            add(&mut counts, format!("made_up_{n}"));
        }
        add(&mut counts, "made_up_1".to_owned());
        assert_eq!((counts.len(), counts[OTHER], counts["made_up_1"]), (NAMES_MAX + 1, 50, 2));
    }
}
