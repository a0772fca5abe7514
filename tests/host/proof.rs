//! Attacks on the proof of identity (protocol section 3), on a live host: strangers at the socket, wrong
//! and replayed tokens, hellos that lie, break off or never end; and where the token must never be.
//!
//! The rules themselves are tested with the session's machine; here real processes attack.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::indexing_slicing)]

use crate::fixtures::child;
use crate::fixtures::raw::Raw;
use crate::fixtures::world::{SOON, World, eventually, next_event, patient};
use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use rpc_plugin_system::host::{CallError, RestartPolicy};
use rpc_plugin_system::host::{EventStream, Host, LifecycleEvent, PluginConfig, PluginHandle, Policy};
use rpc_plugin_wire::event::EventKind;
use rpc_plugin_wire::handshake::Hello;
use rpc_plugin_wire::life::PluginState;
use rpc_plugin_wire::{ErrorCode, Generation, Token};
use serde_json::{Value, json};
use std::io::{Read, Write};
use std::os::fd::AsFd;
use std::os::unix::fs::{FileTypeExt, PermissionsExt};
use std::os::unix::net::UnixStream;
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::time::Duration;

/// A plugin that does nothing until it is let go, and then proves itself as it should.
struct Waiting<'a> {
    world: &'a World,
    host: Host,
    plugin: PluginHandle,
    events: EventStream,
    pid: u32,
}

impl Waiting<'_> {
    fn new(world: &World) -> Waiting<'_> {
        let host = world.host();
        let events = host.subscribe(1000).unwrap();
        let folder = world.path().display();
        world.program("echo");
        let script = world.script(
            "waits",
            &format!("#!/bin/sh\nwhile [ ! -e {folder}/go ]; do sleep 0.02; done\nexec {folder}/echo\n"),
        );
        let policy = Policy { connect_timeout: Duration::from_secs(60), ..patient() };
        let plugin = host.add(PluginConfig::new("waits".parse().unwrap(), script).policy(policy)).unwrap();
        plugin.start().unwrap();
        let pid = next_event(&events, EventKind::Launched).note.pid.unwrap();
        Waiting { world, host, plugin, events, pid }
    }

    fn folder(&self) -> PathBuf {
        self.host.runtime_dir().join("waits")
    }

    fn let_go(&self) {
        std::fs::write(self.world.path().join("go"), "").unwrap();
        let status = self.plugin.wait_routable(None, SOON).unwrap();
        assert_eq!(
            (status.generation, status.pid),
            (Some(Generation::FIRST), Some(self.pid)),
            "the same generation"
        );
    }

    /// What the host says to a stranger: nothing.
    fn is_refused(&self, mut stranger: UnixStream) -> LifecycleEvent {
        stranger.set_read_timeout(Some(SOON)).unwrap();
        let mut said = Vec::new();
        // ECONNRESET where bytes of ours were never read.
        let _ = stranger.read_to_end(&mut said);
        assert_eq!(String::from_utf8_lossy(&said), "");
        let event = next_event(&self.events, EventKind::ConnectionRefused);
        let status = self.plugin.status().unwrap();
        assert_eq!((status.state, status.pid), (PluginState::Starting, Some(self.pid)));
        event
    }
}

fn mode(path: &Path) -> u32 {
    path.symlink_metadata().unwrap().permissions().mode() & 0o7777
}

#[test]
fn another_process_of_the_same_user_is_refused_and_the_right_one_still_awaited() {
    let world = World::new();
    let waiting = Waiting::new(&world);
    let socket = waiting.folder().join("waits.sock");
    let event = waiting.is_refused(UnixStream::connect(&socket).unwrap());
    let (error, own) = (event.note.error.unwrap(), std::process::id());
    assert!(error.contains(&format!("expected process {} of user", waiting.pid)), "{error}");
    assert!(error.contains(&format!("seen process {own} of user")), "{error}");

    // Not even with the right token, which this process may read as the same user.
    let token = std::fs::read_to_string(waiting.folder().join("token.1")).unwrap();
    let hello = Hello {
        token: Token::from_hex(&token).unwrap(),
        plugin_id: "waits".parse().unwrap(),
        generation: Generation::FIRST,
        protocols: vec![1],
        version: "1".to_owned(),
        sdk: String::new(),
        capabilities: vec!["echo".to_owned()],
        interfaces: Default::default(),
        features: Vec::new(),
    };
    let hello = json!({"jsonrpc": "2.0", "id": 1, "method": "host.hello", "params": hello});
    let mut stranger = UnixStream::connect(&socket).unwrap();
    // The host may have closed it already.
    let _ = stranger.write_all(format!("{hello}\n").as_bytes());
    waiting.is_refused(stranger);
    waiting.let_go();
}

