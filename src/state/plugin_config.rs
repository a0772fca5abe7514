//! One plugin as an operator or an embedding program describes it: the one type, and the one check.
//!
//! What this file is for: [`PluginConfig`], which the daemon reads from its file, the host library builds, the state
//! machine lives by, and a launch is made from. What it deliberately does not do: read a file, look a variable up,
//! look whether the executable is there; it may come later, and the launch checks it.
//!
//! What always holds: of one that passed [`PluginConfig::check`], paths are absolute; no argument or variable is more
//! than execve(2) takes for one string; no variable is one that the host sets itself; its policy passed
//! [`Policy::check`].

use super::config_error::{ConfigErrors, quoted};
use super::output::Output;
use super::policy::{DURATION_MAX, Policy, Transport};
use super::start_mode::StartMode;
use rpc_plugin_wire::PluginId;
use rpc_plugin_wire::handshake::ENV_RESERVED;
use rpc_plugin_wire::ident::{IdentError, check_capability};
use rpc_plugin_wire::life::Desired;
use rpc_plugin_wire::limits::{CAPABILITIES_MAX, HELLO_LIST_MAX, PLUGIN_ID_BYTES_MAX};
use std::collections::{BTreeMap, BTreeSet};
use std::ffi::{OsStr, OsString};
use std::fmt;
use std::ops::RangeInclusive;
use std::path::{Path, PathBuf};
use std::time::Duration;

/// Maximum number of arguments of a plugin.
pub const ARGS_MAX: usize = 1024;
/// Maximum number of variables that are set for a plugin, and of those that are let through to it.
pub const ENV_MAX: usize = 1024;
/// Longest argument, and longest variable with its name and `=`: MAX_ARG_STRLEN is 128 KiB with its
/// NUL (execve(2)). Bytes.
pub const ARG_BYTES_MAX: usize = 131_071;
/// Longest path: PATH_MAX is 4096 with its NUL. Bytes.
pub const PATH_BYTES_MAX: usize = 4095;

/// Maximum number of plugins that one is started after.
pub const AFTER_MAX: usize = 64;
/// What [`PluginConfig::idle_stop`] may be.
pub const IDLE_STOP_RANGE: RangeInclusive<Duration> = Duration::from_secs(1)..=DURATION_MAX;

/// Stands for every name in [`MayCall`].
pub const ANY: &str = "*";

/// What a plugin may call through its host. The default is nothing.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
#[cfg_attr(not(feature = "internals"), non_exhaustive)]
pub struct MayCall {
    /// Plugins, by id; `*` is every plugin.
    pub plugins: Vec<String>,
    /// Capabilities, by name; `*` is every capability.
    pub capabilities: Vec<String>,
}

/// How a plugin's process comes to be.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
#[non_exhaustive]
pub enum LaunchMode {
    /// The host launches it as a child, signals it and reaps it.
    #[default]
    Spawned,
    /// A person starts it, under a debugger for example; the host waits for it to connect. The event `awaited` tells
    /// the variables that it has to be started with. It is taken from any process of the host's user that has the
    /// token; nothing but its calls, its hello and its end has a deadline; its process is never signalled. When it
    /// has gone, a new generation waits. The transport has to be `unix`.
    ByHand,
}

