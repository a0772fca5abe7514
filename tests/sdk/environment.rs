//! The environment that a host makes for its plugin: each variable missing or malformed is named, and the
//! socket's peer must be the process that launched the plugin.
#![allow(missing_docs, clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::indexing_slicing)]
#![allow(clippy::type_complexity)]

use rpc_plugin_sdk::{Channel, Config, ConfigError, Error};
use rpc_plugin_wire::handshake::{
    ENV_AUTH_TOKEN_FILE, ENV_CONTRACT, ENV_PLUGIN_GENERATION, ENV_PLUGIN_ID, ENV_PLUGIN_SOCKET,
};
use rpc_plugin_wire::{Generation, Token};
use std::collections::BTreeMap;
use std::ffi::OsString;
use std::io::Read;
use std::os::unix::ffi::OsStringExt;
use std::os::unix::net::UnixListener;
use std::path::{Path, PathBuf};

/// A folder that is gone after the test.
struct Folder(PathBuf);

impl Folder {
    fn new(name: &str) -> Folder {
        let path = std::env::temp_dir().join(format!("sdk-{}-{name}", std::process::id()));
        std::fs::create_dir_all(&path).unwrap();
        Folder(path)
    }

    fn file(&self, name: &str, content: &[u8]) -> PathBuf {
        let path = self.0.join(name);
        std::fs::write(&path, content).unwrap();
        path
    }
}

impl Drop for Folder {
    fn drop(&mut self) {
        let _ = std::fs::remove_dir_all(&self.0);
    }
}

type Variables = BTreeMap<&'static str, OsString>;

fn token() -> Token {
    Token::from_bytes([0xab; 32])
}

fn good(folder: &Folder) -> Variables {
    let token_file = folder.file("token", token().to_hex().as_bytes());
    BTreeMap::from([
        (ENV_PLUGIN_SOCKET, folder.0.join("p.sock").into_os_string()),
        (ENV_PLUGIN_ID, "p".into()),
        (ENV_PLUGIN_GENERATION, "12".into()),
        (ENV_AUTH_TOKEN_FILE, token_file.into_os_string()),
    ])
}

fn read(variables: &Variables) -> Result<Config, ConfigError> {
    Config::from_lookup(|name| variables.get(name).cloned())
}

#[test]
fn the_four_variables_are_read() {
    let folder = Folder::new("good");
    let config = read(&good(&folder)).unwrap();
    assert_eq!((config.plugin_id.as_str(), config.generation), ("p", Generation::try_from(12).unwrap()));
    assert_eq!(config.channel, Channel::Socket(folder.0.join("p.sock")));
    assert!(config.token.matches(&token()));
    assert_eq!(config.host_pid, std::os::unix::process::parent_id());
    // With a line end, as an editor or a shell leaves it.
    let mut variables = good(&folder);
    let with_line_end = folder.file("token2", format!("{}\n", token().to_hex()).as_bytes());
    variables.insert(ENV_AUTH_TOKEN_FILE, with_line_end.into());
    assert!(read(&variables).unwrap().token.matches(&token()));
}

#[test]
fn no_variable_at_all_is_a_start_by_hand() {
    assert_eq!(read(&Variables::new()).unwrap_err(), ConfigError::ByHand);
}

#[test]
fn each_missing_variable_is_named_and_no_other() {
    let folder = Folder::new("missing");
    // Every choice of one to three missing ones.
    for missing in 1..15_usize {
        let mut variables = good(&folder);
        let is_missing = |at: usize| missing & (1 << at) != 0;
        for (at, name) in ENV_CONTRACT.iter().enumerate() {
            if is_missing(at) {
                variables.remove(name);
            }
        }
        let text = read(&variables).unwrap_err().to_string();
        for (at, name) in ENV_CONTRACT.iter().enumerate() {
            assert_eq!(text.contains(&format!("{name} is not set")), is_missing(at), "{text}");
        }
    }
}

