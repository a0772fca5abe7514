//! How long other supervisors take to replace a service that was killed, where they are installed: s6-supervise(1) and
//! runsv(8), as they come.

use super::figures::Board;
use super::subject::{SOON, World};
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use std::os::unix::fs::symlink;
use std::os::unix::net::UnixDatagram;
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

/// The name, for `RPS_BENCH_PEER`, of the service that they run.
pub const SERVICE: &str = "service";
const SOCKET: &str = "RPS_BENCH_SOCKET";
/// They tell a service that ends too soon from one that served for a second.
const SERVED: Duration = Duration::from_millis(1500);

/// The service: says that it is up, and waits for its end.
pub fn serve() {
    let socket = UnixDatagram::unbound().unwrap();
    let own = std::process::id().to_le_bytes();
    socket.send_to(&own, std::env::var_os(SOCKET).unwrap()).unwrap();
    loop {
        std::thread::park();
    }
}

struct Supervisor(Child);

impl Supervisor {
    fn start(program: &str, folder: &Path, socket: &Path) -> Option<Supervisor> {
        std::fs::create_dir(folder).unwrap();
        symlink(std::env::current_exe().unwrap(), folder.join("run")).unwrap();
        let mut command = Command::new(program);
        command.arg(folder).env("RPS_BENCH_PEER", SERVICE).env(SOCKET, socket).stderr(Stdio::null());
        Some(Supervisor(command.spawn().ok()?))
    }
}

impl Drop for Supervisor {
    fn drop(&mut self) {
        // Our own child, not waited for yet. Both end with their service at SIGTERM.
        let _ = kill(Pid::from_raw(self.0.id() as i32), Signal::SIGTERM);
        let _ = self.0.wait();
    }
}

fn replace_ms(up: &UnixDatagram, pid: &mut u32) -> f64 {
    std::thread::park_timeout(SERVED);
    let begin = Instant::now();
    // Its supervisor does nothing but wait for it, so the number is its own.
    kill(Pid::from_raw(*pid as i32), Signal::SIGKILL).unwrap();
    *pid = next_pid(up);
    begin.elapsed().as_secs_f64() * 1000.0
}

fn next_pid(up: &UnixDatagram) -> u32 {
    let mut pid = [0; 4];
    assert_eq!(up.recv(&mut pid).unwrap(), pid.len());
    u32::from_le_bytes(pid)
}

pub fn run(board: &mut Board) {
    for program in ["s6-supervise", "runsv"] {
        let name = format!("replace: {program}, SIGKILL to the service running again");
        if !board.wants(&name) {
            continue;
        }
        let world = World::new();
        let socket = world.path().join("up");
        let up = UnixDatagram::bind(&socket).unwrap();
        up.set_read_timeout(Some(SOON)).unwrap();
        let Some(supervisor) = Supervisor::start(program, &world.path().join(program), &socket) else {
            continue;
        };
        let mut pid = next_pid(&up);
        let samples: Vec<f64> = (0..board.rounds().min(5)).map(|_| replace_ms(&up, &mut pid)).collect();
        board.enter(&name, "ms", samples, None, None);
        drop(supervisor);
    }
}
