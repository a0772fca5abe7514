//! What is found in the folders of packages: taken, run, shown on record, and what follows where it changes.
//!
//! What it deliberately does not do: decide which package runs; `package::set` does.
//!
//! What always holds: a package that was never imported is as soon as it is found; one that has changed is as the configuration
//! says, and of one state of its folder at most once without being asked.

use super::answers::goes_on;
use super::watching::Watching;
use crate::daemon::config::OnChange;
use crate::host::{Desired, EventKind, Host, Level, Note, PluginId, PluginState};
use crate::package::debounce::{Due, LOOK};
use crate::package::digest::Digest;
use crate::package::scan::Depth;
use crate::package::set::PackageSet;
use rpc_plugin_wire::admin_packages::{PackageSource, PackageState, PackageStatus};
use serde_json::json;
use std::collections::{BTreeMap, BTreeSet};
use std::path::PathBuf;
use std::time::{Duration, Instant};

/// How often a plugin is looked at that is to be restarted once it is idle.
const IDLE_INTERVAL: Duration = Duration::from_secs(1);
/// How long a package has to be wrong before that is on record: one that is being copied in is wrong meanwhile.
const TELL_DELAY: Duration = Duration::from_secs(3);

/// What a package is called on record: its id, or its folder where it has none.
type Key = (Option<PluginId>, Option<String>);

/// What was last known of a package.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Known {
    state: PackageState,
    version: Option<String>,
    reason: Option<String>,
    changed: usize,
}

impl Known {
    fn of(status: &PackageStatus) -> Known {
        let PackageStatus { state, version, reason, .. } = status.clone();
        // What is found is taken at once: that is on record as its version becoming active.
        let state = if state == PackageState::Found { PackageState::Active } else { state };
        Known { state, version, reason, changed: status.changed.len() }
    }
}

/// The folders of packages, and what was done about what is in them.
pub(super) struct FoundPackages {
    watching: Option<Watching>,
    on_change: OnChange,
    /// What is on record.
    told: BTreeMap<Key, Known>,
    /// What is not on record yet, and since when it is so.
    untold: BTreeMap<Key, (Known, Instant)>,
    /// The state of each folder that was taken, or could not be, without anybody asking.
    attempted: BTreeMap<PluginId, Digest>,
    /// Plugins whose folders are not what was imported.
    changed: BTreeSet<PluginId>,
    /// Plugins that are to be restarted once they are idle.
    when_idle: BTreeMap<PluginId, Digest>,
    /// Packages whose folders are to be taken, one after the other, with requests served in between.
    pending: BTreeMap<PluginId, Digest>,
}

impl FoundPackages {
    /// Begins to watch these folders.
    pub(super) fn start(host: &Host, dirs: &[PathBuf], on_change: OnChange) -> FoundPackages {
        let watching = (!dirs.is_empty()).then(|| Watching::start(dirs, LOOK));
        let watching = watching.and_then(|started| {
            let told = started.map_err(|error| tell_unwatched(host, &error.to_string())).ok()?;
            if let Some(missing) = told.missing() {
                tell_unwatched(host, missing);
            }
            Some(told)
        });
        FoundPackages {
            watching,
            on_change,
            told: BTreeMap::new(),
            untold: BTreeMap::new(),
            attempted: BTreeMap::new(),
            changed: BTreeSet::new(),
            when_idle: BTreeMap::new(),
            pending: BTreeMap::new(),
        }
    }

    /// Has the plugins of all packages run that are stored and are to, as what they are; what else is in folders comes once the
    /// host has started. Gives those that were started.
    pub(super) fn start_stored(
        &mut self,
        host: &Host,
        set: &mut PackageSet,
        apply: Apply<'_>,
    ) -> BTreeSet<PluginId> {
        set.look(&Due::All, Depth::Manifest);
        let mut started = BTreeSet::new();
        for id in set.runnable().unwrap_or_default() {
            if !matches!(set.store().active(&id), Ok(Some(_))) {
                continue;
            }
            if let Err(why) = apply(set, &id) {
                let mut note = Note::new(EventKind::PackageInvalid, "its plugin does not run").error(why);
                note.plugin_id = Some(id);
                host.record(note);
                continue;
            }
            let status = host.plugin(&id).and_then(|plugin| plugin.status());
            // One that the first call starts is wanted up, and stopped.
            if status.is_ok_and(|now| now.desired == Desired::Up && now.state != PluginState::Stopped) {
                started.insert(id);
            }
        }
        self.find(set);
        self.note(set);
        self.tell(host);
        if let Some(watching) = &mut self.watching {
            watching.all_changed();
        }
        started
    }

    /// Plugins whose folders are not what was imported.
    pub(super) fn changed(&self) -> &BTreeSet<PluginId> {
        &self.changed
    }

