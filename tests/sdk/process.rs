//! A plugin as a process of its own, launched as a host launches it; `process/program.rs` is the program.
#![allow(missing_docs, clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::indexing_slicing)]

use crate::fake_host::{HELLO_ANSWER, PATIENCE};
use crate::fixtures::child::alone;
use crate::fixtures::world::built;
use rpc_plugin_wire::handshake::{
    ENV_AUTH_TOKEN_FILE, ENV_HOST_PID, ENV_PLUGIN_GENERATION, ENV_PLUGIN_ID, ENV_PLUGIN_SOCKET,
};
use std::io::{BufRead, BufReader, Read, Write};
use std::os::unix::net::{UnixListener, UnixStream};
use std::path::PathBuf;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

/// The program.
fn program() -> PathBuf {
    built("test-plugin")
}

/// A runtime folder with a listener and a token.
struct House {
    folder: PathBuf,
    listener: UnixListener,
}

impl House {
    fn new() -> House {
        let folder = tempfile::Builder::new().prefix("rps-").tempdir().unwrap().keep();
        std::fs::write(folder.join("token"), "5a".repeat(32)).unwrap();
        let listener = UnixListener::bind(folder.join("s")).unwrap();
        House { folder, listener }
    }

    fn command(&self) -> Command {
        let mut command = Command::new(program());
        self.environment(&mut command);
        command
    }

    fn environment(&self, command: &mut Command) {
        command.env_clear().stdin(Stdio::null()).stderr(Stdio::piped());
        command.env(ENV_PLUGIN_SOCKET, self.folder.join("s")).env(ENV_PLUGIN_ID, "p");
        command.env(ENV_PLUGIN_GENERATION, "1").env(ENV_AUTH_TOKEN_FILE, self.folder.join("token"));
    }

    /// Launches the plugin and reads its hello.
    fn launch(&self) -> (Child, BufReader<UnixStream>) {
        let child = self.command().spawn().unwrap();
        let (stream, _) = self.listener.accept().unwrap();
        stream.set_read_timeout(Some(PATIENCE)).unwrap();
        let mut reader = BufReader::new(stream);
        let mut hello = String::new();
        reader.read_line(&mut hello).unwrap();
        assert!(hello.contains(&"5a".repeat(32)), "{hello}");
        (child, reader)
    }
}

impl Drop for House {
    fn drop(&mut self) {
        let _ = std::fs::remove_dir_all(&self.folder);
    }
}

/// Waits for the end; exit code and stderr.
fn ended(mut child: Child) -> (i32, String) {
    let deadline = Instant::now() + PATIENCE;
    let status = loop {
        if let Some(status) = child.try_wait().unwrap() {
            break status;
        }
        if Instant::now() > deadline {
            child.kill().unwrap();
            panic!("the plugin did not end");
        }
        std::thread::sleep(Duration::from_millis(2));
    };
    let mut stderr = String::new();
    if let Some(mut pipe) = child.stderr.take() {
        pipe.read_to_string(&mut stderr).unwrap();
    }
    (status.code().expect("it was killed"), stderr)
}

fn send(reader: &mut BufReader<UnixStream>, line: &str) {
    reader.get_mut().write_all(format!("{line}\n").as_bytes()).unwrap();
}

#[test]
fn started_by_hand_it_says_what_it_is() {
    let house = &House::new();
    let mut command = house.command();
    command.env_clear();
    let (code, stderr) = ended(command.spawn().unwrap());
    assert_eq!(code, 64);
    let name = program();
    let (name, path) = (name.file_name().unwrap().to_str().unwrap().to_owned(), name.display().to_string());
    let parts = [
        format!("{name} 1.2.3 is a plugin of rpc_plugin_system"),
        "methods big, block, echo, fail, panic, print, stuck".to_owned(),
        format!("rpcplugind --plugin {name}={path}"),
    ];
    for part in parts {
        assert!(stderr.contains(&part), "{part:?} is not in {stderr:?}");
    }
}

#[test]
fn an_incomplete_environment_is_named() {
    let house = &House::new();
    let mut command = house.command();
    command.env_remove(ENV_PLUGIN_SOCKET).env(ENV_PLUGIN_GENERATION, "\u{1b}[2J");
    let (code, stderr) = ended(command.spawn().unwrap());
    assert_eq!(code, 78);
    assert!(stderr.contains("PLUGIN_SOCKET is not set") && stderr.contains("GENERATION"), "{stderr}");
    assert!(!stderr.contains('\u{1b}'), "control characters are escaped");
}

