//! What the daemon answered, as text for people.
//!
//! What it deliberately does not do: print, or ask. What always holds: everything goes through cells,
//! which escape.

use crate::cli::columns::{Cell, sheet, table, table_within};
use crate::cli::text::{Style, duration, shorten_front};
use rpc_plugin_wire::admin::{DaemonStatus, HeartbeatReply, LastExit, PluginStatus, Route, SinkStatus};
use rpc_plugin_wire::life::{HealthStatus, Heartbeat, PluginState};
use std::time::{Duration, SystemTime};

pub(super) fn state_style(state: PluginState) -> Style {
    match state {
        PluginState::Healthy => Style::Good,
        PluginState::Degraded | PluginState::Overloaded | PluginState::Waiting | PluginState::Backoff => {
            Style::Warn
        }
        PluginState::Unhealthy | PluginState::Failed => Style::Bad,
        _ => Style::Plain,
    }
}

fn state_cell(state: PluginState) -> Cell {
    Cell::new(state.as_str(), state_style(state))
}

fn health_cell(status: HealthStatus) -> Cell {
    let style = match status {
        HealthStatus::Healthy => Style::Good,
        HealthStatus::Degraded | HealthStatus::Overloaded => Style::Warn,
        HealthStatus::Unhealthy => Style::Bad,
        _ => Style::Plain,
    };
    Cell::new(status.as_str(), style)
}

fn ms(ms: u64) -> String {
    duration(Duration::from_millis(ms))
}

/// A count that should be zero.
fn bad_count(count: u64) -> Cell {
    Cell::new(count.to_string(), if count == 0 { Style::Plain } else { Style::Bad })
}

fn sink_cell(sink: &SinkStatus) -> Cell {
    let mut text = format!(
        "{}, {} delivered, {} behind, {} lost, {} refused",
        sink.kind, sink.delivered, sink.behind, sink.lost, sink.refused
    );
    if let Some(error) = &sink.last_error {
        text += if sink.is_failing { "; failing: " } else { "; last error: " };
        text += error;
    }
    Cell::new(text, if sink.is_failing { Style::Bad } else { Style::Plain })
}

/// Calls so far and now; what is mostly zero is left out where it is.
fn calls_cell(status: &DaemonStatus) -> Cell {
    let mut text = format!("{}, {} in flight", status.calls_total, status.calls_in_flight);
    let more = [
        (status.calls_to_repeat, "to be repeated"),
        (status.services_running, "at services"),
        (status.services_waiting, "waiting for services"),
    ];
    for (count, what) in more.into_iter().filter(|(count, _)| *count > 0) {
        text += &format!(", {count} {what}");
    }
    text.into()
}

pub(super) fn status(status: &DaemonStatus, colour: bool) -> String {
    let names: Vec<String> = status.sinks.iter().map(|sink| format!("sink {}", sink.name)).collect();
    let state = match &status.ending {
        None if status.draining => Cell::new("running, takes no more calls", Style::Warn),
        None => Cell::new("running", Style::Good),
        Some(why) => Cell::new(format!("ending: {why}"), Style::Warn),
    };
    let mut rows = vec![
        ("state", state),
        ("version", status.version.clone().into()),
        ("pid", status.pid.to_string().into()),
        ("uptime", ms(status.uptime_ms).into()),
        ("runtime folder", status.runtime_dir.clone().into()),
        ("plugins", status.plugins.to_string().into()),
        ("routable", status.routable.to_string().into()),
        ("failed", bad_count(u64::from(status.failed))),
        ("calls", calls_cell(status)),
        ("clients", status.clients.to_string().into()),
        ("events dropped", bad_count(status.events_dropped)),
    ];
    rows.extend(status.shortages.iter().map(|lacks| ("lacks", Cell::new(lacks.clone(), Style::Bad))));
    rows.extend(names.iter().map(String::as_str).zip(status.sinks.iter().map(sink_cell)));
    sheet(rows, colour)
}

pub(super) fn plugins(plugins: &[PluginStatus], columns: Option<usize>, colour: bool) -> String {
    let rows = plugins.iter().map(|plugin| {
        [
            plugin.plugin_id.as_str().into(),
            state_cell(plugin.shown_state()),
            plugin.desired.to_string().into(),
            Cell::option(plugin.generation),
            Cell::option(plugin.pid),
            Cell::option(plugin.uptime_ms.map(ms)),
            plugin.restarts.to_string().into(),
            plugin.calls_total.to_string().into(),
            Cell::option(plugin.last_error.as_deref()),
        ]
    });
    let heading = ["ID", "STATE", "DESIRED", "GEN", "PID", "UPTIME", "RESTARTS", "CALLS", "LAST ERROR"];
    table_within(heading, rows.collect(), (columns.unwrap_or(usize::MAX), shorten_front), colour)
}

