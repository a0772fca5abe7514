//! The modes after which a replacement follows: what the host says about each, and how it ends.
//!
//! What it deliberately does not do: run anything.

use super::scene::MS;
use rpc_plugin_system::host::Policy;
use rpc_plugin_wire::event::EventKind::{self, *};
use rpc_plugin_wire::{ErrorCode, Outcome};

/// One mode.
#[derive(Clone, Copy)]
pub(crate) struct Failing {
    pub(crate) mode: &'static str,
    /// The event that tells it, besides those of the end and of the replacement.
    pub(crate) kind: Option<EventKind>,
    /// What is said about it, there and in the plugin's last error: what happened, expected and seen.
    pub(crate) says: &'static [&'static str],
    /// How its process ends, one of these: the host's signal may be quicker than its own end.
    pub(crate) ends: &'static [&'static str],
    /// What its caller is told, if the mode is about a call that fails.
    pub(crate) call: Option<(ErrorCode, Outcome)>,
    /// The wait that it is about, made short.
    pub(crate) tweak: fn(&mut Policy),
}

const TERM: &[&str] = &["signal 15 (SIGTERM)"];
const TERM_OR_ONE: &[&str] = &["signal 15 (SIGTERM)", "exit status 1"];
/// It reads the end of its connection and ends well, unless the signal is quicker.
const TERM_OR_WELL: &[&str] = &["signal 15 (SIGTERM)", "exit status 0"];
const LOST: Option<(ErrorCode, Outcome)> = Some((ErrorCode::PluginLost, Outcome::Indeterminate));

const fn failing(
    mode: &'static str,
    kind: Option<EventKind>,
    says: &'static [&'static str],
    ends: &'static [&'static str],
) -> Failing {
    Failing { mode, kind, says, ends, call: None, tweak: |_| {} }
}

