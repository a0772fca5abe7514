//! What a host is told about one plugin.

use super::error::HostError;
use super::subscription::OutputLines;
use crate::reactor::Output;
use crate::state::permit::MayCall;
use crate::state::policy::{Policy, PolicyError, Transport};
use crate::sys::runtime_dir::reserved_name;
use crossbeam_channel::bounded;
use rpc_plugin_wire::PluginId;
use rpc_plugin_wire::handshake::ENV_RESERVED;
use std::collections::{BTreeMap, BTreeSet};
use std::ffi::OsString;
use std::fmt;
use std::path::{Path, PathBuf};

/// Most arguments, and most variables, that a plugin is launched with.
const LAUNCH_LIST_MAX: usize = 1024;

/// One plugin: what to launch, with what, and how to treat it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PluginConfig {
    /// Its id: 1 to 64 letters, digits, `.`, `_`, `-`; none of
    /// [`RESERVED_NAMES`](crate::sys::runtime_dir::RESERVED_NAMES).
    pub id: PluginId,
    /// Absolute path of the executable.
    pub executable: PathBuf,
    /// Arguments.
    pub args: Vec<OsString>,
    /// Its whole environment beside the variables of the contract. Nothing else is passed on.
    pub env: Vec<(OsString, OsString)>,
    /// The folder that it starts in; absolute.
    pub working_folder: PathBuf,
    /// How to treat it.
    pub policy: Policy,
    /// Interfaces that it must serve, with the versions that are accepted.
    pub interfaces: BTreeMap<String, Vec<u32>>,
    /// What it may call through its host; nothing unless this says so.
    pub may_call: MayCall,
    /// Whether somebody starts it by hand; see [`PluginConfig::awaited`].
    pub awaited: bool,
    /// Where what it prints goes; see [`PluginConfig::take_output`] and [`PluginConfig::inherit_output`].
    pub(super) output: OutputChoice,
}

/// See [`Output`]. The same choice is the same, and the same taker.
#[derive(Debug, Clone)]
pub(super) struct OutputChoice(pub(super) Output);

impl PartialEq for OutputChoice {
    fn eq(&self, other: &OutputChoice) -> bool {
        match (&self.0, &other.0) {
            (Output::Taken(one), Output::Taken(other)) => one.same_channel(other),
            (one, other) => std::mem::discriminant(one) == std::mem::discriminant(other),
        }
    }
}

impl Eq for OutputChoice {}

/// What is wrong with a configuration.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum PluginConfigError {
    /// The id names one of the host's own files in the runtime folder: which.
    Reserved(&'static str),
    /// A path is not absolute: which.
    NotAbsolute(PathBuf),
    /// The operator's variable is one of the contract's, or no variable name: which.
    Variable(OsString),
    /// A variable is given twice: which.
    VariableTwice(OsString),
    /// Too many arguments or variables: how many.
    TooMany(usize),
    /// It is started by hand, and has a transport that only what was launched can have.
    AwaitedOver(Transport),
    /// The policy contradicts itself.
    Policy(PolicyError),
}

impl fmt::Display for PluginConfigError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            PluginConfigError::Reserved(name) => {
                write!(
                    f,
                    "the id is kept for the host's own files ({name}) in the runtime folder; choose another"
                )
            }
            PluginConfigError::NotAbsolute(path) => {
                write!(f, "{} is not absolute; give a path that begins with /", path.display())
            }
            PluginConfigError::Variable(name) => write!(
                f,
                "{} cannot be set: it is empty, holds '=' or NUL, or belongs to the contract between host and plugin",
                name.display()
            ),
            PluginConfigError::VariableTwice(name) => {
                write!(f, "{} is set twice; give each variable once", name.display())
            }
            PluginConfigError::TooMany(count) => {
                write!(f, "{count} arguments or variables, at most {LAUNCH_LIST_MAX} are allowed")
            }
            PluginConfigError::AwaitedOver(transport) => write!(
                f,
                "a plugin that is started by hand has to connect to its socket, and its transport is {transport}; \
                 make it unix, or let the host launch it"
            ),
            PluginConfigError::Policy(error) => error.fmt(f),
        }
    }
}

impl std::error::Error for PluginConfigError {}

impl PluginConfig {
    /// A plugin without arguments and variables, in `/`, with the default policy.
    #[must_use]
    pub fn new(id: PluginId, executable: impl AsRef<Path>) -> PluginConfig {
        PluginConfig {
            id,
            executable: executable.as_ref().to_owned(),
            args: Vec::new(),
            env: Vec::new(),
            working_folder: PathBuf::from("/"),
            policy: Policy::default(),
            interfaces: BTreeMap::new(),
            may_call: MayCall::default(),
            awaited: false,
            output: OutputChoice(Output::Record),
        }
    }

    /// The same, and it may call these plugins through its host (`host.call`), by their ids; `*` is every plugin.
    #[must_use]
    pub fn may_call<T: Into<String>>(mut self, plugins: impl IntoIterator<Item = T>) -> PluginConfig {
        self.may_call.plugins.extend(plugins.into_iter().map(Into::into));
        self
    }

    /// The same, and it may call whichever plugin has one of these capabilities; `*` is every capability.
    #[must_use]
    pub fn may_call_capabilities<T: Into<String>>(
        mut self,
        capabilities: impl IntoIterator<Item = T>,
    ) -> PluginConfig {
        self.may_call.capabilities.extend(capabilities.into_iter().map(Into::into));
        self
    }

    /// The same with one more argument.
    #[must_use]
    pub fn arg(mut self, arg: impl Into<OsString>) -> PluginConfig {
        self.args.push(arg.into());
        self
    }

