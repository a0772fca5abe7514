//! A plugin as a process of its own, launched as a host launches it. This executable is both: started with
//! [`AS_PLUGIN`] set it is the plugin, otherwise it runs the cases.
//!
//! It has no test harness because a plugin's exit code must come out of `main`.
#![allow(missing_docs, clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::indexing_slicing)]
#![allow(unreachable_pub, dead_code, clippy::print_stdout, clippy::print_stderr)]
#![allow(clippy::type_complexity)]

#[path = "../sdk/fake_host.rs"]
mod fake_host;

use fake_host::{HELLO_ANSWER, PATIENCE, plugin};
use rpc_plugin_sdk::{Call, HandlerError};
use rpc_plugin_wire::handshake::{
    ENV_AUTH_TOKEN_FILE, ENV_HOST_PID, ENV_PLUGIN_GENERATION, ENV_PLUGIN_ID, ENV_PLUGIN_SOCKET,
};
use std::io::{BufRead, BufReader, Read, Write};
use std::os::unix::net::{UnixListener, UnixStream};
use std::path::PathBuf;
use std::process::{Child, Command, ExitCode, Stdio};
use std::time::{Duration, Instant};

/// Makes this executable be the plugin.
const AS_PLUGIN: &str = "SDK_TEST_AS_PLUGIN";

fn main() -> ExitCode {
    if std::env::var_os(AS_PLUGIN).is_some() {
        return plugin()
            .method("print", |_: &Call, (): ()| -> Result<u32, HandlerError> {
                println!("not the protocol's");
                let child = Command::new("/bin/sh").arg("-c").arg("ls /proc/self/fd; cat").status().unwrap();
                Ok(u32::from(child.success()))
            })
            .method("stuck", |_: &Call, (): ()| -> Result<(), HandlerError> {
                eprintln!("stuck");
                loop {
                    std::thread::park();
                }
            })
            .run();
    }
    let cases: [(&str, fn(&House)); 13] = [
        ("started by hand it says what it is", by_hand),
        ("an incomplete environment is named", incomplete),
        ("a host that rejects is named", rejected),
        ("a host that breaks the protocol is named", violation),
        ("shutdown ends it with 0", shutdown),
        ("a record of its own that cannot be kept is told once", no_record),
        ("after a burst of calls it is left with nothing that wakes it", idle),
        ("it ends with its host, though a handler is stuck", host_gone),
        ("a socket of another process than the parent is refused", not_the_parent),
        ("unless that process is the one it is told of", not_the_parent_but_named),
        ("over pipes and over a socket its prints go to stderr", stdio),
        ("over pipes that bring nothing it was started by hand", nothing_on_stdio),
        ("over pipes that bring something else it says so", garbage_on_stdio),
    ];
    for (number, (name, case)) in cases.into_iter().enumerate() {
        case(&House::new(number));
        println!("process: {name} ... ok");
    }
    ExitCode::SUCCESS
}

/// A runtime folder with a listener and a token.
struct House {
    folder: PathBuf,
    listener: UnixListener,
}

impl House {
    fn new(number: usize) -> House {
        let folder = std::env::temp_dir().join(format!("sdk-process-{}-{number}", std::process::id()));
        std::fs::create_dir_all(&folder).unwrap();
        std::fs::write(folder.join("token"), "5a".repeat(32)).unwrap();
        let listener = UnixListener::bind(folder.join("s")).unwrap();
        House { folder, listener }
    }

    fn command(&self) -> Command {
        let mut command = Command::new(std::env::current_exe().unwrap());
        self.environment(&mut command);
        command
    }

    fn environment(&self, command: &mut Command) {
        command.env_clear().env(AS_PLUGIN, "1").stdin(Stdio::null()).stderr(Stdio::piped());
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

fn by_hand(house: &House) {
    let mut command = house.command();
    command.env_clear().env(AS_PLUGIN, "1");
    let (code, stderr) = ended(command.spawn().unwrap());
    assert_eq!(code, 64);
    let name = std::env::current_exe().unwrap();
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

fn incomplete(house: &House) {
    let mut command = house.command();
    command.env_remove(ENV_PLUGIN_SOCKET).env(ENV_PLUGIN_GENERATION, "\u{1b}[2J");
    let (code, stderr) = ended(command.spawn().unwrap());
    assert_eq!(code, 78);
    assert!(stderr.contains("PLUGIN_SOCKET is not set") && stderr.contains("GENERATION"), "{stderr}");
    assert!(!stderr.contains('\u{1b}'), "control characters are escaped");
}

fn rejected(house: &House) {
    let (child, mut reader) = house.launch();
    send(&mut reader, r#"{"jsonrpc":"2.0","id":1,"error":{"code":-32001,"message":"no \u001b[1m"}}"#);
    let (code, stderr) = ended(child);
    assert_eq!(code, 77);
    assert!(stderr.contains("rejected") && stderr.contains("not_authenticated"), "{stderr}");
    assert!(!stderr.contains('\u{1b}'), "control characters are escaped");
}

fn violation(house: &House) {
    let (child, mut reader) = house.launch();
    send(&mut reader, HELLO_ANSWER);
    send(&mut reader, "nonsense");
    let (code, stderr) = ended(child);
    assert_eq!(code, 76);
    assert!(stderr.contains("broke the protocol"), "{stderr}");
}

fn shutdown(house: &House) {
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

fn no_record(house: &House) {
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

fn idle(house: &House) {
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

fn host_gone(house: &House) {
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
fn not_the_parent(house: &House) {
    let mut command = Command::new("/bin/sh");
    house.environment(&mut command);
    command.arg("-c").arg("\"$0\"; exit $?").arg(std::env::current_exe().unwrap());
    let (code, stderr) = ended(command.spawn().unwrap());
    assert_eq!(code, 77, "{stderr}");
    assert!(stderr.contains("the token was not sent"), "{stderr}");
    let (mut stream, _) = house.listener.accept().unwrap();
    assert_eq!(stream.read(&mut [0]).unwrap(), 0);
}

/// So it is when somebody starts it by hand for a host that waits.
fn not_the_parent_but_named(house: &House) {
    let mut command = Command::new("/bin/sh");
    house.environment(&mut command);
    command.env(ENV_HOST_PID, std::process::id().to_string());
    command.arg("-c").arg("\"$0\"; exit $?").arg(std::env::current_exe().unwrap());
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
    let mut command = Command::new(std::env::current_exe().unwrap());
    command
        .env_clear()
        .env(AS_PLUGIN, "1")
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped());
    command
}

fn launch_line() -> String {
    let token = "5a".repeat(32);
    format!(
        "{{\"jsonrpc\":\"2.0\",\"method\":\"rpc.launch\",\"params\":{{\"plugin_id\":\"p\",\"generation\":7,\
         \"token\":\"{token}\"}}}}\n"
    )
}

fn stdio(_: &House) {
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

fn nothing_on_stdio(_: &House) {
    let mut child = without_variables().spawn().unwrap();
    drop(child.stdin.take());
    let (code, stderr) = ended(child);
    assert_eq!(code, 64, "{stderr}");
    assert!(stderr.contains("is a plugin of rpc_plugin_system"), "{stderr}");
}

fn garbage_on_stdio(_: &House) {
    let mut child = without_variables().spawn().unwrap();
    child.stdin.take().unwrap().write_all(b"hello\n").unwrap();
    let (code, stderr) = ended(child);
    assert_eq!(code, 78, "{stderr}");
    assert!(stderr.contains("the first line on standard input is no rpc.launch"), "{stderr}");
}
