//! What is remembered of a package beside its files: which versions were active, and what an operator said of it.
//!
//! What it deliberately does not do: read or write a file; [`super::Store`] does. Which version is active is what the link in
//! the store says, and a record is adapted to it.

use super::version_key::VersionKey;
use crate::package::publisher::Publisher;
use serde::{Deserialize, Serialize};

/// Most activations that are remembered.
const HISTORY_MAX: usize = 16;

/// Where a package came from.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum PackageOrigin {
    /// An operator installed it.
    #[default]
    Installed,
    /// It was found in a folder of plugins: the package's folder there.
    PluginsDir(String),
}

/// A version that is on trial: until it was healthy for a while the version before may be gone back to.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct OnTrial {
    /// The version.
    pub version: VersionKey,
    /// Whether it was healthy at all by now.
    #[serde(default)]
    pub was_healthy: bool,
    /// Who says that the version before is not gone back to, if anybody does.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub stays: Option<Stays>,
}

/// Who says that the version before is not gone back to.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Stays {
    /// The operator who installed it: `--no-rollback`.
    Operator,
    /// Its manifest: `"rollback": false`.
    Manifest,
}

/// What is remembered of a package.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
#[non_exhaustive]
pub struct Record {
    /// The versions that were active, each once, in the order in which they became so: the last one is, and that before it
    /// is what a rollback goes back to. At most 16.
    history: Vec<VersionKey>,
    /// Who published it: the id is bound to them.
    pub publisher: Option<Publisher>,
    /// Whether an operator has approved that the next install binds it to another publisher.
    pub allows_new_publisher: bool,
    /// The version that it stays at until an operator says otherwise.
    pub pinned: Option<VersionKey>,
    /// Whether an operator has said that it is not to run.
    #[serde(rename = "disabled")]
    pub is_disabled: bool,
    /// The version that was healthy last.
    pub last_healthy: Option<VersionKey>,
    /// The version that is on trial, which is the active one.
    pub trial: Option<OnTrial>,
    /// What is shown of it until an operator has acknowledged it.
    pub note: Option<String>,
    /// Where it came from.
    pub origin: PackageOrigin,
}

impl Record {
    /// The version that is active, as far as the record knows.
    #[must_use]
    pub fn active(&self) -> Option<&VersionKey> {
        self.history.last()
    }

    /// The version that was active before.
    #[must_use]
    pub fn before(&self) -> Option<&VersionKey> {
        self.history.iter().nth_back(1)
    }

    /// Notes that a version becomes the active one, with the present one before it.
    pub fn advance(&mut self, key: &VersionKey) {
        self.history.retain(|known| known != key);
        self.history.push(key.clone());
        if self.history.len() > HISTORY_MAX {
            self.history.remove(0);
        }
    }

    /// Notes that a version becomes the active one again, and that those that came after it are not gone back to.
    pub fn go_back(&mut self, key: &VersionKey) {
        match self.history.iter().position(|known| known == key) {
            Some(at) => self.history.truncate(at + 1),
            None => self.history.push(key.clone()),
        }
    }

    /// Notes that a version is not stored any more.
    pub fn forget(&mut self, key: &VersionKey) {
        self.history.retain(|known| known != key);
        for remembered in [&mut self.pinned, &mut self.last_healthy] {
            remembered.take_if(|remembered| remembered == key);
        }
    }

    /// Adapts it to what is stored: an activation that a crash kept from being one is none.
    pub(super) fn adapt(&mut self, active: Option<&VersionKey>, stored: &[VersionKey]) {
        let known = [self.pinned.clone(), self.last_healthy.clone()];
        let gone = self.history.iter().cloned().chain(known.into_iter().flatten());
        for key in gone.filter(|key| !stored.contains(key)).collect::<Vec<_>>() {
            self.forget(&key);
        }
        match active {
            Some(active) => self.go_back(active),
            None => self.history.clear(),
        }
        self.trial.take_if(|trial| Some(&trial.version) != active);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn key(major: usize) -> VersionKey {
        format!("{major}.0.0@0123456789abcdef").parse().unwrap()
    }

    fn keys(majors: &[usize]) -> Vec<VersionKey> {
        majors.iter().map(|major| key(*major)).collect()
    }

    fn record(majors: &[usize]) -> Record {
        Record { history: keys(majors), ..Record::default() }
    }

    #[test]
    fn the_version_before_is_the_one_that_was_active_before() {
        let mut record = record(&[1, 2, 3]);
        assert_eq!(record.before(), Some(&key(2)));
        // An older one is installed: it comes after the newer one.
        record.advance(&key(1));
        assert_eq!((record.history.clone(), record.before()), (keys(&[2, 3, 1]), Some(&key(3))));
        record.go_back(&key(3));
        assert_eq!((record.history.clone(), record.before()), (keys(&[2, 3]), Some(&key(2))));
        record.pinned = Some(key(3));
        record.forget(&key(3));
        assert_eq!((record.history.clone(), record.pinned), (keys(&[2]), None));
        let mut record = Record::default();
        (0..40).for_each(|major| record.advance(&key(major)));
        assert_eq!((record.history.len(), record.active()), (HISTORY_MAX, Some(&key(39))));
    }

    #[test]
    fn it_is_written_with_its_publisher_and_read_again() {
        let mut record = record(&[1, 2]);
        record.publisher = Some(Publisher::Unsigned(crate::package::digest::Digest::of(b"abc")));
        record.origin = PackageOrigin::PluginsDir("/srv/plugins/kv".to_owned());
        record.trial = Some(OnTrial { version: key(2), was_healthy: true, stays: Some(Stays::Manifest) });
        let text = serde_json::to_string(&record).unwrap();
        assert!(text.contains("\"publisher\":\"sha256:ba7816bf"), "{text}");
        assert_eq!(serde_json::from_str::<Record>(&text).unwrap(), record);
        assert_eq!(serde_json::from_str::<Record>("{}").unwrap(), Record::default());
    }

    #[test]
    fn after_a_crash_it_says_what_the_store_says() {
        let stored = keys(&[1, 2, 3]);
        for (history, active, expected) in [
            // An install was written down, and the link was not moved.
            (&[1, 2, 3][..], Some(2), &[1, 2][..]),
            // A rollback was.
            (&[1, 2], Some(3), &[1, 2, 3]),
            (&[1, 4, 2], Some(2), &[1, 2]),
            (&[], Some(1), &[1]),
            (&[1, 2], None, &[]),
        ] {
            let mut record = record(history);
            record.pinned = Some(key(4));
            record.last_healthy = Some(key(1));
            record.trial = Some(OnTrial { version: key(3), was_healthy: false, stays: None });
            record.adapt(active.map(key).as_ref(), &stored);
            assert_eq!((record.history, record.pinned), (keys(expected), None), "{history:?} {active:?}");
            assert_eq!(record.last_healthy, Some(key(1)));
            assert_eq!(record.trial.is_some(), active == Some(3));
        }
    }
}
