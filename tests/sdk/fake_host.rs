//! The host's end of a connection, played by a test: sends what it is told to, reads frames, and waits for
//! the plugin's end. Never waits longer than [`PATIENCE`].
//!
//! What it deliberately does not do: check anything by itself.

use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use nix::sys::socket::{AddressFamily, SockFlag, SockType, socketpair};
use rpc_plugin_interface::scm::{self, Received};
use rpc_plugin_sdk::{Channel, Config, End, Error, Plugin};
use rpc_plugin_wire::{FrameDecoder, Token};
use serde_json::{Value, json};
use std::collections::VecDeque;
use std::io::Write;
use std::net::Shutdown;
use std::os::fd::{AsFd, AsRawFd, OwnedFd, RawFd};
use std::os::unix::net::UnixStream;
use std::sync::mpsc;
use std::thread;
use std::time::Duration;

/// Far longer than anything takes; only a hang reaches it.
pub const PATIENCE: Duration = Duration::from_secs(20);

/// A good answer to the hello.
pub const HELLO_ANSWER: &str = r#"{"jsonrpc":"2.0","id":1,"result":{"protocol":1,"host":"test/1","frame_bytes_max":65536,"heartbeat_interval_ms":1000,"interfaces":{},"features":["cancel"]}}"#;

/// One of a host that understands all that the SDK does.
pub const HELLO_ANSWER_ALL: &str = r#"{"jsonrpc":"2.0","id":1,"result":{"protocol":1,"host":"test/1","frame_bytes_max":4194304,"heartbeat_interval_ms":1000,"interfaces":{},"features":["cancel","progress","fds","callbacks"]}}"#;

pub struct FakeHost {
    stream: UnixStream,
    /// Descriptors that came and were not taken, in order.
    fds: VecDeque<OwnedFd>,
    decoder: FrameDecoder,
    /// How often something was received.
    reads: usize,
    ended: mpsc::Receiver<Result<End, Error>>,
}

pub fn config() -> Config {
    Config {
        channel: Channel::Socket("/nowhere".into()),
        plugin_id: "tested".parse().unwrap(),
        generation: "3".parse().unwrap(),
        token: Token::from_bytes([7; 32]),
        host_pid: std::process::id(),
        hello_timeout: PATIENCE,
        log_folder: None,
    }
}

impl FakeHost {
    /// Runs `plugin` on the other end of a stream. Nothing is answered yet.
    pub fn start(plugin: Plugin, config: Config) -> FakeHost {
        let (ours, theirs) = UnixStream::pair().unwrap();
        FakeHost::over(ours, theirs, plugin, config)
    }

    /// The same over packets: each [`FakeHost::send`] is exactly one read of the plugin.
    pub fn start_in_packets(plugin: Plugin, config: Config) -> FakeHost {
        let (ours, theirs) =
            socketpair(AddressFamily::Unix, SockType::SeqPacket, None, SockFlag::SOCK_CLOEXEC).unwrap();
        FakeHost::over(ours.into(), theirs.into(), plugin, config)
    }

    fn over(stream: UnixStream, theirs: UnixStream, plugin: Plugin, config: Config) -> FakeHost {
        stream.set_read_timeout(Some(PATIENCE)).unwrap();
        stream.set_write_timeout(Some(PATIENCE)).unwrap();
        let (end, ended) = mpsc::channel();
        thread::spawn(move || {
            let _ = end.send(plugin.serve(config, theirs));
        });
        FakeHost { stream, fds: VecDeque::new(), decoder: FrameDecoder::new(16 << 20), reads: 0, ended }
    }

    /// Runs `plugin` and answers its hello as a host that understands everything.
    pub fn greeted_with_all(plugin: Plugin) -> FakeHost {
        let mut host = FakeHost::start(plugin, config());
        assert_eq!(host.recv()["method"], "host.hello");
        host.send_line(HELLO_ANSWER_ALL);
        host
    }

    /// Runs `plugin` and answers its hello.
    pub fn greeted(plugin: Plugin) -> FakeHost {
        FakeHost::greeted_as(plugin, config())
    }

    /// The same with a configuration.
    pub fn greeted_as(plugin: Plugin, config: Config) -> FakeHost {
        let mut host = FakeHost::start(plugin, config);
        let hello = host.recv();
        assert_eq!((&hello["method"], &hello["id"]), (&json!("host.hello"), &json!(1)));
        host.send_line(HELLO_ANSWER);
        host
    }