#[test]
fn a_host_that_rejects_is_named() {
    let house = &House::new();
    let (child, mut reader) = house.launch();
    send(&mut reader, r#"{"jsonrpc":"2.0","id":1,"error":{"code":-32001,"message":"no \u001b[1m"}}"#);
    let (code, stderr) = ended(child);
    assert_eq!(code, 77);
    assert!(stderr.contains("rejected") && stderr.contains("not_authenticated"), "{stderr}");
    assert!(!stderr.contains('\u{1b}'), "control characters are escaped");
}

#[test]
fn a_host_that_breaks_the_protocol_is_named() {
    let house = &House::new();
    let (child, mut reader) = house.launch();
    send(&mut reader, HELLO_ANSWER);
    send(&mut reader, "nonsense");
    let (code, stderr) = ended(child);
    assert_eq!(code, 76);
    assert!(stderr.contains("broke the protocol"), "{stderr}");
}

#[test]
fn shutdown_ends_it_with_0() {
    let house = &House::new();
    let (child, mut reader) = house.launch();
    send(&mut reader, HELLO_ANSWER);
    send(&mut reader, r#"{"jsonrpc":"2.0","id":7,"method":"plugin.shutdown"}"#);
    let mut rest = String::new();
    reader.read_to_string(&mut rest).unwrap();
    assert_eq!(rest, "{\"jsonrpc\":\"2.0\",\"id\":7,\"result\":{}}\n");
    assert_eq!(ended(child), (0, String::new()));
    let record = std::fs::read_to_string(house.folder.join("plugin-events.jsonl")).unwrap();
    assert!(record.contains("\"booted\"") && record.contains("\"stopped\""), "{record}");
    assert!(!record.contains("5a5a"), "the token is not on record");
}

#[test]
fn a_record_of_its_own_that_cannot_be_kept_is_told_once() {
    let house = &House::new();
    // Not writable for anybody, root included.
    std::fs::create_dir(house.folder.join("plugin-events.jsonl")).unwrap();
    let (child, mut reader) = house.launch();
    send(&mut reader, HELLO_ANSWER);
    let mut line = String::new();
    for id in 0..100 {
        send(&mut reader, &format!(r#"{{"jsonrpc":"2.0","id":{id},"method":"fail"}}"#));
        line.clear();
        reader.read_line(&mut line).unwrap();
    }
    send(&mut reader, r#"{"jsonrpc":"2.0","id":7,"method":"plugin.shutdown"}"#);
    let (code, stderr) = ended(child);
    assert_eq!((code, stderr.matches("cannot be written").count()), (0, 1), "{stderr}");
}

/// How often the threads of a process have gone to sleep, together.
fn sleeps(pid: u32) -> u64 {
    let of_task = |status: String| {
        let line =
            status.lines().find_map(|line| line.strip_prefix("voluntary_ctxt_switches:").map(str::trim));
        line.unwrap().parse::<u64>().unwrap()
    };
    let tasks = std::fs::read_dir(format!("/proc/{pid}/task")).unwrap();
    tasks.map(|task| of_task(std::fs::read_to_string(task.unwrap().path().join("status")).unwrap())).sum()
}

#[test]
fn after_a_burst_of_calls_it_is_left_with_nothing_that_wakes_it() {
    let house = &House::new();
    let (child, mut reader) = house.launch();
    send(&mut reader, HELLO_ANSWER);
    let mut line = String::new();
    for id in 0..1000 {
        send(&mut reader, &format!(r#"{{"jsonrpc":"2.0","id":{id},"method":"echo"}}"#));
        line.clear();
        reader.read_line(&mut line).unwrap();
    }
    // A monitor that ticked on would be seen in each of these stretches.
    let deadline = Instant::now() + PATIENCE;
    let mut before = sleeps(child.id());
    loop {
        std::thread::sleep(Duration::from_millis(150));
        let now = sleeps(child.id());
        if now == before {
            break;
        }
        assert!(Instant::now() < deadline, "something goes on waking it");
        before = now;
    }
    send(&mut reader, r#"{"jsonrpc":"2.0","id":7,"method":"plugin.shutdown"}"#);
    assert_eq!(ended(child), (0, String::new()));
}

#[test]
fn it_ends_with_its_host_though_a_handler_is_stuck() {
    let house = &House::new();
    let (mut child, mut reader) = house.launch();
    send(&mut reader, HELLO_ANSWER);
    send(&mut reader, r#"{"jsonrpc":"2.0","id":7,"method":"stuck"}"#);
    let mut line = String::new();
    BufReader::new(child.stderr.take().unwrap()).read_line(&mut line).unwrap();
    assert_eq!(line, "stuck\n");
    drop(reader);
    assert_eq!(ended(child), (0, String::new()));
}

/// A shell between host and plugin is the plugin's parent.
#[test]
fn a_socket_of_another_process_than_the_parent_is_refused() {
    let house = &House::new();
    let mut command = Command::new("/bin/sh");
    house.environment(&mut command);
    command.arg("-c").arg("\"$0\"; exit $?").arg(program());
    let (code, stderr) = ended(command.spawn().unwrap());
    assert_eq!(code, 77, "{stderr}");
    assert!(stderr.contains("the token was not sent"), "{stderr}");
    let (mut stream, _) = house.listener.accept().unwrap();
    assert_eq!(stream.read(&mut [0]).unwrap(), 0);
}

/// So it is when somebody starts it by hand for a host that waits.
#[test]
fn a_socket_of_another_process_that_it_is_told_of_is_taken() {
    let house = &House::new();
    let mut command = Command::new("/bin/sh");
    house.environment(&mut command);
    command.env(ENV_HOST_PID, std::process::id().to_string());
    command.arg("-c").arg("\"$0\"; exit $?").arg(program());
    let child = command.spawn().unwrap();
    let (stream, _) = house.listener.accept().unwrap();
    let mut reader = BufReader::new(stream);
    let mut hello = String::new();
    reader.read_line(&mut hello).unwrap();
    assert!(hello.contains("host.hello"), "{hello}");
    drop(reader);
    assert_eq!(ended(child).0, 69);
}

/// A plugin without any variable of the contract.
fn without_variables() -> Command {
    let mut command = Command::new(program());
    command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
    command
}

fn launch_line() -> String {
    let token = "5a".repeat(32);
    format!(
        "{{\"jsonrpc\":\"2.0\",\"method\":\"rpc.launch\",\"params\":{{\"plugin_id\":\"p\",\"generation\":7,\
         \"token\":\"{token}\"}}}}\n"
    )
}

#[test]
fn over_pipes_and_over_a_socket_its_prints_go_to_stderr() {
    alone(|| {
        let (ours, theirs) = UnixStream::pair().unwrap();
        let (theirs_too, ours_too) = (theirs.try_clone().unwrap(), ours.try_clone().unwrap());
        let mut over_socket = without_variables();
        let theirs: std::os::fd::OwnedFd = theirs.into();
        let theirs_too: std::os::fd::OwnedFd = theirs_too.into();
        let child = over_socket.stdin(theirs).stdout(theirs_too).spawn().unwrap();
        drop(over_socket);
        converse(child, Box::new(ours), Box::new(ours_too));
        let mut child = without_variables().spawn().unwrap();
        let (to, from) = (child.stdin.take().unwrap(), child.stdout.take().unwrap());
        converse(child, Box::new(to), Box::new(from));
    });
}

fn converse(child: Child, mut to: Box<dyn Write>, from: Box<dyn Read>) {
    let mut from = BufReader::new(from);
    let mut line = String::new();
    to.write_all(launch_line().as_bytes()).unwrap();
    from.read_line(&mut line).unwrap();
    assert!(line.contains("\"generation\":7") && line.contains(&"5a".repeat(32)), "{line}");
    to.write_all(format!("{HELLO_ANSWER}\n").as_bytes()).unwrap();
    let large = "x".repeat(60_000);
    to.write_all(
        format!("{{\"jsonrpc\":\"2.0\",\"id\":1,\"method\":\"echo\",\"params\":{{\"a\":\"{large}\"}}}}\n")
            .as_bytes(),
    )
    .unwrap();
    line.clear();
    from.read_line(&mut line).unwrap();
    assert!(line.contains(&large), "{}", line.len());
    to.write_all(b"{\"jsonrpc\":\"2.0\",\"id\":2,\"method\":\"print\"}\n").unwrap();
    line.clear();
    from.read_line(&mut line).unwrap();
    assert_eq!(line, "{\"jsonrpc\":\"2.0\",\"id\":2,\"result\":1}\n");
    to.write_all(b"{\"jsonrpc\":\"2.0\",\"id\":3,\"method\":\"plugin.shutdown\"}\n").unwrap();
    // The last words come through, and then the end.
    let mut rest = String::new();
    from.read_to_string(&mut rest).unwrap();
    assert_eq!(rest, "{\"jsonrpc\":\"2.0\",\"id\":3,\"result\":{}}\n");
    let (code, stderr) = ended(child);
    assert_eq!(code, 0, "{stderr}");
    // The same as in a program that this test launches itself.
    let mut list = Command::new("/bin/sh");
    list.arg("-c").arg("ls /proc/self/fd").stdin(Stdio::null()).stderr(Stdio::null());
    let list = String::from_utf8(list.output().unwrap().stdout).unwrap();
    assert_eq!(stderr, format!("not the protocol's\n{list}"));
}

#[test]
fn over_pipes_that_bring_nothing_it_was_started_by_hand() {
    let mut child = without_variables().spawn().unwrap();
    drop(child.stdin.take());
    let (code, stderr) = ended(child);
    assert_eq!(code, 64, "{stderr}");
    assert!(stderr.contains("is a plugin of rpc_plugin_system"), "{stderr}");
}

#[test]
fn over_pipes_that_bring_something_else_it_says_so() {
    let mut child = without_variables().spawn().unwrap();
    child.stdin.take().unwrap().write_all(b"hello\n").unwrap();
    let (code, stderr) = ended(child);
    assert_eq!(code, 78, "{stderr}");
    assert!(stderr.contains("the first line on standard input is no rpc.launch"), "{stderr}");
}
