//! The start of a connection (protocol section 3): environment, hello, answer, negotiation.
//!
//! What it deliberately does not do: decide in which order proof is checked; the host's session does.

use crate::ident::{Generation, PluginId, Token, check_capability, is_reserved};
use crate::informational::{as_set, informational, not_a_capability};
use crate::limits::{CAPABILITIES_MAX, CAPABILITY_BYTES_MAX, HELLO_LIST_MAX, VERSION_BYTES_MAX};
use serde::de::{Error as _, MapAccess, Visitor};
use serde::{Deserialize, Deserializer, Serialize};
use std::collections::BTreeMap;
use std::fmt;

/// Environment variable: path of the socket that the plugin connects to.
pub const ENV_PLUGIN_SOCKET: &str = "RPC_PLUGIN_SYSTEM_PLUGIN_SOCKET";
/// Environment variable: the plugin's id.
pub const ENV_PLUGIN_ID: &str = "RPC_PLUGIN_SYSTEM_PLUGIN_ID";
/// Environment variable: the generation's number, decimal.
pub const ENV_PLUGIN_GENERATION: &str = "RPC_PLUGIN_SYSTEM_PLUGIN_GENERATION";
/// Environment variable: path of the file that holds the token.
pub const ENV_AUTH_TOKEN_FILE: &str = "RPC_PLUGIN_SYSTEM_AUTH_TOKEN_FILE";
/// The four variables of the contract, in the order in which they are set.
pub const ENV_CONTRACT: [&str; 4] =
    [ENV_PLUGIN_SOCKET, ENV_PLUGIN_ID, ENV_PLUGIN_GENERATION, ENV_AUTH_TOKEN_FILE];
/// Environment variable of transport `fd`, instead of the socket's: number of the descriptor that is the
/// connection.
pub const ENV_PLUGIN_FD: &str = "RPC_PLUGIN_SYSTEM_PLUGIN_FD";
/// Environment variable for a plugin that somebody starts by hand for a host that waits for it: pid of the host,
/// which is not its parent.
pub const ENV_HOST_PID: &str = "RPC_PLUGIN_SYSTEM_HOST_PID";
/// Environment variable of transport `stdio`: which launch this is, for the host to know its processes by. A
/// plugin does not read it.
pub const ENV_LAUNCH: &str = "RPC_PLUGIN_SYSTEM_LAUNCH";
/// Environment variable: path of the executable, for a script that its interpreter reads from a descriptor. Not with
/// transport `stdio`.
pub const ENV_PLUGIN_EXECUTABLE: &str = "RPC_PLUGIN_SYSTEM_PLUGIN_EXECUTABLE";
/// All variables that belong to the protocol, which nobody else may set for a plugin.
pub const ENV_RESERVED: [&str; 8] = [
    ENV_PLUGIN_SOCKET,
    ENV_PLUGIN_FD,
    ENV_PLUGIN_ID,
    ENV_PLUGIN_GENERATION,
    ENV_AUTH_TOKEN_FILE,
    ENV_HOST_PID,
    ENV_LAUNCH,
    ENV_PLUGIN_EXECUTABLE,
];

/// The host's first frame with transport `stdio`, a notification: what the environment says with the others.
pub const METHOD_LAUNCH: &str = "rpc.launch";
/// The method of the first frame of a plugin.
pub const METHOD_HELLO: &str = "host.hello";

/// Features that this crate's users may offer; what both sides offer is used.
pub const FEATURE_CANCEL: &str = "cancel";
/// The peer understands `rpc.progress`.
pub const FEATURE_PROGRESS: &str = "progress";
/// The peer sends and takes file descriptors.
pub const FEATURE_FDS: &str = "fds";
/// The peer understands streams in band, `rpc.stream.*`.
pub const FEATURE_STREAMS: &str = "streams";
/// The peer understands `rpc.callback`.
pub const FEATURE_CALLBACKS: &str = "callbacks";
/// The plugin does one thing at a time: it may not answer heartbeats while it serves a call.
pub const FEATURE_SERIAL: &str = "serial";
/// The peer takes the calls that led to a call, and names them in calls that it makes meanwhile.
pub const FEATURE_CHAIN: &str = "chain";
/// All that this implementation has.
pub const FEATURES: [&str; 7] = [
    FEATURE_CANCEL,
    FEATURE_PROGRESS,
    FEATURE_FDS,
    FEATURE_STREAMS,
    FEATURE_CALLBACKS,
    FEATURE_CHAIN,
    FEATURE_SERIAL,
];

