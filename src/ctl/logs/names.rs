//! Names of events and components on a command line: those of this version, and those of the Go system that came
//! before it.
//!
//! What it deliberately does not do: know the events of the plugins' own record; their authors name them.
//!
//! What always holds: every name of the original's kernel leads to events of today.

use rpc_plugin_wire::event::{Component, EventKind};
use rpc_plugin_wire::suggest::nearest;

use EventKind::{
    AdminAction, Authenticated, AuthenticationFailed, AuthenticationStarted, CallFailed, CallStarted,
    CallSucceeded, CallTimedOut, CapabilitiesReported, CapabilitiesRequested, CleanupCompleted, Connected,
    ConnectionAwaited, ConnectionPoisoned, ConnectionRefused, Exited, GaveUp, HeartbeatMissed, HostFault,
    LaunchFailed, LaunchPrepared, PluginAdded, ProtocolViolation, RestartScheduled, ShutdownRequested,
    SignalSent, StateChanged,
};

/// The original's names of events, and what tells the same today.
pub(super) const ORIGINAL: &[(&str, &[EventKind])] = &[
    ("manager_initialized", &[PluginAdded]),
    ("plugin_start_requested", &[LaunchPrepared]),
    ("plugin_start_failed", &[LaunchFailed]),
    ("plugin_started", &[StateChanged]),
    ("plugin_dial_started", &[ConnectionAwaited]),
    ("plugin_dial_succeeded", &[Connected]),
    ("plugin_dial_failed", &[ConnectionRefused, LaunchFailed]),
    ("plugin_auth_started", &[AuthenticationStarted]),
    ("plugin_auth_succeeded", &[Authenticated]),
    ("plugin_auth_failed", &[AuthenticationFailed, ConnectionRefused]),
    ("plugin_capabilities_started", &[CapabilitiesRequested]),
    ("plugin_capabilities_failed", &[LaunchFailed, ProtocolViolation]),
    ("plugin_capabilities_loaded", &[CapabilitiesReported]),
    ("heartbeat_healthy", &[StateChanged]),
    ("heartbeat_unhealthy", &[StateChanged]),
    ("heartbeat_failed", &[HeartbeatMissed]),
    ("rpc_call_started", &[CallStarted]),
    ("rpc_call_succeeded", &[CallSucceeded]),
    ("rpc_call_failed", &[CallFailed]),
    ("rpc_call_timeout", &[CallTimedOut]),
    ("rpc_client_poisoned", &[ConnectionPoisoned]),
    ("plugin_restart_requested", &[AdminAction, RestartScheduled]),
    ("plugin_restart_succeeded", &[StateChanged]),
    ("plugin_restart_failed", &[LaunchFailed, GaveUp]),
    ("plugin_shutdown_requested", &[ShutdownRequested]),
    ("plugin_shutdown_succeeded", &[Exited]),
    ("plugin_shutdown_failed", &[SignalSent]),
    ("plugin_kill_requested", &[SignalSent]),
    ("plugin_killed", &[SignalSent, Exited]),
    ("plugin_stopped", &[Exited]),
    ("runtime_cleanup_completed", &[CleanupCompleted]),
    ("runtime_cleanup_failed", &[HostFault]),
];

const COMPONENTS: [Component; 8] = [
    Component::Kernel,
    Component::Rpc,
    Component::Auth,
    Component::Runtime,
    Component::Admin,
    Component::Stdout,
    Component::Stderr,
    Component::Plugin,
];

/// The events that a name stands for.
///
/// # Errors
/// There is no such event; with the name that was probably meant.
pub(super) fn events_of(name: &str) -> Result<Vec<&'static str>, String> {
    let name = name.to_ascii_lowercase();
    let is_known = |kind: &&EventKind| kind.as_str() == name;
    if let Some(kind) = EventKind::ALL.iter().find(is_known) {
        return Ok(vec![kind.as_str()]);
    }
    if let Some((_, kinds)) = ORIGINAL.iter().find(|(original, _)| *original == name) {
        return Ok(kinds.iter().map(|kind| kind.as_str()).collect());
    }
    let names = EventKind::ALL.iter().map(|kind| kind.as_str()).chain(ORIGINAL.iter().map(|(name, _)| *name));
    Err(unknown("event", &name, names, "'--summary' lists those on record"))
}

/// The component of that name.
///
/// # Errors
/// There is no such component; with the name that was probably meant.
pub(super) fn component_of(name: &str) -> Result<&'static str, String> {
    let name = name.to_ascii_lowercase();
    let names = || COMPONENTS.iter().map(|component| component.as_str());
    match names().find(|known| *known == name) {
        Some(known) => Ok(known),
        None => {
            let all = names().collect::<Vec<_>>().join(", ");
            Err(unknown("component", &name, names(), &format!("one of {all}")))
        }
    }
}

fn unknown<'n>(what: &str, name: &str, names: impl Iterator<Item = &'n str>, else_: &str) -> String {
    match nearest(name, names) {
        Some(meant) => format!("there is no such {what}; did you mean {meant}?"),
        None => format!("there is no such {what}; {else_}"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_of_both_systems_are_known_and_others_are_told_what_was_meant() {
        for kind in EventKind::ALL {
            assert_eq!(events_of(kind.as_str()), Ok(vec![kind.as_str()]));
            assert!(COMPONENTS.contains(&kind.component()));
        }
        for (name, kinds) in ORIGINAL {
            assert!(!kinds.is_empty() && events_of(name).unwrap().len() == kinds.len(), "{name}");
            assert!(EventKind::ALL.iter().all(|kind| kind.as_str() != *name), "{name} is a name of today");
        }
        let page = crate::cli::testing::page("docs/migrating.md");
        for (name, kinds) in ORIGINAL {
            let kinds: Vec<String> = kinds.iter().map(|kind| format!("`{kind}`")).collect();
            let row = format!("| `{name}` | {} |", kinds.join(", "));
            assert!(page.lines().any(|line| line == row), "docs/migrating.md lacks {row}");
        }
        assert_eq!(events_of("EXITED"), Ok(vec!["exited"]));
        assert_eq!(component_of("Rpc"), Ok("rpc"));
        assert_eq!(events_of("exitd").unwrap_err(), "there is no such event; did you mean exited?");
        assert!(events_of("frobnicate").unwrap_err().ends_with("'--summary' lists those on record"));
        assert_eq!(component_of("kernl").unwrap_err(), "there is no such component; did you mean kernel?");
        assert!(component_of("x").unwrap_err().contains("one of kernel, rpc, auth"));
    }
}
