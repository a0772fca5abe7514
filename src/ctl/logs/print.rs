//! How an event looks: aligned text for people, the line itself for programs.
//!
//! What it deliberately does not do: cut anything. A text of several lines (a traceback, a reason with a process's last
//! words) goes on below its event, each line marked, so that none can pass for an event.
//!
//! What always holds: what a plugin said is escaped; the last words of a process that have just been shown are not
//! shown again with what followed from them.

use super::source::RecordSource;
use super::trace::Gap;
use crate::cli::text::{Style, escape, escape_json};
use crate::ctl::exit::Failure;
use crate::ctl::out::Out;
use rpc_plugin_wire::event::{Component, Record};
use std::collections::VecDeque;

/// Columns are padded up to these widths; what is wider sticks out. Characters. The longest id has 64, and its generation
/// stands behind it.
const WHO_PADDED_MAX: usize = 72;
const EVENT_PADDED_MAX: usize = 32;

/// How a line begins that belongs to the event above it.
const CONTINUED: &str = "    | ";

/// Lines that were shown and are remembered, so that they are not shown again.
const SHOWN_MAX: usize = 64;

/// Prints events, and keeps their columns aligned.
pub(super) struct Printer {
    labels: Vec<String>,
    /// The last lines that processes printed, as they were shown, each with whose it is.
    shown: VecDeque<(String, String)>,
    who_width: usize,
    event_width: usize,
}

impl Printer {
    pub(super) fn new(sources: &[RecordSource]) -> Printer {
        let labels = sources.iter().map(|source| source.label().to_owned()).collect();
        Printer { labels, shown: VecDeque::new(), who_width: 0, event_width: 0 }
    }

    /// One more stream, numbered one after the last.
    pub(super) fn add(&mut self, source: &RecordSource) {
        self.labels.push(source.label().to_owned());
    }

    /// Widens the columns for what is to come. Streams by their place, and lines.
    pub(super) fn fit<'a>(&mut self, lines: impl Iterator<Item = (usize, &'a str)>) {
        for (index, line) in lines {
            if let Ok(record) = serde_json::from_str::<Record>(line) {
                self.widen(&self.who(index, &record), &record.event);
            }
        }
    }

    fn widen(&mut self, who: &str, event: &str) {
        self.who_width = self.who_width.max(width(who).min(WHO_PADDED_MAX));
        self.event_width = self.event_width.max(width(event).min(EVENT_PADDED_MAX));
    }

    fn who(&self, index: usize, record: &Record) -> String {
        let label = || self.labels.get(index).map_or("", |label| label);
        let plugin_id = record.plugin_id.as_ref().map_or_else(label, |plugin_id| plugin_id.as_str());
        match record.generation_id {
            Some(generation) => format!("{plugin_id}#{generation}"),
            None => plugin_id.to_owned(),
        }
    }

    /// Prints an event of that stream.
    pub(super) fn line(&mut self, out: &mut Out<'_>, index: usize, line: &str) -> Result<(), Failure> {
        if out.json {
            return out.safe(&format!("{}\n", escape_json(line)));
        }
        // It was read as a record before.
        let Ok(record) = serde_json::from_str::<Record>(line) else { return Ok(()) };
        let level_style = match record.level.as_str() {
            "error" => Style::Bad,
            "warn" => Style::Warn,
            "debug" => Style::Faint,
            _ => Style::Plain,
        };
        let who = self.who(index, &record);
        self.widen(&who, &record.event);
        let mut texts = record.message.lines();
        let first = [texts.next().unwrap_or_default().to_owned(), notes(&record)];
        let first: Vec<&str> = first.iter().map(String::as_str).filter(|part| !part.is_empty()).collect();
        let first = first.join(" ");
        let event_width = if first.is_empty() { 0 } else { self.event_width };
        let event = pad(&record.event, event_width);
        let rest = if first.is_empty() { first } else { format!("  {first}") };
        out.line(&[
            (&record.time, Style::Faint),
            ("  ", Style::Plain),
            (&pad(&record.level, 5), level_style),
            (&format!("  {}  {}  ", pad(&record.component, 7), pad(&who, self.who_width)), Style::Plain),
            (&event, Style::Strong),
            (&rest, Style::Plain),
        ])?;
        let printed = record.component == Component::Stderr.as_str();
        if printed {
            self.remember(&who, record.message.lines());
        }
        for text in texts {
            out.line(&[(CONTINUED, Style::Faint), (text, Style::Plain)])?;
        }
        let tail = stderr_tail(&record);
        let further = [&record.reason, &record.error].into_iter().flatten().map(|text| text.lines().skip(1));
        let blocks = further.map(|lines| lines.collect::<Vec<&str>>());
        for block in std::iter::once(tail.iter().map(String::as_str).collect()).chain(blocks) {
            if self.was_shown(&who, &block) {
                continue;
            }
            for text in &block {
                out.line(&[(CONTINUED, Style::Faint), (text, Style::Plain)])?;
            }
            self.remember(&who, block.into_iter());
        }
        Ok(())
    }

    fn remember<'a>(&mut self, who: &str, lines: impl Iterator<Item = &'a str>) {
        for line in lines.filter(|line| !line.trim().is_empty()) {
            self.shown.push_back((who.to_owned(), line.trim().to_owned()));
            if self.shown.len() > SHOWN_MAX {
                self.shown.pop_front();
            }
        }
    }

    /// Whether all these lines were shown a short while ago, of the same process.
    fn was_shown(&self, who: &str, lines: &[&str]) -> bool {
        let mut lines = lines.iter().map(|line| line.trim()).filter(|line| !line.is_empty());
        lines.all(|line| self.shown.iter().any(|(of, shown)| of == who && shown == line))
    }

    /// Prints that numbers are missing. In JSON, which has no line for that, it is told at the end.
    pub(super) fn gap(&mut self, out: &mut Out<'_>, index: usize, gap: &Gap) -> Result<(), Failure> {
        if out.json {
            return Ok(());
        }
        let label = self.labels.get(index).map_or("", |label| label);
        out.line(&[(&format!("-- {label}: {}", gap.text()), Style::Warn)])
    }
}