/// One plugin: what to launch, with what, how to reach it, and how to treat it.
#[derive(Clone, PartialEq, Eq)]
#[cfg_attr(not(feature = "internals"), non_exhaustive)]
pub struct PluginConfig {
    /// Its id: 1 to 64 letters, digits, `.`, `_`, `-`; none of
    /// [`RESERVED_IDS`](rpc_plugin_wire::ident::RESERVED_IDS).
    pub id: PluginId,
    /// Absolute path of the executable.
    pub executable: PathBuf,
    /// The SHA-256 that the executable has to have at each launch: 64 lower-case hexadecimal digits.
    pub sha256: Option<String>,
    /// A list as sha256sum(1) writes it, with the SHA-256 that the executable has to have at each launch; absolute. Only
    /// root and the host's user may be able to write it.
    pub sha256_file: Option<PathBuf>,
    /// Its arguments, without the program's name. At most 1024.
    pub args: Vec<OsString>,
    /// Variables that are set for it, each once. With [`pass_env`](PluginConfig::pass_env) its whole environment
    /// beside the variables of the contract, and `LANG` and `PATH` unless
    /// [`has_bare_env`](PluginConfig::has_bare_env). At most 1024.
    pub env: Vec<(OsString, OsString)>,
    /// Variables that are let through from the host's own environment, if they are there when the plugin is added.
    /// At most 1024.
    pub pass_env: Vec<OsString>,
    /// Whether it gets neither `LANG` nor `PATH` unless they are configured.
    pub has_bare_env: bool,
    /// The folder that it starts in; absolute.
    pub working_folder: PathBuf,
    /// How its process comes to be.
    pub launch_mode: LaunchMode,
    /// When it is started.
    pub start: StartMode,
    /// The plugins that take calls before it is launched, and are stopped after it, by id. It waits for one that is not there. At
    /// most 64.
    pub after: Vec<PluginId>,
    /// How long nobody may have used it until it is stopped; only with [`StartMode::OnDemand`]. Used is a plugin with a call to or of
    /// it, an open stream, another socket than it had at its start, a process that it has started, or a plugin that is started after
    /// it and runs.
    pub idle_stop: Option<Duration>,
    /// How to treat it, and how it is reached.
    pub policy: Policy,
    /// Application interfaces that it must serve, with the versions that are accepted.
    pub interfaces: BTreeMap<String, Vec<u32>>,
    /// What it may call through its host; nothing unless this says so.
    pub may_call: MayCall,
    /// Where what it prints goes.
    pub output: Output,
}

/// Values of variables are often secrets, so they are not shown.
impl fmt::Debug for PluginConfig {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("PluginConfig")
            .field("id", &self.id)
            .field("executable", &self.executable)
            .field("sha256", &self.sha256)
            .field("sha256_file", &self.sha256_file)
            .field("args", &self.args)
            .field("env", &self.env.iter().map(|(name, _)| name).collect::<Vec<_>>())
            .field("pass_env", &self.pass_env)
            .field("has_bare_env", &self.has_bare_env)
            .field("working_folder", &self.working_folder)
            .field("launch_mode", &self.launch_mode)
            .field("start", &self.start)
            .field("after", &self.after)
            .field("idle_stop", &self.idle_stop)
            .field("policy", &self.policy)
            .field("interfaces", &self.interfaces)
            .field("may_call", &self.may_call)
            .field("output", &self.output)
            .finish()
    }
}

impl PluginConfig {
    /// A plugin without arguments and variables, launched in `/`, with the default policy.
    #[must_use]
    pub fn new(id: PluginId, executable: impl AsRef<Path>) -> PluginConfig {
        PluginConfig {
            id,
            executable: executable.as_ref().to_owned(),
            sha256: None,
            sha256_file: None,
            args: Vec::new(),
            env: Vec::new(),
            pass_env: Vec::new(),
            has_bare_env: false,
            working_folder: PathBuf::from("/"),
            launch_mode: LaunchMode::default(),
            start: StartMode::default(),
            after: Vec::new(),
            idle_stop: None,
            policy: Policy::default(),
            interfaces: BTreeMap::new(),
            may_call: MayCall::default(),
            output: Output::default(),
        }
    }

    /// Lets it call these plugins through its host (`host.call`), by their ids; `*` is every plugin.
    #[must_use]
    pub fn may_call<T: Into<String>>(mut self, plugins: impl IntoIterator<Item = T>) -> PluginConfig {
        self.may_call.plugins.extend(plugins.into_iter().map(Into::into));
        self
    }