/// `params` of `rpc.launch`: as what a plugin was launched.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct Launch {
    /// Its id.
    pub plugin_id: PluginId,
    /// The number of this launch.
    pub generation: Generation,
    /// What it has to prove.
    pub token: Token,
}

/// `params` of `host.hello`: who the plugin says it is.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct Hello {
    /// The token from the token file.
    pub token: Token,
    /// The id it was launched as.
    pub plugin_id: PluginId,
    /// The generation it was launched as.
    pub generation: Generation,
    /// Protocol versions it speaks.
    pub protocols: Vec<u32>,
    /// The plugin's own version.
    #[serde(deserialize_with = "informational")]
    pub version: String,
    /// Which SDK it is built on, such as `rust/0.1.0`.
    #[serde(default, deserialize_with = "informational")]
    pub sdk: String,
    /// What it can do: the first parts of its method names.
    #[serde(deserialize_with = "as_set")]
    pub capabilities: Vec<String>,
    /// Application interfaces and the versions of each that it serves.
    #[serde(default, deserialize_with = "each_once")]
    pub interfaces: BTreeMap<String, Vec<u32>>,
    /// Optional protocol features it understands.
    #[serde(default)]
    pub features: Vec<String>,
}

/// `result` of `host.hello`: what was agreed.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct HelloResult {
    /// The protocol version of this connection.
    pub protocol: u32,
    /// Name and version of the host.
    pub host: String,
    /// Largest frame either side may send from now on. Bytes, line end not counted.
    pub frame_bytes_max: usize,
    /// How often `plugin.heartbeat` will come. Milliseconds; 0 is never.
    pub heartbeat_interval_ms: u64,
    /// The version of each interface that is used: all that the plugin offered.
    #[serde(default)]
    pub interfaces: BTreeMap<String, u32>,
    /// Features that both sides understand.
    #[serde(default)]
    pub features: Vec<String>,
}

/// Why a hello cannot be accepted whatever the token.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum HelloError {
    /// A list or text is longer than allowed: which, seen, allowed.
    TooMuch(&'static str, usize, usize),
    /// A capability or interface name that is none.
    Name(String),
    /// A name that stands twice: which.
    Twice(String),
    /// No protocol version in common: the plugin's list.
    NoCommonProtocol(Vec<u32>),
    /// No version of a required interface in common: name, the host's versions, the plugin's.
    NoCommonInterface(String, Vec<u32>, Vec<u32>),
    /// No capabilities at all: nothing could ever be called.
    NoCapabilities,
}

impl fmt::Display for HelloError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            HelloError::TooMuch(what, seen, max) => {
                write!(f, "`{what}` has {seen} entries or bytes, at most {max} are allowed")
            }
            HelloError::Name(name) => not_a_capability(f, name),
            HelloError::Twice(name) => write!(f, "{name:?} is listed twice"),
            HelloError::NoCommonProtocol(seen) => write!(
                f,
                "no protocol version in common: the host speaks [{}], the plugin {seen:?}",
                crate::limits::PROTOCOL_VERSION
            ),
            HelloError::NoCommonInterface(name, host, plugin) => write!(
                f,
                "no version of interface {name:?} in common: the host accepts {host:?}, the plugin serves {plugin:?}"
            ),
            HelloError::NoCapabilities => write!(f, "it reports no capabilities, so nothing could be called"),
        }
    }
}

impl std::error::Error for HelloError {}

