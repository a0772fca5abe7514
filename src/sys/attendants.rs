//! Children of the host that are no plugins: programs that take its record.
//!
//! What this file is for: the event loop ends every child that it does not know
//! ([`sweep`](super::orphans::sweep)), and these are launched and reaped by threads of their own. What it
//! deliberately does not do: launch or reap.
//!
//! What always holds: a child that is launched through [`Attendants::launch`] is known before a sweep can see it;
//! the event loop never waits: while a launch is on its way it postpones its sweep, and is told when it is over.
#![forbid(unsafe_code)]

use super::orphans::Leader;
use std::ffi::OsString;
use std::fmt;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, OnceLock, PoisonError, RwLock, TryLockError};

/// A handle on the list; clones are the same.
#[derive(Clone, Default)]
pub struct Attendants {
    inner: Arc<Inner>,
}

#[derive(Default)]
struct Inner {
    /// Launches hold it shared, a sweep alone.
    launching: RwLock<()>,
    known: Mutex<Vec<Leader>>,
    is_sweep_wanted: AtomicBool,
    notice: OnceLock<Box<dyn Fn() + Send + Sync>>,
}

impl fmt::Debug for Attendants {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Attendants").field("known", &*self.known()).finish_non_exhaustive()
    }
}

/// A child that is known, until this is dropped; to be dropped when it is reaped.
#[derive(Debug)]
pub struct Attendant {
    attendants: Attendants,
    pid: u32,
}

impl Drop for Attendant {
    fn drop(&mut self) {
        let mut known = self.attendants.known();
        if let Some(at) = known.iter().position(|leader| leader.pid == self.pid) {
            known.swap_remove(at);
        }
    }
}

impl Attendants {
    fn known(&self) -> MutexGuard<'_, Vec<Leader>> {
        // Nothing in this file panics while it holds the lock.
        self.inner.known.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// What is called when a sweep that was postponed may be made. It must not block. Only the first counts.
    pub fn on_sweep_wanted(&self, notice: impl Fn() + Send + Sync + 'static) {
        let _ = self.inner.notice.set(Box::new(notice));
    }

    /// Launches a child that leads its own session, by `launch`, whose result has a pid. `mark` is `NAME=value` in
    /// its environment: what it launches itself is spared while it lives. Blocks as long as the launch, and while a
    /// sweep is under way.
    ///
    /// # Errors
    /// Those of `launch`.
    pub fn launch<T, E>(
        &self,
        mark: OsString,
        launch: impl FnOnce() -> Result<T, E>,
        pid: impl FnOnce(&T) -> u32,
    ) -> Result<(T, Attendant), E> {
        let launching = self.inner.launching.read().unwrap_or_else(PoisonError::into_inner);
        let launched = launch().map(|child| {
            let pid = pid(&child);
            self.known().push(Leader { pid, mark });
            (child, Attendant { attendants: self.clone(), pid })
        });
        drop(launching);
        if self.inner.is_sweep_wanted.swap(false, Ordering::SeqCst)
            && let Some(notice) = self.inner.notice.get()
        {
            notice();
        }
        launched
    }

    /// Sweeps, with those that are known. `None`, and a notice later, while one of them is being launched.
    pub fn sweep<T>(&self, sweep: impl FnOnce(Vec<Leader>) -> T) -> Option<T> {
        // Before the attempt, so that a launch that ends between the two sees it.
        self.inner.is_sweep_wanted.store(true, Ordering::SeqCst);
        let alone = match self.inner.launching.try_write() {
            Ok(alone) => alone,
            Err(TryLockError::Poisoned(poisoned)) => poisoned.into_inner(),
            Err(TryLockError::WouldBlock) => return None,
        };
        self.inner.is_sweep_wanted.store(false, Ordering::SeqCst);
        let known = self.known().clone();
        let result = sweep(known);
        drop(alone);
        Some(result)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::sync::atomic::AtomicUsize;

    #[test]
    fn a_sweep_waits_for_no_launch_and_is_made_after_it() {
        let attendants = Attendants::default();
        let notices = Arc::new(AtomicUsize::new(0));
        let counted = Arc::clone(&notices);
        attendants.on_sweep_wanted(move || {
            counted.fetch_add(1, Ordering::SeqCst);
        });
        let during = |known: &Attendants| known.sweep(|leaders| leaders.len());
        let (_, one) = attendants.launch("A=1".into(), || Ok::<_, ()>(7_u32), |pid| *pid).unwrap();
        assert_eq!(during(&attendants), Some(1));
        let (_, two) = attendants
            .launch(
                "A=2".into(),
                || {
                    assert_eq!(during(&attendants), None, "its child would be taken for an orphan");
                    Ok::<_, ()>(8_u32)
                },
                |pid| *pid,
            )
            .unwrap();
        assert_eq!((during(&attendants), notices.load(Ordering::SeqCst)), (Some(2), 1));
        drop(one);
        assert_eq!(attendants.sweep(|leaders| leaders), Some(vec![Leader { pid: 8, mark: "A=2".into() }]));
        drop(two);
        assert_eq!(during(&attendants), Some(0));
        assert!(attendants.launch("A=3".into(), || Err::<u32, _>("no"), |pid| *pid).is_err());
        assert_eq!((during(&attendants), notices.load(Ordering::SeqCst)), (Some(0), 1));
    }
}