pub(super) fn plugin(plugin: &PluginStatus, colour: bool) -> String {
    let calls = format!(
        "{}, {} failed, {} in flight, {} answered late",
        plugin.calls_total, plugin.calls_failed, plugin.calls_in_flight, plugin.late_answers
    );
    let capabilities = Some(plugin.capabilities.join(", ")).filter(|list| !list.is_empty());
    let interfaces = plugin.interfaces.iter().map(|(name, version)| format!("{name} {version}"));
    let interfaces = Some(interfaces.collect::<Vec<_>>().join(", ")).filter(|list| !list.is_empty());
    let next_launch = plugin.next_launch_ms.map(|wait| format!("in {}", ms(wait)));
    let mut rows = vec![
        ("id", plugin.plugin_id.as_str().into()),
        ("state", state_cell(plugin.shown_state())),
        ("desired", plugin.desired.to_string().into()),
        ("generation", Cell::option(plugin.generation)),
        ("pid", Cell::option(plugin.pid)),
        ("uptime", Cell::option(plugin.uptime_ms.map(ms))),
        ("executable", plugin.executable.clone().into()),
        ("version", Cell::option(plugin.version.clone())),
        ("sdk", Cell::option(plugin.sdk.clone())),
        ("capabilities", Cell::option(capabilities)),
        ("interfaces", Cell::option(interfaces)),
        ("restarts", plugin.restarts.to_string().into()),
        ("next launch", Cell::option(next_launch.or_else(|| plugin.launch_waits.clone()))),
        ("calls", calls.into()),
    ];
    if let Some(start) = &plugin.start {
        rows.push(("start", start.clone().into()));
    }
    if plugin.reconfigured {
        rows.push(("configuration", "replaced; the next launch takes it".into()));
    }
    rows.extend(plugin.heartbeat.iter().flat_map(heartbeat_rows));
    rows.push(("heartbeat age", Cell::option(plugin.heartbeat_age_ms.map(ms))));
    rows.push(("heartbeats missed", bad_count(u64::from(plugin.heartbeats_missed))));
    rows.push(("last error", Cell::option(plugin.last_error.clone())));
    let last_exit = plugin.last_exit.as_ref();
    rows.push(("last exit", Cell::option(last_exit.map(exit_text))));
    if let Some(exit) = last_exit.filter(|exit| !exit.stderr_tail.is_empty()) {
        rows.push(("last words", exit.stderr_tail.join(" | ").into()));
    }
    sheet(rows, colour)
}

fn exit_text(exit: &LastExit) -> String {
    format!("{}, generation {}, {} ago", exit.text, exit.generation, ms(exit.age_ms))
}

fn heartbeat_rows(heartbeat: &Heartbeat) -> [(&'static str, Cell); 5] {
    // A plugin may say anything; a time that the clock cannot hold is shown as the number it is.
    let success = heartbeat.last_success_unix_ms.map(|unix_ms| {
        let time = SystemTime::UNIX_EPOCH.checked_add(Duration::from_millis(unix_ms));
        let formatted = time
            .filter(|_| unix_ms < TIME_UNIX_MS_MAX)
            .map(|time| humantime::format_rfc3339_millis(time).to_string());
        formatted.unwrap_or_else(|| format!("{unix_ms} ms after 1970"))
    });
    [
        ("heartbeat", health_cell(heartbeat.status)),
        ("own uptime", ms(heartbeat.uptime_ms).into()),
        ("work done", heartbeat.work_count.to_string().into()),
        ("own errors", bad_count(heartbeat.error_count)),
        ("last success", Cell::option(success)),
    ]
}

/// The year 10000, where RFC 3339 ends. Milliseconds since 1970.
const TIME_UNIX_MS_MAX: u64 = 253_402_300_800_000;

pub(super) fn heartbeat(reply: &HeartbeatReply, colour: bool) -> String {
    let mut rows =
        vec![("id", reply.plugin_id.as_str().into()), ("generation", reply.generation.to_string().into())];
    rows.extend(heartbeat_rows(&reply.heartbeat));
    rows.push(("answered in", duration(Duration::from_micros(reply.duration_us)).into()));
    sheet(rows, colour)
}

pub(super) fn capabilities(plugins: &[PluginStatus], colour: bool) -> String {
    let rows = plugins.iter().map(|plugin| {
        let list = Some(plugin.capabilities.join(", ")).filter(|list| !list.is_empty());
        [
            plugin.plugin_id.as_str().into(),
            state_cell(plugin.shown_state()),
            Cell::option(plugin.version.clone()),
            Cell::option(list),
        ]
    });
    table(["ID", "STATE", "VERSION", "CAPABILITIES"], rows.collect(), colour)
}

pub(super) fn routes(routes: &[Route], colour: bool) -> String {
    let rows = routes.iter().map(|route| {
        [
            route.capability.clone().into(),
            route.plugin_id.as_str().into(),
            route.mode.clone().into(),
            state_cell(route.health),
            Cell::option(route.generation),
        ]
    });
    table(["CAPABILITY", "PLUGIN", "MODE", "HEALTH", "GEN"], rows.collect(), colour)
}
