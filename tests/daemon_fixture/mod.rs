//! What tests of the two programs share: a running `rpcplugind`, `rpcpluginctl` beside it, raw control
//! connections, and looking for what a daemon left behind.
//!
//! What always holds: a daemon that a failing test leaves is killed, and its plugins end with it; every
//! wait has a deadline.
#![allow(
    dead_code,
    unreachable_pub,
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing
)]

use crate::fixture::{SOON, World, built, eventually, is_alive};
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use rpc_plugin_wire::event::{EventKind, Record};
use serde_json::Value;
use std::io::{BufRead, BufReader, ErrorKind, Write};
use std::os::unix::fs::PermissionsExt;
use std::os::unix::net::UnixStream;
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Child, ChildStdout, Command, ExitStatus, Output, Stdio};
use std::time::{Duration, Instant};

/// Settings whose every wait is short.
pub const QUICK: &[&str] = &[
    "--heartbeat-interval=200ms",
    "--heartbeat-timeout=200ms",
    "--heartbeat-misses-max=20",
    "--shutdown-grace=500ms",
    "--term-grace=500ms",
    "--backoff-initial=10ms",
    "--backoff-max=100ms",
];

/// The user that nobody is.
pub const NOBODY: u32 = 65_534;

/// A running daemon.
pub struct Daemon {
    child: Child,
    pub stdout: Option<BufReader<ChildStdout>>,
    pub runtime_dir: PathBuf,
}

impl Daemon {
    /// Starts it with [`QUICK`] settings on the world's runtime folder, and waits until it is ready.
    pub fn start(world: &World, words: &[&str]) -> Daemon {
        let mut command = command(world);
        Daemon::of(command.args(QUICK).args(words), &world.runtime_dir())
    }

    /// Starts a command, and waits until it says that it is ready.
    pub fn of(command: &mut Command, runtime_dir: &Path) -> Daemon {
        command.stdout(Stdio::piped());
        // A child that another test is just launching may still hold the copy of the program open for writing.
        let mut child = eventually("the program can be executed", || match command.spawn() {
            Err(error) if error.kind() == ErrorKind::ExecutableFileBusy => None,
            spawned => Some(spawned.unwrap()),
        });
        let stdout = child.stdout.take().map(BufReader::new);
        let mut daemon = Daemon { child, stdout, runtime_dir: runtime_dir.to_owned() };
        let line = daemon.line();
        assert!(line.contains(": ready, "), "{line:?} is not what a daemon says that is ready");
        daemon
    }

    /// The next line on its standard output.
    pub fn line(&mut self) -> String {
        let mut line = String::new();
        self.stdout.as_mut().unwrap().read_line(&mut line).unwrap();
        line
    }

    pub fn pid(&self) -> u32 {
        self.child.id()
    }

    pub fn signal(&self, signal: Signal) {
        kill(Pid::from_raw(self.child.id() as i32), signal).unwrap();
    }

    /// Waits for its end.
    pub fn ended(&mut self) -> ExitStatus {
        eventually("the daemon ends", || self.child.try_wait().unwrap())
    }

    /// Whether it still runs.
    pub fn runs(&mut self) -> bool {
        self.child.try_wait().unwrap().is_none()
    }

    pub fn ctl(&self, words: &[&str]) -> Ran {
        ctl(&self.runtime_dir, words)
    }

    /// What a command prints with `--json`; it must end well.
    pub fn json(&self, words: &[&str]) -> Value {
        let ran = self.ctl(&[words, &["--json"]].concat());
        assert_eq!(ran.code, 0, "{words:?}: {ran:?}");
        serde_json::from_str(&ran.stdout).unwrap()
    }

    /// Waits until a plugin is in that state, and gives its status.
    pub fn wait_for(&self, id: &str, state: &str) -> Value {
        self.json(&["wait", id, "--for", state, "--timeout", "20s"])
    }

    /// Waits for a healthy generation whose process is another than this, and gives its status.
    pub fn wait_replaced(&self, id: &str, pid: u64) -> Value {
        eventually("a replacement is healthy", || {
            let status = self.json(&["plugin", id]);
            (status["state"] == "healthy" && status["pid"] != pid).then_some(status)
        })
    }