    /// Lets it call whichever plugin has one of these capabilities; `*` is every capability.
    #[must_use]
    pub fn may_call_capabilities<T: Into<String>>(
        mut self,
        capabilities: impl IntoIterator<Item = T>,
    ) -> PluginConfig {
        self.may_call.capabilities.extend(capabilities.into_iter().map(Into::into));
        self
    }

    /// Names the SHA-256 that the executable has to have at each launch, as 64 lower-case hexadecimal digits.
    #[must_use]
    pub fn sha256(mut self, digest: impl Into<String>) -> PluginConfig {
        self.sha256 = Some(digest.into());
        self
    }

    /// Names a list of sha256sum(1) that has the executable's SHA-256; an absolute path.
    #[must_use]
    pub fn sha256_file(mut self, list: impl AsRef<Path>) -> PluginConfig {
        self.sha256_file = Some(list.as_ref().to_owned());
        self
    }

    /// Adds an argument.
    #[must_use]
    pub fn arg(mut self, arg: impl Into<OsString>) -> PluginConfig {
        self.args.push(arg.into());
        self
    }

    /// Adds a variable.
    #[must_use]
    pub fn env(mut self, name: impl Into<OsString>, value: impl Into<OsString>) -> PluginConfig {
        self.env.push((name.into(), value.into()));
        self
    }

    /// Lets a variable through from the host's own environment, if it is there.
    #[must_use]
    pub fn pass_env(mut self, name: impl Into<OsString>) -> PluginConfig {
        self.pass_env.push(name.into());
        self
    }

    /// Sets its policy.
    #[must_use]
    pub fn policy(mut self, policy: Policy) -> PluginConfig {
        self.policy = policy;
        self
    }

    /// Sets how it is reached; by a socket unless this says otherwise.
    #[must_use]
    pub fn transport(mut self, transport: Transport) -> PluginConfig {
        self.policy.transport = transport;
        self
    }

    /// Sets how its process comes to be; it is spawned unless this says otherwise.
    #[must_use]
    pub fn launch_mode(mut self, mode: LaunchMode) -> PluginConfig {
        self.launch_mode = mode;
        self
    }

    /// Sets when it is started; [`StartMode::Auto`] unless this says otherwise.
    #[must_use]
    pub fn start(mut self, start: StartMode) -> PluginConfig {
        self.start = start;
        self
    }

    /// Has it started after these plugins, and stopped before them.
    #[must_use]
    pub fn after(mut self, plugins: impl IntoIterator<Item = PluginId>) -> PluginConfig {
        self.after.extend(plugins);
        self
    }

    /// Has it started by the first call, and stopped once nobody has used it for so long.
    #[must_use]
    pub fn idle_stop(mut self, after: Duration) -> PluginConfig {
        (self.start, self.idle_stop) = (StartMode::OnDemand, Some(after));
        self
    }

    /// Leaves its environment empty but for the variables of the contract and those that are configured.
    #[must_use]
    pub fn bare_env(mut self) -> PluginConfig {
        self.has_bare_env = true;
        self
    }

    /// Sets the folder that it starts in, which has to be absolute.
    #[must_use]
    pub fn working_folder(mut self, folder: impl AsRef<Path>) -> PluginConfig {
        self.working_folder = folder.as_ref().to_owned();
        self
    }

    /// Adds an interface that it must serve in one of these versions.
    #[must_use]
    pub fn interface(mut self, name: impl Into<String>, versions: &[u32]) -> PluginConfig {
        self.interfaces.insert(name.into(), versions.to_vec());
        self
    }

    /// Sets where what it prints goes; on record unless this says otherwise.
    #[must_use]
    pub fn output(mut self, output: Output) -> PluginConfig {
        self.output = output;
        self
    }

    /// Whether a person starts it.
    #[must_use]
    pub fn is_by_hand(&self) -> bool {
        self.launch_mode == LaunchMode::ByHand
    }

