//! How to start plugins that are started by hand (`--wait ID`): what the daemon prints on standard output.
//!
//! What it deliberately does not do: print values of variables that the configuration sets; they are often secrets,
//! and whoever may see them knows where they are.
//!
//! What always holds: each line that begins with `export` can be pasted into a shell as it is.

use super::says::say;
use crate::host::{EventKind, LifecycleEvent, PluginId};
use serde_json::Value;

/// Whether events of this kind are printed.
pub(super) fn is_told(kind: EventKind) -> bool {
    kind == EventKind::Awaited
}

/// Prints how to start the plugin that an event of [`is_told`] says is awaited.
pub(super) fn tell(event: &LifecycleEvent, json: bool) {
    // Nobody is left to tell that it cannot be printed.
    let _ = say(&if json { as_json(event) } else { as_text(event) });
}

fn as_json(event: &LifecycleEvent) -> String {
    let note = &event.note;
    let detail = |name| note.details.as_ref().and_then(|details| details.get(name)).unwrap_or(&Value::Null);
    let line = serde_json::json!({
        "state": "awaited", "message": note.message, "plugin_id": note.plugin_id, "generation": note.generation,
        "environment": detail("environment"), "command": detail("command"),
        "working_folder": detail("working_folder"), "also_set": detail("also_set"),
    });
    format!("{line}\n")
}

fn as_text(event: &LifecycleEvent) -> String {
    let note = &event.note;
    let detail = |name| note.details.as_ref().and_then(|details| details.get(name)).unwrap_or(&Value::Null);
    let texts = |member: &Value| -> Vec<String> {
        let texts = member.as_array().map_or(&[][..], Vec::as_slice);
        texts.iter().filter_map(Value::as_str).map(quoted).collect()
    };
    let id = note.plugin_id.as_ref().map_or("", PluginId::as_str);
    let generation = note.generation.map_or(0, |generation| generation.get());
    let mut out = format!("# Plugin {id}, generation {generation}, waits for you to start it with:\n");
    if let Value::Object(environment) = detail("environment") {
        for (name, value) in environment {
            out += &format!("export {name}={}\n", quoted(value.as_str().unwrap_or_default()));
        }
    }
    let also = texts(detail("also_set"));
    if !also.is_empty() {
        out += &format!("# Its configuration sets these too: {}\n", also.join(" "));
    }
    let folder = quoted(detail("working_folder").as_str().unwrap_or("/"));
    let command = texts(detail("command")).join(" ");
    out +=
        &format!("# The host would run, in {folder}: {command}\n# So, for example: gdb --args {command}\n");
    out
}

/// As a shell reads it: as it is, or in single quotes (POSIX, Shell Command Language, 2.2.2).
fn quoted(text: &str) -> String {
    let is_plain = |c: char| c.is_ascii_alphanumeric() || "/._-+:,@%".contains(c);
    if !text.is_empty() && text.chars().all(is_plain) {
        return text.to_owned();
    }
    // A control character would end the line or move the terminal: $'…' is not POSIX, so it is left out.
    let safe: String = text.chars().map(|c| if c.is_control() { '?' } else { c }).collect();
    format!("'{}'", safe.replace('\'', r"'\''"))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::host::Note;
    use serde_json::json;
    use std::time::SystemTime;

    #[test]
    fn what_is_printed_can_be_pasted() {
        let mut note = Note::new(EventKind::Awaited, "it waits").details(json!({
            "environment": {"A": "/run/x y/it's", "B": "3"}, "command": ["/bin/echo", "two words"],
            "working_folder": "/", "also_set": ["PASSWORD"],
        }));
        note.plugin_id = Some("echo".parse().unwrap());
        note.generation = Some("3".parse().unwrap());
        let event = LifecycleEvent { at: SystemTime::now(), note, missed: 0 };
        assert_eq!(
            as_text(&event),
            "# Plugin echo, generation 3, waits for you to start it with:\n\
             export A='/run/x y/it'\\''s'\nexport B=3\n\
             # Its configuration sets these too: PASSWORD\n\
             # The host would run, in /: /bin/echo 'two words'\n\
             # So, for example: gdb --args /bin/echo 'two words'\n"
        );
        let shown: Value = serde_json::from_str(&as_json(&event)).unwrap();
        assert_eq!((&shown["state"], &shown["environment"]["B"]), (&json!("awaited"), &json!("3")));
        assert!(
            is_told(event.note.kind) && !is_told(EventKind::AdminAction) && !is_told(EventKind::CallFailed)
        );
        assert_eq!(quoted(""), "''");
        assert_eq!(quoted("a\nb"), "'a?b'");
    }
}
