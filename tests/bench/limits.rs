//! What the machine can do: plain blocking code, without our library.
//!
//! Each limit is measured in the rounds of the figures that are held against it, with a peer of its own
//! ([`sampler`]); [`run`] measures those that nothing is held against.

use super::figures::Board;
use super::subject::World;
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

pub const SYNCS: &str = "limit: lines, one fdatasync each";

/// Keeps this thread, and all threads and processes made from it, on the last core it may use: the first ones
/// serve more interrupts.
pub fn pin_to_one_core() {
    let all = sched_getaffinity(Pid::from_raw(0)).unwrap();
    let core = (0..CpuSet::count()).rev().find(|core| all.is_set(*core).unwrap()).unwrap();
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

/// Takes one sample.
pub type Take = Box<dyn FnMut() -> f64>;

/// The unit of a limit, and what measures it.
pub fn sampler(name: &str) -> (&'static str, Take) {
    match name {
        PING_US => ("us", Box::new(ping_us())),
        PING_SPIN_US => ("us", Box::new(ping_spin_us())),
        PING_RATE => ("/s", Box::new(ping_rate())),
        ONE_WAY_RATE => ("/s", Box::new(one_way_rate())),
        MIB_MS => ("ms", Box::new(mib_ms())),
        BULK => ("MiB/s", Box::new(bulk())),
        SPAWN_MS => ("ms", Box::new(spawn_ms)),
        SYNCS => ("/s", Box::new(syncs())),
        other => panic!("nothing measures {other:?}"),
    }
}

/// Those that no figure names.
pub fn run(board: &mut Board) {
    board.measure(|group| {
        for name in [PING_SPIN_US, BULK, SYNCS] {
            let (unit, take) = sampler(name);
            group.add(name, unit, take);
        }
    });
}

fn line() -> Vec<u8> {
    let mut line = vec![b'x'; LINE_BYTES - 1];
    line.push(b'\n');
    line
}

fn ping_us() -> impl FnMut() -> f64 {
    let (mut peer, line, mut buffer) = (Peer::start("echo"), line(), [0; 256]);
    move || median_us(|| ping(&mut peer.socket, &line, &mut buffer))
}

fn ping_spin_us() -> impl FnMut() -> f64 {
    let (mut peer, line, mut buffer) = (Peer::start("echo"), line(), [0; 256]);
    peer.socket.set_nonblocking(true).unwrap();
    move || median_us(|| ping_spinning(&mut peer.socket, &line, &mut buffer))
}

fn ping_rate() -> impl FnMut() -> f64 {
    let (mut peer, line, mut buffer) = (Peer::start("echo"), line(), [0; 256]);
    move || {
        rate(|| {
            ping(&mut peer.socket, &line, &mut buffer);
            1
        })
    }
}

/// Many writes, then the peer's word that all has arrived; the first bytes tell it how many to expect.
fn batch(peer: &mut Peer, piece: &[u8], count: usize) {
    let mut first = piece.to_vec();
    first[..8].copy_from_slice(&(count * piece.len()).to_le_bytes());
    peer.socket.write_all(&first).unwrap();
    for _ in 1..count {
        peer.socket.write_all(piece).unwrap();
    }
    peer.socket.read_exact(&mut [0]).unwrap();
}

fn one_way_rate() -> impl FnMut() -> f64 {
    const LINES: usize = 2000;
    let (mut peer, line) = (Peer::start("sink"), line());
    move || {
        rate(|| {
            batch(&mut peer, &line, LINES);
            LINES
        })
    }
}

fn mib_ms() -> impl FnMut() -> f64 {
    let (mut peer, payload, mut buffer) = (Peer::start("mib"), vec![b'x'; MIB], vec![0; MIB]);
    move || {
        let round_us = median_us(|| {
            peer.socket.write_all(&payload).unwrap();
            peer.socket.read_exact(&mut buffer).unwrap();
        });
        round_us / 1000.0
    }
}

fn bulk() -> impl FnMut() -> f64 {
    const COUNT: usize = 64;
    let (mut peer, payload) = (Peer::start("sink"), vec![b'x'; MIB]);
    move || {
        rate(|| {
            batch(&mut peer, &payload, COUNT);
            COUNT
        })
    }
}

fn spawn_ms() -> f64 {
    median_us(|| assert!(Command::new("/bin/true").status().unwrap().success())) / 1000.0
}

fn syncs() -> impl FnMut() -> f64 {
    let world = World::new();
    let mut file = std::fs::File::create(world.path().join("lines")).unwrap();
    let line = [b'x'; 200];
    move || {
        let _folder = &world;
        rate(|| {
            file.write_all(&line).unwrap();
            file.sync_data().unwrap();
            1
        })
    }
}
