//! What tests of sinks share: peers that keep what they get, and events to hand over.
#![allow(
    dead_code,
    unreachable_pub,
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing
)]

use crate::fixture::{SOON, World, eventually};
use rpc_plugin_record::{FILE_NAME, Forward, Position};
use rpc_plugin_system::host::{EventKind, Host, HostBuilder, LogSink, Note, SinkStatus, SinkTarget};
use rpc_plugin_wire::event::Record;
use std::io::{BufRead, BufReader, ErrorKind};
use std::os::unix::net::{UnixDatagram, UnixListener};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};
use std::thread::JoinHandle;
use std::time::Duration;

/// How often a peer looks whether it is to end.
const LOOK: Duration = Duration::from_millis(20);

/// Something that listens, and keeps what it gets until it is dropped, which closes it.
pub struct Peer {
    pub path: PathBuf,
    got: Arc<Mutex<Vec<String>>>,
    ends: Arc<AtomicBool>,
    thread: Option<JoinHandle<()>>,
}

impl Peer {
    fn start(path: &Path, body: impl FnOnce(&Mutex<Vec<String>>, &AtomicBool) + Send + 'static) -> Peer {
        let (got, ends) = (Arc::new(Mutex::new(Vec::new())), Arc::new(AtomicBool::new(false)));
        let (kept, told) = (Arc::clone(&got), Arc::clone(&ends));
        let thread = Some(std::thread::spawn(move || body(&kept, &told)));
        Peer { path: path.to_owned(), got, ends, thread }
    }

    pub fn datagrams(path: &Path) -> Peer {
        let socket = UnixDatagram::bind(path).unwrap();
        socket.set_read_timeout(Some(LOOK)).unwrap();
        Peer::start(path, move |got, ends| {
            let mut buffer = vec![0; 1 << 18];
            while !ends.load(Ordering::SeqCst) {
                if let Ok(bytes) = socket.recv(&mut buffer) {
                    got.lock().unwrap().push(String::from_utf8(buffer[..bytes].to_vec()).unwrap());
                }
            }
        })
    }

    /// Takes one connection after the other, line by line.
    pub fn stream(path: &Path) -> Peer {
        let listener = UnixListener::bind(path).unwrap();
        listener.set_nonblocking(true).unwrap();
        Peer::start(path, move |got, ends| {
            while !ends.load(Ordering::SeqCst) {
                let mut fds = [nix::poll::PollFd::new(
                    std::os::fd::AsFd::as_fd(&listener),
                    nix::poll::PollFlags::POLLIN,
                )];
                nix::poll::poll(&mut fds, 20_u8).unwrap();
                let Ok((stream, _)) = listener.accept() else { continue };
                stream.set_nonblocking(false).unwrap();
                stream.set_read_timeout(Some(LOOK)).unwrap();
                let mut lines = BufReader::new(stream);
                let mut line = String::new();
                while !ends.load(Ordering::SeqCst) {
                    match lines.read_line(&mut line) {
                        // A torn line at the end of a connection is none.
                        Ok(_) if !line.ends_with('\n') => break,
                        Ok(_) => got.lock().unwrap().push(std::mem::take(&mut line).trim_end().to_owned()),
                        Err(error) if matches!(error.kind(), ErrorKind::WouldBlock | ErrorKind::TimedOut) => {
                        }
                        Err(_) => break,
                    }
                }
            }
        })
    }

    pub fn got(&self) -> Vec<String> {
        self.got.lock().unwrap().clone()
    }
}

impl Drop for Peer {
    fn drop(&mut self) {
        self.ends.store(true, Ordering::SeqCst);
        let _ = self.thread.take().unwrap().join();
        let _ = std::fs::remove_file(&self.path);
    }
}

/// A sink that does not wait long.
pub fn sink(name: &str, target: SinkTarget) -> LogSink {
    let mut sink = LogSink::new(name, target);
    sink.options.timeout = Duration::from_millis(500);
    sink.options.backoff_initial = Duration::from_millis(10);
    sink.options.backoff_max = Duration::from_millis(50);
    sink
}

pub fn host(world: &World, sinks: Vec<LogSink>) -> Host {
    host_of(world.builder(), sinks)
}

pub fn host_of(builder: HostBuilder, sinks: Vec<LogSink>) -> Host {
    builder.log_sinks(sinks).start().unwrap()
}

/// Puts events on the host's record.
pub fn record(host: &Host, texts: impl IntoIterator<Item = String>) {
    for (index, text) in texts.into_iter().enumerate() {
        host.record(Note::new(EventKind::SignalIgnored, text));
        if index % 1000 == 999 {
            assert!(host.flush_events(SOON));
        }
    }
    assert!(host.flush_events(SOON));
}

/// The numbers and events of a stream.
pub fn on_record(folder: &Path) -> Vec<Record> {
    let mut lines = Forward::new(folder, FILE_NAME, Position::Oldest).unwrap();
    let mut found = Vec::new();
    while let Some(line) = lines.next_line().unwrap() {
        found.extend(line.record().map(|(record, _)| record));
    }
    found
}

pub fn parse(lines: &[String]) -> Vec<Record> {
    lines.iter().map(|line| serde_json::from_str(line).unwrap_or_else(|e| panic!("{e}: {line}"))).collect()
}

/// Waits until the only sink of a host is behind nothing.
pub fn caught_up(host: &Host) -> SinkStatus {
    eventually("the sink has taken everything", || {
        let status = host.log_sinks().pop().unwrap();
        (status.behind == 0 && status.delivered > 0 && !status.is_failing).then_some(status)
    })
}