#[test]
fn many_strangers_fill_neither_the_record_nor_the_way() {
    let world = World::new();
    let waiting = Waiting::new(&world);
    let socket = waiting.folder().join("waits.sock");
    for _ in 0..200 {
        // With a full backlog this waits until the host has refused others.
        let mut stranger = UnixStream::connect(&socket).unwrap();
        stranger.set_read_timeout(Some(SOON)).unwrap();
        assert_eq!(stranger.read(&mut [0]).unwrap(), 0);
    }
    waiting.let_go();
    waiting.host.shutdown();
    let noted = world.record("waits").matches("\"connection_refused\"").count();
    assert_eq!(noted, 16, "further ones are only refused");
}

/// The process that the next test starts as another user.
pub(crate) fn connect_as_somebody_else() {
    let socket = std::env::var_os("CONNECT_TO").expect("the next test says where");
    match UnixStream::connect(socket) {
        Err(error) => println!("\nfailed: {:?}", error.kind()),
        Ok(mut stream) => {
            stream.set_read_timeout(Some(SOON)).unwrap();
            println!("\nread: {:?}", stream.read(&mut [0]).unwrap());
        }
    }
}

#[test]
fn another_user_cannot_reach_the_socket_and_is_refused_where_the_folder_was_opened() {
    if !nix::unistd::geteuid().is_root() {
        // Only root can start a process as somebody else.
        return;
    }
    let world = World::new();
    let waiting = Waiting::new(&world);
    let chmod = |path: &Path, mode| std::fs::set_permissions(path, PermissionsExt::from_mode(mode)).unwrap();
    let copy = child::copy(&world);
    chmod(&copy, 0o755);
    chmod(world.path(), 0o711);
    let socket = waiting.folder().join("waits.sock");
    let somebody = || {
        let mut command = child::start(&copy, "connect_as_somebody_else");
        let output = command.env("CONNECT_TO", &socket).uid(65_534).gid(65_534).output().unwrap();
        String::from_utf8(output.stdout).unwrap()
    };
    assert_eq!((mode(waiting.host.runtime_dir()), mode(&waiting.folder())), (0o700, 0o700));
    let said = somebody();
    assert!(said.contains("\nfailed: PermissionDenied\n"), "{said}");

    chmod(waiting.host.runtime_dir(), 0o711);
    chmod(&waiting.folder(), 0o711);
    let said = somebody();
    assert!(said.contains("\nfailed: PermissionDenied\n"), "the socket itself is 0600: {said}");
    chmod(&socket, 0o666);
    let said = somebody();
    assert!(said.contains("\nread: 0\n"), "{said}");
    let error = next_event(&waiting.events, EventKind::ConnectionRefused).note.error.unwrap();
    assert!(error.contains("of user 0, seen process") && error.ends_with("of user 65534"), "{error}");
    waiting.let_go();
}

#[test]
fn token_and_socket_are_private_and_gone_once_they_have_served() {
    let world = World::new();
    let waiting = Waiting::new(&world);
    let (socket, token) = (waiting.folder().join("waits.sock"), waiting.folder().join("token.1"));
    assert!(socket.symlink_metadata().unwrap().file_type().is_socket());
    assert_eq!((mode(&socket), mode(&token), mode(&waiting.folder())), (0o600, 0o600, 0o700));
    assert_eq!(std::fs::read_to_string(&token).unwrap().len(), 64, "32 bytes in hexadecimal digits");
    waiting.let_go();
    assert!(!socket.exists() && !token.exists());
    let _: Value = waiting.plugin.call("echo", &json!({})).unwrap();
}

/// A plugin in one mode of the failure plugin, tried once.
fn failing(world: &World, host: &Host, mode: &str, policy: Policy) -> PluginHandle {
    world.failure(host, mode, Policy { restart: RestartPolicy::Never, ..policy })
}

