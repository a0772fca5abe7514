//! Lines that say their level: a JSON object with a level and a message, or text that begins with its level.
//!
//! What it deliberately does not do: believe such a line anything but its level, its message and its other
//! members as details: component, event, plugin and time are the host's to say.

use rpc_plugin_wire::event::Level;
use serde_json::{Map, Value};

/// What such a line says.
#[derive(Debug, Clone, PartialEq)]
pub struct Structured {
    /// Its level.
    pub level: Level,
    /// Its message.
    pub message: String,
    /// Its other members, if there are any. With the line, they are bounded.
    pub details: Option<Value>,
}

/// Members that say the level: of most loggers, hclog, ECS, cloud loggers, Python's.
const LEVEL_MEMBERS: [&str; 5] = ["level", "@level", "log.level", "severity", "levelname"];
/// Members that say the message: of most loggers, zap and pino and slog and logrus, hclog.
const MESSAGE_MEMBERS: [&str; 3] = ["message", "msg", "@message"];
/// What a level in brackets may have at the most. Bytes.
const BRACKETS_BYTES_MAX: usize = 16;

/// Reads a line; `None` where it is an ordinary one.
pub(super) fn parse(line: &str) -> Option<Structured> {
    let trimmed = line.trim_ascii();
    if trimmed.starts_with('{') && trimmed.ends_with('}') { parse_json(trimmed) } else { parse_text(line) }
}

fn parse_json(line: &str) -> Option<Structured> {
    let mut members: Map<String, Value> = serde_json::from_str(line).ok()?;
    let level = take_level(&mut members)?;
    let message = take_message(&mut members)?;
    let details = (!members.is_empty()).then_some(Value::Object(members));
    Some(Structured { level, message, details })
}

fn take_level(members: &mut Map<String, Value>) -> Option<Level> {
    let level = LEVEL_MEMBERS.iter().find_map(|name| take(members, name, level_of));
    // ECS, where its members are not joined by dots.
    level.or_else(|| take_within(members, "log", "level", level_of))
}

fn take_message(members: &mut Map<String, Value>) -> Option<String> {
    let message = MESSAGE_MEMBERS.iter().find_map(|name| take(members, name, text_of));
    // tracing has it among the fields of the event.
    message.or_else(|| take_within(members, "fields", "message", text_of))
}

/// Takes a member out that says what is looked for.
fn take<T>(members: &mut Map<String, Value>, name: &str, read: fn(&mut Value) -> Option<T>) -> Option<T> {
    let said = read(members.get_mut(name)?)?;
    members.remove(name);
    Some(said)
}

/// Takes a member out of a member, and that one too where nothing else is in it.
fn take_within<T>(
    members: &mut Map<String, Value>,
    outer: &str,
    name: &str,
    read: fn(&mut Value) -> Option<T>,
) -> Option<T> {
    let inner = members.get_mut(outer)?.as_object_mut()?;
    let said = take(inner, name, read)?;
    if inner.is_empty() {
        members.remove(outer);
    }
    Some(said)
}

fn text_of(value: &mut Value) -> Option<String> {
    if let Value::String(text) = value { Some(std::mem::take(text)) } else { None }
}

/// A name, or a number as pino and bunyan have it: 10 trace, 20 debug, 30 info, 40 warn, 50 error, 60 fatal.
fn level_of(value: &mut Value) -> Option<Level> {
    match value {
        Value::String(name) => Level::said(name),
        Value::Number(number) => match number.as_u64()? {
            10..30 => Some(Level::Debug),
            30..40 => Some(Level::Info),
            40..50 => Some(Level::Warn),
            50..=100 => Some(Level::Error),
            _ => None,
        },
        _ => None,
    }
}

/// Text that begins with a priority as `<4>` (sd-daemon(3)), which is no part of its message, or with a level in brackets, maybe
/// after a time.
fn parse_text(line: &str) -> Option<Structured> {
    let (level, message) = match line.strip_prefix('<') {
        Some(rest) => of_priority(rest)?,
        None => (of_brackets(line)?, line),
    };
    Some(Structured { level, message: message.to_owned(), details: None })
}

fn of_priority(rest: &str) -> Option<(Level, &str)> {
    let (digit, text) = rest.split_once('>')?;
    let level = match digit {
        "0" | "1" | "2" | "3" => Level::Error,
        "4" => Level::Warn,
        "5" | "6" => Level::Info,
        "7" => Level::Debug,
        _ => return None,
    };
    Some((level, text))
}

