//! The watchdog against reads that hang: in what a child prints, and in what nobody frees.

use super::*;
use crate::eventlog::EventLog;
use crate::sys::executable::open;
use crate::sys::pidfd_slot::PidfdSlot;
use crate::sys::process::Signal;
use crate::sys::spawn::{SpawnSpec, Spawned, spawn};
use nix::errno::Errno;
use nix::fcntl::{FcntlArg, OFlag, fcntl};
use std::fs::File;
use std::io::Read;
use std::path::Path;
use std::sync::mpsc;

const SOON: Duration = Duration::from_secs(60);
const KEY: PluginKey = PluginKey(7);
const GENERATION: Generation = Generation::FIRST;

struct Scene {
    running: RunningWatchdog,
    notes: mpsc::Receiver<Note>,
    /// Reasons that the program was told.
    hangs: mpsc::Receiver<String>,
}

impl Scene {
    fn new() -> Scene {
        let recorder = Recorder::new(EventLog::disabled(), Path::new("/"));
        let (told, hangs) = mpsc::channel();
        let on_hang: OnHang = Box::new(move |reason| told.send(reason.to_owned()).unwrap());
        let tick = Duration::from_millis(20);
        // It waits until its note is taken: meanwhile a busy machine may be as slow as it likes.
        let (noted, notes) = mpsc::sync_channel(0);
        let tell = Box::new(move |note| noted.send(note).unwrap());
        let running = RunningWatchdog::start(tick, recorder, tell, Some(on_hang)).unwrap();
        Scene { running, notes, hangs }
    }

    /// Waits until the watchdog sleeps, as it does where nothing is touched.
    fn until_asleep(&self) {
        let end = Instant::now() + SOON;
        while !self.running.0.is_asleep.load(Ordering::SeqCst) {
            assert!(Instant::now() < end, "it does not sleep");
            std::thread::yield_now();
        }
    }

    /// Reads on another thread, as the loop does, and tells when that is over.
    fn read(&self, mut from: impl Read + Send + 'static) -> mpsc::Receiver<usize> {
        let (watchdog, (done, is_done)) = (Arc::clone(&self.running.0), mpsc::channel());
        std::thread::spawn(move || {
            let _touch = watchdog.touch((KEY, GENERATION), Touched::OutputRead);
            done.send(from.read(&mut [0; 10]).unwrap()).unwrap();
        });
        is_done
    }
}

/// A child that prints nothing, and what it would print to, which waits for that.
fn child() -> (Child, File) {
    let executable = open(&std::fs::canonicalize("/bin/sleep").unwrap()).unwrap();
    let args = ["1000".into()];
    let Spawned { child, stdout, .. } =
        spawn(&SpawnSpec { args: &args, ..SpawnSpec::new(&executable) }, &PidfdSlot::default()).unwrap();
    let stdout = stdout.unwrap();
    let flags = OFlag::from_bits_retain(fcntl(&stdout, FcntlArg::F_GETFL).unwrap());
    assert!(flags.contains(OFlag::O_NONBLOCK), "without that it would always hang");
    fcntl(&stdout, FcntlArg::F_SETFL(flags - OFlag::O_NONBLOCK)).unwrap();
    (child, stdout.into())
}

#[test]
fn the_process_whose_pipe_hangs_is_killed_and_the_loop_goes_on() {
    let scene = Scene::new();
    let (mut child, stdout) = child();
    scene.running.add(KEY, &"one".parse().unwrap(), GENERATION, &child);
    scene.until_asleep();
    let read = scene.read(stdout);
    assert_eq!(read.recv_timeout(SOON), Ok(0), "its end");
    assert!(child.wait_exit(SOON).unwrap());
    let status = child.reap().unwrap().unwrap();
    assert_eq!(status.to_string(), "signal 9 (SIGKILL)");
    let note = scene.notes.recv_timeout(SOON).unwrap();
    scene.until_asleep();
    assert!(scene.notes.try_recv().is_err(), "once");
    assert_eq!((note.kind, note.pid), (EventKind::SignalSent, Some(child.pid())));
    assert_eq!(
        note.reason.as_deref(),
        Some("the event loop has hung in reading what it prints for 2s, in one call that should not wait")
    );
    assert!(scene.hangs.try_recv().is_err(), "nothing hangs any more");
}

#[test]
fn what_no_kill_frees_is_told_to_the_program_once() {
    let scene = Scene::new();
    let (child, _stdout) = child();
    scene.running.add(KEY, &"one".parse().unwrap(), GENERATION, &child);
    let (reader, writer) = io::pipe().unwrap();
    let read = scene.read(reader);
    let note = scene.notes.recv_timeout(SOON).unwrap();
    assert_eq!(note.kind, EventKind::SignalSent);
    let reason = scene.hangs.recv_timeout(SOON).unwrap();
    let whose =
        format!("the event loop hangs in reading what it prints of plugin one (pid {}) for 4s", child.pid());
    assert!(reason.starts_with(&whose), "{reason}");
    assert!(child.wait_exit(SOON).unwrap());
    assert!(scene.notes.try_recv().is_err(), "once");
    drop(writer);
    assert_eq!(read.recv_timeout(SOON), Ok(0));
    scene.until_asleep();
    assert!(scene.hangs.recv().is_err(), "once");
}

#[test]
fn nobody_is_killed_who_was_reaped_or_is_of_another_generation() {
    let scene = Scene::new();
    let (mut child, _stdout) = child();
    scene.running.add(KEY, &"one".parse().unwrap(), GENERATION.next(), &child);
    let (reader, writer) = io::pipe().unwrap();
    let read = scene.read(reader);
    let reason = scene.hangs.recv_timeout(SOON).unwrap();
    assert!(reason.contains("of a process that is not its child"), "{reason}");
    assert!(child.peek_exit().unwrap().is_none(), "it lives");
    drop(writer);
    assert_eq!(read.recv_timeout(SOON), Ok(0));
    let group = ProcessGroup::of(&child).unwrap();
    child.signal(Signal::SIGKILL).unwrap();
    assert!(child.wait_exit(SOON).unwrap() && group.kill().is_ok(), "a zombie keeps its number");
    child.reap().unwrap().unwrap();
    assert_eq!(
        group.kill().unwrap_err().raw_os_error(),
        Some(Errno::ECHILD as i32),
        "the number may be another's"
    );
    drop(scene.running);
}
