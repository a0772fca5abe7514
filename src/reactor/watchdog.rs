//! The watchdog of the event loop: whose descriptor the loop reads or writes, and a thread that acts where it hangs in
//! that.
//!
//! A call on a pipe or socket does not wait, since it is made that way, unless whoever has the other end makes it: by
//! holding the kernel's lock of it in a page fault. What a plugin passed is never touched on the loop; what it prints to
//! and its connection are.
//!
//! What it deliberately does not do: decide what a hang is ([`HangJudge`] does).
//!
//! What always holds: a touch costs no system call, unless the watchdog was asleep; that sleeps while the loop does, so that
//! an idle host has no wake-ups; a group is killed only while nobody can reap its leader.

use super::recorder::Recorder;
use crate::state::action::Note;
use crate::state::hang::{GIVE_UP_TICKS, HangJudge, HangVerdict, KILL_TICKS, TICK, ThreadState};
use crate::state::keys::PluginKey;
use crate::state::time::Time;
use crate::sys::process::Child;
use crate::sys::process_group::ProcessGroup;
use crate::sys::thread_state::{ThreadSleep, own_thread_id, sleep_of};
use rpc_plugin_wire::event::EventKind;
use rpc_plugin_wire::{Generation, PluginId};
use std::collections::BTreeMap;
use std::io;
use std::sync::atomic::{AtomicBool, AtomicI32, AtomicU32, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, OnceLock, PoisonError};
use std::thread::Thread;
use std::time::{Duration, Instant};

/// How long the record is waited for before a loop is given up.
const FLUSH_TIMEOUT: Duration = Duration::from_secs(1);

/// Function that ends the process, or does what its program wants instead, where the event loop hangs for good.
pub(crate) type OnHang = Box<dyn FnOnce(&str) + Send>;

/// Function that has the loop put something on record, once it goes on.
pub(super) type TellLoop = Box<dyn Fn(Note) + Send>;

/// What is done with a plugin's descriptor.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Touched {
    /// Its connection is read.
    ConnectionRead,
    /// Its connection is written.
    ConnectionWritten,
    /// What it prints is read.
    OutputRead,
}

impl Touched {
    const ALL: [Touched; 3] = [Touched::ConnectionRead, Touched::ConnectionWritten, Touched::OutputRead];

    fn text(self) -> &'static str {
        match self {
            Touched::ConnectionRead => "reading its connection",
            Touched::ConnectionWritten => "writing to its connection",
            Touched::OutputRead => "reading what it prints",
        }
    }
}

/// Bits of a touch's number that say what is done.
const TOUCHED_BITS: u32 = 2;

/// A process that can be killed.
struct WatchedProcess {
    id: PluginId,
    generation: Generation,
    pid: u32,
    group: ProcessGroup,
}

/// Tells the watchdog's thread whose descriptor the loop reads or writes, and which processes there are.
struct Watchdog {
    /// Number of the touch under way and what is done, zero where none is.
    touch: AtomicU64,
    /// How many touches there were.
    touches: AtomicU64,
    plugin: AtomicU32,
    generation: AtomicU64,
    /// Thread that drives.
    thread: AtomicI32,
    /// Its thread sleeps until a touch wakes it.
    is_asleep: AtomicBool,
    has_ended: AtomicBool,
    own_thread: OnceLock<Thread>,
    processes: Mutex<BTreeMap<PluginKey, WatchedProcess>>,
}

/// A touch under way, until it is dropped.
struct Touch<'a>(&'a Watchdog);

impl Drop for Touch<'_> {
    fn drop(&mut self) {
        self.0.touch.store(0, Ordering::Release);
    }
}

/// A watchdog whose thread runs. Dropping it ends that, and waits for nothing.
pub(super) struct RunningWatchdog(Arc<Watchdog>);