/// What else the record says in few words.
fn notes(record: &Record) -> String {
    // Further lines go on below; a text that is empty says nothing.
    let quoted = |name: &str, text: &Option<String>| {
        let first = text.as_ref().and_then(|text| text.lines().next()).filter(|line| !line.is_empty());
        first.map(|line| format!("{name}: {line}"))
    };
    let notes: Vec<String> = [
        asker(record),
        record.pid.map(|pid| format!("pid {pid}")),
        record.method.as_ref().map(|method| format!("method {method}")),
        record.correlation_id.as_ref().map(|id| format!("call {id}")),
        record.operation_id.as_ref().map(|id| format!("operation {id}")),
        record.duration_ms.map(|ms| format!("{ms:.3} ms")),
        record.error_class.clone(),
        quoted("reason", &record.reason),
        quoted("error", &record.error),
    ]
    .into_iter()
    .flatten()
    .collect();
    if notes.is_empty() { String::new() } else { format!("({})", notes.join("; ")) }
}

/// Who asked for it, of what an operator did or was denied.
fn asker(record: &Record) -> Option<String> {
    #[derive(serde::Deserialize)]
    struct OperatorDetails {
        peer_uid: u32,
        peer_pid: u32,
        peer_command: Option<String>,
    }
    let details = record.details.as_ref().filter(|details| details.get().contains("\"peer_uid\""))?;
    let OperatorDetails { peer_uid, peer_pid, peer_command } = serde_json::from_str(details.get()).ok()?;
    let command = peer_command.map_or(String::new(), |command| format!(" ({command})"));
    Some(format!("by user {peer_uid}, pid {peer_pid}{command}"))
}

/// The last words of a process that ended.
fn stderr_tail(record: &Record) -> Vec<String> {
    #[derive(serde::Deserialize)]
    struct Details {
        stderr_tail: Vec<String>,
    }
    let details = record.details.as_ref().filter(|details| details.get().contains("\"stderr_tail\""));
    let details = details.and_then(|details| serde_json::from_str::<Details>(details.get()).ok());
    details.map_or_else(Vec::new, |details| details.stderr_tail)
}

/// As it will look: escaped.
fn width(text: &str) -> usize {
    escape(text).chars().count()
}

fn pad(text: &str, columns: usize) -> String {
    format!("{text}{}", " ".repeat(columns.saturating_sub(width(text))))
}
