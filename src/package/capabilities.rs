//! What a package asks to be allowed, and how each of it is told to people.
//!
//! What it deliberately does not do: grant or enforce anything; read it ([`super::read_capabilities`] does).
//!
//! What always holds: two lists that ask for the same have the same lines, in the same order.

use rpc_plugin_wire::PluginId;
use std::collections::{BTreeMap, BTreeSet};
use std::fmt;

/// How something is done for a plugin.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, PartialOrd, Ord)]
pub enum Via {
    /// The host does it, and passes what comes of it.
    #[default]
    Host,
    /// The plugin does it, and the kernel lets it.
    Direct,
}

/// What may be done with files.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
#[allow(missing_docs)]
pub enum FilePermission {
    Read,
    Write,
    List,
    Create,
    Delete,
    Execute,
}

/// Files that it asks for.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct FileAccess {
    /// Absolute path of a file or folder.
    pub path: String,
    /// What it would do with it.
    pub permissions: BTreeSet<FilePermission>,
    /// Whether that is meant of all below a folder, too.
    pub recursive: bool,
    /// How it is done.
    pub via: Via,
}

/// A protocol of the network.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
#[allow(missing_docs)]
pub enum Protocol {
    Tcp,
    Udp,
}

/// A range of ports, both ends included.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct Ports {
    /// The first.
    pub first: u16,
    /// The last.
    pub last: u16,
}

/// Connections that it asks to make.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct Egress {
    /// By which protocol.
    pub protocol: Protocol,
    /// Where to: names, names with a leading `*.`, or addresses. Empty where it is direct: anywhere.
    pub hosts: BTreeSet<String>,
    /// To which ports.
    pub ports: BTreeSet<Ports>,
    /// How it is done.
    pub via: Via,
}

/// Connections that it asks to take.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct Ingress {
    /// By which protocol.
    pub protocol: Protocol,
    /// On which ports.
    pub ports: BTreeSet<Ports>,
    /// From which addresses, as ranges; empty: from anywhere.
    pub allowed_origins: BTreeSet<String>,
    /// How it is done.
    pub via: Via,
}

/// What it asks to do with processes that the host launched for it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
#[allow(missing_docs)]
pub enum ProcessAction {
    Kill,
    Signal,
    List,
}

/// Methods of another plugin that it asks to call.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct CallAccess {
    /// Which plugin.
    pub plugin: PluginId,
    /// Which methods; `*` is all of them.
    pub methods: BTreeSet<String>,
}

/// All that a package asks for. What is not in it is denied.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
#[allow(missing_docs)]
pub struct Capabilities {
    pub filesystem: BTreeSet<FileAccess>,
    pub egress: BTreeSet<Egress>,
    pub ingress: BTreeSet<Ingress>,
    pub process: BTreeSet<ProcessAction>,
    pub calls: BTreeMap<PluginId, CallAccess>,
    /// Names of variables of the host's environment that it asks for.
    pub pass_env: BTreeSet<String>,
}

impl Capabilities {
    /// The members of `capabilities`, in the order of the page.
    pub const KINDS: [&'static str; 5] = ["filesystem", "network", "process", "calls", "pass_env"];

    /// The members of `capabilities` in which something is asked for, in the order of the page.
    pub fn kinds(&self) -> impl Iterator<Item = &'static str> {
        let asked = [
            !self.filesystem.is_empty(),
            !self.egress.is_empty() || !self.ingress.is_empty(),
            !self.process.is_empty(),
            !self.calls.is_empty(),
            !self.pass_env.is_empty(),
        ];
        Capabilities::KINDS.into_iter().zip(asked).filter_map(|(kind, is_asked)| is_asked.then_some(kind))
    }

    /// What is asked for, one line each.
    #[must_use]
    pub fn lines(&self) -> Vec<String> {
        let mut lines: Vec<String> = Vec::new();
        lines.extend(self.filesystem.iter().map(ToString::to_string));
        lines.extend(self.egress.iter().map(ToString::to_string));
        lines.extend(self.ingress.iter().map(ToString::to_string));
        lines.extend(self.process.iter().map(|action| format!("process: {action} children (host)")));
        lines.extend(self.calls.values().map(ToString::to_string));
        lines.extend(self.pass_env.iter().map(|name| format!("pass_env: {name}")));
        lines
    }
}

/// Types of words: each value with how it is written, in the order of the page.
macro_rules! words {
    ($($type:ident: $($value:ident $word:literal),*;)*) => {
        $(impl $type {
            /// Each value with how it is written.
            pub const ALL: &[($type, &str)] = &[$(($type::$value, $word)),*];
        }

        impl fmt::Display for $type {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                let known = $type::ALL.iter().find(|(value, _)| value == self);
                f.write_str(known.map_or("", |(_, word)| word))
            }
        })*
    };
}

pub(super) use words;

words! {
    Via: Host "host", Direct "direct";
    FilePermission: Read "read", Write "write", List "list", Create "create", Delete "delete", Execute "execute";
    Protocol: Tcp "tcp", Udp "udp";
    ProcessAction: Kill "kill", Signal "signal", List "list";
}

fn joined<T: fmt::Display>(values: &BTreeSet<T>) -> String {
    values.iter().map(ToString::to_string).collect::<Vec<_>>().join(", ")
}

impl fmt::Display for Ports {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.first == self.last {
            true => write!(f, "{}", self.first),
            false => write!(f, "{}-{}", self.first, self.last),
        }
    }
}

impl fmt::Display for FileAccess {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let below = if self.recursive { " and all below" } else { "" };
        write!(f, "filesystem: {} {}{below} ({})", joined(&self.permissions), self.path, self.via)
    }
}

impl fmt::Display for Egress {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let hosts = if self.hosts.is_empty() { "anywhere".to_owned() } else { joined(&self.hosts) };
        write!(f, "network: {} to {hosts}, port {} ({})", self.protocol, joined(&self.ports), self.via)
    }
}

impl fmt::Display for Ingress {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let from = match self.allowed_origins.is_empty() {
            true => "anywhere".to_owned(),
            false => joined(&self.allowed_origins),
        };
        write!(f, "network: {} from {from}, port {} ({})", self.protocol, joined(&self.ports), self.via)
    }
}

impl fmt::Display for CallAccess {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "calls: {} of {} (host)", joined(&self.methods), self.plugin)
    }
}
