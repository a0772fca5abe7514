//! What the host tells a plugin through its environment, and the connection that is made with it.
//!
//! What it deliberately does not do: transport `stdio`, where the environment says nothing (`stdio` does); keep the token. It is read from its file once and goes with the
//! hello; nothing here writes it anywhere.
//!
//! What always holds: a message names every variable that is missing or malformed, not only the first;
//! no byte is sent to a process that did not launch this one.

use crate::error::{ConfigError, Error};
use crate::inherited;
use nix::sys::socket::{self, sockopt};
use nix::sys::time::{TimeVal, TimeValLike};
use rpc_plugin_wire::handshake::{
    ENV_AUTH_TOKEN_FILE, ENV_CONTRACT, ENV_HOST_PID, ENV_PLUGIN_FD, ENV_PLUGIN_GENERATION, ENV_PLUGIN_ID,
    ENV_PLUGIN_SOCKET,
};
use rpc_plugin_wire::limits::SOCKET_PATH_BYTES_MAX;
use rpc_plugin_wire::{Generation, PluginId, Token};
use std::ffi::OsString;
use std::fmt;
use std::io::{self, Read};
use std::os::fd::{AsRawFd, RawFd};
use std::os::unix::ffi::OsStrExt;
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};
use std::time::Duration;

/// How long a plugin waits for its host, each for the connection and for the answer to its hello.
pub const HELLO_TIMEOUT_DEFAULT: Duration = Duration::from_secs(10);

/// How the host is reached (protocol section 7).
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub enum Channel {
    /// By the socket that it listens on. Its path.
    Socket(PathBuf),
    /// By a descriptor that it left open for this process. Its number.
    Descriptor(RawFd),
    /// By standard input and output. File descriptors cannot be passed.
    Stdio,
}

impl fmt::Display for Channel {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Channel::Socket(path) => write!(f, "{}", path.display()),
            Channel::Descriptor(number) => write!(f, "descriptor {number}"),
            Channel::Stdio => write!(f, "standard input and output"),
        }
    }
}

/// Who this plugin is and how it reaches its host.
#[derive(Debug)]
#[cfg_attr(not(feature = "internals"), non_exhaustive)]
pub struct Config {
    /// How the host is reached.
    pub channel: Channel,
    /// The id that the operator gave this plugin.
    pub plugin_id: PluginId,
    /// The number of this launch.
    pub generation: Generation,
    /// The one-time secret that proves this process.
    pub token: Token,
    /// The process that the socket must belong to: the parent, or, for a plugin that somebody starts by hand for a
    /// host that waits for it, the one that the environment names.
    pub host_pid: u32,
    /// How long to wait for the host, each for the connection and for the answer to the hello.
    pub hello_timeout: Duration,
    /// The folder of the plugin's own record; `None`: it keeps none. From the environment, it is that of the
    /// token's file, which is the plugin's own.
    pub log_folder: Option<PathBuf>,
}

impl Config {
    /// Whether the connection passes file descriptors: a socket does.
    pub(crate) fn passes_fds(&self) -> bool {
        self.channel != Channel::Stdio
    }

    /// Reads the four variables of the contract and the token file that one of them names. With transport `stdio`
    /// there are none; [`Plugin::run`](crate::Plugin::run) takes that over.
    ///
    /// # Errors
    /// [`ConfigError::ByHand`] when none is set, else every variable that is missing or malformed.
    pub fn from_env() -> Result<Config, ConfigError> {
        Config::from_lookup(|name| std::env::var_os(name))
    }

    /// As [`Config::from_env`], from any source of variables.
    ///
    /// # Errors
    /// As [`Config::from_env`].
    pub fn from_lookup(lookup: impl Fn(&str) -> Option<OsString>) -> Result<Config, ConfigError> {
        if ENV_CONTRACT.iter().chain([&ENV_PLUGIN_FD]).all(|name| lookup(name).is_none()) {
            return Err(ConfigError::ByHand);
        }
        let mut faults = Vec::new();
        let channel = if lookup(ENV_PLUGIN_FD).is_none() {
            read(&mut faults, &lookup, ENV_PLUGIN_SOCKET, socket_path).map(Channel::Socket)
        } else if lookup(ENV_PLUGIN_SOCKET).is_some() {
            faults.push(format!("{ENV_PLUGIN_FD} is set, and {ENV_PLUGIN_SOCKET} too: which of both?"));
            None
        } else {
            read(&mut faults, &lookup, ENV_PLUGIN_FD, descriptor).map(Channel::Descriptor)
        };
        let plugin_id = read(&mut faults, &lookup, ENV_PLUGIN_ID, |value| ident(&value));
        let generation = read(&mut faults, &lookup, ENV_PLUGIN_GENERATION, |value| ident(&value));
        let token = read(&mut faults, &lookup, ENV_AUTH_TOKEN_FILE, token_from_file);
        let host_pid = match lookup(ENV_HOST_PID) {
            None => Some(std::os::unix::process::parent_id()),
            Some(_) => read(&mut faults, &lookup, ENV_HOST_PID, pid),
        };
        let token_file = lookup(ENV_AUTH_TOKEN_FILE).map(PathBuf::from);
        match (channel, plugin_id, generation, token, host_pid) {
            (Some(channel), Some(plugin_id), Some(generation), Some(token), Some(host_pid)) => Ok(Config {
                log_folder: token_file.and_then(|path| path.parent().map(Path::to_owned)),
                channel,
                plugin_id,
                generation,
                token,
                host_pid,
                hello_timeout: HELLO_TIMEOUT_DEFAULT,
            }),
            _ => Err(ConfigError::Variables(faults)),
        }
    }

