//! How a plugin's session ends: well, or with an error, and the exit code of each.
//!
//! What it deliberately does not do: errors of one call; those are [`crate::HandlerError`].

use rpc_plugin_peer::Violation;
use rpc_plugin_wire::ErrorObject;
use rpc_plugin_wire::handshake::ENV_CONTRACT;
use std::fmt;
use std::io;
use std::path::PathBuf;

/// Exit codes of a plugin that ends through [`Plugin::run`](crate::Plugin::run), after sysexits.h.
pub mod exit {
    /// The host asked for the end, or is gone.
    pub const OK: u8 = 0;
    /// Started by hand, without a host.
    pub const BY_HAND: u8 = 64;
    /// The host cannot be reached, or did not answer the hello.
    pub const UNAVAILABLE: u8 = 69;
    /// A fault of the plugin itself, such as a method name that is none.
    pub const SOFTWARE: u8 = 70;
    /// The operating system refused something, such as a thread.
    pub const OS: u8 = 71;
    /// The host broke the protocol.
    pub const PROTOCOL: u8 = 76;
    /// The host rejected the hello, or the socket is not the host's.
    pub const NOT_AUTHENTICATED: u8 = 77;
    /// The variables that the host sets are incomplete or malformed.
    pub const CONFIG: u8 = 78;
}

/// A session that ended as it should.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub enum End {
    /// The host called `plugin.shutdown`.
    Shutdown,
    /// The connection reached end of stream, or broke: the host is gone.
    HostGone,
}

/// What is wrong with the environment.
#[derive(Clone, PartialEq, Eq)]
#[non_exhaustive]
pub enum ConfigError {
    /// None of the host's variables is there: started by hand.
    ByHand,
    /// One sentence for each variable that is missing or malformed.
    Variables(Vec<String>),
    /// No variable is there, and the first line on standard input is not the one of a host: why not.
    FirstLine(String),
}

impl fmt::Display for ConfigError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            ConfigError::ByHand => {
                write!(f, "none of {} is set: no host started this process", ENV_CONTRACT.join(", "))
            }
            ConfigError::Variables(faults) => {
                write!(f, "the environment is not the one that a host makes: {}", faults.join("; "))
            }
            ConfigError::FirstLine(fault) => write!(
                f,
                "no variable of a host is set, and the first line on standard input is no rpc.launch: {fault}"
            ),
        }
    }
}

impl fmt::Debug for ConfigError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

impl std::error::Error for ConfigError {}

/// A session that did not come about, or ended by a fault.
#[non_exhaustive]
pub enum Error {
    /// The plugin's own definition is wrong; one sentence for each fault.
    Definition(Vec<String>),
    /// The environment is incomplete or malformed.
    Config(ConfigError),
    /// The host's socket cannot be connected to.
    Connect {
        /// Its path.
        socket: PathBuf,
        /// Why not.
        source: io::Error,
    },
    /// The process behind the socket is not the one that launched this plugin.
    NotTheHost {
        /// The process that should be there.
        expected_pid: u32,
        /// The process that is there.
        seen_pid: i32,
    },
    /// The host answered the hello with an error.
    Rejected(ErrorObject),
    /// The host did not answer the hello: what happened instead.
    HelloUnanswered(String),
    /// The host broke the protocol: how.
    Violation(String),
    /// The operating system refused something: what was tried, and why not.
    Os {
        /// What was tried.
        step: &'static str,
        /// Why it did not work.
        source: io::Error,
    },
}

impl Error {
    /// The exit code of a plugin that ends with this error; see [`exit`].
    #[must_use]
    pub fn exit_code(&self) -> u8 {
        match self {
            Error::Definition(_) => exit::SOFTWARE,
            Error::Config(_) => exit::CONFIG,
            Error::Connect { .. } | Error::HelloUnanswered(_) => exit::UNAVAILABLE,
            Error::NotTheHost { .. } | Error::Rejected(_) => exit::NOT_AUTHENTICATED,
            Error::Violation(_) => exit::PROTOCOL,
            Error::Os { .. } => exit::OS,
        }
    }
}

impl fmt::Display for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Error::Definition(faults) => write!(f, "this plugin is defined wrongly: {}", faults.join("; ")),
            Error::Config(error) => write!(f, "{error}"),
            Error::Connect { socket, source } => {
                write!(f, "cannot connect to the host's socket {}: {source}", socket.display())
            }
            Error::NotTheHost { expected_pid, seen_pid } => write!(
                f,
                "the socket belongs to process {seen_pid}, not to process {expected_pid} that launched \
                 this plugin; the token was not sent"
            ),
            Error::Rejected(error) => write!(f, "the host rejected this plugin's hello: {error}"),
            Error::HelloUnanswered(what) => write!(f, "the host did not answer the hello: {what}"),
            Error::Violation(what) => write!(f, "the host broke the protocol: {what}"),
            Error::Os { step, source } => write!(f, "cannot {step}: {source}"),
        }
    }
}

impl fmt::Debug for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

impl std::error::Error for Error {
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        match self {
            Error::Config(error) => Some(error),
            Error::Connect { source, .. } | Error::Os { source, .. } => Some(source),
            Error::Rejected(error) => Some(error),
            _ => None,
        }
    }
}

impl From<ConfigError> for Error {
    fn from(error: ConfigError) -> Error {
        Error::Config(error)
    }
}

impl From<Violation> for Error {
    fn from(violation: Violation) -> Error {
        Error::Violation(violation.why)
    }
}