    /// What is wanted of it where no operator has said so: up, by the first call, or down.
    pub(super) fn desired_at_rest(&self) -> Desired {
        if self.start == StartMode::OnDemand { Desired::Up } else { Desired::Down }
    }

    /// The executable as status and record show it.
    #[must_use]
    pub fn shown_executable(&self) -> String {
        let path = self.executable.display();
        if self.is_by_hand() { format!("{path}, started by hand") } else { path.to_string() }
    }

    /// The policy that its generations live by: the configured one, without the deadlines that a breakpoint would break
    /// where a person starts it.
    pub(super) fn policy_in_force(&self) -> Policy {
        let mut policy = self.policy.clone();
        if self.is_by_hand() {
            policy.ready_timeout = DURATION_MAX;
            policy.heartbeat_timeout = DURATION_MAX;
            policy.cancel_grace = DURATION_MAX;
        }
        policy
    }

    /// Sets the variables of [`pass_env`](PluginConfig::pass_env) that `lookup` knows.
    pub fn resolve_env(&mut self, lookup: impl Fn(&OsStr) -> Option<OsString>) {
        for name in std::mem::take(&mut self.pass_env) {
            if let Some(value) = lookup(&name) {
                self.env.push((name, value));
            }
        }
    }

    /// Refuses what cannot be launched or contradicts itself.
    ///
    /// # Errors
    /// Everything that is wrong, each with the member it is in, such as `args[3]`, and what is allowed.
    pub fn check(&self) -> Result<(), ConfigErrors> {
        let mut errors = ConfigErrors::default();
        if let Some(name) = self.id.reserved() {
            let problem =
                format!("plugin id {:?} is kept for the host's own files ({name})", self.id.as_str());
            errors.add("id", problem, id_allowed());
        }
        for (place, path) in [("executable", &self.executable), ("working_folder", &self.working_folder)] {
            if let Err(problem) = check_path(path) {
                errors.add(place, problem, "an absolute path");
            }
        }
        self.check_digest(&mut errors);
        if is_within(&mut errors, "args", "elements", self.args.len(), ARGS_MAX) {
            for (at, arg) in self.args.iter().enumerate() {
                if let Err((problem, allowed)) = check_string(arg, ARG_BYTES_MAX) {
                    errors.add(format!("args[{at}]"), problem, allowed);
                }
            }
        }
        self.check_env(&mut errors);
        self.check_interfaces(&mut errors);
        let may_call = &self.may_call;
        check_names(&mut errors, "may_call", "plugin id", &may_call.plugins, |name| {
            name.parse::<PluginId>().map(drop)
        });
        check_names(
            &mut errors,
            "may_call_capabilities",
            "capability",
            &may_call.capabilities,
            check_capability,
        );
        if self.is_by_hand() && self.policy.transport != Transport::Unix {
            let problem = format!(
                "a plugin that is started by hand has to connect to its socket, and its transport is {}; make it unix, \
                 or let the host launch it",
                self.policy.transport
            );
            errors.add("transport", problem, "unix");
        }
        self.check_start(&mut errors);
        self.policy.check_into(&mut errors);
        errors.into_result()
    }

    fn check_digest(&self, errors: &mut ConfigErrors) {
        let place = if self.sha256.is_some() { "sha256" } else { "sha256_file" };
        if (self.sha256.is_some() || self.sha256_file.is_some()) && self.is_by_hand() {
            let problem =
                "the host does not execute a plugin that is started by hand, and can compare nothing";
            errors.add(place, problem, "neither sha256 nor sha256_file");
        }
        if let Some(digest) = &self.sha256 {
            let is_digit = |byte: u8| matches!(byte, b'0'..=b'9' | b'a'..=b'f');
            if digest.len() != 64 || !digest.bytes().all(is_digit) {
                errors.add(
                    place,
                    format!("{} is no SHA-256", quoted(digest)),
                    "64 lower-case hexadecimal digits",
                );
            }
        }
        if let Some(list) = &self.sha256_file {
            if self.sha256.is_some() {
                errors.add("sha256_file", "stands beside sha256", "one of both");
            } else if let Err(problem) = check_path(list) {
                errors.add("sha256_file", problem, "an absolute path");
            }
        }
    }

