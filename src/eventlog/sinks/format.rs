//! How an event looks in a sink: a JSON line, a line of text, a syslog message, fields of the journal.
//!
//! What always holds: a line of text is one line, without control characters; what a plugin printed cannot
//! look like another event.

use super::options::SyslogFormat;
use super::target::Event;
use rpc_plugin_record::escape;
use rpc_plugin_wire::event::Record;
use std::fmt::Write;

/// The name under which syslog and the journal show the events.
const IDENTIFIER: &str = "rpcplugind";
/// Facility `daemon`, times 8 (RFC 5424 section 6.2.1).
const FACILITY_DAEMON: u8 = 3 * 8;

/// The line as it is on record, with its end.
#[must_use]
pub fn json_line(event: &Event) -> Vec<u8> {
    let mut line = event.text.clone().into_bytes();
    line.push(b'\n');
    line
}

/// The severity, by the name of a level, of RFC 5424 section 6.2.1, which are also the priorities of sd-daemon(3).
pub(super) fn severity(level: &str) -> u8 {
    match level {
        "debug" => 7,
        "info" => 6,
        "warn" => 4,
        _ => 3,
    }
}

/// What happened, without the time and the level.
fn said(record: &Record, out: &mut String) {
    if let Some(id) = &record.plugin_id {
        // Writing to memory does not fail, here and below.
        let _ = match record.generation_id {
            Some(generation) => write!(out, "[{id}#{generation}] "),
            None => write!(out, "[{id}] "),
        };
    }
    out.push_str(&escape(&record.event));
    if !record.message.is_empty() {
        out.push_str(": ");
        out.push_str(&escape(&record.message));
    }
    for (name, text) in [("method", &record.method), ("error", &record.error), ("reason", &record.reason)] {
        if let Some(text) = text {
            let _ = write!(out, "; {name}: {}", escape(text));
        }
    }
}

/// One line for people.
pub(super) fn text_line(record: &Record, with_priority: bool) -> Vec<u8> {
    let mut out = String::new();
    if with_priority {
        // The journal keeps a time of its own, and this says when it happened.
        let _ = write!(out, "<{}>", severity(&record.level));
    }
    out.push_str(&escape(&record.time));
    let _ = write!(out, " {:5} ", record.level);
    said(record, &mut out);
    out.push('\n');
    out.into_bytes()
}

/// One message for a syslog daemon on this machine.
pub(super) fn syslog(record: &Record, format: SyslogFormat) -> Vec<u8> {
    let mut out = String::new();
    let (priority, pid) = (FACILITY_DAEMON + severity(&record.level), std::process::id());
    let _ = match format {
        SyslogFormat::Rfc3164 => write!(out, "<{priority}>{IDENTIFIER}[{pid}]: "),
        SyslogFormat::Rfc5424 => {
            // No host name: the receiver is on this machine.
            write!(out, "<{priority}>1 {} - {IDENTIFIER} {pid} {} - ", record.time, message_id(record))
        }
    };
    said(record, &mut out);
    if format == SyslogFormat::Rfc3164 {
        let _ = write!(out, " ({})", record.time);
    }
    out.into_bytes()
}

/// MSGID of RFC 5424 section 6: 1 to 32 printable ASCII characters.
fn message_id(record: &Record) -> String {
    let id: String = record.event.chars().filter(char::is_ascii_graphic).take(32).collect();
    if id.is_empty() { "-".to_owned() } else { id }
}

