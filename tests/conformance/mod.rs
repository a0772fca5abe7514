//! The conformance tables: inputs that every implementation must refuse, and ones it must take.
//!
//! What this file is for: reading `bad_frames.txt` and `good_frames.txt` (their first lines say how),
//! and judging bytes by the wire crate, so that one table serves the wire crate, a live host and the
//! SDKs. Include it with `#[path = "conformance/mod.rs"] mod conformance;`.
//! What it deliberately does not do: open sockets. What always holds: names are unique, and a row that
//! does not read is a failure, never a row less.
#![allow(dead_code, unreachable_pub, missing_docs)]
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::indexing_slicing)]

use rpc_plugin_wire::handshake::{Hello, METHOD_HELLO};
use rpc_plugin_wire::life::{Cancel, Capabilities, Heartbeat, METHOD_CANCEL};
use rpc_plugin_wire::limits::FRAME_BYTES_MAX_UNAUTHENTICATED;
use rpc_plugin_wire::message::{params_into, result_object};
use rpc_plugin_wire::{ErrorCode, FrameDecoder, FrameError, Message, MessageError, admin};

/// What has to have been understood for the fault of a row to show.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Stage {
    /// The row is a whole stream.
    Frame,
    /// The row is one frame of any method.
    Message,
    /// Params of `host.hello`.
    Hello,
    /// Result of `plugin.heartbeat`.
    Heartbeat,
    /// Result of `plugin.capabilities`.
    Capabilities,
    /// Params of `rpc.cancel`.
    Cancel,
    /// Params of an admin method.
    Admin,
}

const STAGES: [(&str, Stage); 7] = [
    ("frame", Stage::Frame),
    ("message", Stage::Message),
    ("hello", Stage::Hello),
    ("heartbeat", Stage::Heartbeat),
    ("capabilities", Stage::Capabilities),
    ("cancel", Stage::Cancel),
    ("admin", Stage::Admin),
];

/// What refuses a row, by its name in the table.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Fault {
    TooLong,
    Truncated,
    NotUtf8,
    NotAnObject,
    TooDeep,
    Syntax,
    Member,
    Envelope,
    Method,
    /// Params or result are not what the method takes or gives.
    Shape,
    /// They are, and break a rule all the same.
    Refused,
    UnknownMethod,
}

const FAULTS: [(&str, Fault); 12] = [
    ("too_long", Fault::TooLong),
    ("truncated", Fault::Truncated),
    ("not_utf8", Fault::NotUtf8),
    ("not_an_object", Fault::NotAnObject),
    ("too_deep", Fault::TooDeep),
    ("syntax", Fault::Syntax),
    ("member", Fault::Member),
    ("envelope", Fault::Envelope),
    ("method", Fault::Method),
    ("shape", Fault::Shape),
    ("refused", Fault::Refused),
    ("unknown_method", Fault::UnknownMethod),
];

impl Fault {
    /// The code of the error that answers this fault, where it has one of its own.
    pub fn code(self) -> Option<ErrorCode> {
        match self {
            Fault::NotUtf8 | Fault::NotAnObject | Fault::TooDeep | Fault::Syntax => {
                Some(ErrorCode::ParseError)
            }
            Fault::Member | Fault::Envelope | Fault::Method => Some(ErrorCode::InvalidRequest),
            Fault::Shape => Some(ErrorCode::InvalidParams),
            Fault::UnknownMethod => Some(ErrorCode::MethodNotFound),
            Fault::TooLong | Fault::Truncated | Fault::Refused => None,
        }
    }
}

/// The plugin that is played: what fills the placeholders.
#[derive(Debug, Clone, Copy)]
pub struct Played<'a> {
    pub token: &'a str,
    pub plugin_id: &'a str,
    pub generation: u64,
}

/// A plugin for where nobody checks the proof.
pub const ANYONE: Played<'static> = Played {
    token: "00112233445566778899aabbccddeeff00112233445566778899aabbccddeeff",
    plugin_id: "echo",
    generation: 3,
};

/// One row of a table.
#[derive(Debug, Clone)]
pub struct Row {
    pub name: String,
    pub stage: Stage,
    /// `bad_frames.txt`: the fault's name. `good_frames.txt`: request, notification, result or error.
    pub kind: String,
    /// What the message, or the `Debug` text of what was read, must contain.
    pub says: String,
    before: String,
    text: String,
    after: String,
    line_end: bool,
}

