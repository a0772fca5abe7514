//! A hundred plugins under the real daemon, which are killed at random through their own crash method: the daemon's
//! descriptors and children are back to where they were, and nothing is left of it in the end.

use super::PLUGINS;
use crate::fixtures::census::{census_without_files, processes_of};
use crate::fixtures::child::alone;
use crate::fixtures::world::{SOON, World, built, eventually, is_alive};
use serde_json::{Value, json};
use std::io::{BufRead, BufReader, Write};
use std::os::unix::net::UnixStream;
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::time::Instant;

const KILLS: usize = 200;

/// Ended with the test, also one that fails.
struct Daemon(Child);

impl Drop for Daemon {
    fn drop(&mut self) {
        // It may have ended by itself, which is what should be.
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

impl Daemon {
    fn start(world: &World) -> Daemon {
        let mut command = Command::new(built("rpcplugind"));
        command.arg("--runtime-dir").arg(world.runtime_dir()).stdin(Stdio::null()).stdout(Stdio::null());
        let log = std::fs::File::create(world.path().join("daemon.log")).unwrap();
        command.stderr(log);
        command.args(["--restarts-max", "1000", "--restart-window", "1h"]);
        command.args(["--backoff-initial", "1ms", "--backoff-max", "20ms"]);
        let echo = world.program("echo");
        for number in 0..PLUGINS {
            command.arg("--plugin").arg(format!("p{number}={}", echo.display()));
        }
        Daemon(command.spawn().unwrap())
    }

    /// Its children, zombies included.
    fn children(&self) -> Vec<u32> {
        let parent = self.0.id().to_string();
        let mut pids = Vec::new();
        for entry in std::fs::read_dir("/proc").unwrap() {
            let entry = entry.unwrap();
            let Some(pid) = entry.file_name().to_str().and_then(|name| name.parse().ok()) else { continue };
            // One that ends meanwhile has no file any more.
            let stat = std::fs::read_to_string(entry.path().join("stat")).unwrap_or_default();
            let fields = stat.rsplit_once(')').map(|(_, fields)| fields).unwrap_or_default();
            if fields.split_whitespace().nth(1) == Some(parent.as_str()) {
                pids.push(pid);
            }
        }
        pids
    }
}

/// A control client.
struct Control {
    stream: BufReader<UnixStream>,
    id: u64,
}

impl Control {
    fn connect(socket: &Path) -> Control {
        let stream = eventually("the daemon listens", || UnixStream::connect(socket).ok());
        stream.set_read_timeout(Some(SOON)).unwrap();
        Control { stream: BufReader::new(stream), id: 0 }
    }

    fn ask(&mut self, method: &str, params: &Value) -> Value {
        self.id += 1;
        let request = json!({"jsonrpc": "2.0", "id": self.id, "method": method, "params": params});
        self.stream.get_mut().write_all(format!("{request}\n").as_bytes()).unwrap();
        let mut line = String::new();
        self.stream.read_line(&mut line).unwrap();
        let answer: Value = serde_json::from_str(&line).unwrap();
        assert_eq!(answer["id"], self.id, "{answer}");
        answer
    }

    fn await_all(&mut self, daemon: &Daemon) {
        eventually("all plugins are routable and the daemon's only children", || {
            let routable = self.ask("admin.status", &json!({}))["result"]["routable"] == PLUGINS;
            let children = daemon.children();
            (routable && children.len() == PLUGINS && children.iter().all(|pid| is_alive(*pid))).then_some(())
        });
    }
}

#[test]
fn a_hundred_plugins_under_the_daemon_survive_two_hundred_crashes() {
    alone(|| {
        let world = World::new();
        let begin = Instant::now();
        let mut daemon = Daemon::start(&world);
        let socket = world.runtime_dir().join("admin.sock");
        let mut control = Control::connect(&socket);
        control.await_all(&daemon);
        let started = begin.elapsed();
        let fd_folder = format!("/proc/{}/fd", daemon.0.id());
        let healthy = census_without_files(&fd_folder);

        let mut rng = fastrand::Rng::new();
        let (mut crashed, mut not_sent) = (0, 0);
        while crashed < KILLS {
            let id = format!("p{}", rng.usize(0..PLUGINS));
            let params = json!({"plugin_id": id, "method": "crash", "params": {"how": "kill"}});
            let error = control.ask("admin.call", &params)["error"].clone();
            match error["data"]["outcome"].as_str() {
                Some("indeterminate") => crashed += 1,
                // It is being replaced just now.
                Some("not_sent") => not_sent += 1,
                _ => panic!("{id}: {error}"),
            }
            assert!(begin.elapsed() < SOON * 3, "{crashed} crashes, {not_sent} not sent");
        }
        control.await_all(&daemon);
        let stormed = begin.elapsed() - started;
        eventually("the daemon's descriptors are back", || {
            (census_without_files(&fd_folder) == healthy).then_some(())
        });
        assert_eq!(control.ask("admin.status", &json!({}))["result"]["failed"], 0);

        assert_eq!(control.ask("admin.shutdown", &json!({}))["result"], json!({}));
        let status = eventually("the daemon ends", || daemon.0.try_wait().unwrap());
        assert!(status.success(), "{status}");
        assert_eq!(processes_of(&world.program("echo")), Vec::<u32>::new());
        assert!(!socket.exists());
        eprintln!(
            "rpcplugind: {PLUGINS} plugins in {started:?}, {KILLS} crashes in {stormed:?}, {not_sent} calls too early"
        );
    });
}