/// The proof fails: told to the plugin, which ends with status 1.
const fn unproven(mode: &'static str, says: &'static [&'static str]) -> Failing {
    failing(mode, Some(AuthenticationFailed), says, TERM_OR_ONE)
}

const fn timed(case: Failing, tweak: fn(&mut Policy)) -> Failing {
    Failing { tweak, ..case }
}

pub(crate) const BEFORE_IT_IS_READY: &[Failing] = &[
    failing("exit-at-once", None, &["ended before it connected"], &["exit status 3"]),
    timed(
        failing(
            "never-connect",
            None,
            &["did not connect", "within 400ms of its launch", "PLUGIN_SOCKET"],
            TERM,
        ),
        |policy| policy.connect_timeout = 400 * MS,
    ),
    failing("close-on-connect", Some(ConnectionLost), &["closed the connection"], TERM),
    failing("reject-hello", Some(ConnectionLost), &["closed the connection"], &["exit status 1"]),
    timed(
        failing(
            "silent",
            None,
            &["a whole host.hello did not come within 400ms", "nothing came"],
            TERM_OR_ONE,
        ),
        |policy| policy.hello_timeout = 400 * MS,
    ),
    timed(
        failing(
            "half-hello",
            None,
            &["a whole host.hello did not come within 400ms", " bytes came, and no line end"],
            TERM_OR_ONE,
        ),
        |policy| policy.hello_timeout = 400 * MS,
    ),
    unproven("garbled-hello", &["not one JSON object"]),
    unproven("huge-hello", &["longer than the 16384 bytes allowed"]),
    unproven("call-before-hello", &["the first frame is a request of \"host.log\", not host.hello"]),
    unproven("wrong-token", &["the token is not the one of this generation"]),
    unproven("wrong-id", &["it says it is plugin \"another\", launched was \"wrong-id\""]),
    unproven("wrong-generation", &["it says it is generation 2, launched was 1"]),
    unproven(
        "hello-malformed-capabilities",
        &["host.hello has invalid params", "\"work\"", "has to be an array"],
    ),
    unproven("hello-empty-capabilities", &["reports no capabilities"]),
    failing("replayed-token", Some(ProtocolViolation), &["a second host.hello"], TERM_OR_WELL),
    failing(
        "malformed-capabilities",
        None,
        &["answer to plugin.capabilities is malformed", "\"work\"", "has to be an array"],
        TERM_OR_WELL,
    ),
    failing("empty-capabilities", None, &["plugin.capabilities", "no capabilities"], TERM_OR_WELL),
    failing(
        "wrong-capabilities-id",
        None,
        &[
            "plugin.capabilities names plugin \"another\" generation 1",
            "launched was \"wrong-capabilities-id\"",
        ],
        TERM_OR_WELL,
    ),
    failing(
        "wrong-capabilities-generation",
        None,
        &["plugin.capabilities names", "generation 2, launched was", "generation 1"],
        TERM_OR_WELL,
    ),
    failing(
        "capabilities-error",
        None,
        &["answered plugin.capabilities with an error", "internal_error: fails on purpose"],
        TERM_OR_WELL,
    ),
    timed(
        failing(
            "capabilities-silent",
            None,
            &["proved its identity, but its capabilities did not come within 500ms"],
            TERM_OR_WELL,
        ),
        |policy| policy.ready_timeout = 500 * MS,
    ),
];

const fn unwell(mode: &'static str, kind: Option<EventKind>, says: &'static [&'static str]) -> Failing {
    timed(failing(mode, kind, says, TERM_OR_WELL), |policy| {
        policy.heartbeat_interval = 1000 * MS;
        policy.heartbeat_timeout = 1000 * MS;
    })
}

pub(crate) const AFTER_A_HEARTBEAT: &[Failing] = &[
    unwell(
        "heartbeat-starting",
        None,
        &["3 heartbeats in a row failed", "reports starting, after it was healthy"],
    ),
    unwell("heartbeat-unhealthy", None, &["3 heartbeats in a row failed", "reports unhealthy"]),
    unwell(
        "heartbeat-error",
        Some(HeartbeatMissed),
        &["3 heartbeats in a row failed", "answered a heartbeat with an error", "fails on purpose"],
    ),
    unwell(
        "heartbeat-silent",
        Some(HeartbeatMissed),
        &["3 heartbeats in a row failed", "did not answer a heartbeat: no answer within "],
    ),
    unwell(
        "heartbeat-malformed",
        Some(HeartbeatMissed),
        &[
            "3 heartbeats in a row failed",
            "malformed",
            "\"splendid\" is not a status; one of starting, healthy",
        ],
    ),
    unwell(
        "never-read",
        Some(HeartbeatMissed),
        &["3 heartbeats in a row failed", "did not answer a heartbeat"],
    ),
];

/// What the plugin sends breaks the protocol while a call waits.
const fn violates(
    mode: &'static str,
    says: &'static [&'static str],
    call: Option<(ErrorCode, Outcome)>,
) -> Failing {
    Failing { call, ..failing(mode, Some(ProtocolViolation), says, TERM_OR_WELL) }
}

pub(crate) const AT_WORK: &[Failing] = &[
    Failing {
        call: Some((ErrorCode::DeadlineExceeded, Outcome::Indeterminate)),
        ..failing(
            "call-hang",
            Some(ConnectionPoisoned),
            &[
                "did not answer a call of work",
                "within its deadline or call_timeout",
                "within 300ms after that",
            ],
            TERM_OR_WELL,
        )
    },
    Failing { call: LOST, ..failing("call-crash", None, &["while it was running"], &["signal 6 (SIGABRT)"]) },
    Failing {
        call: LOST,
        ..failing("call-close", Some(ConnectionLost), &["the plugin closed the connection"], TERM)
    },
    violates("answer-twice", &["broke the protocol", "an answer to unknown id", "answered before"], None),
    violates(
        "answer-unknown-id",
        &["broke the protocol", "unknown id 9007199254740991, which was never asked"],
        LOST,
    ),
    violates("oversized-frame", &["broke the protocol", "longer than the 4194304 bytes allowed"], LOST),
];

/// What costs the call that it answers, and no more: mode, and what its caller is told.
pub(crate) const BAD_ANSWERS: &[(&str, &str)] =
    &[("invalid-utf8", "not UTF-8 at byte "), ("malformed-frame", "the frame does not parse")];