#[test]
fn a_hello_that_proves_nothing_ends_the_generation_with_what_is_wrong() {
    let short = Policy { hello_timeout: Duration::from_millis(300), ..patient() };
    let table: [(&str, Option<EventKind>, &str); 9] = [
        ("wrong-token", Some(EventKind::AuthenticationFailed), "the token is not the one of this generation"),
        ("wrong-id", Some(EventKind::AuthenticationFailed), "says it is plugin \"another\", launched was"),
        (
            "wrong-generation",
            Some(EventKind::AuthenticationFailed),
            "says it is generation 2, launched was 1",
        ),
        (
            "call-before-hello",
            Some(EventKind::AuthenticationFailed),
            "the first frame is a request of \"host.log\", not host.hello",
        ),
        ("garbled-hello", Some(EventKind::AuthenticationFailed), "the proof of identity failed: "),
        (
            "huge-hello",
            Some(EventKind::AuthenticationFailed),
            "a frame is longer than the 16384 bytes allowed",
        ),
        ("wrong-protocol", Some(EventKind::AuthenticationFailed), "no protocol version in common"),
        ("half-hello", None, "it connected, but a whole host.hello did not come within 300ms"),
        ("silent", None, "it connected, but a whole host.hello did not come within 300ms"),
    ];
    for (mode, kind, expected) in table {
        let world = World::new();
        let host = world.host();
        let policy = if kind.is_some() { patient() } else { short.clone() };
        let plugin = failing(&world, &host, mode, policy);
        plugin.start().unwrap();
        let status = plugin.wait_for(PluginState::Failed, SOON).unwrap();
        let error = status.last_error.unwrap();
        assert!(error.contains(expected), "{mode}: {error}");
        host.shutdown();
        let record = world.record("failure");
        assert!(!record.contains("\"authenticated\""), "{mode}: {record}");
        assert_eq!(record.matches("\"connected\"").count(), 1, "{mode}: {record}");
        if let Some(kind) = kind {
            assert!(record.contains(&format!("\"{kind}\"")), "{mode}: {record}");
        }
    }
}

#[test]
fn silence_is_waited_for_as_long_as_configured_and_no_longer() {
    let world = World::new();
    let host = world.host();
    let events = host.subscribe(1000).unwrap();
    let timeout = Duration::from_millis(700);
    let policy = Policy { hello_timeout: timeout, ..patient() };
    let plugin = failing(&world, &host, "half-hello", policy);
    plugin.start().unwrap();
    let connected = next_event(&events, EventKind::Connected).at;
    // With a broken proof there is nobody to ask to end: the ladder begins with SIGTERM.
    let ended = next_event(&events, EventKind::SignalSent);
    let waited = ended.at.duration_since(connected).unwrap();
    // An event has the time of its recording, which comes after that of its cause, and on a busy machine long after.
    assert!(waited >= timeout / 2, "{waited:?}");
    assert!(ended.note.reason.unwrap().contains("did not come within 700ms"));
    plugin.wait_for(PluginState::Failed, SOON).unwrap();
}

/// Says a hello without a token, a while later reads what came, and prints it.
pub(crate) fn says_why_it_is_refused() {
    let mut raw = Raw::connect();
    raw.say(json!({"id": 7, "method": "host.hello", "params": {}}));
    // Until the host has closed the connection. What came before that is still there.
    let mut polled = [PollFd::new(raw.connection.as_fd(), PollFlags::POLLHUP)];
    poll(&mut polled, PollTimeout::NONE).unwrap();
    println!("read: {}", raw.next().unwrap());
}

#[test]
fn a_refused_plugin_reads_why_and_ends_by_itself_before_it_is_signalled() {
    let world = World::new();
    let host = world.host();
    let events = host.subscribe(1000).unwrap();
    let policy = Policy { restart: RestartPolicy::Never, ..patient() };
    let config = child::plugin(&world, "refused", "says_why_it_is_refused");
    let plugin = host.add(config.policy(policy)).unwrap();
    plugin.start().unwrap();
    let failed = next_event(&events, EventKind::AuthenticationFailed);
    let ended = next_event(&events, EventKind::Exited);
    let status = plugin.wait_for(PluginState::Failed, SOON).unwrap();
    assert!(status.last_error.unwrap().contains("the proof of identity failed"), "{failed:?}");
    host.shutdown();
    let record = world.record("refused");
    assert!(record.contains("read: {") && record.contains("-32001"), "{record}");
    assert!(record.contains("host.hello has invalid params"), "{record}");
    // On a machine that gave it no time in 500 ms it is signalled, once it could have read.
    let waited = ended.at.duration_since(failed.at).unwrap();
    assert!(!record.contains("signal_sent") || waited >= Duration::from_millis(490), "{waited:?}: {record}");
}

