//! The variables that tell a plugin as what it was launched, and how whoever starts one by hand is told of them.
//!
//! What always holds: no value of a variable that an operator configured is told.

use super::instance::Prepared;
use crate::state::action::Note;
use crate::state::plugin_config::PluginConfig;
use crate::state::policy::Transport;
use crate::sys::spawn::CHANNEL_FD;
use rpc_plugin_wire::event::EventKind;
use rpc_plugin_wire::handshake::{
    ENV_AUTH_TOKEN_FILE, ENV_PLUGIN_EXECUTABLE, ENV_PLUGIN_FD, ENV_PLUGIN_GENERATION, ENV_PLUGIN_ID,
    ENV_PLUGIN_SOCKET,
};
use std::ffi::OsString;

/// The variables of the contract.
pub(super) fn variables(prepared: &Prepared) -> Vec<(OsString, OsString)> {
    let id = &prepared.config.id;
    if prepared.config.policy.transport == Transport::Stdio {
        return Vec::new();
    }
    let channel = match &prepared.socket_path {
        Some(path) => Some((ENV_PLUGIN_SOCKET.into(), path.clone().into())),
        None => Some((ENV_PLUGIN_FD.into(), CHANNEL_FD.to_string().into())),
    };
    let token_file =
        prepared.token_path.as_ref().map(|path| (ENV_AUTH_TOKEN_FILE.into(), path.clone().into()));
    let identity = [
        (ENV_PLUGIN_ID.into(), id.as_str().into()),
        (ENV_PLUGIN_GENERATION.into(), prepared.generation.to_string().into()),
    ];
    channel.into_iter().chain(identity).chain(token_file).collect()
}

/// Variables that most interpreters and programs need, and that say nothing of the machine: those of a plugin that is not
/// configured otherwise.
const DEFAULTS: [(&str, &str); 2] =
    [("LANG", "C.UTF-8"), ("PATH", "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin")];

/// The whole environment of a launch, but for the mark that its host knows it by: the contract, what is configured, and
/// what is there unless it is.
pub(super) fn environment(prepared: &Prepared) -> Vec<(OsString, OsString)> {
    let mut env = variables(prepared);
    let config = &prepared.config;
    // Over stdio a plugin knows its transport by there being no variable of the contract.
    if !env.is_empty() {
        env.push((ENV_PLUGIN_EXECUTABLE.into(), config.executable.clone().into()));
    }
    env.extend(config.env.iter().cloned());
    let is_configured = |name: &str| config.env.iter().any(|(configured, _)| configured == name);
    let defaults = DEFAULTS.into_iter().filter(|(name, _)| !config.has_bare_env && !is_configured(name));
    env.extend(defaults.map(|(name, value)| (name.into(), value.into())));
    env
}

/// Tells how to start by hand what these variables are for.
pub(super) fn how_to_start(config: &PluginConfig, env: &[(OsString, OsString)]) -> Note {
    let text = |text: &OsString| text.to_string_lossy().into_owned();
    let environment: serde_json::Map<String, serde_json::Value> =
        env.iter().map(|(name, value)| (text(name), text(value).into())).collect();
    let executable = config.executable.to_string_lossy().into_owned();
    let command: Vec<String> = std::iter::once(executable).chain(config.args.iter().map(text)).collect();
    let names: Vec<String> = config.env.iter().map(|(name, _)| text(name)).collect();
    let folder = config.working_folder.display().to_string();
    let note = Note::new(EventKind::Awaited, "it waits for somebody to start it with these variables");
    note.details(serde_json::json!({
        "environment": environment, "command": command, "working_folder": folder, "also_set": names,
    }))
}
