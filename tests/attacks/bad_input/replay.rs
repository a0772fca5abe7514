//! Plugins that send bytes a test wrote down: the failure example with `FAILURE_REPLAY`.
#![allow(dead_code)]

use crate::fixtures::world::World;
use rpc_plugin_system::host::{Host, PluginConfig, PluginHandle, Policy};
use rpc_plugin_wire::limits::FRAME_BYTES_MAX_UNAUTHENTICATED;
use std::fmt::Write;
use std::time::Duration;

/// One generation's line of the file.
pub(crate) fn line(when: &str, closes: bool, bytes: &[u8]) -> String {
    let mut line = format!("{when} {} ", if closes { "close" } else { "wait" });
    for byte in bytes {
        write!(line, "{byte:02x}").unwrap();
    }
    line
}

/// A plugin that plays these lines, one a generation, and behaves from then on. Added and not started.
pub(crate) fn plugin<'l>(
    world: &World,
    host: &Host,
    id: &str,
    lines: impl Iterator<Item = &'l str>,
) -> PluginHandle {
    let file = world.path().join(format!("{id}.replay"));
    std::fs::write(&file, lines.flat_map(|line| [line, "\n"]).collect::<String>()).unwrap();
    let config = PluginConfig::new(id.parse().unwrap(), world.program("failure"));
    host.add(config.env("FAILURE_REPLAY", file).policy(policy())).unwrap()
}

/// Nothing is waited for but what the bytes do; a replacement comes at once, up to a thousand times.
fn policy() -> Policy {
    Policy {
        heartbeat_interval: Duration::ZERO,
        term_grace: Duration::ZERO,
        backoff_initial: Duration::from_millis(1),
        backoff_max: Duration::from_millis(1),
        restarts_max: 1000,
        restart_window: Duration::from_secs(3600),
        frame_bytes_max: FRAME_BYTES_MAX_UNAUTHENTICATED,
        ..Policy::default()
    }
}
