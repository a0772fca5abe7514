//! How the control client ends: exit codes, and the failures behind them.
//!
//! What always holds: this is the one place that turns an error of the protocol into an exit code.

use crate::cli::UsageError;
use crate::cli::runtime_dir::ResolveDirError;
use crate::cli::text::after_colon;
use rpc_plugin_wire::admin::{METHOD_RESTART, METHOD_START, METHOD_STOP, METHOD_WAIT};
use rpc_plugin_wire::answered_error::{PLUGIN_ANSWERED, is_the_hosts};
use rpc_plugin_wire::error::ErrorData;
use rpc_plugin_wire::message::result_object;
use rpc_plugin_wire::{ErrorCode, ErrorObject, Outcome};
use serde_json::value::RawValue;
use std::io;

/// The exit code of the control client.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Exit {
    /// The command did what was asked.
    Ok = 0,
    /// The command failed for a reason that has no code of its own.
    Failed = 1,
    /// The command line is wrong, or names no runtime folder.
    Usage = 2,
    /// No daemon answers at that runtime folder.
    Unreachable = 3,
    /// The daemon has no plugin of that id.
    UnknownPlugin = 4,
    /// The plugin cannot take the call now, or was lost during it.
    NotAvailable = 5,
    /// The deadline passed first.
    Deadline = 6,
    /// The daemon or the system refused access.
    Denied = 7,
    /// The record's hash chain does not hold, or a part of a packed file is damaged.
    Unverified = 8,
    /// The plugin itself answered with a code that is the host's.
    PluginAnswered = 9,
}

/// Exit codes and their meaning, for the help. In the order of [`Exit`].
pub(super) const MEANINGS: &[(&str, &str)] = &[
    ("0", "Success"),
    ("1", "Failed: the plugin or the daemon answered with an error that has no code of its own"),
    ("2", "Usage: the command line is wrong, or no runtime folder is known"),
    ("3", "Unreachable: no daemon answers at that runtime folder"),
    ("4", "Unknown plugin"),
    ("5", "Not available: the plugin cannot take the call now, or was lost during it"),
    ("6", "Deadline: the time limit passed first"),
    ("7", "Denied: this user, or this caller, may not do it"),
    (
        "8",
        "Unverified: 'logs --verify' found a line altered, removed, inserted or without a hash, or a damaged part",
    ),
    (
        "9",
        "Plugin answered: the plugin itself answered the call with an error code that is the host's, which says nothing \
         about the host",
    ),
];

impl Exit {
    /// The number.
    #[must_use]
    pub fn code(self) -> u8 {
        self as u8
    }
}

impl From<Exit> for std::process::ExitCode {
    fn from(exit: Exit) -> std::process::ExitCode {
        std::process::ExitCode::from(exit.code())
    }
}

impl From<ErrorCode> for Exit {
    fn from(code: ErrorCode) -> Exit {
        match code {
            ErrorCode::UnknownPlugin => Exit::UnknownPlugin,
            ErrorCode::Unavailable | ErrorCode::PluginLost | ErrorCode::Overloaded => Exit::NotAvailable,
            ErrorCode::DeadlineExceeded => Exit::Deadline,
            ErrorCode::Denied | ErrorCode::NotAuthenticated => Exit::Denied,
            _ => Exit::Failed,
        }
    }
}

/// Why a command did not end well.
#[derive(Debug)]
pub(super) struct Failure {
    pub(super) exit: Exit,
    /// What failed, for programs: a name of the protocol's error table, or one of this client's own.
    pub(super) name: &'static str,
    /// One sentence for a person; escaped where it is printed.
    pub(super) message: String,
    /// What to do next; may be empty.
    pub(super) hint: String,
    /// The number on the wire, when the daemon answered.
    pub(super) code: Option<i64>,
    /// The error's data, when the daemon answered with some.
    pub(super) data: Option<Box<RawValue>>,
}

impl Failure {
    pub(super) fn new(exit: Exit, message: impl Into<String>) -> Failure {
        let name = match exit {
            Exit::Ok => "ok",
            Exit::Failed => "failed",
            Exit::Usage => "usage",
            Exit::Unreachable => "unreachable",
            Exit::UnknownPlugin => "unknown_plugin",
            Exit::NotAvailable => "unavailable",
            Exit::Deadline => "deadline_exceeded",
            Exit::Denied => "denied",
            Exit::Unverified => "unverified",
            Exit::PluginAnswered => PLUGIN_ANSWERED,
        };
        Failure { exit, name, message: message.into(), hint: String::new(), code: None, data: None }
    }

    pub(super) fn hint(self, hint: impl Into<String>) -> Failure {
        Failure { hint: hint.into(), ..self }
    }