/// Says its token in a hello with a comma too many.
pub(crate) fn says_a_broken_hello() {
    let mut raw = Raw::connect();
    let token = raw.config.token.to_hex();
    let hello = format!(
        "{{\"params\":{{\"token\":\"{token}\",}},\"jsonrpc\":\"2.0\",\"id\":7,\"method\":\"host.hello\"}}\n"
    );
    raw.send(hello.as_bytes(), &[]);
    println!("read: {}", raw.next().unwrap());
}

#[test]
fn a_broken_hello_is_shown_to_its_author_and_its_token_to_nobody() {
    let world = World::new();
    let host = world.host();
    let policy = Policy { restart: RestartPolicy::Never, ..patient() };
    let plugin = host.add(child::plugin(&world, "broken", "says_a_broken_hello").policy(policy)).unwrap();
    plugin.start().unwrap();
    let error = plugin.wait_for(PluginState::Failed, SOON).unwrap().last_error.unwrap();
    host.shutdown();
    let what = "the frame does not parse: a member's name is not a string in quotes (column 87)";
    assert!(error.contains(&format!("{what}; it begins `{{\"params\":{{\"token`…")), "{error}");
    let record = world.record("broken");
    assert!(record.contains("read: {") && record.contains("is not a string in quotes"), "{record}");
    assert!(record.matches("it begins").count() >= 2, "{record}");
    for shown in record.split("it begins").skip(1) {
        assert!(shown.split('…').next().unwrap().ends_with("token`"), "{shown}");
    }
}

#[test]
fn one_connection_and_one_hello_is_all_that_a_generation_has() {
    let world = World::new();
    let host = world.host();
    let plugin = failing(&world, &host, "replayed-token", patient());
    plugin.start().unwrap();
    let status = plugin.wait_for(PluginState::Failed, SOON).unwrap();
    let error = status.last_error.unwrap();
    assert!(error.contains("a second host.hello"), "{error}");
    host.shutdown();
    let record = world.record("failure");
    assert_eq!(record.matches("\"authenticated\"").count(), 1, "{record}");
    assert!(record.contains("\"protocol_violation\""), "{record}");
}

#[test]
fn nobody_can_connect_once_a_connection_was_taken() {
    let world = World::new();
    let host = world.host();
    let events = host.subscribe(1000).unwrap();
    let policy = Policy { hello_timeout: Duration::from_secs(60), ..patient() };
    let plugin = failing(&world, &host, "silent", policy);
    let socket = host.runtime_dir().join("failure/failure.sock");
    plugin.start().unwrap();
    next_event(&events, EventKind::Connected);
    // The listener goes in the same turn of the loop, which is over when this is answered.
    assert_eq!(plugin.status().unwrap().state, PluginState::Starting);
    let error = UnixStream::connect(&socket).unwrap_err();
    assert_eq!(error.kind(), std::io::ErrorKind::NotFound);
    assert!(host.runtime_dir().join("failure/token.1").exists(), "the token has not served yet");
}

/// A script that keeps a copy of the first token, and from the second generation on shows that one.
fn keeps_its_token(world: &World) -> PathBuf {
    world.program("failure");
    let folder = world.path().display();
    let text = format!(
        "#!/bin/sh\nif [ -e {folder}/kept ]; then RPC_PLUGIN_SYSTEM_AUTH_TOKEN_FILE={folder}/kept\n\
         else cp \"$RPC_PLUGIN_SYSTEM_AUTH_TOKEN_FILE\" {folder}/kept; fi\n\
         export RPC_PLUGIN_SYSTEM_AUTH_TOKEN_FILE\nexec {folder}/failure\n"
    );
    world.script("keeps", &text)
}

#[test]
fn a_spent_token_of_an_earlier_generation_proves_nothing() {
    let world = World::new();
    let host = world.host();
    let config = PluginConfig::new("keeps".parse().unwrap(), keeps_its_token(&world));
    let policy = Policy { restart: RestartPolicy::Never, ..patient() };
    let plugin = host.add(config.policy(policy)).unwrap();
    plugin.start().unwrap();
    plugin.wait_routable(None, SOON).unwrap();
    plugin.restart().unwrap();
    let status = plugin.wait_for(PluginState::Failed, SOON).unwrap();
    let error = status.last_error.unwrap();
    assert!(error.contains("the token is not the one of this generation"), "{error}");
}