impl HelloError {
    /// [`HelloError::Name`] with at most as much of the name as a name may have.
    fn name(name: &str) -> HelloError {
        HelloError::Name(name.chars().take(CAPABILITY_BYTES_MAX).collect())
    }
}

/// Reads a map whose names stand once each; serde's own map would keep the last of two.
fn each_once<'de, D: Deserializer<'de>>(deserializer: D) -> Result<BTreeMap<String, Vec<u32>>, D::Error> {
    struct EachOnce;
    impl<'de> Visitor<'de> for EachOnce {
        type Value = BTreeMap<String, Vec<u32>>;
        fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
            write!(f, "an object of interface names and their versions")
        }
        fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Self::Value, A::Error> {
            let mut interfaces = BTreeMap::new();
            while let Some(name) = map.next_key::<String>()? {
                if interfaces.contains_key(&name) {
                    return Err(A::Error::custom(HelloError::Twice(name)));
                }
                interfaces.insert(name, map.next_value()?);
            }
            Ok(interfaces)
        }
    }
    deserializer.deserialize_map(EachOnce)
}

/// Checks a list of capabilities, which is a set: not empty, bounded, names.
///
/// # Errors
/// Says which rule is broken.
pub fn check_capabilities(capabilities: &[String]) -> Result<(), HelloError> {
    if capabilities.is_empty() {
        return Err(HelloError::NoCapabilities);
    }
    if capabilities.len() > CAPABILITIES_MAX {
        return Err(HelloError::TooMuch("capabilities", capabilities.len(), CAPABILITIES_MAX));
    }
    match capabilities.iter().find(|name| check_capability(name).is_err() || is_reserved(name)) {
        Some(name) => Err(HelloError::name(name)),
        None => Ok(()),
    }
}

impl Hello {
    /// Checks everything about a hello that needs no knowledge of whom the host launched.
    ///
    /// # Errors
    /// Says which rule is broken, with what was expected and seen.
    pub fn check(&self) -> Result<(), HelloError> {
        let bounded = |what, seen: usize, max: usize| {
            if seen > max { Err(HelloError::TooMuch(what, seen, max)) } else { Ok(()) }
        };
        bounded("version", self.version.len(), VERSION_BYTES_MAX)?;
        bounded("sdk", self.sdk.len(), VERSION_BYTES_MAX)?;
        bounded("protocols", self.protocols.len(), HELLO_LIST_MAX)?;
        bounded("features", self.features.len(), HELLO_LIST_MAX)?;
        bounded("interfaces", self.interfaces.len(), CAPABILITIES_MAX)?;
        for (name, versions) in &self.interfaces {
            check_capability(name).map_err(|_| HelloError::name(name))?;
            bounded("interfaces", versions.len(), HELLO_LIST_MAX)?;
        }
        if !self.protocols.contains(&crate::limits::PROTOCOL_VERSION) {
            return Err(HelloError::NoCommonProtocol(self.protocols.clone()));
        }
        check_capabilities(&self.capabilities)
    }