    /// The same with one more variable.
    #[must_use]
    pub fn env(mut self, name: impl Into<OsString>, value: impl Into<OsString>) -> PluginConfig {
        self.env.push((name.into(), value.into()));
        self
    }

    /// The same with a policy.
    #[must_use]
    pub fn policy(mut self, policy: Policy) -> PluginConfig {
        self.policy = policy;
        self
    }

    /// The same reached in another way than by a socket.
    #[must_use]
    pub fn transport(mut self, transport: Transport) -> PluginConfig {
        self.policy.transport = transport;
        self
    }

    /// The same, but not launched: it waits until somebody starts it by hand, under a debugger for example. The
    /// event `awaited` tells the variables that it has to be started with. It is taken from any process of this one's
    /// user that has the token; nothing but its calls, its hello and its end has a deadline; its process is never
    /// signalled. When it has gone, a new generation waits. Its transport has to be `unix`.
    #[must_use]
    pub fn awaited(mut self, awaited: bool) -> PluginConfig {
        self.awaited = awaited;
        self
    }

    /// The same started in that folder, which has to be absolute.
    #[must_use]
    pub fn working_folder(mut self, folder: impl AsRef<Path>) -> PluginConfig {
        self.working_folder = folder.as_ref().to_owned();
        self
    }

    /// The same with an interface that the plugin must serve in one of these versions.
    #[must_use]
    pub fn interface(mut self, name: impl Into<String>, versions: &[u32]) -> PluginConfig {
        self.interfaces.insert(name.into(), versions.to_vec());
        self
    }

    /// The same with what the plugin prints handed to this program, line by line, instead of being put on record.
    /// At most `queue_max` lines wait; further ones are lost and counted. The last lines of standard error stay
    /// part of the record of an exit.
    #[must_use]
    pub fn take_output(mut self, queue_max: usize) -> (PluginConfig, OutputLines) {
        let (sender, receiver) = bounded(queue_max.max(1));
        self.output = OutputChoice(Output::Taken(sender));
        (self, OutputLines::new(receiver))
    }

    /// The same with what the plugin prints going where this program's own standard output and standard error
    /// go, such as a terminal. Nothing of it is on record, nor part of the reason of an exit.
    #[must_use]
    pub fn inherit_output(mut self) -> PluginConfig {
        self.output = OutputChoice(Output::Inherit);
        self
    }

    /// Refuses what cannot be.
    pub(super) fn check(&self) -> Result<(), HostError> {
        self.find_fault().map_err(|error| HostError::Config(self.id.clone(), error))
    }

    fn find_fault(&self) -> Result<(), PluginConfigError> {
        if let Some(name) = reserved_name(&self.id) {
            return Err(PluginConfigError::Reserved(name));
        }
        for path in [&self.executable, &self.working_folder] {
            if !path.is_absolute() {
                return Err(PluginConfigError::NotAbsolute(path.clone()));
            }
        }
        let count = self.args.len().max(self.env.len());
        if count > LAUNCH_LIST_MAX {
            return Err(PluginConfigError::TooMany(count));
        }
        let mut seen = BTreeSet::new();
        for (name, _) in &self.env {
            let bytes = name.as_encoded_bytes();
            let wrong = bytes.is_empty() || bytes.contains(&b'=') || bytes.contains(&0);
            if wrong || ENV_RESERVED.iter().any(|contract| name == contract) {
                return Err(PluginConfigError::Variable(name.clone()));
            }
            // Which of the two a program finds is up to its C library.
            if !seen.insert(name) {
                return Err(PluginConfigError::VariableTwice(name.clone()));
            }
        }
        if self.awaited && self.policy.transport != Transport::Unix {
            return Err(PluginConfigError::AwaitedOver(self.policy.transport));
        }
        self.policy.check().map_err(PluginConfigError::Policy)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn configurations_are_the_same_that_hand_lines_to_the_same_taker() {
        let config = || PluginConfig::new("a".parse().unwrap(), "/bin/a");
        let (taken, _lines) = config().take_output(1);
        assert_eq!(taken, taken.clone());
        assert_ne!(taken, config().take_output(1).0);
        assert_ne!(taken, config());
        assert_ne!(config().inherit_output(), config());
        assert_eq!(config().inherit_output(), config().inherit_output());
    }

    #[test]
    fn what_cannot_be_is_refused() {
        let good = || PluginConfig::new("a".parse().unwrap(), "/bin/a");
        good().env("A", "1").arg("x").check().unwrap();
        let mut loose = good();
        loose.policy.heartbeat_misses_max = 0;
        let bad = [
            (PluginConfig::new("lock".parse().unwrap(), "/bin/a"), "kept for the host's own files (lock)"),
            (PluginConfig::new(crate::eventlog::FILE_NAME.parse().unwrap(), "/bin/a"), "kept for the host's"),
            (PluginConfig::new("a".parse().unwrap(), "bin/a"), "is not absolute"),
            (good().transport(Transport::Fd).awaited(true), "its transport is fd; make it unix"),
            (good().env("", "1"), "cannot be set"),
            (good().env("A=B", "1"), "cannot be set"),
            (good().env("A", "1").env("A", "1"), "A is set twice"),
            (good().env(ENV_RESERVED[3], "1"), "belongs to the contract"),
            (loose, "heartbeat_misses_max"),
        ];
        for (config, expected) in bad {
            let error = config.check().unwrap_err().to_string();
            assert!(error.contains(expected), "{error}");
        }
    }
}
