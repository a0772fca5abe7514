//! What is told while files of the record cannot be written or synced.
//!
//! What this file is for: the record cannot say so itself meanwhile. What it deliberately does not do: try again, or know
//! who is told.
//!
//! What always holds: it is told once when it begins and once when it is over, however many files fail and however often
//! they are tried; it is not told again sooner than [`PAUSE_MAX`] after that; it is not counted as told while nobody is
//! there to be told.

use crate::state::shortage::PAUSE_MAX;
use std::sync::{Mutex, OnceLock, PoisonError};
use std::time::Instant;

/// What is to be told of the record's files.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum RecordTrouble<'a> {
    /// A file cannot be written or synced: which, why, and what to do. What is for it waits.
    Began(&'a str),
    /// The host's own file is such a one: whoever reads the record does not see there that it began.
    Hidden(&'a str),
    /// All files are written again.
    Over,
    /// The host ends, for this reason. The record may be where nobody reads it.
    Ends(&'a str),
}

type TroubleFn = dyn Fn(RecordTrouble<'_>) + Send + Sync;

/// A function that is told, once there is one, and what is wrong now.
#[derive(Default)]
pub(super) struct TroubleNotice {
    tell: OnceLock<Box<TroubleFn>>,
    now: Mutex<Option<String>>,
}

impl TroubleNotice {
    /// Sets the function; only the first counts.
    pub(super) fn set(&self, tell: Box<TroubleFn>) {
        let _ = self.tell.set(tell);
    }

    /// What is wrong now.
    pub(super) fn now(&self) -> Option<String> {
        self.now.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    fn note(&self, error: Option<&str>) {
        *self.now.lock().unwrap_or_else(PoisonError::into_inner) = error.map(str::to_owned);
    }

    /// Tells why the host ends.
    pub(super) fn tell_end(&self, reason: &str) {
        self.tell(RecordTrouble::Ends(reason));
    }

    /// Whether somebody was told.
    fn tell(&self, trouble: RecordTrouble<'_>) -> bool {
        self.tell.get().map(|tell| tell(trouble)).is_some()
    }
}

impl std::fmt::Debug for TroubleNotice {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "TroubleNotice({:?})", self.now())
    }
}

/// How much of it was told.
#[derive(Debug, Default)]
pub(super) struct ToldTrouble {
    has_begun: bool,
    is_hidden: bool,
    told_at: Option<Instant>,
}

impl ToldTrouble {
    /// Whether it was told that something is wrong, and not that it is over.
    pub(super) fn has_begun(&self) -> bool {
        self.has_begun
    }

    /// Tells what has changed. `any`: what is wrong with any file; `own`: with the host's own.
    pub(super) fn look(
        &mut self,
        now: Instant,
        notice: &TroubleNotice,
        any: Option<&str>,
        own: Option<&str>,
    ) {
        notice.note(any);
        let Some(error) = any else {
            if self.has_begun {
                notice.tell(RecordTrouble::Over);
                *self = ToldTrouble { told_at: Some(now), ..ToldTrouble::default() };
            }
            return;
        };
        let is_due = self.told_at.is_none_or(|at| now.saturating_duration_since(at) >= PAUSE_MAX);
        if !self.has_begun && is_due {
            self.has_begun = notice.tell(RecordTrouble::Began(error));
        }
        if let Some(error) = own.filter(|_| self.has_begun && !self.is_hidden) {
            self.is_hidden = notice.tell(RecordTrouble::Hidden(error));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::sync::Arc;
    use std::time::Duration;

    #[test]
    fn trouble_is_told_once_when_there_is_somebody_and_not_in_every_turn_of_a_disk_that_comes_and_goes() {
        let (notice, told) = (TroubleNotice::default(), Arc::new(Mutex::new(Vec::new())));
        let (mut trouble, mut now) = (ToldTrouble::default(), Instant::now());
        trouble.look(now, &notice, Some("full"), None);
        assert!(!trouble.has_begun(), "nobody was told");
        assert_eq!(notice.now().as_deref(), Some("full"));
        let kept = Arc::clone(&told);
        notice.set(Box::new(move |trouble| kept.lock().unwrap().push(format!("{trouble:?}"))));
        let taken = || std::mem::take(&mut *told.lock().unwrap());
        for own in [None, Some("own"), Some("own"), None] {
            trouble.look(now, &notice, Some("full"), own);
        }
        assert_eq!(taken(), ["Began(\"full\")", "Hidden(\"own\")"]);
        trouble.look(now, &notice, None, None);
        assert_eq!((taken(), notice.now()), (vec!["Over".to_owned()], None));
        // It is full again at once, and again.
        for _ in 0..50 {
            now += Duration::from_millis(150);
            trouble.look(now, &notice, Some("full"), Some("own"));
            trouble.look(now, &notice, None, None);
        }
        assert_eq!(taken().len(), 0);
        now += PAUSE_MAX;
        trouble.look(now, &notice, Some("full"), Some("own"));
        assert_eq!(taken(), ["Began(\"full\")", "Hidden(\"own\")"]);
    }
}