    /// Picks the highest version of each interface that both sides have. `accepted` is what the host
    /// knows; every name in it is required. Of an interface that the host does not name it takes any version, so
    /// that the highest is used: the answer names it all the same, for the plugin to know.
    ///
    /// # Errors
    /// [`HelloError::NoCommonInterface`] names both sides' versions.
    pub fn negotiate(
        &self,
        accepted: &BTreeMap<String, Vec<u32>>,
    ) -> Result<BTreeMap<String, u32>, HelloError> {
        let highest = |(name, versions): (&String, &Vec<u32>)| Some((name.clone(), *versions.iter().max()?));
        let mut agreed: BTreeMap<_, _> = self.interfaces.iter().filter_map(highest).collect();
        for (name, host) in accepted {
            let plugin = self.interfaces.get(name).cloned().unwrap_or_default();
            match host.iter().filter(|version| plugin.contains(version)).max() {
                Some(version) => agreed.insert(name.clone(), *version),
                None => return Err(HelloError::NoCommonInterface(name.clone(), host.clone(), plugin)),
            };
        }
        Ok(agreed)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn hello() -> Hello {
        Hello {
            token: Token::from_bytes([1; 32]),
            plugin_id: "echo".parse().unwrap(),
            generation: Generation::FIRST,
            protocols: vec![1],
            version: "1.0.0".into(),
            sdk: "rust/0.1.0".into(),
            capabilities: vec!["echo".into()],
            interfaces: BTreeMap::from([("kv".into(), vec![1, 2, 3])]),
            features: vec![],
        }
    }

    #[test]
    fn a_hello_is_bounded_and_named() {
        hello().check().unwrap();
        type Change = fn(&mut Hello);
        let broken: [(&str, Change); 8] = [
            ("no protocol version", |h| h.protocols = vec![2, 3]),
            ("no capabilities", |h| h.capabilities.clear()),
            ("not a capability", |h| h.capabilities = vec!["a b".into()]),
            ("\"host\" cannot be a capability", |h| h.capabilities = vec!["echo".into(), "host".into()]),
            ("\"rpc.mine\" cannot be a capability", |h| h.capabilities = vec!["rpc.mine".into()]),
            ("`capabilities` has 257", |h| h.capabilities = vec!["a".into(); 257]),
            ("`version` has 65", |h| h.version = "v".repeat(65)),
            ("`features` has 65", |h| h.features = vec![String::new(); 65]),
        ];
        for (expected, break_it) in broken {
            let mut hello = hello();
            break_it(&mut hello);
            let error = hello.check().unwrap_err().to_string();
            assert!(error.contains(expected), "{error:?} should say {expected:?}");
        }
    }

    #[test]
    fn capabilities_are_a_set_and_what_only_informs_may_be_anything() {
        let mut twice = hello();
        twice.capabilities = vec!["a".into(), "a".into()];
        twice.check().unwrap();
        let text = serde_json::to_string(&hello()).unwrap();
        for (member, other) in
            [("\"1.0.0\"", "1.5"), ("\"1.0.0\"", "{\"major\":1}"), ("\"rust/0.1.0\"", "null")]
        {
            let read: Hello = serde_json::from_str(&text.replace(member, other)).unwrap();
            assert!(read.version.is_empty() || read.sdk.is_empty());
            read.check().unwrap();
        }
        let heartbeat = r#"{"status":"healthy","uptime_ms":1.5,"work_count":"7","last_success_unix_ms":-1,"error_count":3}"#;
        let read: crate::life::Heartbeat = serde_json::from_str(heartbeat).unwrap();
        assert_eq!(
            (read.uptime_ms, read.work_count, read.last_success_unix_ms, read.error_count),
            (0, 0, None, 3)
        );
        let describe = r#"{"plugin_id":"echo","generation":1,"version":null,"capabilities":["echo"]}"#;
        serde_json::from_str::<crate::life::Capabilities>(describe).unwrap().check().unwrap();
        assert!(serde_json::from_str::<crate::life::Heartbeat>(r#"{"status":7}"#).is_err(), "that decides");
    }

    #[test]
    fn the_highest_common_interface_version_is_used() {
        let accepts = |versions: &[u32]| BTreeMap::from([("kv".to_owned(), versions.to_vec())]);
        assert_eq!(hello().negotiate(&accepts(&[2, 1, 9])).unwrap()["kv"], 2);
        let error = hello().negotiate(&accepts(&[7])).unwrap_err().to_string();
        assert!(error.contains("[7]") && error.contains("[1, 2, 3]"), "{error}");
    }

    #[test]
    fn of_an_interface_that_the_host_does_not_name_the_highest_version_is_used() {
        let mut hello = hello();
        hello.interfaces.extend([("log".into(), vec![4, 9, 5]), ("none".into(), vec![])]);
        let agreed = hello.negotiate(&BTreeMap::from([("kv".to_owned(), vec![1])])).unwrap();
        assert_eq!(agreed, BTreeMap::from([("kv".to_owned(), 1), ("log".to_owned(), 9)]));
    }
}
