//! What is printed: what happens to the plugin, what it prints, and what its calls came to.
//!
//! What always holds: what the plugin said is escaped; with `--json` each line is one object with a `type`; no line
//! of one source stands inside another's.

use super::input::WORDS;
use super::told_cause::ToldCause;
use crate::cli::text::{Style, after_colon, count, escape_json, paint};
use crate::ctl::{lay_out, sheet_of};
use crate::host::{CallError, CallReply, EventKind, Level, LifecycleEvent, PluginStatus};
use rpc_plugin_wire::answered_error::{PLUGIN_ANSWERED, is_marked, told};
use rpc_plugin_wire::event::Component;
use serde_json::value::RawValue;
use serde_json::{Value, json};
use std::io::{self, BufRead, BufReader, Read, Write};
use std::time::{Duration, Instant};

/// How a line begins that belongs to the one above it.
const CONTINUED: &str = "           | ";

/// Bytes of a call's output that are shown as one line.
const OUTPUT_LINE_BYTES_MAX: u64 = 16 * 1024;

/// The printer of everything that `dev` shows: events, answers, failures.
pub(super) struct View {
    json: bool,
    colour: bool,
    begin: Instant,
}

impl View {
    pub(super) fn new(json: bool, colour: bool) -> View {
        View { json, colour, begin: Instant::now() }
    }

    /// Something that happened to the plugin, or that it said.
    pub(super) fn event(&self, event: &LifecycleEvent, causes: &mut ToldCause) -> io::Result<()> {
        let note = &event.note;
        if event.missed > 0 {
            self.note(&format!("{} not printed: too many came at once", count(event.missed, "event")))?;
        }
        let level = note.level.unwrap_or_else(|| note.kind.level());
        let kind = match note.kind.component() {
            _ if note.kind == EventKind::StateChanged => "state",
            Component::Stdout => "stdout",
            Component::Stderr => "stderr",
            Component::Plugin => "log",
            _ => "event",
        };
        if self.json {
            return self.object(json!({
                "type": kind, "event": note.kind.as_str(), "level": level.as_str(), "message": note.message,
                "generation": note.generation, "pid": note.pid, "error": note.error, "reason": note.reason,
                "method": note.method, "details": note.details,
            }));
        }
        let style = match (kind, level) {
            (_, Level::Error) => Style::Bad,
            (_, Level::Warn) => Style::Warn,
            ("state", _) => Style::Strong,
            ("event", _) | (_, Level::Debug) => Style::Faint,
            _ => Style::Plain,
        };
        let mut text = match kind {
            "event" => format!("{}{}", note.kind, after_colon(&note.message)),
            _ => note.message.clone(),
        };
        let said = [("reason", &note.reason), ("error", &note.error)];
        let said: Vec<String> = said
            .iter()
            .filter_map(|(name, text)| Some((name, text.as_ref()?)))
            .filter(|(_, text)| !text.is_empty() && !causes.is_told(event, text))
            .map(|(name, text)| format!("{name}: {text}"))
            .collect();
        if !said.is_empty() {
            text = format!("{text} ({})", said.join("; "));
        }
        self.text(kind, &text, style)
    }

    /// A word of this program.
    pub(super) fn note(&self, text: &str) -> io::Result<()> {
        if self.json {
            return self.object(json!({"type": "note", "message": text}));
        }
        self.text("note", text, Style::Plain)
    }

    /// What a line asked for and did not get, for a reason that is not a call's.
    pub(super) fn failed(&self, text: &str) -> io::Result<()> {
        if self.json {
            return self.object(json!({"type": "error", "message": text}));
        }
        self.text("error", text, Style::Bad)
    }

    /// The plugin was given up for this reason, which the events before it say.
    pub(super) fn given_up(&self, reason: &str) -> io::Result<()> {
        let text = "the plugin is failed, as was told; 'restart' launches it again";
        self.failed(if self.json { reason } else { text })
    }

    /// How far a call is, as the plugin says.
    pub(super) fn progress(&self, method: &str, value: &RawValue) -> io::Result<()> {
        if self.json {
            return self.object_with(json!({"type": "progress", "method": method}), "value", value);
        }
        self.text("progress", &escape_json(value.get()), Style::Faint)
    }

    pub(super) fn result(&self, method: &str, reply: &CallReply) -> io::Result<()> {
        let generation = reply.generation;
        if self.json {
            let head = json!({
                "type": "result", "method": method, "generation": generation, "took_ms": millis(reply.took),
            });
            return self.object_with(head, "result", &reply.result);
        }
        self.text("result", &format!("{method} took {:.3} ms", millis(reply.took)), Style::Good)?;
        self.line(&lay_out(&reply.result))
    }