impl RunningWatchdog {
    /// Starts the watchdog's thread, which looks once a `tick` while the loop works.
    ///
    /// # Errors
    /// Those of pthread_create(3).
    pub(super) fn start(
        tick: Duration,
        recorder: Recorder,
        tell: TellLoop,
        on_hang: Option<OnHang>,
    ) -> io::Result<RunningWatchdog> {
        let watchdog = Arc::new(Watchdog {
            touch: AtomicU64::new(0),
            touches: AtomicU64::new(0),
            plugin: AtomicU32::new(0),
            generation: AtomicU64::new(0),
            thread: AtomicI32::new(0),
            is_asleep: AtomicBool::new(false),
            has_ended: AtomicBool::new(false),
            own_thread: OnceLock::new(),
            processes: Mutex::default(),
        });
        let (of_thread, alarm) = (Arc::clone(&watchdog), Alarm { recorder, tell, on_hang });
        let thread = crate::threads::builder("rpcplugin-watch");
        thread.spawn(move || of_thread.run(tick, alarm))?;
        Ok(RunningWatchdog(watchdog))
    }

    /// Does something with a descriptor of a plugin that should not wait.
    pub(super) fn during<T>(
        &self,
        name: (PluginKey, Generation),
        what: Touched,
        act: impl FnOnce() -> T,
    ) -> T {
        let _touch = self.0.touch(name, what);
        act()
    }

    /// Takes a process into account. One that cannot be, for want of a descriptor, is not killed.
    pub(super) fn add(&self, key: PluginKey, id: &PluginId, generation: Generation, child: &Child) {
        if let Ok(group) = ProcessGroup::of(child) {
            let process = WatchedProcess { id: id.clone(), generation, pid: child.pid(), group };
            self.0.lock().insert(key, process);
        }
    }

    /// Reaps the process of a plugin, if `reap` does, while nobody may kill it.
    pub(super) fn while_reaped<T>(&self, key: PluginKey, reap: impl FnOnce() -> Option<T>) -> Option<T> {
        let mut processes = self.0.lock();
        let reaped = reap();
        if reaped.is_some() {
            processes.remove(&key);
        }
        reaped
    }

    /// Ends the watchdog: no process is killed any more. Its thread is not waited for.
    pub(super) fn end(&self) {
        self.0.lock().clear();
        self.0.has_ended.store(true, Ordering::SeqCst);
        self.0.wake();
    }
}

impl Drop for RunningWatchdog {
    fn drop(&mut self) {
        self.end();
    }
}

/// What the watchdog acts with.
struct Alarm {
    recorder: Recorder,
    tell: TellLoop,
    on_hang: Option<OnHang>,
}

