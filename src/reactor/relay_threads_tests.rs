//! Relay threads against descriptors that hang: who else goes on, what is refused, how they end.

use super::*;
use crate::engine::{self, CommandQueue, Driver};
use nix::fcntl::{FcntlArg, OFlag, fcntl};
use std::io::{PipeReader, PipeWriter, Read, Write};
use std::os::fd::OwnedFd;
use std::time::Instant;

const PIECE_BYTES_MAX: usize = 1000;

fn fd(own: impl Into<OwnedFd>) -> Fd {
    own.into().into()
}

struct Scene {
    threads: RelayThreads,
    queue: CommandQueue<LoopCommand>,
    poll: Poll,
    events: Events,
    seen: BTreeMap<u64, StreamReport>,
}

impl Scene {
    fn new() -> Scene {
        let poll = Poll::new().unwrap();
        let driver = Arc::new(Driver::new(Waker::new(poll.registry(), WAKER).unwrap()));
        let (commands, queue) = engine::open(driver);
        let threads = RelayThreads::new(commands);
        Scene { threads, queue, poll, events: Events::with_capacity(1), seen: BTreeMap::new() }
    }

    /// Waits for reports, as the loop does, until `found` is satisfied with what was reported of a relay.
    fn until(&mut self, relay: &RelayHandle, found: impl Fn(&StreamReport) -> bool) -> StreamReport {
        loop {
            if let Some(report) = self.seen.get(&relay.number).filter(|report| found(report)) {
                assert!(!report.is_empty());
                return self.seen.remove(&relay.number).unwrap();
            }
            if self.queue.may_sleep() {
                self.poll.poll(&mut self.events, Some(Duration::from_secs(60))).unwrap();
                assert!(!self.events.is_empty(), "waited a minute in vain");
            }
            self.queue.awake();
            if let Some(command) = self.queue.take() {
                assert!(matches!(command, LoopCommand::StreamsMoved));
                for (number, report) in self.threads.take_reports() {
                    self.seen.entry(number).or_default().merge(report, PIECE_BYTES_MAX);
                }
            }
        }
    }
}

fn read_of(report: &mut StreamReport) -> Vec<u8> {
    std::iter::from_fn(|| report.read.pop()).flatten().collect()
}

fn eventually(what: &str, mut look: impl FnMut() -> bool) {
    let end = Instant::now() + Duration::from_secs(60);
    while !look() {
        assert!(Instant::now() < end, "waited a minute in vain: {what}");
        std::thread::yield_now();
    }
}

/// Has the thread of `owner` hang in a read: whoever shares the open file takes O_NONBLOCK away. What it is freed with.
fn hang(scene: &mut Scene, owner: PluginKey) -> (RelayHandle, PipeReader, PipeWriter) {
    let (reader, mut writer) = io::pipe().unwrap();
    let shared = reader.try_clone().unwrap();
    let relay = scene.threads.add(owner, fd(reader), PIECE_BYTES_MAX).unwrap();
    writer.write_all(b"a").unwrap();
    assert_eq!(read_of(&mut scene.until(&relay, |report| !report.read.is_empty())), b"a");
    let flags = OFlag::from_bits_retain(fcntl(&shared, FcntlArg::F_GETFL).unwrap());
    assert!(flags.contains(OFlag::O_NONBLOCK));
    fcntl(&shared, FcntlArg::F_SETFL(flags - OFlag::O_NONBLOCK)).unwrap();
    // It reads this, and once more whether that was all.
    writer.write_all(b"b").unwrap();
    eventually("it has read that", || {
        let mut there =
            [nix::poll::PollFd::new(std::os::fd::AsFd::as_fd(&shared), nix::poll::PollFlags::POLLIN)];
        nix::poll::poll(&mut there, nix::poll::PollTimeout::ZERO).unwrap() == 0
    });
    (relay, shared, writer)
}

#[test]
fn a_descriptor_that_hangs_hangs_its_plugins_streams_and_nobody_else() {
    let mut scene = Scene::new();
    let (bad, good) = (PluginKey(1), PluginKey(2));
    let (hanging, _shared, writer) = hang(&mut scene, bad);
    let (reader, mut other) = io::pipe().unwrap();
    let behind = scene.threads.add(bad, fd(reader), PIECE_BYTES_MAX).unwrap();
    other.write_all(b"not read").unwrap();

    let (reader, mut source) = io::pipe().unwrap();
    let relay = scene.threads.add(good, fd(reader), PIECE_BYTES_MAX).unwrap();
    for _ in 0..100 {
        source.write_all(b"goes on").unwrap();
        assert_eq!(read_of(&mut scene.until(&relay, |report| !report.read.is_empty())), b"goes on");
    }
    let (mut sink, other_writer) = io::pipe().unwrap();
    let written = scene.threads.add(good, fd(other_writer), PIECE_BYTES_MAX).unwrap();
    written.order(StreamOrder { data: b"12".to_vec(), ..StreamOrder::default() });
    // What was ordered is done before it is closed.
    written.order(StreamOrder { data: b"34".to_vec(), ..StreamOrder::default() });
    drop(written);
    let mut all = Vec::new();
    sink.read_to_end(&mut all).unwrap();
    assert_eq!(all, b"1234");
    assert!(scene.seen.is_empty(), "one hangs, and one waits behind it");

    // The next generation has a thread of its own; nobody waits for the one that hangs.
    scene.threads.end(bad);
    let (reader, mut anew) = io::pipe().unwrap();
    let relay = scene.threads.add(bad, fd(reader), PIECE_BYTES_MAX).unwrap();
    anew.write_all(b"new").unwrap();
    assert_eq!(read_of(&mut scene.until(&relay, |report| !report.read.is_empty())), b"new");
    let [(_, hung)] = &scene.threads.ending[..] else { panic!("one is to end") };
    assert!(!hung.is_finished());
    drop((hanging, behind, writer));
    let Scene { mut threads, .. } = scene;
    let (_, hung) = threads.ending.pop().unwrap();
    drop((threads, relay));
    eventually("what hung ends with what it hung in", || hung.is_finished());
}

#[test]
fn descriptors_and_threads_of_one_plugin_are_bounded() {
    let mut scene = Scene::new();
    let owner = PluginKey(1);
    let (hanging, _shared, writer) = hang(&mut scene, owner);
    // A stream that is over for the loop counts as long as its thread has not closed it.
    for _ in 1..RELAYS_MAX {
        drop(scene.threads.add(owner, fd(io::pipe().unwrap().0), PIECE_BYTES_MAX).unwrap());
    }
    let error = scene.threads.add(owner, fd(io::pipe().unwrap().0), PIECE_BYTES_MAX).err().unwrap();
    assert!(error.to_string().starts_with("256 descriptors that the same plugin passed"), "{error}");
    assert!(scene.threads.add(PluginKey(2), fd(io::pipe().unwrap().0), PIECE_BYTES_MAX).is_ok());
    let mut held = vec![(hanging, _shared, writer)];
    for _ in 1..THREADS_MAX {
        scene.threads.end(owner);
        held.push(hang(&mut scene, owner));
    }
    scene.threads.end(owner);
    let error = scene.threads.add(owner, fd(io::pipe().unwrap().0), PIECE_BYTES_MAX).err().unwrap();
    assert!(error.to_string().starts_with("16 threads hang"), "{error}");
    // Once they are free, there is room again.
    held.clear();
    eventually("all have ended", || scene.threads.ending.iter().all(|(_, handle)| handle.is_finished()));
    assert!(scene.threads.add(owner, fd(io::pipe().unwrap().0), PIECE_BYTES_MAX).is_ok());
}