#[test]
fn each_malformed_variable_is_named_with_what_is_wrong() {
    let folder = Folder::new("malformed");
    let path = |name: &str| folder.0.join(name).into_os_string();
    let token_file = |name: &str, content: &[u8]| folder.file(name, content).into_os_string();
    let hex = token().to_hex();
    let not_utf8 = || OsString::from_vec(vec![b'/', 0xff]);
    let cases: Vec<(&'static str, OsString, &str)> = vec![
        (ENV_PLUGIN_SOCKET, "".into(), "not an absolute path"),
        (ENV_PLUGIN_SOCKET, "p.sock".into(), "not an absolute path"),
        (ENV_PLUGIN_SOCKET, format!("/{}", "x".repeat(107)).into(), "path of 108 bytes, at most 107"),
        (ENV_PLUGIN_ID, "".into(), "is empty"),
        (ENV_PLUGIN_ID, "..".into(), "name folders"),
        (ENV_PLUGIN_ID, "a/b".into(), "contains '/'"),
        (ENV_PLUGIN_ID, "x".repeat(65).into(), "has 65 bytes"),
        (ENV_PLUGIN_ID, not_utf8(), "is not UTF-8"),
        (ENV_PLUGIN_GENERATION, "".into(), "not a whole number"),
        (ENV_PLUGIN_GENERATION, "0".into(), "not a whole number"),
        (ENV_PLUGIN_GENERATION, "-1".into(), "not a whole number"),
        (ENV_PLUGIN_GENERATION, "1.5".into(), "not a whole number"),
        (ENV_PLUGIN_GENERATION, " 1".into(), "not a whole number"),
        (ENV_PLUGIN_GENERATION, "99999999999999999999".into(), "not a whole number"),
        (ENV_PLUGIN_GENERATION, not_utf8(), "is not UTF-8"),
        (ENV_AUTH_TOKEN_FILE, "token".into(), "not an absolute path"),
        (ENV_AUTH_TOKEN_FILE, path("absent"), "cannot be read: No such file"),
        (ENV_AUTH_TOKEN_FILE, folder.0.clone().into_os_string(), "cannot be read: Is a directory"),
        (ENV_AUTH_TOKEN_FILE, token_file("empty", b""), "not 64 lower-case"),
        (ENV_AUTH_TOKEN_FILE, token_file("short", &hex.as_bytes()[1..]), "not 64 lower-case"),
        (ENV_AUTH_TOKEN_FILE, token_file("long", format!("{hex}0").as_bytes()), "not 64 lower-case"),
        (ENV_AUTH_TOKEN_FILE, token_file("lines", format!("{hex}\n\n").as_bytes()), "not 64 lower-case"),
        (ENV_AUTH_TOKEN_FILE, token_file("upper", hex.to_uppercase().as_bytes()), "not 64 lower-case"),
        (ENV_AUTH_TOKEN_FILE, token_file("bytes", &[0xff; 64]), "not 64 lower-case"),
        (ENV_AUTH_TOKEN_FILE, "/dev/zero".into(), "not 64 lower-case"),
    ];
    for (name, value, expected) in cases {
        let mut variables = good(&folder);
        variables.insert(name, value.clone());
        let error = read(&variables).unwrap_err();
        let ConfigError::Variables(faults) = &error else { panic!("{value:?}: {error}") };
        assert_eq!(faults.len(), 1, "{faults:?}");
        assert!(faults[0].starts_with(name) && faults[0].contains(expected), "{value:?}: {faults:?}");
        assert!(!faults[0].contains(&hex[1..]), "a token is never shown: {faults:?}");
    }
}

#[test]
fn all_faults_are_named_at_once() {
    let variables = BTreeMap::from([(ENV_PLUGIN_ID, OsString::from("..")), (ENV_PLUGIN_SOCKET, "s".into())]);
    let text = Error::from(read(&variables).unwrap_err()).to_string();
    for name in ENV_CONTRACT {
        assert_eq!(text.matches(name).count(), 1, "{text}");
    }
}

fn config_for(folder: &Folder, socket: &Path, host_pid: u32) -> Config {
    let mut config = read(&good(folder)).unwrap();
    config.channel = Channel::Socket(socket.to_owned());
    config.host_pid = host_pid;
    config
}

#[test]
fn only_the_process_that_launched_the_plugin_is_its_host() {
    let folder = Folder::new("peer");
    let socket = folder.0.join("p.sock");
    let listener = UnixListener::bind(&socket).unwrap();
    let me = std::process::id();
    config_for(&folder, &socket, me).connect().unwrap();
    let (mut accepted, _) = listener.accept().unwrap();
    assert_eq!(accepted.read(&mut [0]).unwrap(), 0);
    let error = config_for(&folder, &socket, me + 1).connect().unwrap_err();
    assert_eq!(error.exit_code(), 77);
    assert!(error.to_string().contains(&format!("process {me}, not to process {}", me + 1)), "{error}");
    let (mut accepted, _) = listener.accept().unwrap();
    assert_eq!(accepted.read(&mut [0]).unwrap(), 0, "a stranger is sent nothing");
}

#[test]
fn a_socket_that_cannot_be_reached_is_named() {
    let folder = Folder::new("absent");
    let socket = folder.0.join("p.sock");
    let error = config_for(&folder, &socket, 1).connect().unwrap_err();
    assert_eq!(error.exit_code(), 69);
    assert!(error.to_string().contains("p.sock: "), "{error}");
}

#[test]
fn a_host_that_accepts_nobody_is_given_up() {
    use nix::sys::socket::{AddressFamily, Backlog, SockFlag, SockType, UnixAddr, bind, listen, socket};
    use std::os::fd::AsRawFd;
    let folder = Folder::new("backlog");
    let path = folder.0.join("p.sock");
    let listener = socket(AddressFamily::Unix, SockType::Stream, SockFlag::SOCK_CLOEXEC, None).unwrap();
    bind(listener.as_raw_fd(), &UnixAddr::new(&path).unwrap()).unwrap();
    listen(&listener, Backlog::new(0).unwrap()).unwrap();
    let mut config = config_for(&folder, &path, std::process::id());
    config.hello_timeout = std::time::Duration::from_millis(20);
    let mut connected = Vec::new();
    let error = loop {
        match config.connect() {
            Ok(connection) => connected.push(connection),
            Err(error) => break error,
        }
        assert!(connected.len() < 100, "the backlog has no end");
    };
    assert!(matches!(error, Error::Connect { .. }), "{error}");
}
