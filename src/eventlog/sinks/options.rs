//! What an operator or an embedding program may decide about one sink.
//!
//! What it deliberately does not do: read a configuration; `daemon/` does.

use rpc_plugin_wire::PluginId;
use rpc_plugin_wire::event::Level;
use std::path::PathBuf;
use std::time::Duration;

/// Most sinks of one host: each is a thread.
pub const SINKS_MAX: usize = 16;
/// Most events that are handed over at once.
pub const BATCH_MAX: usize = 1000;
/// Where a journal takes datagrams, unless the configuration says otherwise.
const JOURNAL_SOCKET: &str = "/run/systemd/journal/socket";
/// Where a syslog daemon takes datagrams, unless the configuration says otherwise.
const SYSLOG_SOCKET: &str = "/dev/log";

/// The events that a sink gets, and how often and how long it is tried.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct SinkOptions {
    /// Its name, of which its cursor is kept: 1 to 64 letters, digits, `.`, `_`, `-`.
    pub name: String,
    /// The least level that is handed over.
    pub level: Level,
    /// Plugins whose events are handed over; `None` is every plugin's.
    pub plugins: Option<Vec<PluginId>>,
    /// Plugins whose events are not handed over, whatever `plugins` says.
    pub except: Vec<PluginId>,
    /// Whether the host's own events are handed over too.
    pub host: bool,
    /// Events that are handed over at once, at most 1000.
    pub batch_max: usize,
    /// How long the other side may take nothing before the attempt counts as failed.
    pub timeout: Duration,
    /// The first wait after a failure; it doubles with each further one.
    pub backoff_initial: Duration,
    /// The longest wait after a failure.
    pub backoff_max: Duration,
}

impl SinkOptions {
    /// Every event from level info on, in batches of 100; 5 seconds of patience; waits from 200 ms to 30 s.
    #[must_use]
    pub fn new(name: impl Into<String>) -> SinkOptions {
        SinkOptions {
            name: name.into(),
            level: Level::Info,
            plugins: None,
            except: Vec::new(),
            host: true,
            batch_max: 100,
            timeout: Duration::from_secs(5),
            backoff_initial: Duration::from_millis(200),
            backoff_max: Duration::from_secs(30),
        }
    }

    /// Changes what differs: `SinkOptions::new("alarms").with(|sink| sink.level = Level::Warn)`.
    #[must_use]
    pub fn with(mut self, change: impl FnOnce(&mut SinkOptions)) -> SinkOptions {
        change(&mut self);
        self
    }
}

/// A program with its arguments. Its environment holds the name of the sink, and nothing else.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct CommandLine {
    /// The absolute path of the program.
    pub program: PathBuf,
    /// Its arguments.
    pub args: Vec<String>,
}

impl CommandLine {
    /// A program by its absolute path, with its arguments.
    #[must_use]
    pub fn new<T: Into<String>>(
        program: impl Into<PathBuf>,
        args: impl IntoIterator<Item = T>,
    ) -> CommandLine {
        CommandLine { program: program.into(), args: args.into_iter().map(Into::into).collect() }
    }
}

/// Whether a line on standard error begins with its priority as `<N>` (sd-daemon(3)).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
#[non_exhaustive]
pub enum Prefix {
    /// A priority if standard error is the journal's (`JOURNAL_STREAM`, systemd.exec(5)).
    #[default]
    Auto,
    /// A priority before each line.
    Always,
    /// No priority.
    Never,
}

/// How a datagram for syslog looks.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
#[non_exhaustive]
pub enum SyslogFormat {
    /// As syslog(3) writes, without the time, which the receiver adds: `<30>rpcplugind[7]: text`.
    #[default]
    Rfc3164,
    /// With the time of the event.
    Rfc5424,
}

/// The place where the events of a sink go.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub enum SinkTarget {
    /// The process's own standard error, as text.
    Stderr(Prefix),
    /// A syslog daemon's datagram socket, as text.
    Syslog(PathBuf, SyslogFormat),
    /// The journal's datagram socket, in its native protocol.
    Journald(PathBuf),
    /// A datagram socket, one JSON line a datagram.
    UnixDatagram(PathBuf),
    /// A stream socket, JSON lines.
    UnixStream(PathBuf),
    /// Standard input of a program, JSON lines.
    Command(CommandLine),
    /// A plugin of the host that has the capability `log-sink`.
    Plugin(PluginId),
}

impl SinkTarget {
    /// The names of all kinds.
    pub const KINDS: [&'static str; 7] =
        ["stderr", "syslog", "journald", "unix-datagram", "unix-stream", "command", "plugin"];

    /// The word for it in configurations.
    #[must_use]
    pub fn kind(&self) -> &'static str {
        match self {
            SinkTarget::Stderr(_) => "stderr",
            SinkTarget::Syslog(..) => "syslog",
            SinkTarget::Journald(_) => "journald",
            SinkTarget::UnixDatagram(_) => "unix-datagram",
            SinkTarget::UnixStream(_) => "unix-stream",
            SinkTarget::Command(_) => "command",
            SinkTarget::Plugin(_) => "plugin",
        }
    }

    /// Syslog at its usual place.
    #[must_use]
    pub fn syslog() -> SinkTarget {
        SinkTarget::Syslog(SYSLOG_SOCKET.into(), SyslogFormat::default())
    }

    /// The journal at its usual place.
    #[must_use]
    pub fn journald() -> SinkTarget {
        SinkTarget::Journald(JOURNAL_SOCKET.into())
    }
}