impl Row {
    /// The fault that a row of `bad_frames.txt` must be refused for.
    pub fn fault(&self) -> Fault {
        let known = FAULTS.iter().find(|(name, _)| *name == self.kind);
        known.unwrap_or_else(|| panic!("{}: no fault is called {:?}", self.name, self.kind)).1
    }

    /// The bytes to send, line end included where the row has one.
    pub fn bytes(&self, played: &Played<'_>) -> Vec<u8> {
        let mut bytes = Vec::new();
        for text in [&self.before, &self.text, &self.after] {
            unescape(text, played, &mut bytes).unwrap_or_else(|e| panic!("{}: {e}", self.name));
        }
        if self.line_end {
            bytes.push(b'\n');
        }
        bytes
    }
}

/// Every input that must be refused.
pub fn bad() -> Vec<Row> {
    read(include_str!("bad_frames.txt"))
}

/// Every input that must be taken.
pub fn good() -> Vec<Row> {
    read(include_str!("good_frames.txt"))
}

fn read(table: &str) -> Vec<Row> {
    let (mut stage, mut frame) = (None, None);
    let mut rows: Vec<Row> = Vec::new();
    for line in table.lines().filter(|line| !line.is_empty() && !line.starts_with('#')) {
        if let Some(name) = line.strip_prefix('[').and_then(|rest| rest.strip_suffix(']')) {
            let known = STAGES.iter().find(|(known, _)| *known == name);
            stage = Some(known.unwrap_or_else(|| panic!("no stage is called {name:?}")).1);
            frame = None;
            continue;
        }
        if let Some(template) = line.strip_prefix("frame: ") {
            frame = Some(template.split_once('@').unwrap_or_else(|| panic!("no @ in {line:?}")));
            continue;
        }
        let mut columns = line.splitn(4, " | ");
        let mut column = || {
            let text = columns.next().unwrap_or_else(|| panic!("a row of fewer than 4 columns: {line:?}"));
            text.to_owned()
        };
        let (name, kind, says, text) = (column(), column(), column(), column());
        assert!(rows.iter().all(|row| row.name != name), "two rows are called {name:?}");
        let (before, after) = frame.unwrap_or_default();
        let stage = stage.unwrap_or_else(|| panic!("{name}: a row before the first stage"));
        let (before, after) = (before.to_owned(), after.to_owned());
        rows.push(Row { name, stage, kind, says, before, text, after, line_end: frame.is_some() });
    }
    rows
}

/// Replaces `<…>`: hexadecimal bytes, repetitions, placeholders.
fn unescape(text: &str, played: &Played<'_>, out: &mut Vec<u8>) -> Result<(), String> {
    let mut rest = text;
    while let Some((plain, tail)) = rest.split_once('<') {
        out.extend_from_slice(plain.as_bytes());
        let (inside, after) = tail.split_once('>').ok_or("a `<` without its `>`")?;
        rest = after;
        match inside {
            "token" => out.extend_from_slice(played.token.as_bytes()),
            "id" => out.extend_from_slice(played.plugin_id.as_bytes()),
            "generation" => out.extend_from_slice(played.generation.to_string().as_bytes()),
            _ => {
                let (unit, times) = match inside.rsplit_once('*') {
                    Some((unit, times)) => (unit, times.parse().map_err(|_| format!("`*{times}`"))?),
                    None => (inside, 1usize),
                };
                let quoted = unit.strip_prefix('\'').and_then(|unit| unit.strip_suffix('\''));
                let unit = match quoted {
                    Some(text) => text.as_bytes().to_vec(),
                    None => unit
                        .split(' ')
                        .map(|byte| u8::from_str_radix(byte, 16).map_err(|_| format!("<{inside}>")))
                        .collect::<Result<_, _>>()?,
                };
                (0..times).for_each(|_| out.extend_from_slice(&unit));
            }
        }
    }
    out.extend_from_slice(rest.as_bytes());
    Ok(())
}

