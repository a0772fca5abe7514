//! A plugin as a process: environment in, exit code out.
//!
//! What this file is for: [`Plugin::run`], and all that this crate prints, which is to stderr, where the host
//! keeps it for the operator.
//!
//! What always holds: a fault is one message that says what to do next; control characters in it are
//! escaped, because parts of it may come from a peer.

use crate::config::Config;
use crate::error::{ConfigError, End, Error, exit};
use crate::log::Event;
use crate::plugin::Plugin;
use crate::stderr::say;
use crate::stdio::{self, Stdio};
use rpc_plugin_wire::PluginId;
use rpc_plugin_wire::event::{Component, Level};
use std::path::Path;
use std::process::ExitCode;
use std::time::Duration;

/// How long the last bytes of a session may take through a pipe.
const PIPES_TIMEOUT: Duration = Duration::from_millis(500);

impl Plugin {
    /// Runs the plugin until its host asks for the end or is gone. The codes are in [`exit`].
    ///
    /// Return what this returns from `main`: handlers that are stuck then end with the process.
    #[must_use = "return it from main, or the exit code is lost"]
    pub fn run(self) -> ExitCode {
        let name = executable_name();
        let started = self.check().and_then(|_| Start::find());
        let ended = match started {
            Err(Error::Config(ConfigError::ByHand)) => {
                say(&by_hand(&self, &name));
                return ExitCode::from(exit::BY_HAND);
            }
            Err(error) => Err(error),
            Ok(Start::Environment(config)) => self.run_with(config),
            Ok(Start::Stdio(stdio)) => self.run_over(stdio),
        };
        match ended {
            Ok(End::Shutdown | End::HostGone) => ExitCode::from(exit::OK),
            Err(error) => {
                say(&format!("{name}: {error}{}", advice(&error)));
                ExitCode::from(error.exit_code())
            }
        }
    }
}

/// How the host began.
enum Start {
    Environment(Config),
    Stdio(Stdio),
}

impl Start {
    /// The environment decides; where it says nothing, standard input and output do.
    fn find() -> Result<Start, Error> {
        match Config::from_env() {
            Err(ConfigError::ByHand) if stdio::is_channel() => stdio::open().map(Start::Stdio),
            other => Ok(Start::Environment(other?)),
        }
    }
}

impl Plugin {
    fn run_over(self, stdio: Stdio) -> Result<End, Error> {
        let ended = self.serve(stdio.config, stdio.connection);
        if let Some(pipes) = stdio.pipes {
            pipes.finish(PIPES_TIMEOUT);
        }
        ended
    }

    fn run_with(self, config: Config) -> Result<End, Error> {
        self.begin_log(&config);
        match config.connect() {
            Ok(connection) => self.serve(config, connection),
            Err(error) => {
                let name = if matches!(error, Error::NotTheHost { .. }) {
                    "authentication_failed"
                } else {
                    "stopped"
                };
                let event = Event::new(name, Component::Auth, Level::Error, "the host was not reached");
                self.log.say(event.error(error.to_string()));
                self.log.finish();
                Err(error)
            }
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

fn executable_name() -> String {
    let argument = std::env::args_os().next().unwrap_or_default();
    let name = Path::new(&argument).file_name().unwrap_or_default().to_string_lossy().into_owned();
    if name.is_empty() { "plugin".to_owned() } else { name }
}

fn by_hand(plugin: &Plugin, name: &str) -> String {
    let methods: Vec<&str> = plugin.methods().collect();
    let path = std::env::current_exe().unwrap_or_else(|_| Path::new("/absolute/path/of").join(name));
    let id = if name.parse::<PluginId>().is_ok() { name } else { "NAME" };
    format!(
        "{name} {} is a plugin of rpc_plugin_system. It does nothing by itself: a host launches and calls it.\n\
         It serves the methods {}.\n\
         To run it:\n  rpcplugind --plugin {id}={}",
        plugin.version,
        methods.join(", "),
        path.display()
    )
}
