//! The same through a daemon: one more connection and one more process in between.

use super::calls::{MIB, PAYLOADS, SMALL, cpu_each_us, p99_us};
use super::figures::Board;
use super::limits::{self, TURN, median_us, rate};
use super::subject::{Echo, SOON, World};
use rpc_plugin_wire::admin::{CallParams, METHOD_CALL, METHOD_WAIT, WaitParams};
use rpc_plugin_wire::life::PluginState;
use rpc_plugin_wire::message::{NewRequest, params_from, write_request};
use rpc_plugin_wire::{FrameDecoder, Message};
use serde_json::value::RawValue;
use std::cell::{LazyCell, RefCell};
use std::io::{Read, Write};
use std::os::unix::net::UnixStream;
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::time::Instant;

/// A daemon process.
pub struct Daemon {
    child: Child,
    socket: std::path::PathBuf,
}

impl Daemon {
    /// Starts one with `plugins` echo plugins; `flags` go to it as they are.
    pub fn start(world: &World, name: &str, plugins: usize, flags: &[&str]) -> Daemon {
        let runtime_dir = world.runtime_dir(name);
        let config = world.path().join(format!("{name}.json"));
        let entry = serde_json::json!({"executable": world.daemon(), "args": ["serve-echo"]});
        let entries: serde_json::Map<String, serde_json::Value> =
            (0..plugins).map(|number| (format!("echo{number}"), entry.clone())).collect();
        std::fs::write(&config, serde_json::json!({ "plugins": entries }).to_string()).unwrap();
        let child = Command::new(world.daemon())
            .arg("--runtime-dir")
            .arg(&runtime_dir)
            .arg("--config")
            .arg(&config)
            .args(flags)
            .stdout(Stdio::null())
            .spawn()
            .unwrap();
        let daemon = Daemon { child, socket: runtime_dir.join("admin.sock") };
        let mut client = daemon.client();
        for number in 0..plugins {
            let params = WaitParams {
                plugin_id: format!("echo{number}").parse().unwrap(),
                state: PluginState::Healthy,
                timeout_ms: Some(60_000),
            };
            client.ask(METHOD_WAIT, &params_from(&params).unwrap().unwrap());
        }
        daemon
    }

    pub fn pid(&self) -> u32 {
        self.child.id()
    }

    pub fn client(&self) -> Client {
        Client::connect(&self.socket)
    }
}

impl Drop for Daemon {
    fn drop(&mut self) {
        let pid = nix::unistd::Pid::from_raw(self.child.id() as i32);
        // Our own child, not waited for yet: the number is its own.
        let _ = nix::sys::signal::kill(pid, nix::sys::signal::Signal::SIGTERM);
        let _ = self.child.wait();
    }
}

/// A control connection that is kept open.
pub struct Client {
    socket: UnixStream,
    inbox: FrameDecoder,
    next_id: u64,
}

impl Client {
    fn connect(path: &Path) -> Client {
        let begin = Instant::now();
        loop {
            match UnixStream::connect(path) {
                Ok(socket) => return Client { socket, inbox: FrameDecoder::new(1 << 26), next_id: 1 },
                Err(error) => assert!(begin.elapsed() < SOON, "{}: {error}", path.display()),
            }
            std::thread::park_timeout(std::time::Duration::from_millis(2));
        }
    }

    pub fn send(&mut self, method: &str, params: &RawValue, count: usize) {
        let mut frames = Vec::new();
        for _ in 0..count {
            let request =
                NewRequest { id: self.next_id, method, params: Some(params.get()), ..NewRequest::default() };
            write_request(&mut frames, &request);
            self.next_id += 1;
        }
        self.socket.write_all(&frames).unwrap();
    }

    pub fn receive(&mut self, mut count: usize) {
        while count > 0 {
            if let Some(frame) = self.inbox.next_frame().unwrap() {
                let Message::Response(response) = Message::parse(frame).unwrap() else { panic!("no answer") };
                response.result.unwrap();
                count -= 1;
                continue;
            }
            let bytes = self.socket.read(self.inbox.space(64 * 1024)).unwrap();
            assert!(bytes > 0, "the daemon closed the connection");
            self.inbox.filled(bytes);
        }
    }

    pub fn ask(&mut self, method: &str, params: &RawValue) {
        self.send(method, params, 1);
        self.receive(1);
    }
}

/// A daemon with one plugin, and what a call of it is.
struct Station {
    daemon: Daemon,
    plugin_pid: u32,
    _world: World,
}

