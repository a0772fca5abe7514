//! The settings of a plugin in one table, from which file keys, flags and documentation come.
//!
//! What it deliberately does not do: say whether settings contradict each other; [`Policy::check`] does.
//!
//! What always holds: every field of [`Policy`] has exactly one row.

use super::setting::{named_fields, settings};
use super::value::{Kind, UNLIMITED, WAIT};
use crate::state::confine::Confine;
use crate::state::policy::{OUTPUT_BYTES_RANGE, Policy, RestartPolicy, RpcAudit, Transport};
use rpc_plugin_wire::limits::FRAME_BYTES_MAX_RANGE;

named_fields!(RestartPolicy RpcAudit Transport Confine);

/// Names of [`RestartPolicy::ALL`]; a test holds them together.
const RESTARTS: &[&str] = &["always", "on-failure", "never"];
/// Names of [`Transport::ALL`].
const TRANSPORTS: &[&str] = &["unix", "fd", "stdio"];
/// Names of [`RpcAudit::ALL`].
const AUDITS: &[&str] = &["off", "failures", "all"];

/// Names of [`Confine::ALL`].
const CONFINES: &[&str] = if cfg!(feature = "confine") { &["off", "base"] } else { &["off"] };

settings! {
    /// The settings of a plugin: in `defaults` and in each plugin of the file, and as flags.
    POLICY of Policy;
    restart "restart" Kind::Choice(RESTARTS),
        "When a plugin whose process ended by itself is restarted.";
    prepare_timeout "prepare-timeout" WAIT,
        "Deadline of preparing a launch, from when a thread begins with it; and then of executing it.";
    connect_timeout "connect-timeout" WAIT,
        "Deadline from the launch until the plugin has connected.";
    hello_timeout "hello-timeout" WAIT,
        "Deadline from the connection until the whole hello has arrived.";
    ready_timeout "ready-timeout" WAIT,
        "Deadline from the hello until capabilities and the first good heartbeat have arrived.";
    heartbeat_interval "heartbeat-interval" Kind::Duration { zero: Some("no heartbeats") },
        "Time between heartbeats.";
    heartbeat_timeout "heartbeat-timeout" WAIT,
        "Deadline of one heartbeat; not longer than `heartbeat_interval`.";
    heartbeat_misses_max "heartbeat-misses-max" Kind::Count(1, 1000),
        "Heartbeats in a row that may be missed or report `unhealthy` before the plugin is replaced.";
    shutdown_grace "shutdown-grace" Kind::Duration { zero: Some("SIGTERM at once") },
        "Time from the shutdown request until SIGTERM.";
    term_grace "term-grace" Kind::Duration { zero: Some("SIGKILL at once") },
        "Time from SIGTERM until SIGKILL.";
    backoff_initial "backoff-initial" WAIT,
        "First wait before a restart that is not immediate; it doubles with each failure in a row.";
    backoff_max "backoff-max" WAIT,
        "Longest wait before a restart; not shorter than `backoff_initial`.";
    backoff_jitter_percent "backoff-jitter-percent" Kind::Count(0, 50),
        "Random deviation of such a wait, up or down, in percent.";
    healthy_stretch "healthy-stretch" WAIT,
        "A plugin that was healthy this long counts as recovered: its row of failures ends.";
    restarts_max "restarts-max" Kind::CountOr(0, 1000, UNLIMITED),
        "Restarts within `restart_window` before the plugin is `failed`; must be reachable in that time.";
    restart_window "restart-window" WAIT,
        "Time within which restarts are counted against `restarts_max`.";
    call_timeout "call-timeout" WAIT,
        "Deadline of a call that sets none.";
    cancel_grace "cancel-grace" WAIT,
        "How long a call may stay unanswered beyond its deadline and `call_timeout` before its plugin is restarted.";
    calls_in_flight_max "calls-in-flight-max" Kind::Count(1, 1 << 20),
        "Most unanswered calls to a plugin at once; a further one ends `overloaded`.";
    outbox_bytes_max "outbox-bytes-max" Kind::Bytes(0, 1 << 30),
        "Most bytes that wait to be sent to a plugin; more than `frame_bytes_max`.";
    frame_bytes_max "frame-bytes-max"
        Kind::Bytes(*FRAME_BYTES_MAX_RANGE.start() as u64, *FRAME_BYTES_MAX_RANGE.end() as u64),
        "Largest frame to or from a plugin.";
    rpc_audit "rpc-audit" Kind::Choice(AUDITS),
        "Which calls are recorded; params and results never are.";
    output_bytes_per_second_max "output-bytes-per-second-max"
        Kind::Bytes(*OUTPUT_BYTES_RANGE.start() as u64, *OUTPUT_BYTES_RANGE.end() as u64),
        "Most bytes a second that are recorded of each of stdout and stderr; more is dropped and counted.";
    transport "transport" Kind::Choice(TRANSPORTS),
        "How a plugin is connected: by its socket, an inherited descriptor, or its stdin and stdout.";
    confine "confine" Kind::Choice(CONFINES),
        "How far the kernel confines a plugin's process: `base` takes system calls that no plugin needs.";
}