fn of_brackets(line: &str) -> Option<Level> {
    // A time: digits, and what stands between and around them.
    let text = line.trim_start_matches(|c: char| c.is_ascii_digit() || " \t-:./,+TZ".contains(c));
    let rest = text.strip_prefix('[')?;
    let name = rest.get(..rest.len().min(BRACKETS_BYTES_MAX)).unwrap_or(rest).split(']').next()?;
    let is_closed = rest.as_bytes().get(name.len()) == Some(&b']');
    Level::said(name.trim()).filter(|_| is_closed)
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn levels_are_understood_as_loggers_write_them() {
        let table = [
            // pino
            (
                r#"{"level":40,"time":1531171074631,"pid":657,"hostname":"h","msg":"low"}"#,
                Level::Warn,
                "low",
                json!({"time": 1_531_171_074_631_u64, "pid": 657, "hostname": "h"}),
            ),
            // zap
            (
                r#"{"level":"dpanic","ts":1.5,"caller":"a.go:3","msg":"no"}"#,
                Level::Error,
                "no",
                json!({"ts": 1.5, "caller": "a.go:3"}),
            ),
            // slog, with an offset too
            (
                r#"{"time":"2026-11-30T08:00:00Z","level":"WARN","msg":"m","count":3}"#,
                Level::Warn,
                "m",
                json!({"time": "2026-11-30T08:00:00Z", "count": 3}),
            ),
            (r#"{"level":"INFO+2","msg":"m"}"#, Level::Info, "m", Value::Null),
            // logrus
            (r#"{"level":"warning","msg":"m","time":"t"}"#, Level::Warn, "m", json!({"time": "t"})),
            // hclog
            (
                r#"{"@level":"error","@message":"m","@module":"x"}"#,
                Level::Error,
                "m",
                json!({"@module": "x"}),
            ),
            // ECS, both ways
            (
                r#"{"@timestamp":"t","log.level":"ERROR","message":"m","ecs.version":"1.6.0"}"#,
                Level::Error,
                "m",
                json!({"@timestamp": "t", "ecs.version": "1.6.0"}),
            ),
            (
                r#"{"log":{"level":"warn","logger":"l"},"message":"m"}"#,
                Level::Warn,
                "m",
                json!({"log": {"logger": "l"}}),
            ),
            // tracing
            (
                r#"{"timestamp":"t","level":"WARN","fields":{"message":"m","n":1},"target":"a"}"#,
                Level::Warn,
                "m",
                json!({"timestamp": "t", "fields": {"n": 1}, "target": "a"}),
            ),
            (r#"{"level":"INFO","fields":{"message":"m"}}"#, Level::Info, "m", Value::Null),
            // cloud loggers and Python's
            (r#"{"severity":"CRITICAL","message":"m"}"#, Level::Error, "m", Value::Null),
            (
                r#"{"levelname":"WARNING","message":"m","name":"root"}"#,
                Level::Warn,
                "m",
                json!({"name": "root"}),
            ),
        ];
        for (line, level, message, details) in table {
            let details = (!details.is_null()).then_some(details);
            let expected = Structured { level, message: message.to_owned(), details };
            assert_eq!(parse(line), Some(expected), "{line}");
        }
    }

    #[test]
    fn a_number_is_a_level_as_pino_has_it() {
        let level =
            |number: u64| parse(&format!("{{\"level\":{number},\"msg\":\"m\"}}")).map(|line| line.level);
        let table = [(10, Level::Debug), (20, Level::Debug), (30, Level::Info), (35, Level::Info)];
        for (number, expected) in
            table.into_iter().chain([(40, Level::Warn), (50, Level::Error), (60, Level::Error)])
        {
            assert_eq!(level(number), Some(expected), "{number}");
        }
        assert_eq!((level(9), level(101)), (None, None));
    }

    #[test]
    fn text_says_its_level_by_a_priority_or_in_brackets() {
        let table = [
            ("<3>disk on fire", Level::Error, "disk on fire"),
            ("<4>low", Level::Warn, "low"),
            ("<7>x", Level::Debug, "x"),
            ("[WARN] low", Level::Warn, "[WARN] low"),
            ("[warning] low", Level::Warn, "[warning] low"),
            ("2026-11-30 08:00:00,123 [ERROR] no", Level::Error, "2026-11-30 08:00:00,123 [ERROR] no"),
            ("2026-11-30T08:00:00Z [INFO ] kv: up", Level::Info, "2026-11-30T08:00:00Z [INFO ] kv: up"),
        ];
        for (line, level, message) in table {
            let expected = Structured { level, message: message.to_owned(), details: None };
            assert_eq!(parse(line), Some(expected), "{line}");
        }
    }

    #[test]
    fn what_says_no_level_is_an_ordinary_line() {
        for line in [
            "",
            "[",
            "[]",
            "[WARN",
            "[1] listening",
            "[warning and more of it] x",
            "[é-é-é-é-é-é-é-é-é] x",
            "he said [WARN] twice",
            "<8>x",
            "<a href>",
            "<4",
            r#"{"level":5,"msg":"x"}"#,
            r#"{"level":"info"}"#,
            r#"{"level":"info","msg":3}"#,
            r#"{"log":{"level":"info"}}"#,
            r#"{"fields":{"message":"m"}}"#,
        ] {
            assert_eq!(parse(line), None, "{line}");
        }
    }
}
