//! Children of this process that somebody looks after: plugins, and programs that take or pack the record.
//!
//! What this file is for: whoever adopts orphans ([`super::sweeper`]) ends every child that nobody knows, and children are
//! launched and reaped by several threads. What it deliberately does not do: launch or reap.
//!
//! What always holds: a child that is launched through [`KnownChildren::launch`] is known when that returns; nobody waits
//! for whoever adopts orphans. That one sees whether a launch is on its way, or began since it looked, and leaves alone
//! what may be that launch's child.
#![forbid(unsafe_code)]

use std::ffi::OsString;
use std::fmt;
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

/// How long after clone(2) has returned a child may take to close what it does not inherit. It has begun to execute then.
const SETTLE: Duration = Duration::from_millis(10);

/// A launched process that lives, or has ended and is reaped elsewhere; and how to know what is its own.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Leader {
    /// Its pid. Processes of the session that it leads are its own.
    pub pid: u32,
    /// `NAME=value`, which this launch alone has in its environment. Processes that have it there too are
    /// its own, also in a session that they made for themselves.
    pub mark: OsString,
}

/// A handle on the list; clones are the same.
#[derive(Clone, Default)]
pub struct KnownChildren {
    inner: Arc<Inner>,
}

#[derive(Default)]
struct Inner {
    state: Mutex<Launches>,
    /// A launch is over.
    launched: Condvar,
}

#[derive(Debug, Default)]
struct Launches {
    known: Vec<Leader>,
    /// Launches that are on their way.
    launching: usize,
    /// Launches that have begun so far.
    launches: u64,
    /// The end of the last launch.
    launched_at: Option<Instant>,
}

impl fmt::Debug for KnownChildren {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("KnownChildren").field("state", &*self.state()).finish_non_exhaustive()
    }
}

/// A child that is known, until this is dropped; to be dropped when it is reaped.
#[derive(Debug)]
pub struct KnownChild {
    children: KnownChildren,
    pid: u32,
}

impl Drop for KnownChild {
    fn drop(&mut self) {
        let mut state = self.children.state();
        if let Some(at) = state.known.iter().position(|leader| leader.pid == self.pid) {
            state.known.swap_remove(at);
        }
    }
}

/// A launch on its way, also where it panics.
struct Launching<'a>(&'a KnownChildren);

impl Drop for Launching<'_> {
    fn drop(&mut self) {
        let mut state = self.0.state();
        state.launching -= 1;
        state.launched_at = Some(Instant::now());
        drop(state);
        self.0.inner.launched.notify_all();
    }
}

/// The children that were known at a moment at which no launch was on its way.
#[derive(Debug)]
pub(super) struct Snapshot {
    pub(super) known: Vec<Leader>,
    launches: u64,
}

impl KnownChildren {
    fn state(&self) -> MutexGuard<'_, Launches> {
        // Nothing in this file panics while it holds the lock.
        self.inner.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Launches a child that leads its own session, by `launch`, whose result has a pid. `mark` is `NAME=value` in
    /// its environment: what it launches itself is spared while it lives. Blocks as long as the launch.
    ///
    /// # Errors
    /// Those of `launch`.
    pub fn launch<T, E>(
        &self,
        mark: OsString,
        launch: impl FnOnce() -> Result<T, E>,
        pid: impl FnOnce(&T) -> u32,
    ) -> Result<(T, KnownChild), E> {
        {
            let mut state = self.state();
            state.launching += 1;
            state.launches += 1;
        }
        let _launching = Launching(self);
        let child = launch()?;
        let pid = pid(&child);
        self.state().known.push(Leader { pid, mark });
        Ok((child, KnownChild { children: self.clone(), pid }))
    }

    /// Waits until no child is on its way to its program, at most about `timeout`. Until then it has copies of all
    /// descriptors, and would be the last to close what is closed here.
    pub fn wait_for_launches(&self, timeout: Duration) {
        let is_launching = |state: &mut Launches| state.launching > 0;
        let waited = self.inner.launched.wait_timeout_while(self.state(), timeout, is_launching);
        let launched_at = waited.unwrap_or_else(PoisonError::into_inner).0.launched_at;
        if let Some(rest) = launched_at.and_then(|at| SETTLE.checked_sub(at.elapsed())) {
            std::thread::sleep(rest);
        }
    }

    /// Those that are known, once no launch is on its way; waits for that, at most `timeout`. Whoever was a child before
    /// this was called is among them, or nobody's.
    pub(super) fn snapshot(&self, timeout: Duration) -> Option<Snapshot> {
        let state = self.state();
        let (state, waited) = self
            .inner
            .launched
            .wait_timeout_while(state, timeout, |state| state.launching > 0)
            .unwrap_or_else(PoisonError::into_inner);
        (!waited.timed_out()).then(|| Snapshot { known: state.known.clone(), launches: state.launches })
    }

    /// Whether a launch has begun since: a pid that was looked at may be its child's by now.
    pub(super) fn has_launched_since(&self, snapshot: &Snapshot) -> bool {
        self.state().launches != snapshot.launches
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn pids(children: &KnownChildren) -> Option<Vec<u32>> {
        let snapshot = children.snapshot(Duration::ZERO)?;
        Some(snapshot.known.iter().map(|leader| leader.pid).collect())
    }

    #[test]
    fn a_child_is_known_from_its_launch_on_and_no_snapshot_is_taken_during_one() {
        let children = KnownChildren::default();
        let before = children.snapshot(Duration::ZERO).unwrap();
        assert!(!children.has_launched_since(&before));
        let (_, one) = children.launch("A=1".into(), || Ok::<_, ()>(7_u32), |pid| *pid).unwrap();
        assert!(children.has_launched_since(&before), "its pid may be one that was looked at");
        assert_eq!(pids(&children), Some(vec![7]));
        let launch = || {
            assert_eq!(pids(&children), None, "its child would be taken for an orphan");
            Ok::<_, ()>(8_u32)
        };
        let (_, two) = children.launch("A=2".into(), launch, |pid| *pid).unwrap();
        assert_eq!(pids(&children), Some(vec![7, 8]));
        drop(one);
        assert_eq!(pids(&children), Some(vec![8]));
        drop(two);
        assert!(children.launch("A=3".into(), || Err::<u32, _>("no"), |pid| *pid).is_err());
        assert_eq!(pids(&children), Some(vec![]), "a launch that fails leaves nothing");
        let panicking = || children.launch("A=4".into(), || -> Result<u32, ()> { panic!() }, |pid| *pid);
        assert!(std::panic::catch_unwind(std::panic::AssertUnwindSafe(panicking)).is_err());
        assert_eq!(pids(&children), Some(vec![]));
    }
}