/// The journal's native protocol: a field a line, or with its length where the value has several lines.
pub(super) fn journald(event: &Event) -> Vec<u8> {
    let record = &event.record;
    let mut message = String::new();
    said(record, &mut message);
    let mut out = Vec::with_capacity(2 * event.text.len() + 256);
    field(&mut out, "MESSAGE", &message);
    field(&mut out, "PRIORITY", &severity(&record.level).to_string());
    field(&mut out, "SYSLOG_IDENTIFIER", IDENTIFIER);
    field(&mut out, "RPC_PLUGIN_EVENT", &record.event);
    field(&mut out, "RPC_PLUGIN_COMPONENT", &record.component);
    field(&mut out, "RPC_PLUGIN_TIME", &record.time);
    if let Some(seq) = record.seq {
        field(&mut out, "RPC_PLUGIN_SEQ", &seq.to_string());
    }
    if let Some(id) = &record.plugin_id {
        field(&mut out, "RPC_PLUGIN_ID", id.as_str());
    }
    if let Some(generation) = record.generation_id {
        field(&mut out, "RPC_PLUGIN_GENERATION", &generation.to_string());
    }
    field(&mut out, "RPC_PLUGIN_RECORD", &event.text);
    out
}

fn field(out: &mut Vec<u8>, name: &str, value: &str) {
    out.extend_from_slice(name.as_bytes());
    if value.contains('\n') {
        out.push(b'\n');
        out.extend_from_slice(&(value.len() as u64).to_le_bytes());
    } else {
        out.push(b'=');
    }
    out.extend_from_slice(value.as_bytes());
    out.push(b'\n');
}

#[cfg(test)]
mod tests {
    use super::*;

    fn event(level: &str, message: &str) -> Event {
        let record = Record {
            time: "2026-11-21T23:58:37.135Z".into(),
            level: level.into(),
            event: "stderr".into(),
            message: message.into(),
            plugin_id: Some("echo".parse().unwrap()),
            seq: Some(7),
            ..Record::default()
        };
        Event { text: serde_json::to_string(&record).unwrap(), record }
    }

    #[test]
    fn a_line_is_one_line_whatever_a_plugin_printed() {
        let event = event("error", "a\n<0>forged \u{1b}[31m\u{202e}x");
        let line = String::from_utf8(text_line(&event.record, true)).unwrap();
        let expected =
            "<3>2026-11-21T23:58:37.135Z error [echo] stderr: a\\x0a<0>forged \\x1b[31m\\u{202e}x\n";
        assert_eq!(line, expected);
        assert_eq!(json_line(&event).iter().filter(|b| **b == b'\n').count(), 1);
    }

    #[test]
    fn syslog_messages_have_their_priority_and_time() {
        let (pid, event) = (std::process::id(), event("warn", "x"));
        let message = |format| String::from_utf8(syslog(&event.record, format)).unwrap();
        let expected = format!("<28>rpcplugind[{pid}]: [echo] stderr: x (2026-11-21T23:58:37.135Z)");
        assert_eq!(message(SyslogFormat::Rfc3164), expected);
        let expected = format!("<28>1 2026-11-21T23:58:37.135Z - rpcplugind {pid} stderr - [echo] stderr: x");
        assert_eq!(message(SyslogFormat::Rfc5424), expected);
    }

    #[test]
    fn the_generation_is_told_where_there_is_one() {
        let mut event = event("info", "x");
        event.record.generation_id = Some(rpc_plugin_wire::Generation::FIRST.next());
        let line = String::from_utf8(text_line(&event.record, false)).unwrap();
        assert!(line.ends_with("info  [echo#2] stderr: x\n"), "{line}");
        let text = String::from_utf8(journald(&event)).unwrap();
        assert!(text.contains("\nRPC_PLUGIN_GENERATION=2\n"), "{text}");
    }

    #[test]
    fn fields_of_the_journal_cannot_be_forged() {
        let mut out = Vec::new();
        field(&mut out, "A", "x\nPRIORITY=0");
        field(&mut out, "B", "y");
        assert_eq!(out, b"A\n\x0c\0\0\0\0\0\0\0x\nPRIORITY=0\nB=y\n");
        let event = event("info", "two\nlines");
        let text = String::from_utf8(journald(&event)).unwrap();
        assert!(text.starts_with("MESSAGE=[echo] stderr: two\\x0alines\nPRIORITY=6\n"), "{text}");
    }
}
