//! Everything that the control client prints.
//!
//! What this file is for: the two streams, and the two ways to print on them: text for people, JSON
//! for programs. What always holds: nothing reaches a stream unescaped but the help.

use super::exit::{Exit, Failure};
use crate::cli::text::{Style, escape, escape_json, one_line, paint};
use serde::Serialize;
use serde_json::value::RawValue;
use std::io::Write;

pub(super) struct Out<'a> {
    pub(super) stdout: &'a mut dyn Write,
    pub(super) stderr: &'a mut dyn Write,
    /// For programs, not for people.
    pub(super) json: bool,
    pub(super) stdout_colour: bool,
    pub(super) stderr_colour: bool,
    pub(super) stdout_is_terminal: bool,
    /// Whether the streams and signals of this process are this client's own.
    pub(super) is_process: bool,
    /// Characters of a line; `None` is any number.
    pub(super) stdout_columns: Option<usize>,
}

/// An error as a program reads it.
#[derive(Serialize)]
struct ErrorDocument<'a> {
    error: ErrorBody<'a>,
}

#[derive(Serialize)]
struct ErrorBody<'a> {
    name: &'a str,
    message: &'a str,
    exit_code: u8,
    #[serde(skip_serializing_if = "Option::is_none")]
    code: Option<i64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    data: Option<&'a RawValue>,
    #[serde(skip_serializing_if = "str::is_empty")]
    hint: &'a str,
}

/// A warning as a program reads it.
#[derive(Serialize)]
struct WarningDocument<'a> {
    warning: WarningBody<'a>,
}

/// What is waited for, as a program reads it.
#[derive(Serialize)]
struct NoteDocument<'a> {
    note: WarningBody<'a>,
}

#[derive(Serialize)]
struct WarningBody<'a> {
    message: &'a str,
}

impl Out<'_> {
    /// Text that is already safe: the help, tables, sheets, escaped JSON.
    pub(super) fn safe(&mut self, text: &str) -> Result<(), Failure> {
        self.stdout.write_all(text.as_bytes()).map_err(|error| Failure::stdout(&error))
    }

    /// One line of text made of parts.
    pub(super) fn line(&mut self, parts: &[(&str, Style)]) -> Result<(), Failure> {
        let mut out = String::new();
        for (text, style) in parts {
            paint(&mut out, text, *style, self.stdout_colour);
        }
        out.push('\n');
        self.safe(&out)
    }

    /// One JSON document, as it came.
    pub(super) fn document(&mut self, json: &RawValue) -> Result<(), Failure> {
        self.safe(&format!("{}\n", escape_json(json.get())))
    }

    /// One JSON document of our own.
    pub(super) fn value<T: Serialize>(&mut self, value: &T) -> Result<(), Failure> {
        let json = serde_json::value::to_raw_value(value)
            .map_err(|error| Failure::new(Exit::Failed, format!("cannot be written as JSON: {error}")))?;
        self.document(&json)
    }

    pub(super) fn flush(&mut self) -> Result<(), Failure> {
        self.stdout.flush().map_err(|error| Failure::stdout(&error))
    }

    /// Tells something on standard error and goes on. Nobody can be told when that fails.
    pub(super) fn warn(&mut self, message: &str) {
        if self.json {
            self.stderr_json(&WarningDocument { warning: WarningBody { message } });
        } else {
            self.stderr_text("warning", Style::Warn, message, "");
        }
    }

    /// Tells one fault of several on standard error; the failure that ends the command comes after them.
    pub(super) fn fault(&mut self, message: &str) {
        self.stderr_text("error", Style::Bad, message, "");
    }

    /// Tells on standard error what is waited for.
    pub(super) fn tell(&mut self, message: &str) {
        if self.json {
            self.stderr_json(&NoteDocument { note: WarningBody { message } });
        } else {
            let _ = self.stderr.write_all(format!("rpcpluginctl: {}\n", escape(message)).as_bytes());
        }
        let _ = self.stderr.flush();
    }

    /// Prints a value of a call's progress on standard error.
    pub(super) fn progress(&mut self, value: &RawValue) {
        let json = escape_json(value.get());
        let line = if self.json { format!("{{\"progress\":{json}}}\n") } else { format!("{json}\n") };
        let _ = self.stderr.write_all(line.as_bytes());
    }

    /// Prints a result on standard error, where standard output is for what it holds.
    pub(super) fn beside(&mut self, json: &RawValue) {
        let _ = self.stderr.write_all(format!("{}\n", escape_json(json.get())).as_bytes());
    }

    /// Tells why the command failed.
    pub(super) fn fail(&mut self, failure: &Failure) {
        if failure.is_quiet() {
            return;
        }
        if self.json {
            let error = ErrorBody {
                name: failure.name,
                message: &failure.message,
                exit_code: failure.exit.code(),
                code: failure.code,
                data: failure.data.as_deref(),
                hint: &failure.hint,
            };
            self.stderr_json(&ErrorDocument { error });
        } else {
            self.stderr_text("error", Style::Bad, &failure.message, &failure.hint);
        }
    }

    fn stderr_json<T: Serialize>(&mut self, value: &T) {
        let json = serde_json::to_string(value).unwrap_or_default();
        let _ = self.stderr.write_all(format!("{}\n", escape_json(&json)).as_bytes());
    }

    fn stderr_text(&mut self, kind: &str, style: Style, message: &str, hint: &str) {
        let mut out = "rpcpluginctl: ".to_owned();
        paint(&mut out, kind, style, self.stderr_colour);
        out.push_str(": ");
        paint(&mut out, &one_line(message), Style::Plain, false);
        out.push('\n');
        if !hint.is_empty() {
            out.push_str("  ");
            paint(&mut out, hint, Style::Plain, false);
            out.push('\n');
        }
        let _ = self.stderr.write_all(out.as_bytes());
    }
}