    fn check_start(&self, errors: &mut ConfigErrors) {
        if is_within(errors, "after", "elements", self.after.len(), AFTER_MAX) {
            for (at, id) in self.after.iter().enumerate() {
                if *id == self.id {
                    errors.add(format!("after[{at}]"), "is the plugin itself", "another plugin");
                } else if self.after.iter().take(at).any(|before| before == id) {
                    errors.add(format!("after[{at}]"), format!("{id} is listed twice"), "each plugin once");
                }
            }
        }
        let is_on_demand = self.start == StartMode::OnDemand;
        if is_on_demand && self.is_by_hand() {
            let problem = "a plugin that is started by hand cannot be started by a call";
            errors.add("start", problem, "auto or manual");
        }
        if let Some(after) = self.idle_stop {
            if !is_on_demand {
                let problem =
                    "only a plugin that the next call starts again may be stopped because nobody uses it";
                errors.add_together("idle_stop", &["start"], problem, "start on-demand, or no idle_stop");
            } else if !IDLE_STOP_RANGE.contains(&after) {
                errors.add("idle_stop", format!("{after:?} is out of range"), "1s to 1day");
            }
        }
    }

    fn check_env(&self, errors: &mut ConfigErrors) {
        let mut seen: BTreeSet<&OsStr> = BTreeSet::new();
        if is_within(errors, "env", "entries", self.env.len(), ENV_MAX) {
            for (at, (name, value)) in self.env.iter().enumerate() {
                let value_max = ARG_BYTES_MAX.saturating_sub(name.len() + 1);
                let checked = check_env_name(name).and_then(|()| check_string(value, value_max));
                if let Err((problem, allowed)) = checked {
                    errors.add(format!("env[{at}]"), problem, allowed);
                } else if !seen.insert(name) {
                    // Which of the two a program finds is up to its C library.
                    errors.add(
                        format!("env[{at}]"),
                        format!("{} is set twice", shown(name)),
                        "each name once",
                    );
                }
            }
        }
        if is_within(errors, "pass_env", "elements", self.pass_env.len(), ENV_MAX) {
            let mut passed: BTreeSet<&OsStr> = BTreeSet::new();
            for (at, name) in self.pass_env.iter().enumerate() {
                if let Err((problem, allowed)) = check_env_name(name) {
                    errors.add(format!("pass_env[{at}]"), problem, allowed);
                } else if seen.contains(&**name) {
                    let problem = format!("{} is set in `env` as well", shown(name));
                    errors.add(format!("pass_env[{at}]"), problem, "one of both");
                } else if !passed.insert(name) {
                    let problem = format!("{} is listed twice", shown(name));
                    errors.add(format!("pass_env[{at}]"), problem, "each name once");
                }
            }
        }
    }

    fn check_interfaces(&self, errors: &mut ConfigErrors) {
        if !is_within(errors, "interfaces", "entries", self.interfaces.len(), CAPABILITIES_MAX) {
            return;
        }
        for (name, versions) in &self.interfaces {
            let place = interface_place(name);
            if let Err(error) = check_capability(name) {
                let allowed = "1 to 64 letters, digits, '.', '_', '-'";
                errors.add(place, format!("interface name {error}"), allowed);
                continue;
            }
            if versions.is_empty() {
                let problem = "accepts no version, so no plugin could serve it";
                errors.add(&*place, problem, "at least one version");
            }
            if !is_within(errors, &place, "elements", versions.len(), HELLO_LIST_MAX) {
                continue;
            }
            for (at, version) in versions.iter().enumerate() {
                if versions.iter().take(at).any(|before| before == version) {
                    let problem = format!("version {version} is listed twice");
                    errors.add(format!("{place}[{at}]"), problem, "each version once");
                }
            }
        }
    }
}