    /// Whether there is something to look at, to tell or to restart.
    pub(super) fn is_due(&mut self) -> bool {
        !self.pending.is_empty()
            || !self.when_idle.is_empty()
            || self.watching.as_mut().is_some_and(Watching::has_changes)
            || self.wait().is_some_and(|wait| wait.is_zero())
    }

    /// Gives the watch up, which does not work.
    pub(super) fn unwatch(&mut self, host: &Host) {
        self.watching = None;
        tell_unwatched(host, "the thread that waits for changes has ended");
    }

    /// Takes a package's folder because an operator asked for it.
    ///
    /// # Errors
    /// Why it cannot be taken, or cannot run.
    pub(super) fn take_asked(
        &mut self,
        host: &Host,
        set: &mut PackageSet,
        id: &PluginId,
        apply: Apply<'_>,
    ) -> Result<(), String> {
        let taken = take(host, set, id, apply);
        self.when_idle.remove(id);
        self.note(set);
        self.tell(host);
        taken
    }

    /// Decides anew who runs, where what is stored has changed.
    pub(super) fn decide_anew(&mut self, host: &Host, set: &mut PackageSet, apply: Apply<'_>) {
        // What an operator has installed may be what one of them requires.
        set.forget_unmet();
        self.look(host, set, (&Due::Folders(Vec::new()), Depth::Manifest), apply);
    }

    /// The watch, to wait for.
    pub(super) fn watching(&mut self) -> Option<&mut Watching> {
        self.watching.as_mut()
    }

    /// How long until there is something to do.
    pub(super) fn wait(&self) -> Option<Duration> {
        let told = self.untold.values().map(|(_, since)| TELL_DELAY.saturating_sub(since.elapsed()));
        let idle = (!self.when_idle.is_empty()).then_some(IDLE_INTERVAL);
        let watched = self.watching.as_ref().and_then(Watching::wait);
        let pending = (!self.pending.is_empty()).then_some(Duration::ZERO);
        told.chain(idle).chain(watched).chain(pending).min()
    }

    /// Whether everything that has changed was looked at, and taken if it is to be.
    pub(super) fn is_settled(&self) -> bool {
        self.pending.is_empty() && self.watching.as_ref().is_none_or(Watching::is_settled)
    }

    /// Looks at what has changed, if it is time. `apply` has a package run as its active version.
    pub(super) fn look_if_due(&mut self, host: &Host, set: &mut PackageSet, apply: Apply<'_>) {
        let due = self.watching.as_mut().and_then(Watching::due);
        if let Some(due) = due {
            self.look(host, set, (&due, Depth::Files), apply);
        } else if !self.pending.is_empty() {
            self.take_next(host, set, apply);
            self.note(set);
        } else {
            self.restart_idle(host, set, apply);
        }
        self.tell(host);
    }

    /// Looks at everything, and takes what is to be taken.
    pub(super) fn look_anew(&mut self, host: &Host, set: &mut PackageSet, apply: Apply<'_>) {
        if let Some(watching) = &mut self.watching {
            watching.aim();
        }
        self.look(host, set, (&Due::All, Depth::Files), &mut *apply);
        while goes_on(host).is_continue() && self.take_next(host, set, &mut *apply) {}
        self.note(set);
        self.tell(host);
    }

    /// Looks at folders, and finds what is to be taken or restarted.
    pub(super) fn look(
        &mut self,
        host: &Host,
        set: &mut PackageSet,
        (due, depth): (&Due, Depth),
        apply: Apply<'_>,
    ) {
        set.look(due, depth);
        self.find(set);
        self.restart_idle(host, set, apply);
        self.note(set);
        self.tell(host);
    }

    /// Finds the folders that are new or have changed, and are to be taken.
    fn find(&mut self, set: &mut PackageSet) {
        for id in set.runnable().unwrap_or_default() {
            let Ok(Some(digest)) = set.is_changed(&id) else { continue };
            if self.attempted.get(&id) == Some(&digest) {
                continue;
            }
            let is_new = !matches!(set.store().active(&id), Ok(Some(_)));
            match self.on_change {
                OnChange::Restart => drop(self.pending.insert(id, digest)),
                _ if is_new => drop(self.pending.insert(id, digest)),
                OnChange::RestartWhenIdle => drop(self.when_idle.insert(id, digest)),
                OnChange::Show => {}
            }
        }
    }

    /// Takes the next of the folders that are to be taken, those first that others of them require. Whether there was one.
    fn take_next(&mut self, host: &Host, set: &mut PackageSet, apply: Apply<'_>) -> bool {
        let requires_none = |id: &&PluginId| {
            !set.required_by_folder(id).iter().any(|needed| self.pending.contains_key(needed))
        };
        // Of those that require one another in a circle each is refused.
        let next = self.pending.keys().find(requires_none).or_else(|| self.pending.keys().next()).cloned();
        let Some((id, digest)) = next.and_then(|id| self.pending.remove_entry(&id)) else { return false };
        self.take(host, set, &id, digest, apply);
        true
    }

