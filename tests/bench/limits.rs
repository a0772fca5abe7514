//! What the machine can do: plain blocking code, without our library.

use super::figures::Board;
use nix::sched::{CpuSet, sched_getaffinity, sched_setaffinity};
use nix::unistd::Pid;
use std::io::{Read, Write};
use std::os::fd::OwnedFd;
use std::os::unix::net::UnixStream;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

pub const PING_US: &str = "limit: ping-pong of an 80-byte line";
pub const PING_SPIN_US: &str = "limit: ping-pong, client spins";
pub const PING_RATE: &str = "limit: ping-pong rate";
pub const ONE_WAY_RATE: &str = "limit: one-way lines, one write each";
pub const MIB_MS: &str = "limit: 1 MiB out and back";
pub const BULK: &str = "limit: bulk copy through a socketpair";
pub const SPAWN_MS: &str = "limit: spawn and wait of /bin/true";

/// How long one sample of a rate takes.
pub const TURN: Duration = Duration::from_millis(120);
const LINE_BYTES: usize = 80;
const MIB: usize = 1 << 20;

/// Keeps this thread, and all threads and processes made from it, on the first core it may use.
pub fn pin_to_one_core() {
    let all = sched_getaffinity(Pid::from_raw(0)).unwrap();
    let core = (0..CpuSet::count()).find(|core| all.is_set(*core).unwrap()).unwrap();
    let mut one = CpuSet::new();
    one.set(core).unwrap();
    sched_setaffinity(Pid::from_raw(0), &one).unwrap();
}

/// The other process of a limit: works on its standard input, which is a socket.
pub fn peer(kind: &str) {
    let stdin = std::os::fd::AsFd::as_fd(&std::io::stdin()).try_clone_to_owned().unwrap();
    let mut socket = UnixStream::from(stdin);
    let mut buffer = vec![0; 256 * 1024];
    match kind {
        // Answers each line with a line.
        "echo" => {
            while let Ok(bytes @ 1..) = socket.read(&mut buffer) {
                if socket.write_all(&buffer[..bytes]).is_err() {
                    return;
                }
            }
        }
        // Answers every whole MiB with a MiB.
        "mib" => {
            let (mut got, reply) = (0, vec![b'x'; MIB]);
            while let Ok(bytes @ 1..) = socket.read(&mut buffer) {
                got += bytes;
                if got >= MIB {
                    got -= MIB;
                    if socket.write_all(&reply).is_err() {
                        return;
                    }
                }
            }
        }
        // Reads, and says with one byte when all of a batch is there: its size is in the first 8 bytes.
        "sink" => {
            let (mut expected, mut got) = (0usize, 0usize);
            while let Ok(bytes @ 1..) = socket.read(&mut buffer) {
                if expected == 0 {
                    expected = usize::from_le_bytes(buffer[..8].try_into().unwrap());
                }
                got += bytes;
                if got >= expected {
                    (expected, got) = (0, 0);
                    if socket.write_all(b"!").is_err() {
                        return;
                    }
                }
            }
        }
        other => panic!("no peer {other}"),
    }
}

struct Peer {
    child: Child,
    socket: UnixStream,
}

impl Peer {
    fn start(kind: &str) -> Peer {
        let (ours, theirs) = UnixStream::pair().unwrap();
        let child = Command::new(std::env::current_exe().unwrap())
            .env("RPS_BENCH_PEER", kind)
            .stdin(Stdio::from(OwnedFd::from(theirs)))
            .spawn()
            .unwrap();
        Peer { child, socket: ours }
    }
}

impl Drop for Peer {
    fn drop(&mut self) {
        let _ = self.socket.shutdown(std::net::Shutdown::Both);
        let _ = self.child.wait();
    }
}

/// The median time of one round, over a turn. Microseconds.
pub fn median_us(mut round: impl FnMut()) -> f64 {
    let (begin, mut samples) = (Instant::now(), Vec::new());
    while begin.elapsed() < TURN {
        let start = Instant::now();
        round();
        samples.push(start.elapsed().as_nanos() as f64 / 1000.0);
    }
    percentile(&mut samples, 0.5)
}

