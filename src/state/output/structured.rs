//! Lines that are events already: a JSON object with a level and a message.
//!
//! What it deliberately does not do: believe such a line anything but its level, its message and its other
//! members as details: component, event, plugin and time are the host's to say.

use rpc_plugin_wire::event::Level;
use serde::Deserialize;
use serde_json::{Map, Value};

/// What such a line says.
#[derive(Debug, Clone, PartialEq)]
pub struct Structured {
    /// Its `level`.
    pub level: Level,
    /// Its `message`.
    pub message: String,
    /// Its other members, if there are any. With the line, they are bounded.
    pub details: Option<Value>,
}

#[derive(Deserialize)]
struct Line {
    level: String,
    message: String,
    #[serde(flatten)]
    others: Map<String, Value>,
}

/// Reads a line; `None` where it is an ordinary one.
pub(super) fn parse(line: &str) -> Option<Structured> {
    let line = line.trim_ascii();
    if !line.starts_with('{') || !line.ends_with('}') {
        return None;
    }
    let Line { level, message, others } = serde_json::from_str(line).ok()?;
    let details = (!others.is_empty()).then_some(Value::Object(others));
    Some(Structured { level: level_of(&level)?, message, details })
}

/// The names that loggers use, in any case.
fn level_of(name: &str) -> Option<Level> {
    const NAMES: [(&str, Level); 14] = [
        ("trace", Level::Debug),
        ("debug", Level::Debug),
        ("info", Level::Info),
        ("information", Level::Info),
        ("notice", Level::Info),
        ("warn", Level::Warn),
        ("warning", Level::Warn),
        ("error", Level::Error),
        ("err", Level::Error),
        ("critical", Level::Error),
        ("crit", Level::Error),
        ("fatal", Level::Error),
        ("panic", Level::Error),
        ("alert", Level::Error),
    ];
    NAMES.iter().find(|(known, _)| name.eq_ignore_ascii_case(known)).map(|(_, level)| *level)
}