/// Reads a stream that arrives in these parts, as `stage` asks: what was understood of each frame as
/// text, or the first fault and its message. The limit for a frame is 16 KiB.
pub fn judge<'p>(
    stage: Stage,
    parts: impl IntoIterator<Item = &'p [u8]>,
) -> Result<Vec<String>, (Fault, String)> {
    let mut decoder = FrameDecoder::new(FRAME_BYTES_MAX_UNAUTHENTICATED);
    let mut understood = Vec::new();
    for part in parts {
        decoder.push(part);
        while let Some(frame) = decoder.next_frame().map_err(of_frame)? {
            understood.push(judge_frame(stage, frame)?);
        }
    }
    decoder.finish().map_err(of_frame)?;
    Ok(understood)
}

fn of_frame(error: FrameError) -> (Fault, String) {
    let fault = match error {
        FrameError::TooLong { .. } => Fault::TooLong,
        FrameError::Truncated { .. } => Fault::Truncated,
    };
    (fault, error.to_string())
}

fn of_message(error: &MessageError) -> (Fault, String) {
    let fault = match error {
        MessageError::NotUtf8(_) => Fault::NotUtf8,
        MessageError::NotAnObject => Fault::NotAnObject,
        MessageError::TooDeep => Fault::TooDeep,
        MessageError::Syntax(_) => Fault::Syntax,
        MessageError::Member(..) => Fault::Member,
        MessageError::Envelope(_) => Fault::Envelope,
        MessageError::Method(_) => Fault::Method,
    };
    assert_eq!(Some(error.code()), fault.code(), "the table's codes are the wire crate's");
    (fault, error.to_string())
}

fn shape(error: impl ToString) -> (Fault, String) {
    (Fault::Shape, error.to_string())
}

/// Reads one frame, without its line end, as `stage` asks.
pub fn judge_frame(stage: Stage, frame: &[u8]) -> Result<String, (Fault, String)> {
    let message = Message::parse(frame).map_err(|error| of_message(&error))?;
    let (method, params) = match &message {
        Message::Request(request) => (Some(&*request.method), request.params),
        Message::Notification(notification) => (Some(&*notification.method), notification.params),
        Message::Response(_) => (None, None),
    };
    let result = || match &message {
        Message::Response(response) => Ok(*response.result.as_ref().map_err(shape)?),
        _ => Err((Fault::Shape, "not an answer".to_owned())),
    };
    let refused = |error: &dyn ToString| (Fault::Refused, error.to_string());
    match stage {
        Stage::Frame | Stage::Message => Ok(format!("{message:?}")),
        Stage::Hello if method == Some(METHOD_HELLO) => {
            let hello: Hello = params_into(params).map_err(shape)?;
            hello.check().map_err(|error| refused(&error))?;
            Ok(format!("{hello:?}"))
        }
        Stage::Heartbeat => {
            result_object::<Heartbeat>(result()?).map_err(shape).map(|read| format!("{read:?}"))
        }
        Stage::Capabilities => {
            let read: Capabilities = result_object(result()?).map_err(shape)?;
            read.check().map_err(|error| refused(&error))?;
            Ok(format!("{read:?}"))
        }
        Stage::Cancel if method == Some(METHOD_CANCEL) => {
            params_into::<Cancel>(params).map_err(shape).map(|read| format!("{read:?}"))
        }
        Stage::Admin => judge_admin(method.unwrap_or_default(), params),
        Stage::Hello | Stage::Cancel => Err((Fault::UnknownMethod, format!("{method:?}"))),
    }
}

fn judge_admin(
    method: &str,
    params: Option<&serde_json::value::RawValue>,
) -> Result<String, (Fault, String)> {
    match method {
        admin::METHOD_STATUS | admin::METHOD_PLUGINS | admin::METHOD_ROUTES | admin::METHOD_SHUTDOWN => {
            params_into::<admin::NoParams>(params).map(|read| format!("{read:?}"))
        }
        admin::METHOD_PLUGIN | admin::METHOD_HEARTBEAT => {
            params_into::<admin::PluginRef>(params).map(|read| format!("{read:?}"))
        }
        admin::METHOD_START | admin::METHOD_STOP | admin::METHOD_RESTART => {
            params_into::<admin::ActParams>(params).map(|read| format!("{read:?}"))
        }
        admin::METHOD_WAIT => params_into::<admin::WaitParams>(params).map(|read| format!("{read:?}")),
        admin::METHOD_CALL => params_into::<admin::CallParams>(params)
            .and_then(|read| read.check().map(|()| format!("{read:?}"))),
        _ => return Err((Fault::UnknownMethod, format!("no admin method is called {method}"))),
    }
    .map_err(shape)
}