    /// An error that the daemon answered a request for this method with.
    pub(super) fn answered(method: &str, error: ErrorObject) -> Failure {
        let kind = error.kind();
        // Of an application's own code the data is the application's too.
        let data =
            error.data.as_ref().filter(|_| kind != ErrorCode::Application(error.code) || is_the_hosts(kind));
        let data = data.and_then(|data| result_object::<ErrorData>(data).ok());
        if is_the_hosts(kind) && data.as_ref().is_some_and(|data| data.outcome == Outcome::Answered) {
            let (code, data) = (Some(error.code), error.data);
            return Failure { code, data, ..Failure::new(Exit::PluginAnswered, error.message) };
        }
        let hint = match data {
            _ if kind == ErrorCode::UnknownPlugin => "'rpcpluginctl plugins' lists the plugins".to_owned(),
            // What to do stands in the message.
            Some(_) if method == METHOD_STOP && kind == ErrorCode::Unavailable => String::new(),
            Some(data) if matches!(method, METHOD_START | METHOD_STOP | METHOD_RESTART | METHOD_WAIT) => {
                hint_of_state(kind, &data)
            }
            Some(ErrorData { outcome: Outcome::NotSent, .. }) => {
                "the plugin did not see the call; repeating it is safe".to_owned()
            }
            Some(ErrorData { outcome: Outcome::Indeterminate, .. }) => {
                "the plugin may have carried the call out; find out before repeating it".to_owned()
            }
            _ => String::new(),
        };
        Failure {
            exit: Exit::from(kind),
            name: kind.name(),
            message: format!("{} ({}){}", kind.name(), error.code, after_colon(&error.message)),
            hint,
            code: Some(error.code),
            data: error.data,
        }
    }

    /// Standard output cannot be written to. A reader that went away (`| head`) is no failure: the
    /// client ends, and says nothing.
    pub(super) fn stdout(error: &io::Error) -> Failure {
        match error.kind() {
            io::ErrorKind::BrokenPipe => Failure::new(Exit::Ok, ""),
            _ => Failure::new(Exit::Failed, format!("cannot write to standard output: {error}")),
        }
    }

    /// Whether there is nothing to tell.
    pub(super) fn is_quiet(&self) -> bool {
        self.exit == Exit::Ok
    }
}

/// What to do where a plugin did not get where it was to get.
fn hint_of_state(kind: ErrorCode, data: &ErrorData) -> String {
    let id = data.plugin_id.as_deref().unwrap_or("ID");
    match kind {
        ErrorCode::Unavailable => format!(
            "'rpcpluginctl plugin {id}' and 'rpcpluginctl logs {id}' tell more; mend it, then 'rpcpluginctl start {id}'"
        ),
        ErrorCode::DeadlineExceeded => {
            format!(
                "it goes on; 'rpcpluginctl plugin {id}' tells how far it is, and --timeout allows more time"
            )
        }
        _ => String::new(),
    }
}

impl From<UsageError> for Failure {
    fn from(error: UsageError) -> Failure {
        Failure::new(Exit::Usage, error.message).hint(error.hint)
    }
}

impl From<ResolveDirError> for Failure {
    fn from(error: ResolveDirError) -> Failure {
        Failure::new(Exit::Usage, error.to_string())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_error_of_the_protocol_has_its_exit_code() {
        for code in ErrorCode::DEFINED {
            let expected = match code.name() {
                "unknown_plugin" => 4,
                "unavailable" | "plugin_lost" | "overloaded" => 5,
                "deadline_exceeded" => 6,
                "denied" | "not_authenticated" => 7,
                _ => 1,
            };
            assert_eq!(Exit::from(*code).code(), expected, "{}", code.name());
        }
        assert_eq!(Exit::from(ErrorCode::Application(-32008 - 1000)), Exit::Failed);
    }

    #[test]
    fn only_an_object_is_the_hosts_word_of_a_call() {
        let hint = |data: &str| {
            let data = Some(RawValue::from_string(data.to_owned()).unwrap());
            Failure::answered("admin.call", ErrorObject { code: -32603, message: "no".into(), data }).hint
        };
        assert!(hint(r#"{"outcome":"not_sent"}"#).contains("repeating it is safe"));
        assert_eq!(hint(r#"["not_sent"]"#), "");
    }

    #[test]
    fn the_documented_codes_are_the_codes() {
        let all = [
            Exit::Ok,
            Exit::Failed,
            Exit::Usage,
            Exit::Unreachable,
            Exit::UnknownPlugin,
            Exit::NotAvailable,
            Exit::Deadline,
            Exit::Denied,
            Exit::Unverified,
            Exit::PluginAnswered,
        ];
        let codes: Vec<String> = all.iter().map(|exit| exit.code().to_string()).collect();
        assert_eq!(codes, MEANINGS.iter().map(|(code, _)| (*code).to_owned()).collect::<Vec<_>>());
    }
}
