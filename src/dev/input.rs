//! Lines of standard input, and what each of them asks for.
//!
//! What it deliberately does not do: any of it. What always holds: a line that is longer than any call ends the
//! input instead of filling the memory.

use crossbeam_channel::Sender;
use rpc_plugin_wire::limits::FRAME_BYTES_MAX_DEFAULT;
use std::io::{BufRead, Read};

/// Longest line. Bytes.
const LINE_BYTES_MAX: usize = FRAME_BYTES_MAX_DEFAULT;

/// What comes next.
#[derive(Debug)]
pub(super) enum Input {
    /// A line, without its end.
    Line(String),
    /// Why there are no more lines; nothing for the end of input.
    End(Option<String>),
    /// The host has ended: a signal, or somebody at its admin socket.
    HostEnded,
}

/// Reads until there is no more, or nobody takes it.
pub(super) fn read_lines(lines: &Sender<Input>) {
    let mut stdin = std::io::stdin().lock();
    loop {
        let mut line = Vec::new();
        let read = (&mut stdin).take(LINE_BYTES_MAX as u64 + 1).read_until(b'\n', &mut line);
        let next = match read {
            Ok(0) => Input::End(None),
            Ok(bytes) if bytes > LINE_BYTES_MAX => {
                Input::End(Some(format!("a line has more than {LINE_BYTES_MAX} bytes")))
            }
            Ok(_) => match String::from_utf8(line) {
                Ok(line) => Input::Line(line.trim_end_matches(['\n', '\r']).to_owned()),
                Err(_) => Input::End(Some("a line is not UTF-8".to_owned())),
            },
            Err(error) if error.kind() == std::io::ErrorKind::Interrupted => continue,
            Err(error) => Input::End(Some(format!("standard input cannot be read: {error}"))),
        };
        let is_end = matches!(next, Input::End(_));
        if lines.send(next).is_err() || is_end {
            return;
        }
    }
}

/// What a line asks for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Request<'a> {
    /// Nothing: an empty line, or one that begins with `#`.
    Nothing,
    Help,
    Capabilities,
    Status,
    Restart,
    Quit,
    /// A method, and its params as they were typed.
    Call(&'a str, Option<&'a str>),
}

/// Words that are no methods, with what they do.
pub(super) const WORDS: &[(&str, &str)] = &[
    ("METHOD [JSON]", "call a method, with a JSON object for params"),
    ("call METHOD [JSON]", "the same, for a method that has the name of one of these words"),
    ("capabilities, methods", "the capabilities that the plugin has declared; method names begin with them"),
    ("status", "everything about the plugin"),
    ("restart", "a new process, for example after the plugin was built again"),
    ("help", "this list"),
    (
        "quit",
        "stop the plugin and end this program; so do end of input and Ctrl-C, which first cancels a call",
    ),
];

impl Request<'_> {
    pub(super) fn read(line: &str) -> Request<'_> {
        let line = line.trim();
        let (word, rest) = line.split_once(char::is_whitespace).unwrap_or((line, ""));
        let rest = rest.trim_start();
        match (word, rest.is_empty()) {
            ("", _) => Request::Nothing,
            (word, _) if word.starts_with('#') => Request::Nothing,
            ("help" | "?", true) => Request::Help,
            ("capabilities" | "methods", true) => Request::Capabilities,
            ("status", true) => Request::Status,
            ("restart", true) => Request::Restart,
            ("quit" | "exit", true) => Request::Quit,
            ("call", false) => {
                let (method, params) = rest.split_once(char::is_whitespace).unwrap_or((rest, ""));
                Request::Call(method, Some(params.trim_start()).filter(|params| !params.is_empty()))
            }
            (method, _) => Request::Call(method, Some(rest).filter(|params| !params.is_empty())),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn words_stand_alone_and_everything_else_is_a_call() {
        let table: [(&str, Request<'_>); 14] = [
            ("", Request::Nothing),
            ("  # restart", Request::Nothing),
            ("help", Request::Help),
            (" ? ", Request::Help),
            ("methods", Request::Capabilities),
            ("capabilities", Request::Capabilities),
            ("status", Request::Status),
            ("restart", Request::Restart),
            ("quit", Request::Quit),
            ("echo", Request::Call("echo", None)),
            ("  kv.get   {\"key\": \"a b\"} ", Request::Call("kv.get", Some("{\"key\": \"a b\"}"))),
            ("status {}", Request::Call("status", Some("{}"))),
            ("call quit", Request::Call("quit", None)),
            ("call status\t{\"a\":1}", Request::Call("status", Some("{\"a\":1}"))),
        ];
        for (line, expected) in table {
            assert_eq!(Request::read(line), expected, "{line:?}");
        }
    }
}
