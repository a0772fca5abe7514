//! Lines of standard input, and what each of them asks for.
//!
//! What it deliberately does not do: any of it. What always holds: a line that is longer than any call ends the
//! input instead of filling the memory.

use crossbeam_channel::Sender;
use rpc_plugin_wire::limits::FRAME_BYTES_MAX_DEFAULT;
use serde_json::value::RawValue;
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
    /// A method, its params as they were typed, and the files of its streams and blobs.
    Call(&'a str, Option<&'a str>, Files),
    /// What cannot be understood, and why.
    Wrong(String),
}

/// The files that a line names.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(super) struct Files {
    /// That of `--input`.
    pub(super) input: Option<String>,
    /// That of `--output`.
    pub(super) output: Option<String>,
}

/// Words that are no methods, with what they do.
pub(super) const WORDS: &[(&str, &str)] = &[
    ("METHOD [JSON]", "call a method, with a JSON object for params"),
    (
        "... --input FILE",
        "behind a call: pass a file, where JSON has {\"$stream\":\"input\"} or {\"$blob\":\"input\"}",
    ),
    (
        "... --output FILE",
        "behind a call: write the stream or blob of its result into a file; '-' shows it as lines",
    ),
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
                let (method, rest) = rest.split_once(char::is_whitespace).unwrap_or((rest, ""));
                Request::call(method, rest.trim_start())
            }
            (method, _) => Request::call(method, rest),
        }
    }

    fn call<'a>(method: &'a str, rest: &'a str) -> Request<'a> {
        let (params, flags) = cut_params(rest);
        match Files::read(flags) {
            Ok(files) => Request::Call(method, Some(params).filter(|params| !params.is_empty()), files),
            Err(why) => Request::Wrong(why),
        }
    }
}

/// Cuts the params from the flags behind them, if there are any.
fn cut_params(rest: &str) -> (&str, &str) {
    if rest.starts_with("--") {
        return ("", rest);
    }
    let mut values = serde_json::Deserializer::from_str(rest).into_iter::<&RawValue>();
    let is_value = values.next().is_some_and(|value| value.is_ok());
    match rest.split_at_checked(values.byte_offset()) {
        Some((params, flags)) if is_value && flags.trim_start().starts_with("--") => {
            (params, flags.trim_start())
        }
        // What is wrong with it is told when it is read as params.
        _ => (rest, ""),
    }
}

impl Files {
    /// Whether none is named.
    pub(super) fn is_empty(&self) -> bool {
        self.input.is_none() && self.output.is_none()
    }

    fn read(mut flags: &str) -> Result<Files, String> {
        let mut files = Files::default();
        while !flags.is_empty() {
            let end = flags.find(|c: char| c.is_whitespace() || c == '=').unwrap_or(flags.len());
            let (name, rest) = flags.split_at_checked(end).unwrap_or((flags, ""));
            let place = match name {
                "--input" => &mut files.input,
                "--output" => &mut files.output,
                _ => {
                    return Err(format!(
                        "{name:?} is not known behind a call; --input FILE and --output FILE are"
                    ));
                }
            };
            let rest = rest.trim_start_matches('=').trim_start();
            let (value, rest) = cut_name(rest).ok_or_else(|| format!("{name} lacks its FILE"))?;
            if place.replace(value).is_some() {
                return Err(format!("{name} is there twice"));
            }
            flags = rest.trim_start();
        }
        Ok(files)
    }
}

/// Cuts the name of a file from what follows it; one with spaces in it is written as JSON is.
fn cut_name(text: &str) -> Option<(String, &str)> {
    if text.starts_with('"') {
        let mut values = serde_json::Deserializer::from_str(text).into_iter::<String>();
        let name = values.next()?.ok()?;
        return Some((name, text.get(values.byte_offset()..).unwrap_or_default()));
    }
    let (name, rest) = text.split_once(char::is_whitespace).unwrap_or((text, ""));
    (!name.is_empty()).then(|| (name.to_owned(), rest))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn call<'a>(method: &'a str, params: Option<&'a str>) -> Request<'a> {
        Request::Call(method, params, Files::default())
    }

    #[test]
    fn files_stand_behind_a_call() {
        let files = |input: Option<&str>, output: Option<&str>| Files {
            input: input.map(str::to_owned),
            output: output.map(str::to_owned),
        };
        let table = [
            ("m --input a", None, files(Some("a"), None)),
            (
                "call m {\"a\": [1]}  --output=b --input \"c d\"",
                Some("{\"a\": [1]}"),
                files(Some("c d"), Some("b")),
            ),
            ("m {\"a\":\"x --input y\"} --output -", Some("{\"a\":\"x --input y\"}"), files(None, Some("-"))),
            ("m {} more", Some("{} more"), files(None, None)),
            ("m {\"a\" --input b", Some("{\"a\" --input b"), files(None, None)),
        ];
        for (line, params, files) in table {
            assert_eq!(Request::read(line), Request::Call("m", params, files), "{line:?}");
        }
        for (line, why) in [
            ("m {} --inptu a", "\"--inptu\" is not known"),
            ("m --input", "--input lacks its FILE"),
            ("m {} --input a b", "\"b\" is not known"),
            ("m --input a --input b", "--input is there twice"),
        ] {
            let Request::Wrong(said) = Request::read(line) else { panic!("{line}") };
            assert!(said.contains(why), "{line}: {said}");
        }
    }

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
            ("echo", call("echo", None)),
            ("  kv.get   {\"key\": \"a b\"} ", call("kv.get", Some("{\"key\": \"a b\"}"))),
            ("status {}", call("status", Some("{}"))),
            ("call quit", call("quit", None)),
            ("call status\t{\"a\":1}", call("status", Some("{\"a\":1}"))),
        ];
        for (line, expected) in table {
            assert_eq!(Request::read(line), expected, "{line:?}");
        }
    }
}