    /// All records of a plugin, or with "" of the daemon itself, each checked against the schema.
    pub fn records(&self, id: &str) -> Vec<Record> {
        records(&self.runtime_dir, id)
    }

    /// Waits for a record of that kind that `is_it`.
    pub fn recorded(&self, id: &str, kind: EventKind, is_it: impl Fn(&Record) -> bool) -> Record {
        eventually(&format!("the record has {kind}"), || {
            self.records(id).into_iter().find(|record| record.event == kind.as_str() && is_it(record))
        })
    }
}

impl Drop for Daemon {
    fn drop(&mut self) {
        if self.child.try_wait().is_ok_and(|status| status.is_none()) {
            let _ = self.child.kill();
            let _ = self.child.wait();
        }
    }
}

/// The daemon's command on the world's runtime folder, with nothing but PATH in its environment.
pub fn command(world: &World) -> Command {
    let mut command = bare(&built("rpcplugind"));
    command.arg("--runtime-dir").arg(world.runtime_dir());
    command
}

/// A program with nothing but PATH in its environment and nothing to read.
pub fn bare(program: &Path) -> Command {
    let mut command = Command::new(program);
    command.env_clear().env("PATH", std::env::var_os("PATH").unwrap_or_default()).stdin(Stdio::null());
    command
}

/// What a program did.
#[derive(Debug)]
pub struct Ran {
    pub code: i32,
    pub stdout: String,
    pub stderr: String,
}

impl From<Output> for Ran {
    fn from(output: Output) -> Ran {
        Ran {
            code: output.status.code().unwrap_or(-1),
            stdout: String::from_utf8(output.stdout).unwrap(),
            stderr: String::from_utf8(output.stderr).unwrap(),
        }
    }
}

/// Runs a command to its end.
pub fn run(command: &mut Command) -> Ran {
    command.output().unwrap().into()
}

/// Runs rpcpluginctl.
pub fn ctl(runtime_dir: &Path, words: &[&str]) -> Ran {
    run(bare(&built("rpcpluginctl")).args(words).arg("--runtime-dir").arg(runtime_dir))
}

/// The records in a file, each checked against the schema: kind, level and component are known and fit.
pub fn records(runtime_dir: &Path, id: &str) -> Vec<Record> {
    let text = std::fs::read_to_string(runtime_dir.join(id).join("events.jsonl")).unwrap_or_default();
    // The last line may be half written.
    let whole = text.rfind('\n').map_or("", |end| &text[..end]);
    let record = |line: &str| {
        let record: Record = serde_json::from_str(line).unwrap_or_else(|e| panic!("{e}: {line}"));
        let kind = EventKind::ALL.iter().find(|kind| kind.as_str() == record.event);
        let kind = kind.unwrap_or_else(|| panic!("no known event: {line}"));
        assert_eq!(record.component, kind.component().as_str(), "{line}");
        assert!(["debug", "info", "warn", "error"].contains(&&*record.level), "{line}");
        assert!(humantime::parse_rfc3339(&record.time).is_ok() && record.time.ends_with('Z'), "{line}");
        record
    };
    whole.lines().map(record).collect()
}

/// Pids of living processes that belong to a world: its executables run, or its path is in their
/// environment or arguments.
pub fn processes_of(world: &World) -> Vec<u32> {
    let path = world.path().to_str().unwrap();
    let mut found = Vec::new();
    for entry in std::fs::read_dir("/proc").unwrap().flatten() {
        let Some(pid) = entry.file_name().to_str().and_then(|name| name.parse::<u32>().ok()) else {
            continue;
        };
        let read = |name| std::fs::read(entry.path().join(name)).unwrap_or_default();
        let exe = std::fs::read_link(entry.path().join("exe")).unwrap_or_default();
        let text = [read("environ"), read("cmdline")].concat();
        let names_it = text.windows(path.len()).any(|window| window == path.as_bytes());
        if (exe.starts_with(world.path()) || names_it) && is_alive(pid) {
            found.push(pid);
        }
    }
    found
}

/// Waits until no process of a world lives.
pub fn nothing_runs(world: &World) {
    eventually("no process is left", || processes_of(world).is_empty().then_some(()));
}