    /// Sends bytes. A plugin that has ended already is no fault here.
    pub fn send(&mut self, bytes: &[u8]) {
        let _ = self.stream.write_all(bytes);
    }

    pub fn send_line(&mut self, line: &str) {
        self.send(format!("{line}\n").as_bytes());
    }

    /// Sends a line with descriptors, whatever it announces.
    pub fn send_line_with(&mut self, line: &str, fds: &[OwnedFd]) {
        self.send_part_with(&format!("{line}\n"), fds);
    }

    /// Sends bytes with descriptors. A plugin that has ended already is no fault here.
    pub fn send_part_with(&mut self, part: &str, fds: &[OwnedFd]) {
        if let Ok(sent) = scm::send(self.stream.as_fd(), part.as_bytes(), fds, true) {
            self.send(&part.as_bytes()[sent..]);
        }
    }

    pub fn set_write_timeout(&self, timeout: Duration) {
        self.stream.set_write_timeout(Some(timeout)).unwrap();
    }

    /// Whether the plugin has sent something that was not received.
    pub fn has_more(&self) -> bool {
        let mut polled = [PollFd::new(self.stream.as_fd(), PollFlags::POLLIN)];
        poll(&mut polled, PollTimeout::ZERO).unwrap() > 0
    }

    /// The stream once more, for another process to write to.
    pub fn writer(&self) -> OwnedFd {
        self.stream.try_clone().unwrap().into()
    }

    pub fn raw_fd(&self) -> RawFd {
        self.stream.as_raw_fd()
    }

    /// As many descriptors as the frame that was received last announces.
    pub fn take_fds(&mut self, frame: &Value) -> Vec<OwnedFd> {
        let count = usize::try_from(frame["fds"].as_u64().unwrap_or(0)).unwrap();
        self.fds.drain(..count).collect()
    }

    /// Descriptors that came and were not taken.
    pub fn fds_waiting(&self) -> usize {
        self.fds.len()
    }

    /// Answers a request of the plugin.
    pub fn answer(&mut self, request: &Value, result: &Value) {
        self.send_line(&json!({"jsonrpc": "2.0", "id": request["id"], "result": result}).to_string());
    }

    /// The next frame, which must be this request of the plugin.
    pub fn expect(&mut self, method: &str) -> Value {
        let request = self.recv();
        assert_eq!(request["method"], method, "{request}");
        request
    }

    pub fn request(&mut self, id: u64, method: &str, params: &Value) {
        self.send_line(&json!({"jsonrpc": "2.0", "id": id, "method": method, "params": params}).to_string());
    }

    pub fn cancel(&mut self, id: u64) {
        self.send_line(&json!({"jsonrpc": "2.0", "method": "rpc.cancel", "params": {"id": id}}).to_string());
    }

    /// The next frame of the plugin; `None` when it has closed the connection.
    pub fn try_recv(&mut self) -> Option<Value> {
        loop {
            if let Some(frame) = self.decoder.next_frame().unwrap() {
                return Some(serde_json::from_slice(frame).unwrap());
            }
            // 256 KiB: a packet that does not fit would be cut.
            match scm::receive(self.stream.as_fd(), self.decoder.space(256 * 1024)) {
                Ok(Received { bytes: 0, .. }) => return None,
                Ok(received) => {
                    assert!(!received.truncated);
                    self.decoder.filled(received.bytes);
                    self.fds.extend(received.fds);
                    self.reads += 1;
                }
                Err(error) if error.kind() == std::io::ErrorKind::ConnectionReset => return None,
                Err(error) => panic!("no frame from the plugin: {error}"),
            }
        }
    }

    /// How many reads there were. Over packets that is how many writes of the plugin were received.
    pub fn reads(&self) -> usize {
        self.reads
    }

    pub fn recv(&mut self) -> Value {
        self.try_recv().expect("the plugin closed the connection")
    }

    /// Tells the plugin that nothing more comes, but still listens.
    pub fn end_of_stream(&mut self) {
        let _ = self.stream.shutdown(Shutdown::Write);
    }

    /// Waits for the plugin's end, the connection still open.
    pub fn end(&mut self) -> Result<End, Error> {
        self.ended.recv_timeout(PATIENCE).expect("the plugin hangs, or panicked")
    }
}

/// The code of an error answer.
pub fn code(answer: &Value) -> i64 {
    answer["error"]["code"].as_i64().unwrap_or_else(|| panic!("{answer} is no error"))
}
