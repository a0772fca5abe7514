//! Every way in which the failure plugin can misbehave: name, and what it does.
//!
//! What it deliberately does not do: misbehave; `hello.rs` does until the hello is answered, `serve.rs` after.

macro_rules! modes {
    ($($variant:ident = $name:literal, $does:literal;)*) => {
        /// One misbehaviour.
        #[derive(Debug, Clone, Copy, PartialEq, Eq)]
        pub(crate) enum Mode { $(#[doc = $does] $variant,)* }

        impl Mode {
            /// All of them, in the order in which a start reaches them.
            pub(crate) const ALL: &'static [Mode] = &[$(Mode::$variant,)*];

            /// The value of `FAILURE_MODE`.
            pub(crate) fn name(self) -> &'static str {
                match self { $(Mode::$variant => $name,)* }
            }

            /// What it does, in a few words.
            pub(crate) fn does(self) -> &'static str {
                match self { $(Mode::$variant => $does,)* }
            }
        }
    };
}

modes! {
    None = "none", "behaves";
    ExitAtOnce = "exit-at-once", "ends with exit code 3 before it connects";
    NeverConnect = "never-connect", "lives and never connects";
    CloseOnConnect = "close-on-connect", "connects, closes the connection at once, and lives on";
    RejectHello = "reject-hello", "connects and ends with exit code 1 before its hello";
    Silent = "silent", "connects and never says hello";
    HalfHello = "half-hello", "sends half of its hello, then nothing";
    GarbledHello = "garbled-hello", "sends a line that is not JSON as its hello";
    HugeHello = "huge-hello", "sends a hello of 1 MiB";
    CallBeforeHello = "call-before-hello", "calls host.log before its hello";
    WrongToken = "wrong-token", "says hello with a token of its own making";
    WrongId = "wrong-id", "says hello with the id of another plugin";
    WrongGeneration = "wrong-generation", "says hello with the next generation's number";
    WrongProtocol = "wrong-protocol", "says hello with protocol version 999 only";
    HelloMalformedCapabilities = "hello-malformed-capabilities", "says hello with capabilities that are no list";
    HelloEmptyCapabilities = "hello-empty-capabilities", "says hello without any capability";
    ReplayedToken = "replayed-token", "says hello a second time once it was answered";
    SecondConnection = "second-connection", "makes two connections and says the same hello on both";
    CapabilitiesMalformed = "malformed-capabilities", "answers plugin.capabilities with a text instead of a list";
    CapabilitiesEmpty = "empty-capabilities", "answers plugin.capabilities with an empty list";
    CapabilitiesWrongId = "wrong-capabilities-id", "answers plugin.capabilities with another plugin's id";
    CapabilitiesWrongGeneration = "wrong-capabilities-generation", "answers plugin.capabilities with the next generation's number";
    CapabilitiesError = "capabilities-error", "answers plugin.capabilities with an error";
    CapabilitiesSilent = "capabilities-silent", "never answers plugin.capabilities";
    HeartbeatStarting = "heartbeat-starting", "answers heartbeats with `starting`";
    HeartbeatDegraded = "heartbeat-degraded", "answers heartbeats with `degraded`";
    HeartbeatOverloaded = "heartbeat-overloaded", "answers heartbeats with `overloaded`";
    HeartbeatUnhealthy = "heartbeat-unhealthy", "answers heartbeats with `unhealthy`";
    HeartbeatError = "heartbeat-error", "answers heartbeats with an error";
    HeartbeatSilent = "heartbeat-silent", "does not answer heartbeats";
    HeartbeatMalformed = "heartbeat-malformed", "answers heartbeats with a status that does not exist";
    NeverRead = "never-read", "never reads from its connection again";
    CallSlow = "call-slow", "answers `work` after `ms` milliseconds of its params, 500 if not named";
    CallHang = "call-hang", "never answers `work`, cancelled or not";
    CallLate = "call-late", "answers `work` only 50 ms after it is cancelled, with a result";
    CallCrash = "call-crash", "ends by SIGABRT when `work` is called";
    CallClose = "call-close", "closes the connection when `work` is called, and lives on";
    AnswerTwice = "answer-twice", "answers `work` twice";
    AnswerUnknownId = "answer-unknown-id", "answers `work`, and a request that was never made";
    OversizedFrame = "oversized-frame", "answers `work` with a frame of one byte more than allowed";
    InvalidUtf8 = "invalid-utf8", "answers `work` with bytes that are not UTF-8";
    MalformedFrame = "malformed-frame", "answers `work` with a line that is not JSON";
    StdoutFlood = "stdout-flood", "behaves, and writes to stdout without end";
    StderrFlood = "stderr-flood", "behaves, and writes to stderr without end";
    GrandchildHoldsPipes = "grandchild-holds-pipes", "behaves, and leaves a child that holds stdout and stderr open";
    IgnoreShutdown = "ignore-shutdown", "ignores plugin.shutdown and the end of its connection";
    IgnoreShutdownAndTerm = "ignore-shutdown-and-term", "ignores plugin.shutdown, the end of its connection, and SIGTERM";
}

impl Mode {
    /// The mode of that name.
    pub(crate) fn from_name(name: &str) -> Option<Mode> {
        Mode::ALL.iter().find(|mode| mode.name() == name).copied()
    }

    /// One line for each mode.
    pub(crate) fn list() -> String {
        Mode::ALL.iter().map(|mode| format!("{:<30} {}\n", mode.name(), mode.does())).collect()
    }
}