#[test]
fn a_generation_is_never_used_twice_also_not_by_the_next_host() {
    let world = World::new();
    let policy = Policy { restarts_max: 2, ..patient() };
    let host = world.host();
    let plugin = world.failure(&host, "reject-hello", policy.clone());
    plugin.start().unwrap();
    let failed = plugin.wait_for(PluginState::Failed, SOON).unwrap();
    assert_eq!(failed.generation.map(Generation::get), Some(3), "one launch and two replacements");
    drop(plugin);
    drop(host);
    let host = world.host();
    let plugin = world.failure(&host, "none", policy);
    assert_eq!(plugin.status().unwrap().generation, failed.generation, "it knows the last one");
    plugin.start().unwrap();
    assert_eq!(plugin.wait_routable(None, SOON).unwrap().generation.map(Generation::get), Some(4));
    host.shutdown();
    let record = world.record("failure");
    for generation in 1..=4 {
        let prepared =
            format!("\"launch_prepared\",\"plugin_id\":\"failure\",\"generation_id\":{generation},");
        assert_eq!(record.matches(&prepared).count(), 1, "{prepared}: {record}");
    }
}

fn everything_below(folder: &Path, found: &mut Vec<(PathBuf, Vec<u8>)>) {
    for entry in std::fs::read_dir(folder).unwrap().map(Result::unwrap) {
        let kind = entry.file_type().unwrap();
        if kind.is_dir() {
            everything_below(&entry.path(), found);
        } else if kind.is_file() {
            found.push((entry.path(), std::fs::read(entry.path()).unwrap()));
        }
    }
}

/// For an honest plugin, and for those whose real token is in a hello that fails.
#[test]
fn the_token_is_nowhere_but_in_its_file() {
    let short = Policy { hello_timeout: Duration::from_millis(300), ..patient() };
    for mode in [
        "none",
        "wrong-id",
        "wrong-generation",
        "wrong-protocol",
        "hello-malformed-capabilities",
        "half-hello",
    ] {
        let world = World::new();
        let host = world.host();
        let events = host.subscribe(1000).unwrap();
        let config = PluginConfig::new("keeps".parse().unwrap(), keeps_its_token(&world));
        let policy = if mode == "half-hello" { short.clone() } else { patient() };
        let policy = Policy { restart: RestartPolicy::Never, ..policy };
        let plugin = host.add(config.env("FAILURE_MODE", mode).policy(policy)).unwrap();
        plugin.start().unwrap();
        let pid = next_event(&events, EventKind::Connected).note.pid.unwrap();
        let mut seen: Vec<(PathBuf, Vec<u8>)> = ["cmdline", "environ"]
            .map(|name| PathBuf::from(format!("/proc/{pid}/{name}")))
            .map(|path| (path.clone(), std::fs::read(&path).unwrap_or_default()))
            .to_vec();
        let status = match mode {
            "none" => plugin.wait_routable(None, SOON).unwrap(),
            _ => plugin.wait_for(PluginState::Failed, SOON).unwrap(),
        };
        seen.push(("the status".into(), format!("{status:?}").into_bytes()));
        let token = std::fs::read_to_string(world.path().join("kept")).unwrap();
        assert_eq!(token.len(), 64);
        if mode == "none" {
            let error: CallError = plugin.call::<_, Value>("nothing", &json!({})).unwrap_err();
            assert_eq!(error.code, ErrorCode::MethodNotFound);
            assert!(seen.iter().take(2).all(|(_, bytes)| !bytes.is_empty()), "the process was looked at");
        }
        host.shutdown();
        everything_below(host.runtime_dir(), &mut seen);
        assert!(seen.len() >= 6, "status, two of the process, record, lock, generation: {seen:?}");
        for (path, bytes) in &seen {
            let found = bytes.windows(token.len()).any(|window| window == token.as_bytes());
            assert!(!found, "{mode}: the token is in {}", path.display());
        }
        let recorded = eventually("the record is there", || {
            Some(world.record("keeps")).filter(|record| record.contains("\"exited\""))
        });
        assert!(!recorded.contains(&token));
    }
}
