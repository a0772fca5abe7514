//! A plugin's process: how its host began it, what it prints, and its exit code.
//!
//! What always holds: a fault is one message that says what to do next.

use crate::config::Config;
use crate::error::{ConfigError, End, Error, exit};
use crate::stderr::say;
use crate::stdio::{self, Stdio};
use rpc_plugin_wire::PluginId;
use std::path::Path;
use std::process::ExitCode;

/// How the host began.
pub(crate) enum Start {
    Environment(Config),
    Stdio(Stdio),
}

impl Start {
    /// Reads the environment; where that says nothing, standard input and output.
    pub(crate) fn find() -> Result<Start, Error> {
        match Config::from_env() {
            Err(ConfigError::ByHand) if stdio::is_channel() => stdio::open().map(Start::Stdio),
            other => Ok(Start::Environment(other?)),
        }
    }
}

/// The exit code of a process whose session has ended. A fault is told.
pub(crate) fn exit_code(name: &str, ended: Result<End, Error>) -> ExitCode {
    match ended {
        Ok(End::Shutdown | End::HostGone) => ExitCode::from(exit::OK),
        Err(error) => {
            say(&format!("{name}: {error}{}", advice(&error)));
            ExitCode::from(error.exit_code())
        }
    }
}

/// What an operator can do about it, where the message does not say so already.
fn advice(error: &Error) -> &'static str {
    match error {
        Error::Definition(_) => ". Correct the plugin's source and build it again.",
        Error::Config(ConfigError::FirstLine(_)) => {
            ". With transport stdio, what a host launches has to pass its standard input and output on as they are."
        }
        Error::Config(_) => ". A plugin is started by rpcplugind, which sets these variables.",
        Error::Connect { .. } | Error::HelloUnanswered(_) => ". See the host's log for why.",
        Error::NotTheHost { .. } => ". Let the host launch the plugin itself, without a wrapper that forks.",
        Error::Rejected(_) => ". The host will launch it again with a new token where that can help.",
        Error::Violation(_) => ". Check that host and plugin are of versions that fit.",
        Error::Os { .. } => ". Check the limits of this process (ulimit, cgroup).",
    }
}

/// The name of this program.
pub(crate) fn executable_name() -> String {
    let argument = std::env::args_os().next().unwrap_or_default();
    let name = Path::new(&argument).file_name().unwrap_or_default().to_string_lossy().into_owned();
    if name.is_empty() { "plugin".to_owned() } else { name }
}

/// Says what the program is to whoever started it by hand. Returns its exit code.
pub(crate) fn by_hand(name: &str, version: &str, methods: &[&str]) -> ExitCode {
    let path = std::env::current_exe().unwrap_or_else(|_| Path::new("/absolute/path/of").join(name));
    let id = if name.parse::<PluginId>().is_ok() { name } else { "NAME" };
    let args: Vec<String> =
        std::env::args_os().skip(1).map(|arg| arg.to_string_lossy().into_owned()).collect();
    let how = if args.is_empty() {
        format!("rpcplugind --plugin {id}={}", path.display())
    } else {
        // The short form has no place for arguments.
        let plugin = serde_json::json!({id: {"executable": path.to_string_lossy(), "args": args}});
        let file = serde_json::json!({"plugins": plugin});
        format!("rpcplugind --config FILE.json --runtime-dir FOLDER, with this in the file:\n  {file}")
    };
    say(&format!(
        "{name} {version} is a plugin of rpc_plugin_system. It does nothing by itself: a host launches and calls it.\n\
         It serves the methods {}.\n\
         To run it:\n  {how}",
        methods.join(", ")
    ));
    ExitCode::from(exit::BY_HAND)
}
