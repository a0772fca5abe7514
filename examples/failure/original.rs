//! The variables by which the failure plugin of the Go system was told what to do.
//!
//! What it deliberately does not do: read the environment; a lookup is handed in.
//!
//! What always holds: a variable that is set and cannot be obeyed is an error, so that no test passes because nothing
//! was wrong.

use crate::mode::Mode;

const PREFIX: &str = "RPC_PLUGIN_SYSTEM_PLUGIN_BEHAVIOR_";

/// The mode that the variables ask for; `None` where none of them is set.
///
/// # Errors
/// A variable cannot be obeyed, or two of them ask for different modes.
pub(crate) fn mode_of(lookup: &dyn Fn(&str) -> Option<String>) -> Result<Option<Mode>, String> {
    let mut found: Option<(&str, Mode)> = None;
    let switches = [
        ("FAIL_AUTH", Mode::WrongToken),
        ("CLOSE_ON_ACCEPT", Mode::CloseOnConnect),
        ("CLOSE_ON_ECHO", Mode::CallClose),
        ("CRASH_ON_ECHO", Mode::CallCrash),
    ];
    let value = |name: &str| lookup(&format!("{PREFIX}{name}")).filter(|value| !value.is_empty());
    let mut modes: Vec<(&str, Mode)> = Vec::new();
    for (name, mode) in switches {
        match value(name).as_deref() {
            None | Some("0" | "f" | "F" | "false" | "FALSE" | "False") => {}
            Some("1" | "t" | "T" | "true" | "TRUE" | "True") => modes.push((name, mode)),
            Some(other) => return Err(format!("{PREFIX}{name} {other:?} is not true or false")),
        }
    }
    let words: [(&str, &[(&str, Mode)]); 2] = [
        (
            "CAPABILITIES_MODE",
            &[("normal", Mode::None), ("empty", Mode::CapabilitiesEmpty), ("error", Mode::CapabilitiesError)],
        ),
        (
            "HEARTBEAT_STATUS",
            &[
                ("healthy", Mode::None),
                ("starting", Mode::HeartbeatStarting),
                ("degraded", Mode::HeartbeatDegraded),
                ("overloaded", Mode::HeartbeatOverloaded),
                ("unhealthy", Mode::HeartbeatUnhealthy),
            ],
        ),
    ];
    for (name, known) in words {
        let Some(word) = value(name) else { continue };
        match known.iter().find(|(known, _)| *known == word) {
            Some((_, mode)) => modes.push((name, *mode)),
            None => return Err(format!("{PREFIX}{name} {word:?} is not one of its words")),
        }
    }
    for (name, mode) in [
        ("ID", Mode::WrongId),
        ("GENERATION_OFFSET", Mode::WrongGeneration),
        ("HEARTBEAT_ERRORS", Mode::HeartbeatError),
    ] {
        if value(name).is_some_and(|value| value != "0") {
            modes.push((name, mode));
        }
    }
    for name in ["HEARTBEAT_DELAY_MS", "SLEEP_SCALE", "SHUTDOWN_DELAY_MS"] {
        if value(name).is_some() {
            return Err(format!("{PREFIX}{name} is not obeyed any more; FAILURE_MODE=list shows what is"));
        }
    }
    for (name, mode) in modes.into_iter().filter(|(_, mode)| *mode != Mode::None) {
        if let Some((first, _)) = found.filter(|(_, other)| *other != mode) {
            return Err(format!("{PREFIX}{first} and {PREFIX}{name} ask for two things; one at a time"));
        }
        found = Some((name, mode));
    }
    Ok(found.map(|(_, mode)| mode))
}