/// A percentile of samples.
pub fn percentile(samples: &mut [f64], part: f64) -> f64 {
    samples.sort_by(f64::total_cmp);
    samples[((samples.len() - 1) as f64 * part) as usize]
}

/// Rounds in a second, over a turn.
pub fn rate(mut round: impl FnMut() -> usize) -> f64 {
    let (begin, mut count) = (Instant::now(), 0);
    while begin.elapsed() < TURN {
        count += round();
    }
    count as f64 / begin.elapsed().as_secs_f64()
}

fn ping(socket: &mut UnixStream, line: &[u8], buffer: &mut [u8]) {
    socket.write_all(line).unwrap();
    socket.read_exact(&mut buffer[..line.len()]).unwrap();
}

/// As [`ping`], without sleeping while it waits.
fn ping_spinning(socket: &mut UnixStream, line: &[u8], buffer: &mut [u8]) {
    socket.write_all(line).unwrap();
    let mut got = 0;
    while got < line.len() {
        match socket.read(&mut buffer[got..line.len()]) {
            Ok(bytes) => got += bytes,
            Err(error) if error.kind() == std::io::ErrorKind::WouldBlock => std::hint::spin_loop(),
            Err(error) => panic!("{error}"),
        }
    }
}

pub fn run(board: &mut Board) {
    let mut line = vec![b'x'; LINE_BYTES - 1];
    line.push(b'\n');
    let mut echo = Peer::start("echo");
    let mut echo_for_rate = Peer::start("echo");
    let mut spun = Peer::start("echo");
    spun.socket.set_nonblocking(true).unwrap();
    let mut sink = Peer::start("sink");
    let mut mib = Peer::start("mib");
    let mut bulk = Peer::start("sink");
    let (mut a, mut b, mut c) = (vec![0; 256], vec![0; 256], vec![0; 256]);
    let payload = vec![b'x'; MIB];
    let line = &line;
    board.measure(|group| {
        group.add(PING_US, "us", move || median_us(|| ping(&mut echo.socket, line, &mut a)));
        group.against(PING_SPIN_US, "us", PING_US, None, move || {
            median_us(|| ping_spinning(&mut spun.socket, line, &mut b))
        });
        group.add(PING_RATE, "/s", move || {
            rate(|| {
                ping(&mut echo_for_rate.socket, line, &mut c);
                1
            })
        });
        group.add(ONE_WAY_RATE, "/s", move || {
            rate(|| {
                const LINES: usize = 2000;
                let mut first = line.clone();
                first[..8].copy_from_slice(&(LINES * LINE_BYTES).to_le_bytes());
                sink.socket.write_all(&first).unwrap();
                for _ in 1..LINES {
                    sink.socket.write_all(line).unwrap();
                }
                sink.socket.read_exact(&mut [0]).unwrap();
                LINES
            })
        });
        let mut buffer = vec![0; MIB];
        let mut round_trip = {
            let payload = payload.clone();
            move || {
                mib.socket.write_all(&payload).unwrap();
                mib.socket.read_exact(&mut buffer).unwrap();
            }
        };
        group.add(MIB_MS, "ms", move || median_us(&mut round_trip) / 1000.0);
        group.add(BULK, "MiB/s", move || {
            rate(|| {
                const COUNT: usize = 64;
                let mut first = payload.clone();
                first[..8].copy_from_slice(&(COUNT * MIB).to_le_bytes());
                bulk.socket.write_all(&first).unwrap();
                for _ in 1..COUNT {
                    bulk.socket.write_all(&payload).unwrap();
                }
                bulk.socket.read_exact(&mut [0]).unwrap();
                COUNT
            })
        });
        group.add(SPAWN_MS, "ms", || {
            median_us(|| {
                assert!(Command::new("/bin/true").status().unwrap().success());
            }) / 1000.0
        });
    });
}
