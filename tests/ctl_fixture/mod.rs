//! A runtime folder with a fake daemon in it, and a way to run the control client against it.
//!
//! What always holds: the fake answers as it is told to, keeps what it was asked, and ends with the
//! test; no test waits on time.
#![allow(dead_code, unreachable_pub, clippy::unwrap_used, clippy::panic, clippy::indexing_slicing)]

use rpc_plugin_system::ctl::{self, Exit, Io};
use rpc_plugin_wire::message::{write_error, write_result};
use rpc_plugin_wire::{ErrorObject, Message};
use std::ffi::OsString;
use std::io::{BufRead, BufReader, Write};
use std::os::unix::net::{UnixListener, UnixStream};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex};
use std::thread::JoinHandle;

/// A folder that goes with the test.
pub struct Folder(pub PathBuf);

impl Folder {
    pub fn new() -> Folder {
        static NEXT: AtomicU64 = AtomicU64::new(0);
        let name = format!("rpcctl-{}-{}", std::process::id(), NEXT.fetch_add(1, Ordering::Relaxed));
        let path = std::env::temp_dir().join(name);
        std::fs::create_dir(&path).unwrap();
        Folder(path)
    }
}

impl Drop for Folder {
    fn drop(&mut self) {
        let _ = std::fs::remove_dir_all(&self.0);
    }
}

/// What the fake daemon does with a request.
#[derive(Clone)]
pub enum Reply {
    /// Answers with this result.
    Result(String),
    /// Answers with this error.
    Error(ErrorObject),
    /// Writes these bytes and hangs up.
    Raw(Vec<u8>),
    /// Writes these bytes and hangs up, without reading the request.
    RawAtOnce(Vec<u8>),
    /// Says nothing until the client goes.
    Silence,
}

/// One request as the fake saw it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Asked {
    pub method: String,
    pub params: String,
    pub deadline_ms: Option<u64>,
}

pub struct FakeDaemon {
    pub folder: Folder,
    asked: Arc<Mutex<Vec<Asked>>>,
    ended: Arc<AtomicBool>,
    thread: Option<JoinHandle<()>>,
}

impl FakeDaemon {
    pub fn new(reply: Reply) -> FakeDaemon {
        let folder = Folder::new();
        let listener = UnixListener::bind(folder.0.join("admin.sock")).unwrap();
        let (asked, ended) = (Arc::new(Mutex::new(Vec::new())), Arc::new(AtomicBool::new(false)));
        let (keeps, ends) = (asked.clone(), ended.clone());
        let thread = std::thread::spawn(move || {
            for stream in listener.incoming() {
                if ends.load(Ordering::SeqCst) {
                    return;
                }
                serve(stream.unwrap(), &reply, &keeps);
            }
        });
        FakeDaemon { folder, asked, ended, thread: Some(thread) }
    }

    pub fn asked(&self) -> Vec<Asked> {
        self.asked.lock().unwrap().clone()
    }

    pub fn run(&self, words: &[&str]) -> Ran {
        Run::new(&self.folder.0).run(words)
    }
}

impl Drop for FakeDaemon {
    fn drop(&mut self) {
        self.ended.store(true, Ordering::SeqCst);
        // Wakes the thread out of accept(2).
        let woken = UnixStream::connect(self.folder.0.join("admin.sock"));
        if let (Ok(_), Some(thread)) = (woken, self.thread.take()) {
            let _ = thread.join();
        }
    }
}

fn serve(mut stream: UnixStream, reply: &Reply, asked: &Mutex<Vec<Asked>>) {
    if let Reply::RawAtOnce(bytes) = reply {
        let _ = stream.write_all(bytes);
        return;
    }
    let mut reader = BufReader::new(stream.try_clone().unwrap());
    let mut line = Vec::new();
    if reader.read_until(b'\n', &mut line).unwrap_or(0) == 0 {
        return;
    }
    line.pop();
    let Ok(Message::Request(request)) = Message::parse(&line) else { panic!("not a request: {line:?}") };
    asked.lock().unwrap().push(Asked {
        method: request.method.to_string(),
        params: request.params.map_or(String::new(), |params| params.get().to_owned()),
        deadline_ms: request.deadline_ms,
    });
    let mut out = Vec::new();
    match reply {
        Reply::Result(json) => {
            let raw = serde_json::value::RawValue::from_string(json.clone()).unwrap();
            write_result(&mut out, &request.id, &raw, 0);
        }
        Reply::Error(error) => write_error(&mut out, Some(&request.id), error),
        Reply::Raw(bytes) | Reply::RawAtOnce(bytes) => out.extend(bytes),
        Reply::Silence => {
            let _ = reader.read_until(b'\n', &mut line);
        }
    }
    let _ = stream.write_all(&out);
}

/// How the client ended and what it printed.
#[derive(Debug)]
pub struct Ran {
    pub exit: Exit,
    pub stdout: String,
    pub stderr: String,
}

/// One run of the client, with the surroundings that a test wants.
pub struct Run<'a> {
    pub folder: &'a Path,
    pub stdin: &'a [u8],
    pub variables: &'a [(&'a str, &'a str)],
    pub is_terminal: bool,
}

impl<'a> Run<'a> {
    pub fn new(folder: &'a Path) -> Run<'a> {
        Run { folder, stdin: b"", variables: &[], is_terminal: false }
    }

    pub fn run(&self, words: &[&str]) -> Ran {
        let mut stdout = Vec::new();
        let (exit, stderr) = self.run_into(words, &mut stdout);
        Ran { exit, stdout: String::from_utf8(stdout).unwrap(), stderr }
    }

    pub fn run_into(&self, words: &[&str], stdout: &mut dyn Write) -> (Exit, String) {
        let mut stderr = Vec::new();
        let mut stdin = self.stdin;
        let env = |name: &str| {
            if name == "RPC_PLUGIN_SYSTEM_RUNTIME_DIR" {
                return Some(self.folder.as_os_str().to_owned());
            }
            self.variables.iter().find(|(variable, _)| *variable == name).map(|(_, value)| value.into())
        };
        let io = Io {
            env: &env,
            stdin: &mut stdin,
            stdout,
            stderr: &mut stderr,
            stdout_is_terminal: self.is_terminal,
            stderr_is_terminal: self.is_terminal,
        };
        let exit = ctl::run(words.iter().map(OsString::from), io);
        (exit, String::from_utf8(stderr).unwrap())
    }
}

/// A plugin's status as the daemon sends it.
pub fn plugin_json(id: &str, state: &str) -> String {
    format!(
        concat!(
            r#"{{"plugin_id":"{}","state":"{}","desired":"up","generation":3,"pid":4711,"#,
            r#""executable":"/opt/echo","version":"1.0.0","sdk":"rust/0.1.0","capabilities":["echo","sleep"],"#,
            r#""uptime_ms":192000,"restarts":2,"next_launch_ms":null,"calls_in_flight":1,"calls_total":40,"#,
            r#""calls_failed":5,"late_answers":6,"heartbeat":{{"status":"healthy","uptime_ms":191000,"#,
            r#""work_count":34,"last_success_unix_ms":1000,"error_count":0}},"heartbeat_age_ms":850,"#,
            r#""heartbeats_missed":0,"last_error":null,"added_in_a_later_version":true}}"#
        ),
        id, state
    )
}