impl Station {
    fn start() -> Station {
        let world = World::new();
        let flags = ["--heartbeat-interval", "0s", "--admin-clients-max", "128"];
        let daemon = Daemon::start(&world, "daemon", 1, &flags);
        let plugin_pid = child_of(daemon.pid());
        Station { daemon, plugin_pid, _world: world }
    }
}

/// The first child of a process.
fn child_of(parent: u32) -> u32 {
    let is_child = |pid: &u32| {
        let status = std::fs::read_to_string(format!("/proc/{pid}/status")).unwrap_or_default();
        status
            .lines()
            .any(|line| line.strip_prefix("PPid:").is_some_and(|of| of.trim() == parent.to_string()))
    };
    let processes = std::fs::read_dir("/proc").unwrap().flatten();
    processes.filter_map(|entry| entry.file_name().to_str()?.parse().ok()).find(is_child).unwrap()
}

fn call_of_bytes(bytes: usize) -> Box<RawValue> {
    let params = CallParams {
        plugin_id: Some("echo0".parse().unwrap()),
        method: "echo".into(),
        params: params_from(&Echo::of_bytes(bytes)).unwrap(),
        ..CallParams::default()
    };
    params_from(&params).unwrap().unwrap()
}

/// Calls in a second from clients that keep `window` in flight each, all in one thread.
fn window_rate(clients: &mut [Client], params: &RawValue, window: usize) -> f64 {
    clients.iter_mut().for_each(|client| client.send(METHOD_CALL, params, window));
    let half = window / 2;
    let answers = rate(|| {
        for client in clients.iter_mut() {
            client.receive(half);
            client.send(METHOD_CALL, params, half);
        }
        half * clients.len()
    });
    clients.iter_mut().for_each(|client| client.receive(window));
    answers
}

/// Calls in a second from many clients that call one after the other.
fn clients_rate(daemon: &Daemon, params: &RawValue, clients: usize) -> f64 {
    let begin = Instant::now();
    let count: usize = std::thread::scope(|scope| {
        let work = || {
            let (mut client, mut own) = (daemon.client(), 0);
            while begin.elapsed() < TURN * 2 {
                client.ask(METHOD_CALL, params);
                own += 1;
            }
            own
        };
        let workers: Vec<_> = (0..clients).map(|_| scope.spawn(work)).collect();
        workers.into_iter().map(|worker| worker.join().unwrap()).sum()
    });
    count as f64 / begin.elapsed().as_secs_f64()
}

pub fn run(board: &mut Board) {
    let station = LazyCell::new(Station::start);
    let client = || RefCell::new(station.daemon.client());
    let (one, late) = (LazyCell::new(client), LazyCell::new(client));
    let many = LazyCell::new(|| RefCell::new([(); 5].map(|()| station.daemon.client())));
    let small = &*call_of_bytes(SMALL);
    board.measure(|group| {
        group.against("daemon: sequential call, p50", "us", limits::PING_US, None, || {
            median_us(|| one.borrow_mut().ask(METHOD_CALL, small))
        });
        group.against("daemon: sequential call, p99", "us", limits::PING_US, None, || {
            p99_us(|| late.borrow_mut().ask(METHOD_CALL, small))
        });
        group.against("daemon: 64 clients, one call each at a time", "/s", limits::PING_RATE, None, || {
            clients_rate(&station.daemon, small, 64)
        });
        group.against("daemon: one client, 64 in flight", "/s", limits::ONE_WAY_RATE, None, || {
            window_rate(&mut many.borrow_mut()[..1], small, 64)
        });
        // A client may have 256 requests under way.
        group.against("daemon: 4 clients, 256 in flight each", "/s", limits::ONE_WAY_RATE, None, || {
            window_rate(&mut many.borrow_mut()[1..], small, 256)
        });
    });
    board.measure(|group| {
        const CALLS: usize = 2000;
        let name = "daemon: processor time a sequential call, all three processes";
        group.add(name, "us", || {
            let pids = [std::process::id(), station.daemon.pid(), station.plugin_pid];
            cpu_each_us(&pids, CALLS, || {
                (0..CALLS).for_each(|_| one.borrow_mut().ask(METHOD_CALL, small));
            })
        });
        for (name, bytes) in PAYLOADS {
            let (name, params) = (format!("daemon: {name} each way, p50"), call_of_bytes(bytes));
            let one = &one;
            group.against(&name, "us", limits::PING_US, None, move || {
                median_us(|| one.borrow_mut().ask(METHOD_CALL, &params))
            });
        }
        let params = call_of_bytes(MIB);
        let one = &one;
        group.against("daemon: 1 MiB of text each way, p50", "ms", limits::MIB_MS, None, move || {
            median_us(|| one.borrow_mut().ask(METHOD_CALL, &params)) / 1000.0
        });
    });
}
