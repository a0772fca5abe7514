//! When a folder that changes is looked at: once it has been quiet for a moment, or has changed for too long.
//!
//! What it deliberately does not do: watch anything, or read a clock.
//!
//! What always holds: a folder that is changed is due, at the latest the patience of its delays after its first change; of what changes
//! until then it is due once. At most [`FOLDERS_MAX`] folders are kept apart: beyond that all are due together.

use crate::state::time::Time;
use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::time::Duration;

/// How long what changes is waited for.
#[derive(Debug, Clone, Copy)]
pub struct Delays {
    /// How long a folder has to be quiet.
    pub quiet: Duration,
    /// How long after its first change it is due, though it goes on changing.
    pub patience: Duration,
}

/// The delays with which folders are looked at.
pub const LOOK: Delays = Delays { quiet: Duration::from_millis(300), patience: Duration::from_secs(5) };
/// The delays with which the record is told of what is wrong with one: a folder that is being copied in is wrong meanwhile.
pub const TELL: Delays = Delays { quiet: Duration::from_secs(3), patience: Duration::from_secs(60) };
/// Most folders that are kept apart.
pub const FOLDERS_MAX: usize = 4096;

/// Since when, and until when, something changes.
#[derive(Debug, Clone, Copy)]
struct Burst {
    first: Time,
    last: Time,
}

impl Delays {
    fn due_at(self, burst: Burst) -> Time {
        burst.last.plus(self.quiet).min(burst.first.plus(self.patience))
    }
}

/// What is to be looked at.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Due {
    /// All folders, and which there are.
    All,
    /// These folders, and no others.
    Folders(Vec<PathBuf>),
}

/// Folders that have changed and were not looked at since.
#[derive(Debug)]
pub struct Debounce {
    delays: Delays,
    all: Option<Burst>,
    folders: BTreeMap<PathBuf, Burst>,
}

impl Debounce {
    /// Nothing has changed yet.
    #[must_use]
    pub fn new(delays: Delays) -> Debounce {
        Debounce { delays, all: None, folders: BTreeMap::new() }
    }

    /// Something has changed in a folder.
    pub fn changed(&mut self, now: Time, folder: &Path) {
        if let Some(all) = &mut self.all {
            // It is looked at with the others, and none of them while one changes.
            all.last = now;
        } else if let Some(burst) = self.folders.get_mut(folder) {
            burst.last = now;
        } else if self.folders.len() >= FOLDERS_MAX {
            self.all_changed(now);
        } else {
            self.folders.insert(folder.to_owned(), Burst { first: now, last: now });
        }
    }

    /// Anything may have changed.
    pub fn all_changed(&mut self, now: Time) {
        let first = self.folders.values().map(|burst| burst.first).min().unwrap_or(now);
        self.folders.clear();
        self.all.get_or_insert(Burst { first, last: now }).last = now;
    }

    /// When something is due next.
    #[must_use]
    pub fn next_at(&self) -> Option<Time> {
        self.all.iter().chain(self.folders.values()).map(|burst| self.delays.due_at(*burst)).min()
    }

    /// Takes what is due.
    pub fn take_due(&mut self, now: Time) -> Option<Due> {
        if self.all.is_some_and(|all| self.delays.due_at(all) <= now) {
            self.all = None;
            return Some(Due::All);
        }
        let mut due = Vec::new();
        self.folders.retain(|folder, burst| {
            let is_due = self.delays.due_at(*burst) <= now;
            if is_due {
                due.push(folder.clone());
            }
            !is_due
        });
        (!due.is_empty()).then_some(Due::Folders(due))
    }

    /// Whether nothing waits to be looked at.
    #[must_use]
    pub fn is_settled(&self) -> bool {
        self.all.is_none() && self.folders.is_empty()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(ms: u64) -> Time {
        Time::ZERO.plus(Duration::from_millis(ms))
    }

    fn folders(names: &[&str]) -> Option<Due> {
        Some(Due::Folders(names.iter().map(PathBuf::from).collect()))
    }

    #[test]
    fn a_folder_that_is_copied_in_is_looked_at_once_it_is_quiet() {
        let mut debounce = Debounce::new(LOOK);
        assert!(debounce.is_settled() && debounce.next_at().is_none());
        for ms in (0..1000).step_by(100) {
            debounce.changed(at(ms), Path::new("a"));
            assert_eq!(debounce.take_due(at(ms)), None);
        }
        debounce.changed(at(950), Path::new("b"));
        assert_eq!(debounce.next_at(), Some(at(1200)));
        assert_eq!(debounce.take_due(at(1200)), folders(&["a"]));
        assert!(!debounce.is_settled());
        assert_eq!(debounce.take_due(at(1300)), folders(&["b"]));
        assert_eq!((debounce.take_due(at(9999)), debounce.next_at()), (None, None));
        assert!(debounce.is_settled());
    }

    #[test]
    fn one_that_never_is_quiet_is_looked_at_all_the_same() {
        let mut debounce = Debounce::new(LOOK);
        let mut due = Vec::new();
        for ms in (0..12_000).step_by(50) {
            debounce.changed(at(ms), Path::new("a"));
            if debounce.take_due(at(ms)).is_some() {
                due.push(ms);
            }
        }
        assert_eq!(due, [5000, 10_050]);
    }

    #[test]
    fn what_is_too_much_to_keep_apart_is_all_looked_at() {
        let mut debounce = Debounce::new(LOOK);
        debounce.changed(at(0), Path::new("a"));
        debounce.all_changed(at(100));
        debounce.changed(at(200), Path::new("b"));
        assert_eq!(debounce.take_due(at(499)), None);
        assert_eq!(debounce.take_due(at(500)), Some(Due::All));
        assert!(debounce.is_settled(), "a and b were among them");
        for number in 0..=FOLDERS_MAX {
            debounce.changed(at(1000), Path::new(&number.to_string()));
        }
        assert_eq!(debounce.take_due(at(1300)), Some(Due::All));
        assert!(debounce.is_settled());
    }
}
