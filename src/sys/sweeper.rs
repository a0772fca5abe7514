//! The thread that reaps and ends orphans.
//!
//! What this file is for: reading about processes can take long, and hang: an environment is read under a lock that a
//! process may hold for as long as it likes. So the event loop says that something is to be looked at, and a thread of its
//! own looks. What it deliberately does not do: decide whose a process is; [`super::orphans`] does.
//!
//! What always holds: whoever asks never waits; what is asked for while it is under way is done once after it; each turn
//! looks at a bounded number of processes, and turns have a pause between them, however many children end.
#![forbid(unsafe_code)]

use super::known_children::KnownChildren;
use super::orphans::{KilledOrphan, kill_and_reap_orphans, sweep};
use crossbeam_channel::{Sender, bounded};
use std::fmt;
use std::io;
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

/// The shortest pause between two turns.
const PAUSE: Duration = Duration::from_millis(20);
/// The longest one.
const PAUSE_MAX: Duration = Duration::from_secs(1);
/// How many times as long as a turn the pause after it is, between these two: a storm of orphans costs this thread a tenth
/// of a core.
const PAUSE_FACTOR: u32 = 9;

/// What the end of all orphans gave: those that were killed and not told of before, and the pids of those that do not end.
pub type OrphansEnd = io::Result<(Vec<KilledOrphan>, Vec<u32>)>;

#[derive(Default)]
struct Wanted {
    sweep: bool,
    /// The last thing that is asked for: to end all orphans within that time.
    end: Option<(Duration, Sender<OrphansEnd>)>,
    /// The thread is to end.
    over: bool,
}

#[derive(Default)]
struct Wishes {
    wanted: Mutex<Wanted>,
    changed: Condvar,
}

/// A handle on the thread. Dropping it ends the thread when it has nothing to do; one that hangs is left to it.
pub struct Sweeper {
    shared: Arc<Wishes>,
}

impl fmt::Debug for Sweeper {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Sweeper").finish_non_exhaustive()
    }
}

impl Sweeper {
    /// Starts the thread. `on_kill` is told of those that a turn killed, each once; `on_fault` once when sweeping fails, until
    /// it works again.
    ///
    /// # Errors
    /// The thread cannot be made.
    pub fn start(
        children: KnownChildren,
        on_kill: impl Fn(Vec<KilledOrphan>) + Send + 'static,
        on_fault: impl Fn(io::Error) + Send + 'static,
    ) -> io::Result<Sweeper> {
        let shared = Arc::new(Wishes::default());
        let own = Arc::clone(&shared);
        let thread = crate::threads::builder("rpcplugin-sweep");
        thread.spawn(move || own.run(&children, on_kill, on_fault))?;
        Ok(Sweeper { shared })
    }

    /// Has orphans looked after soon. Never waits.
    pub fn want(&self) {
        self.shared.wanted().sweep = true;
        self.shared.changed.notify_one();
    }

    /// Ends and reaps all orphans, and waits for that, at most a moment longer than `timeout`. `None`: the thread hangs.
    #[must_use]
    pub fn end_all(&self, timeout: Duration) -> Option<OrphansEnd> {
        let (sender, ended) = bounded(1);
        self.shared.wanted().end = Some((timeout, sender));
        self.shared.changed.notify_one();
        ended.recv_timeout(timeout.saturating_mul(2)).ok()
    }
}

impl Drop for Sweeper {
    fn drop(&mut self) {
        self.shared.wanted().over = true;
        self.shared.changed.notify_one();
    }
}

/// What the thread does next.
enum Next {
    Sweep,
    End(Duration, Sender<OrphansEnd>),
    Over,
}

impl Wishes {
    fn wanted(&self) -> MutexGuard<'_, Wanted> {
        // Nothing in this file panics while it holds the lock.
        self.wanted.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn next(&self) -> Next {
        let wanted = self.wanted();
        let is_idle = |wanted: &mut Wanted| !wanted.sweep && wanted.end.is_none() && !wanted.over;
        let mut wanted = self.changed.wait_while(wanted, is_idle).unwrap_or_else(PoisonError::into_inner);
        if let Some((timeout, sender)) = wanted.end.take() {
            return Next::End(timeout, sender);
        }
        if wanted.over {
            return Next::Over;
        }
        // One turn for all that was asked for until now.
        wanted.sweep = false;
        Next::Sweep
    }

    /// Waits until the pause after a turn of this length is over, or something else than another turn is wanted.
    fn pause_after(&self, turn: Duration) {
        let wanted = self.wanted();
        let goes_on = |wanted: &mut Wanted| wanted.end.is_none() && !wanted.over;
        let _ = self.changed.wait_timeout_while(wanted, pause_after(turn), goes_on);
    }

    fn run(
        &self,
        children: &KnownChildren,
        on_kill: impl Fn(Vec<KilledOrphan>),
        on_fault: impl Fn(io::Error),
    ) {
        let (mut from, mut fails) = (0, false);
        // Those that were told of and are not gone.
        let mut told: Vec<u32> = Vec::new();
        loop {
            match self.next() {
                Next::Over => return,
                Next::End(timeout, sender) => {
                    let mut killed = Vec::new();
                    let ended = kill_and_reap_orphans(children, timeout, &mut killed);
                    killed.retain(|orphan| !told.contains(&orphan.pid));
                    // Whoever asked may have given up.
                    let _ = sender.try_send(ended.map(|(_, left)| (killed, left)));
                }
                Next::Sweep => {
                    let begin = Instant::now();
                    match sweep(children, from) {
                        Ok(swept) => {
                            fails = false;
                            let killed = swept.dying.into_iter().map(|(orphan, _)| orphan);
                            let killed: Vec<KilledOrphan> =
                                killed.filter(|orphan| !told.contains(&orphan.pid)).collect();
                            told.retain(|pid| !swept.reaped.iter().any(|(reaped, _)| reaped == pid));
                            if !killed.is_empty() {
                                told.extend(killed.iter().map(|orphan| orphan.pid));
                                on_kill(killed);
                            }
                            from = swept.next.unwrap_or(0);
                            if swept.next.is_some() {
                                self.wanted().sweep = true;
                            }
                        }
                        Err(error) if !std::mem::replace(&mut fails, true) => on_fault(error),
                        Err(_) => {}
                    }
                    self.pause_after(begin.elapsed());
                }
            }
        }
    }
}

/// The pause after a turn of this length.
fn pause_after(turn: Duration) -> Duration {
    turn.saturating_mul(PAUSE_FACTOR).clamp(PAUSE, PAUSE_MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn turns_take_a_tenth_of_a_core_and_go_on_within_a_second() {
        let ms = Duration::from_millis;
        for (turn, pause) in [(0, 20), (2, 20), (5, 45), (50, 450), (200, 1000), (60_000, 1000)] {
            assert_eq!(pause_after(ms(turn)), ms(pause), "{turn} ms");
        }
        assert_eq!(pause_after(Duration::MAX), PAUSE_MAX);
    }

    #[test]
    fn what_is_asked_for_many_times_is_done_in_one_turn() {
        let shared = Wishes::default();
        for _ in 0..1000 {
            shared.wanted().sweep = true;
        }
        assert!(matches!(shared.next(), Next::Sweep));
        assert!(!shared.wanted().sweep, "all of it");
        shared.wanted().over = true;
        assert!(matches!(shared.next(), Next::Over));
    }
}