/// What a plugin id may be, for error messages.
#[must_use]
pub fn id_allowed() -> String {
    format!("1 to {PLUGIN_ID_BYTES_MAX} letters, digits, '.', '_', '-'; not '.' or '..'")
}

/// The place of an interface in errors.
#[must_use]
pub fn interface_place(name: &str) -> String {
    format!("interfaces.{}", quoted(name).trim_matches('"'))
}

/// Refuses a path that no file can have, or that is relative.
///
/// # Errors
/// What is wrong with it.
pub fn check_path(path: &Path) -> Result<(), String> {
    let bytes = path.as_os_str().as_encoded_bytes();
    if bytes.is_empty() {
        return Err("the path is empty".to_owned());
    }
    if bytes.contains(&0) {
        return Err("the path contains a NUL character".to_owned());
    }
    if bytes.len() > PATH_BYTES_MAX {
        return Err(format!("the path has {} bytes, at most {PATH_BYTES_MAX} are possible", bytes.len()));
    }
    if !path.is_absolute() {
        return Err(format!("the path {} is relative", shown(path.as_os_str())));
    }
    Ok(())
}

/// Refuses a text that no program can be passed as one argument or value.
///
/// # Errors
/// What is wrong, and what is allowed. The text is not quoted: it may be a secret.
pub fn check_string(text: &OsStr, bytes_max: usize) -> Result<(), (String, String)> {
    if text.as_encoded_bytes().contains(&0) {
        return Err(("contains a NUL character".to_owned(), "any other character".to_owned()));
    }
    if text.len() > bytes_max {
        return Err((format!("has {} bytes", text.len()), format!("at most {bytes_max}")));
    }
    Ok(())
}

/// What is wrong with the name of a variable, and what is allowed.
fn check_env_name(name: &OsStr) -> Result<(), (String, String)> {
    let bytes = name.as_encoded_bytes();
    let name_rule = || "a name without '=' and NUL".to_owned();
    if bytes.is_empty() {
        return Err(("the name of a variable is empty".to_owned(), name_rule()));
    }
    if bytes.iter().any(|byte| b"=\0".contains(byte)) {
        return Err((format!("{} is no name of a variable", shown(name)), name_rule()));
    }
    if let Some(contract) = ENV_RESERVED.iter().find(|contract| name == **contract) {
        let problem = format!("{contract} is a variable of the contract, which the host sets itself");
        return Err((problem, format!("any but {}", ENV_RESERVED.join(", "))));
    }
    Ok(())
}

fn check_names(
    errors: &mut ConfigErrors,
    place: &str,
    what: &str,
    names: &[String],
    check: impl Fn(&str) -> Result<(), IdentError>,
) {
    if !is_within(errors, place, "elements", names.len(), CAPABILITIES_MAX) {
        return;
    }
    let mut seen = BTreeSet::new();
    for (at, name) in names.iter().enumerate() {
        let checked = if name == ANY { Ok(()) } else { check(name) };
        if let Err(problem) = checked {
            let problem = format!("{what} {} {problem}", quoted(name));
            errors.add(format!("{place}[{at}]"), problem, "a name, or \"*\" for all");
        } else if !seen.insert(name) {
            errors.add(
                format!("{place}[{at}]"),
                format!("{} is listed twice", quoted(name)),
                "each name once",
            );
        }
    }
}

/// Notes an error if there are more than allowed.
fn is_within(errors: &mut ConfigErrors, place: &str, what: &str, seen: usize, allowed_max: usize) -> bool {
    if seen > allowed_max {
        errors.add(place, format!("has {seen} {what}"), format!("at most {allowed_max}"));
    }
    seen <= allowed_max
}

fn shown(text: &OsStr) -> String {
    quoted(&text.to_string_lossy())
}

#[cfg(test)]
#[path = "plugin_config_tests.rs"]
mod tests;
