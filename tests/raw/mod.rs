//! A plugin that speaks for itself: frames and descriptors as a test wants them, right or wrong.
//!
//! What this file is for: plugins that are this very test program, started again by a host with the name of one of its
//! ignored tests. What it deliberately does not do: use the SDK beyond its reading of the environment.
//!
//! What always holds: it ends when its connection does, or after [`LINGER`].
#![allow(dead_code, unreachable_pub, clippy::unwrap_used, clippy::expect_used, clippy::panic)]

use crate::fixture::World;
use nix::sys::socket::{ControlMessage, MsgFlags, sendmsg};
use rpc_plugin_sdk::Config;
use rpc_plugin_system::host::PluginConfig;
use rpc_plugin_wire::FrameDecoder;
use serde_json::{Value, json};
use std::fs;
use std::io::{IoSlice, Read};
use std::os::fd::{AsFd, AsRawFd, OwnedFd, RawFd};
use std::os::unix::fs::PermissionsExt;
use std::os::unix::net::UnixStream;
use std::time::Duration;

/// How long a plugin waits for its host to act. Longer than any test.
pub const LINGER: Duration = Duration::from_secs(300);
/// The variable that tells a plugin of this kind what to do.
pub const ROLE: &str = "RAW_ROLE";

/// This test program as a plugin whose body is the ignored test `body`, with that role.
pub fn plugin(world: &World, id: &str, body: &str, role: &str) -> PluginConfig {
    let program = world.path().join("raw");
    if !program.exists() {
        fs::copy("/proc/self/exe", &program).unwrap();
        fs::set_permissions(&program, fs::Permissions::from_mode(0o700)).unwrap();
    }
    let config = PluginConfig::new(id.parse().unwrap(), program).env(ROLE, role);
    ["--exact", body, "--ignored", "--nocapture"].iter().fold(config, |config, arg| config.arg(*arg))
}

/// What this process is to do, if it is a plugin of this kind.
pub fn role() -> Option<String> {
    std::env::var(ROLE).ok()
}

/// Runs an ignored test of this program in a process of its own; what it printed.
pub fn alone(body: &str) -> String {
    let output = std::process::Command::new(std::env::current_exe().unwrap())
        .args(["--exact", body, "--ignored", "--nocapture"])
        .output()
        .unwrap();
    let said = String::from_utf8_lossy(&output.stdout).into_owned();
    assert!(output.status.success(), "{said}{}", String::from_utf8_lossy(&output.stderr));
    print!("{said}");
    said
}

/// Descriptors of nothing.
pub fn nulls(count: usize) -> Vec<OwnedFd> {
    let null = fs::File::open("/dev/null").unwrap();
    (0..count).map(|_| null.try_clone().unwrap().into()).collect()
}

/// A frame of these members.
pub fn frame(mut members: Value) -> Vec<u8> {
    members["jsonrpc"] = json!("2.0");
    let mut bytes = members.to_string().into_bytes();
    bytes.push(b'\n');
    bytes
}

/// A connection to the host.
pub struct Raw {
    pub connection: UnixStream,
    decoder: FrameDecoder,
    pub config: Config,
    /// Read at once at most.
    pub piece_bytes: usize,
}

impl Raw {
    /// Connects, and says nothing yet.
    pub fn connect() -> Raw {
        let config = Config::from_env().expect("a host started this process");
        let connection = config.connect().unwrap();
        connection.set_read_timeout(Some(LINGER)).unwrap();
        Raw { connection, decoder: FrameDecoder::new(64 << 20), config, piece_bytes: 64 * 1024 }
    }

    /// An honest hello.
    pub fn hello(&self, capabilities: &[&str]) -> Value {
        json!({"id": "hello", "method": "host.hello", "params": {
            "token": self.config.token.to_hex(), "plugin_id": self.config.plugin_id,
            "generation": self.config.generation, "protocols": [1], "version": "1.0.0",
            "capabilities": capabilities, "features": ["cancel", "progress", "fds"],
        }})
    }

    /// Connects and says hello.
    pub fn greet(capabilities: &[&str]) -> Raw {
        let mut raw = Raw::connect();
        raw.send(&frame(raw.hello(capabilities)), &[]);
        let answer = raw.next().expect("the hello is answered");
        assert!(answer["result"].is_object(), "{answer}");
        raw
    }

    /// Sends bytes, the first of which takes the descriptors along. Whether the host still takes them.
    pub fn send(&self, bytes: &[u8], fds: &[OwnedFd]) -> bool {
        let numbers: Vec<RawFd> = fds.iter().map(AsRawFd::as_raw_fd).collect();
        let rights = [ControlMessage::ScmRights(&numbers)];
        let rights = if fds.is_empty() { &[][..] } else { &rights[..] };
        let mut sent = 0;
        while sent < bytes.len() {
            let part = [IoSlice::new(&bytes[sent..])];
            let rights = if sent == 0 { rights } else { &[] };
            match sendmsg::<()>(self.connection.as_raw_fd(), &part, rights, MsgFlags::MSG_NOSIGNAL, None) {
                Ok(more) => sent += more,
                Err(nix::errno::Errno::EINTR) => {}
                Err(_) => return false,
            }
        }
        true
    }

    /// Sends a frame.
    pub fn say(&self, members: Value) -> bool {
        self.send(&frame(members), &[])
    }

    /// The next frame; descriptors that come with it are closed by the kernel. `None`: the connection has ended.
    pub fn next(&mut self) -> Option<Value> {
        loop {
            if let Some(frame) = self.decoder.next_frame().unwrap() {
                return Some(serde_json::from_slice(frame).unwrap());
            }
            let space = self.decoder.space(self.piece_bytes);
            let room = space.len().min(self.piece_bytes);
            match self.connection.read(&mut space[..room]) {
                Ok(bytes @ 1..) => self.decoder.filled(bytes),
                _ => return None,
            }
        }
    }

    /// The next frame that is no matter of life: those are answered here.
    pub fn next_call(&mut self, capabilities: &[&str]) -> Option<Value> {
        loop {
            let frame = self.next()?;
            match self.answer_life(&frame, capabilities) {
                None => return Some(frame),
                Some(true) => {}
                Some(false) => return None,
            }
        }
    }

    /// Answers `plugin.*`; `None` where the frame is something else, `false` where it is the end.
    fn answer_life(&self, frame: &Value, capabilities: &[&str]) -> Option<bool> {
        let result = match frame["method"].as_str()? {
            "plugin.heartbeat" => {
                json!({"status": "healthy", "uptime_ms": 1, "work_count": 0, "error_count": 0})
            }
            "plugin.capabilities" => json!({
                "plugin_id": self.config.plugin_id, "generation": self.config.generation,
                "version": "1.0.0", "capabilities": capabilities,
            }),
            "plugin.shutdown" => json!({}),
            _ => return None,
        };
        Some(self.say(json!({"id": frame["id"], "result": result})) && frame["method"] != "plugin.shutdown")
    }

    /// Serves life until the host calls `method`; that call.
    pub fn until(&mut self, method: &str, capabilities: &[&str]) -> Value {
        loop {
            let Some(call) = self.next_call(capabilities) else { std::process::exit(0) };
            if call["method"] == method {
                return call;
            }
        }
    }

    /// Serves life until the connection ends.
    pub fn live(&mut self, capabilities: &[&str]) -> ! {
        while self.next_call(capabilities).is_some() {}
        std::process::exit(0)
    }

    /// The connection's own end, once more.
    pub fn own_end(&self) -> OwnedFd {
        self.connection.as_fd().try_clone_to_owned().unwrap()
    }
}