    /// Takes a package's folder, and has it run.
    fn take(&mut self, host: &Host, set: &mut PackageSet, id: &PluginId, digest: Digest, apply: Apply<'_>) {
        self.attempted.insert(id.clone(), digest);
        // What is wrong with it is shown with it, and put on record with that.
        let taken = take(host, set, id, apply);
        if taken.is_ok() {
            // It may be what another one waits for.
            set.forget_unmet();
            self.find(set);
        } else if set.is_unmet(id) {
            self.attempted.remove(id);
        }
    }

    fn restart_idle(&mut self, host: &Host, set: &mut PackageSet, apply: Apply<'_>) {
        for (id, digest) in self.when_idle.clone() {
            let status = host.plugin(&id).and_then(|plugin| plugin.status());
            if status.is_ok_and(|status| status.calls_in_flight > 0) {
                continue;
            }
            self.when_idle.remove(&id);
            self.take(host, set, &id, digest, &mut *apply);
            self.note(set);
        }
    }

    /// Compares what holds of packages with what is on record.
    fn note(&mut self, set: &mut PackageSet) {
        let Ok(list) = set.statuses() else { return };
        let changed = list.packages.iter().filter(|status| status.state == PackageState::Changed);
        self.changed = changed.filter_map(|status| status.plugin_id.clone()).collect();
        let found = list.packages.iter().filter(|status| status.source == PackageSource::PluginsDir);
        let now: BTreeMap<Key, Known> = found
            .map(|status| {
                let folder = status
                    .folder
                    .clone()
                    .filter(|_| status.plugin_id.is_none() || status.state == PackageState::Invalid);
                ((status.plugin_id.clone(), folder), Known::of(status))
            })
            .collect();
        self.untold.retain(|key, (known, _)| now.get(key) == Some(known));
        for (key, known) in &now {
            if self.told.get(key) != Some(known) && !self.untold.contains_key(key) {
                self.untold.insert(key.clone(), (known.clone(), Instant::now()));
            }
        }
        self.told.retain(|key, _| now.contains_key(key));
    }

    /// Puts what holds of packages on record, what is wrong once it has been so for a moment.
    fn tell(&mut self, host: &Host) {
        let is_due = |(known, since): &(Known, Instant)| {
            known.state != PackageState::Invalid || since.elapsed() >= TELL_DELAY
        };
        let due: Vec<Key> =
            self.untold.iter().filter(|(_, untold)| is_due(untold)).map(|(key, _)| key.clone()).collect();
        for key in due {
            let Some((known, _)) = self.untold.remove(&key) else { continue };
            let (kind, text) = match known.state {
                PackageState::Active | PackageState::Disabled => {
                    (EventKind::PackageFound, "a package is in a folder of plugins_dirs")
                }
                PackageState::Changed => (EventKind::PackageChanged, "a package has changed on disk"),
                PackageState::Gone => (EventKind::PackageGone, "the folder of a package is gone"),
                _ => (EventKind::PackageInvalid, "a package may not run"),
            };
            let mut note = Note::new(kind, text).details(json!({
                "version": known.version, "folder": key.1, "changed": known.changed,
            }));
            if let Some(reason) = &known.reason {
                note = note.reason(reason.clone());
            }
            note.plugin_id = key.0.clone();
            host.record(note);
            self.told.insert(key, known);
        }
    }
}

/// Has the plugin of a package run as its active version; says what became of it.
pub(super) type Apply<'a> = &'a mut dyn FnMut(&PackageSet, &PluginId) -> Result<String, String>;

/// Takes a package's folder into the store, and has it run as that version.
///
/// # Errors
/// Why it cannot be taken, or cannot run.
pub(super) fn take(host: &Host, set: &mut PackageSet, id: &PluginId, apply: Apply<'_>) -> Result<(), String> {
    let taken = set.take_found(id, &mut |_, _| goes_on(host)).map_err(|error| error.to_string())?;
    let version = taken.key.to_string();
    let before = taken.before.map(|before| before.to_string());
    let mut note = Note::new(EventKind::PackageActivated, format!("{version} of its folder was taken"))
        .details(json!({"version": version, "before": before, "publisher": taken.verdict.publisher.shown()}));
    note.plugin_id = Some(id.clone());
    host.record(note);
    apply(set, id).map(drop)
}

fn tell_unwatched(host: &Host, why: &str) {
    let text = "folders of packages are not watched; they are looked at every 30 s";
    host.record(Note::new(EventKind::HostShortage, text).level(Level::Warn).error(why));
}