    /// Bytes that a call wrote, as lines, until their end.
    pub(super) fn show_output(&self, from: impl Read) -> io::Result<()> {
        let mut from = BufReader::new(from);
        loop {
            let mut line = Vec::new();
            if (&mut from).take(OUTPUT_LINE_BYTES_MAX).read_until(b'\n', &mut line)? == 0 {
                return Ok(());
            }
            let text = String::from_utf8_lossy(line.strip_suffix(b"\n").unwrap_or(&line));
            match self.json {
                true => self.object(json!({"type": "output", "text": text}))?,
                false => self.text("output", &text, Style::Plain)?,
            }
        }
    }

    pub(super) fn call_failed(&self, method: &str, error: &CallError, took: Duration) -> io::Result<()> {
        let code = error.code.code();
        let data = error.data.as_deref();
        let is_marked = is_marked(error.outcome, error.code, data);
        let name = if is_marked { PLUGIN_ANSWERED } else { error.code.name() };
        if self.json {
            return self.object(json!({
                "type": "error", "method": method, "name": name, "code": code, "message": error.message,
                "outcome": error.outcome.as_str(), "generation": error.generation, "took_ms": millis(took),
                "data": error.data.as_deref().map(parsed),
            }));
        }
        let told = match is_marked {
            true => told(error.outcome, error.code, &error.message, data),
            false => format!("{name} ({code}){}", after_colon(&error.message)),
        };
        let text = format!("{method} took {:.3} ms: {told}", millis(took));
        self.text("error", &text, Style::Bad)?;
        error.data.as_ref().map_or(Ok(()), |data| self.line(&lay_out(data)))
    }

    pub(super) fn status(&self, status: &PluginStatus) -> io::Result<()> {
        if self.json {
            return self.object(json!({"type": "status", "status": status}));
        }
        self.whole(&sheet_of(status, self.colour))
    }

    pub(super) fn capabilities(&self, status: &PluginStatus) -> io::Result<()> {
        if self.json {
            return self.object(json!({"type": "capabilities", "capabilities": status.capabilities}));
        }
        self.note(&format!("capabilities: {}", status.capabilities.join(", ")))
    }

    pub(super) fn help(&self) -> io::Result<()> {
        if self.json {
            let words: Vec<Value> =
                WORDS.iter().map(|(word, does)| json!({"line": word, "does": does})).collect();
            return self.object(json!({"type": "help", "help": words}));
        }
        let lines: String = WORDS.iter().map(|(word, does)| format!("  {word:<22}  {does}\n")).collect();
        self.whole(&lines)
    }

    /// Time, kind and text; further lines of the text go on below, marked.
    fn text(&self, kind: &str, text: &str, style: Style) -> io::Result<()> {
        let mut out = String::new();
        let mut lines = text.lines();
        let at = format!("{:>8.3}s  ", self.begin.elapsed().as_secs_f64());
        paint(&mut out, &at, Style::Faint, self.colour);
        paint(&mut out, &format!("{kind:<6}  "), Style::Strong, self.colour);
        paint(&mut out, lines.next().unwrap_or_default(), style, self.colour);
        for line in lines {
            out.push('\n');
            paint(&mut out, CONTINUED, Style::Faint, self.colour);
            paint(&mut out, line, style, self.colour);
        }
        self.line(&out)
    }

    fn object(&self, value: Value) -> io::Result<()> {
        let Value::Object(mut members) = value else { return Ok(()) };
        members.retain(|_, member| !member.is_null());
        self.line(&escape_json(&Value::Object(members).to_string()))
    }

    /// An object with one more member, as it came: numbers keep their digits, objects their order.
    fn object_with(&self, head: Value, name: &str, raw: &RawValue) -> io::Result<()> {
        let mut head = head.to_string();
        head.truncate(head.len() - 1);
        self.line(&format!("{head},\"{name}\":{}}}", escape_json(raw.get())))
    }

    fn line(&self, text: &str) -> io::Result<()> {
        self.whole(&format!("{text}\n"))
    }

    /// In one piece: other threads print too.
    fn whole(&self, text: &str) -> io::Result<()> {
        let mut stdout = io::stdout().lock();
        stdout.write_all(text.as_bytes())?;
        stdout.flush()
    }
}

fn millis(time: Duration) -> f64 {
    (time.as_secs_f64() * 1e6).round() / 1e3
}

/// For the object of an error, which is not a result: its numbers may lose digits.
fn parsed(data: &RawValue) -> Value {
    serde_json::from_str(data.get()).unwrap_or(Value::Null)
}