    /// The path of the host's socket, where that is how it is reached.
    #[must_use]
    pub fn socket(&self) -> Option<&Path> {
        match &self.channel {
            Channel::Socket(path) => Some(path),
            Channel::Descriptor(_) | Channel::Stdio => None,
        }
    }

    /// Connects to the host and checks that it is the one that launched this process: the socket's peer
    /// (SO_PEERCRED, unix(7)) must be `host_pid`. A connection that was inherited is taken over, once, and not
    /// checked: nobody else can have left it there.
    ///
    /// # Errors
    /// [`Error::Connect`] when the socket cannot be reached within `hello_timeout`,
    /// [`Error::NotTheHost`] when another process is behind it, [`Error::Config`] when what should be inherited is
    /// no socket, [`Error::Os`] for [`Channel::Stdio`], which [`Plugin::run`](crate::Plugin::run) takes over.
    pub fn connect(&self) -> Result<UnixStream, Error> {
        let path = match &self.channel {
            Channel::Socket(path) => path,
            Channel::Descriptor(number) => {
                return inherited::take(*number).map_err(|error| {
                    let fault = format!("{ENV_PLUGIN_FD} names descriptor {number}: {error}");
                    ConfigError::Variables(vec![fault]).into()
                });
            }
            Channel::Stdio => {
                let source = io::Error::from(io::ErrorKind::Unsupported);
                return Err(Error::Os { step: "connect by standard input and output", source });
            }
        };
        let connection = connect(path, self.hello_timeout)
            .map_err(|source| Error::Connect { socket: path.clone(), source })?;
        let peer = socket::getsockopt(&connection, sockopt::PeerCredentials).map_err(|errno| Error::Os {
            step: "ask who is behind the host's socket",
            source: errno.into(),
        })?;
        if i64::from(peer.pid()) != i64::from(self.host_pid) {
            return Err(Error::NotTheHost { expected_pid: self.host_pid, seen_pid: peer.pid() });
        }
        Ok(connection)
    }
}

/// A connect that cannot wait forever on a host whose backlog is full: SO_SNDTIMEO bounds it (unix(7)
/// says nothing of it, socket(7) does).
fn connect(path: &Path, timeout: Duration) -> io::Result<UnixStream> {
    use socket::{AddressFamily, SockFlag, SockType, UnixAddr};
    let fd = socket::socket(AddressFamily::Unix, SockType::Stream, SockFlag::SOCK_CLOEXEC, None)?;
    let millis = i64::try_from(timeout.as_millis()).unwrap_or(i64::MAX / 1000).max(1);
    socket::setsockopt(&fd, sockopt::SendTimeout, &TimeVal::milliseconds(millis))?;
    socket::connect(fd.as_raw_fd(), &UnixAddr::new(path)?)?;
    Ok(UnixStream::from(fd))
}

fn read<T>(
    faults: &mut Vec<String>,
    lookup: impl Fn(&str) -> Option<OsString>,
    name: &str,
    parse: impl FnOnce(OsString) -> Result<T, String>,
) -> Option<T> {
    let parsed = match lookup(name) {
        None => Err("is not set".to_owned()),
        Some(value) => parse(value),
    };
    parsed.map_err(|fault| faults.push(format!("{name} {fault}"))).ok()
}

fn ident<T: std::str::FromStr<Err = rpc_plugin_wire::IdentError>>(value: &OsString) -> Result<T, String> {
    let text = value.to_str().ok_or_else(|| format!("{value:?} is not UTF-8"))?;
    text.parse().map_err(|error| format!("{text:?} {error}"))
}

fn socket_path(value: OsString) -> Result<PathBuf, String> {
    let bytes = value.as_bytes().len();
    if bytes > SOCKET_PATH_BYTES_MAX {
        return Err(format!(
            "is a path of {bytes} bytes, at most {SOCKET_PATH_BYTES_MAX} fit a socket address"
        ));
    }
    absolute(value)
}

fn descriptor(value: OsString) -> Result<RawFd, String> {
    let number = value.to_str().and_then(|text| text.parse().ok());
    number
        .filter(|number| *number >= inherited::FD_MIN)
        .ok_or_else(|| format!("{value:?} is not the number of a descriptor from {} on", inherited::FD_MIN))
}

fn pid(value: OsString) -> Result<u32, String> {
    let number = value.to_str().and_then(|text| text.parse().ok());
    number.filter(|pid| *pid > 0).ok_or_else(|| format!("{value:?} is not the number of a process"))
}

fn absolute(value: OsString) -> Result<PathBuf, String> {
    let path = PathBuf::from(value);
    if path.is_absolute() { Ok(path) } else { Err(format!("{path:?} is not an absolute path")) }
}

fn token_from_file(value: OsString) -> Result<Token, String> {
    let path = absolute(value)?;
    let mut bytes = Vec::new();
    // One byte more than a token with a line end: enough to see that it is none.
    let bytes_max = Token::BYTES as u64 * 2 + 2;
    std::fs::File::open(&path)
        .and_then(|file| file.take(bytes_max).read_to_end(&mut bytes))
        .map_err(|error| format!("names {path:?}, which cannot be read: {error}"))?;
    let text = std::str::from_utf8(&bytes).unwrap_or_default();
    let token = Token::from_hex(text.strip_suffix('\n').unwrap_or(text));
    bytes.fill(0);
    std::hint::black_box(&bytes);
    // Never the content: it may be a token with a slip in it.
    token.map_err(|error| format!("names {path:?}, whose content {error}"))
}