/// Every file below a folder, sockets too.
pub fn files_below(folder: &Path) -> Vec<PathBuf> {
    let mut files = Vec::new();
    for entry in std::fs::read_dir(folder).unwrap() {
        let entry = entry.unwrap();
        match entry.file_type().unwrap().is_dir() {
            true => files.extend(files_below(&entry.path())),
            false => files.push(entry.path()),
        }
    }
    files.sort();
    files
}

/// Sockets, tokens and half-written files below a runtime folder. None may be left by a daemon's end.
pub fn litter(runtime_dir: &Path) -> Vec<PathBuf> {
    let kept = ["lock", "generation", "events.jsonl", "plugin-events.jsonl"];
    let mut files = files_below(runtime_dir);
    files.retain(|path| !kept.contains(&path.file_name().unwrap().to_str().unwrap()));
    files
}

/// States of the children of a process, such as `S` or `Z`, by pid.
pub fn children_of(parent: u32) -> Vec<(u32, String)> {
    let mut found = Vec::new();
    for entry in std::fs::read_dir("/proc").unwrap().flatten() {
        let Ok(pid) = entry.file_name().to_string_lossy().parse::<u32>() else { continue };
        let stat = std::fs::read_to_string(entry.path().join("stat")).unwrap_or_default();
        let mut fields = stat.rsplit(')').next().unwrap_or_default().split_whitespace();
        let (state, ppid) = (fields.next().unwrap_or_default(), fields.next().unwrap_or_default());
        if ppid == parent.to_string() {
            found.push((pid, state.to_owned()));
        }
    }
    found
}

/// Makes a command run as [`NOBODY`]; for root only. Supplementary groups go too (std does that).
pub fn as_nobody(command: &mut Command) -> &mut Command {
    command.uid(NOBODY).gid(NOBODY)
}

pub fn is_root() -> bool {
    nix::unistd::geteuid().is_root()
}

pub fn chmod(path: &Path, mode: u32) {
    std::fs::set_permissions(path, std::fs::Permissions::from_mode(mode)).unwrap();
}

/// A control connection that sends what it likes.
pub struct Raw {
    pub stream: BufReader<UnixStream>,
}

impl Raw {
    pub fn connect(runtime_dir: &Path) -> Raw {
        let stream = UnixStream::connect(runtime_dir.join("admin.sock")).unwrap();
        stream.set_read_timeout(Some(SOON)).unwrap();
        stream.set_write_timeout(Some(SOON)).unwrap();
        Raw { stream: BufReader::new(stream) }
    }

    pub fn send(&mut self, bytes: impl AsRef<[u8]>) {
        self.stream.get_mut().write_all(bytes.as_ref()).unwrap();
    }

    /// Sends a request without waiting for its answer.
    pub fn request(&mut self, id: u64, method: &str, params: &Value) {
        self.send(format!(
            "{}\n",
            serde_json::json!({"jsonrpc": "2.0", "id": id, "method": method, "params": params})
        ));
    }

    /// The next message; `None` at the end of the connection.
    pub fn next(&mut self) -> Option<Value> {
        let mut line = String::new();
        match self.stream.read_line(&mut line) {
            Ok(0) => None,
            Ok(_) => Some(serde_json::from_str(&line).unwrap_or_else(|e| panic!("{e}: {line}"))),
            // It closed with bytes of ours unread.
            Err(error) if error.kind() == ErrorKind::ConnectionReset => None,
            Err(error) => panic!("no message within {SOON:?}: {error}"),
        }
    }

    pub fn ask(&mut self, method: &str, params: &Value) -> Value {
        self.request(1, method, params);
        self.next().unwrap_or_else(|| panic!("{method} was not answered"))
    }

    /// Whether the daemon serves this client.
    pub fn is_served(&mut self) -> bool {
        self.ask("admin.status", &serde_json::json!({}))["result"]["pid"].is_u64()
    }
}

/// How long something took.
pub fn timed<T>(what: impl FnOnce() -> T) -> (T, Duration) {
    let begin = Instant::now();
    (what(), begin.elapsed())
}