impl Watchdog {
    /// Says that a descriptor of a plugin is read or written from now on, until the result is dropped. One at a time.
    fn touch(&self, (key, generation): (PluginKey, Generation), what: Touched) -> Touch<'_> {
        self.plugin.store(key.0, Ordering::Relaxed);
        self.generation.store(generation.get(), Ordering::Relaxed);
        self.thread.store(own_thread_id(), Ordering::Relaxed);
        // One thread at a time drives.
        let number = self.touches.load(Ordering::Relaxed) + 1;
        self.touches.store(number, Ordering::Relaxed);
        // In one order with what the watchdog does before it sleeps: it sees this, or is seen to sleep here.
        self.touch.store(number << TOUCHED_BITS | what as u64, Ordering::SeqCst);
        if self.is_asleep.load(Ordering::SeqCst) {
            self.wake();
        }
        Touch(self)
    }

    #[cold]
    fn wake(&self) {
        self.is_asleep.store(false, Ordering::SeqCst);
        if let Some(thread) = self.own_thread.get() {
            thread.unpark();
        }
    }

    /// Keeps all processes from being killed, or from being reaped by whoever asks.
    fn lock(&self) -> MutexGuard<'_, BTreeMap<PluginKey, WatchedProcess>> {
        self.processes.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn run(&self, tick: Duration, mut alarm: Alarm) {
        let _ = self.own_thread.set(std::thread::current());
        let (mut judge, origin, mut seen) = (HangJudge::default(), Instant::now(), 0);
        while !self.has_ended.load(Ordering::SeqCst) {
            std::thread::park_timeout(tick);
            let (touch, touches) = (self.touch.load(Ordering::SeqCst), self.touches.load(Ordering::SeqCst));
            if touch == 0 && touches == seen {
                self.sleep();
            }
            seen = touches;
            let now = Time::from_nanos(u64::try_from(origin.elapsed().as_nanos()).unwrap_or(u64::MAX));
            match judge.look(now, (touch != 0).then(|| (touch, self.thread_state()))) {
                HangVerdict::Fine => {}
                HangVerdict::Kill => self.kill(touch, &mut alarm),
                HangVerdict::GiveUp => self.give_up(touch, &mut alarm),
            }
        }
    }

    /// Sleeps until there is a touch, or this ends.
    fn sleep(&self) {
        self.is_asleep.store(true, Ordering::SeqCst);
        while self.touch.load(Ordering::SeqCst) == 0
            && self.is_asleep.load(Ordering::SeqCst)
            && !self.has_ended.load(Ordering::SeqCst)
        {
            std::thread::park();
        }
        self.is_asleep.store(false, Ordering::SeqCst);
    }

    fn thread_state(&self) -> ThreadState {
        match sleep_of(self.thread.load(Ordering::Relaxed)) {
            Some(ThreadSleep::Awake) => ThreadState::Running,
            Some(ThreadSleep::Asleep(switches)) => ThreadState::Asleep(switches),
            None => ThreadState::Unknown,
        }
    }

    /// Kills the group of the process that the loop waits for.
    fn kill(&self, touch: u64, alarm: &mut Alarm) {
        let processes = self.lock();
        let Some((process, what)) = self.touched(touch, &processes) else { return };
        let result = process.group.kill();
        let mut note =
            Note::new(EventKind::SignalSent, "SIGKILL was sent to its process group").reason(format!(
                "the event loop has hung in {what} for {:?}, in one call that should not wait",
                TICK * KILL_TICKS
            ));
        if let Err(error) = result {
            note = Note::new(
                EventKind::HostFault,
                "a plugin in whose descriptor the event loop hangs cannot be killed",
            )
            .error(error.to_string());
        }
        note.plugin_id = Some(process.id.clone());
        note.generation = Some(process.generation);
        note.pid = Some(process.pid);
        drop(processes);
        (alarm.tell)(note);
    }

    /// The process that the loop waits for, and in what, unless it waits no more.
    fn touched<'a>(
        &self,
        touch: u64,
        processes: &'a BTreeMap<PluginKey, WatchedProcess>,
    ) -> Option<(&'a WatchedProcess, &'static str)> {
        let key = PluginKey(self.plugin.load(Ordering::Relaxed));
        let generation = self.generation.load(Ordering::Relaxed);
        // What was read belongs to this touch if that is still under way.
        let is_under_way = self.touch.load(Ordering::SeqCst) == touch;
        let process = processes.get(&key).filter(|process| process.generation.get() == generation)?;
        is_under_way.then(|| (process, text_of(touch)))
    }

    /// Says that the loop hangs for good, and leaves it to the program what follows.
    fn give_up(&self, touch: u64, alarm: &mut Alarm) {
        let processes = self.lock();
        let whose = match self.touched(touch, &processes) {
            Some((process, _)) => format!("plugin {} (pid {})", process.id, process.pid),
            None => "a process that is not its child, or was not watched".to_owned(),
        };
        drop(processes);
        let reason = format!(
            "the event loop hangs in {} of {whose} for {:?}, also after SIGKILL; nothing in this process can free it",
            text_of(touch),
            TICK * GIVE_UP_TICKS
        );
        alarm.recorder.record(Note::new(EventKind::HostFault, "the event loop hangs").error(reason.clone()));
        let _ = alarm.recorder.log().flush(FLUSH_TIMEOUT);
        if let Some(on_hang) = alarm.on_hang.take() {
            on_hang(&reason);
        }
    }
}

fn text_of(touch: u64) -> &'static str {
    let what = usize::try_from(touch & ((1 << TOUCHED_BITS) - 1)).unwrap_or(0);
    Touched::ALL.get(what).map_or("a descriptor of it", |touched| touched.text())
}

#[cfg(test)]
#[path = "watchdog_tests.rs"]
mod tests;
