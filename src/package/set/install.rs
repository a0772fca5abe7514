//! What an operator changes: which versions are stored, which one is active, and at which one a package stays.
//!
//! What this file deliberately does not do: start or stop a plugin; whoever asked for the change does, by its outcome.
//!
//! What always holds: nothing is written before the change is known to be allowed; `minimum` binds every change but a removal;
//! of the stored versions of a package at most [`VERSIONS_MAX`] are kept, and always the active one, the one before, the
//! pinned one and the one that was healthy last.

use super::PackageSet;
use super::change_error::{ChangeError, ChangeResult, refused};
use super::outcomes::{Activated, InstallOptions, Installed, Removal, VERSIONS_MAX};
use crate::package::folder::OpenPackage;
use crate::package::manifest::Manifest;
use crate::package::plan::{PackageGraph, PackageNode, PlanFault, broken_by};
use crate::package::publisher::{Publisher, PublisherVerdict};
use crate::package::store::{OnTrial, Progress, Record, Stays, StoredPackage, VersionKey};
use crate::package::trial::{NoWayBack, TrialFault, way_back};
use rpc_plugin_wire::PluginId;

impl PackageSet {
    /// Brings the package of an open folder into the store and makes it the active one.
    ///
    /// # Errors
    /// Why not; then nothing has changed.
    pub(crate) fn install(
        &self,
        package: &OpenPackage,
        options: &InstallOptions,
        progress: Progress<'_>,
    ) -> ChangeResult<Installed> {
        let (id, version) = (&package.manifest.id, &package.manifest.version);
        let mut record = self.store.record(id)?;
        let verdict = self.judge(package, options, &record)?;
        let key = VersionKey::new(version, &package.digest());
        let before = self.store.active(id)?;
        self.check_accepted(&package.manifest)?;
        self.check_change(id, &key, &record)?;
        self.check_plan(&package.manifest)?;
        if let Some(active) = &before
            && version.precedence(active.version()).is_lt()
            && !options.allows_downgrade
        {
            return refused(ChangeError::Downgrade { id: id.clone(), active: active.clone(), wanted: key });
        }
        self.store.import(package, progress)?;
        if verdict.replaces_publisher {
            // What the one before kept and achieved is not this one's.
            self.store.set_data_aside(id)?;
            record = Record::default();
        }
        if before.as_ref() != Some(&key) {
            // Whoever installs over a version that does well so far goes back to that one.
            if let Some(tried) = record.trial.take().filter(|tried| tried.was_healthy) {
                record.last_healthy = Some(tried.version);
            }
            record.advance(&key);
            let stays = match (options.no_rollback, package.manifest.can_roll_back) {
                (true, _) => Some(Stays::Operator),
                (false, false) => Some(Stays::Manifest),
                (false, true) => None,
            };
            let is_new = record.last_healthy.as_ref().is_some_and(|healthy| *healthy != key);
            record.trial = is_new.then(|| OnTrial { version: key.clone(), was_healthy: false, stays });
        }
        record.origin = options.origin.clone();
        record.allows_new_publisher = false;
        record.publisher.get_or_insert_with(|| verdict.publisher.clone());
        self.store.activate(id, &key, &record)?;
        self.prune(id, &record)?;
        let is_on_trial = record.trial.as_ref().is_some_and(|trial| trial.stays.is_none());
        Ok(Installed { id: id.clone(), key, before, is_on_trial, verdict })
    }

    /// Whether a package is taken for who published it, and is the expected one.
    fn judge(
        &self,
        package: &OpenPackage,
        options: &InstallOptions,
        record: &Record,
    ) -> ChangeResult<PublisherVerdict> {
        let seen = package.digest();
        if let Some(expected) = options.expected.filter(|expected| *expected != seen) {
            return refused(ChangeError::Digest { id: package.manifest.id.clone(), expected, seen });
        }
        let verdict = self.options.verify.judge(
            &package.manifest,
            &package.manifest_bytes,
            package.signature.as_deref(),
            record.publisher.as_ref(),
            record.allows_new_publisher,
        )?;
        let is_vouched = options.allows_unsigned || options.expected.is_some();
        if matches!(verdict.publisher, Publisher::Unsigned(_)) && !is_vouched {
            return refused(ChangeError::Unsigned { id: package.manifest.id.clone(), digest: seen });
        }
        Ok(verdict)
    }

    /// Whether that version may become the active one of its package, as far as the operator has bound it.
    fn check_change(&self, id: &PluginId, key: &VersionKey, record: &Record) -> ChangeResult<()> {
        if let Some(minimum) = self.options.minimum.get(id)
            && key.version().precedence(minimum).is_lt()
        {
            let (id, minimum) = (id.clone(), minimum.clone());
            return refused(ChangeError::BelowMinimum { id, wanted: key.clone(), minimum });
        }
        match &record.pinned {
            Some(pinned) if pinned != key => {
                refused(ChangeError::Pinned { id: id.clone(), pinned: pinned.clone(), wanted: key.clone() })
            }
            _ => Ok(()),
        }
    }

    /// Whether what packages require of each other would hold, were this manifest's version the active one.
    fn check_plan(&self, manifest: &Manifest) -> ChangeResult<()> {
        self.judge_plan(broken_by(&self.graph()?, &manifest.id, Some(&node_of(manifest))))
    }

    fn judge_plan(&self, faults: Vec<PlanFault>) -> ChangeResult<()> {
        if faults.is_empty() { Ok(()) } else { refused(ChangeError::Broken(faults)) }
    }

    /// What the active versions require of each other. One whose manifest cannot be read is left out.
    fn graph(&self) -> ChangeResult<PackageGraph> {
        let mut graph = PackageGraph::new();
        for id in self.store.ids()? {
            let active = self.store.active(&id).ok().flatten();
            let manifest = active.and_then(|key| self.store.manifest(&id, &key).ok());
            graph.extend(manifest.map(|manifest| (id, node_of(&manifest))));
        }
        Ok(graph)
    }

    /// Makes the version the active one again that was so before.
    ///
    /// # Errors
    /// Why not; then nothing has changed. `allows_downgrade` lets it be done though the active version's manifest says that the one
    /// before could not do with its data.
    pub(crate) fn roll_back(
        &self,
        id: &PluginId,
        allows_downgrade: bool,
        progress: Progress<'_>,
    ) -> ChangeResult<Activated> {
        let (active, mut record) = self.known(id)?;
        let active = active.ok_or_else(|| Box::new(ChangeError::NothingBefore { id: id.clone() }))?;
        let to = record
            .before()
            .cloned()
            .ok_or_else(|| Box::new(ChangeError::NothingBefore { id: id.clone() }))?;
        self.check_change(id, &to, &record)?;
        // One that is damaged has nothing to say.
        if !allows_downgrade
            && self.stored(id, &active, &record, progress).is_ok_and(|now| !now.manifest.can_roll_back)
        {
            return refused(ChangeError::NoWayBack { id: id.clone(), active, wanted: to });
        }
        let stored = self.stored(id, &to, &record, progress)?;
        self.check_plan(&stored.manifest)?;
        record.go_back(&to);
        record.trial = None;
        self.store.activate(id, &to, &record)?;
        Ok(Activated { key: to, before: Some(active) })
    }

    /// Keeps a package at a version, which becomes the active one; `None`: at the active one.
    ///
    /// # Errors
    /// Why not; then nothing has changed.
    pub(crate) fn pin(
        &self,
        id: &PluginId,
        version: Option<&str>,
        progress: Progress<'_>,
    ) -> ChangeResult<Activated> {
        let (active, mut record) = self.known(id)?;
        let key = match version {
            Some(text) => self.meant(id, text)?,
            None => active.clone().ok_or_else(|| Box::new(ChangeError::NoneActive { id: id.clone() }))?,
        };
        record.pinned = None;
        self.check_change(id, &key, &record)?;
        let stored = self.stored(id, &key, &record, progress)?;
        self.check_plan(&stored.manifest)?;
        if active.as_ref() != Some(&key) {
            record.advance(&key);
            record.trial = None;
        }
        record.pinned = Some(key.clone());
        self.store.activate(id, &key, &record)?;
        Ok(Activated { key, before: active })
    }

    /// Lets a package go on from the version that it was kept at, which is the active one.
    ///
    /// # Errors
    /// The package is not known, none of it is active, or what failed.
    pub(crate) fn unpin(&self, id: &PluginId) -> ChangeResult<Activated> {
        let (active, mut record) = self.known(id)?;
        let key = active.ok_or_else(|| Box::new(ChangeError::NoneActive { id: id.clone() }))?;
        record.pinned = None;
        self.store.put_record(id, &record)?;
        Ok(Activated { before: Some(key.clone()), key })
    }

    /// Removes versions of a package from the store. Gives those that were removed.
    ///
    /// # Errors
    /// Why not; or what failed, with some of them removed.
    pub(crate) fn remove(&self, id: &PluginId, removal: &Removal) -> ChangeResult<Vec<VersionKey>> {
        // What a package left that was removed without its data can be removed still.
        let (active, mut record) = match removal {
            Removal::PackageAndData => self.remembered(id)?,
            Removal::Package | Removal::Version(_) => self.known(id)?,
        };
        let keys = match removal {
            Removal::Version(text) => {
                let key = self.meant(id, text)?;
                if active.as_ref() == Some(&key) {
                    return refused(ChangeError::Active { id: id.clone(), key });
                }
                vec![key]
            }
            // The active one first: what a crash leaves is not a package that runs.
            Removal::Package | Removal::PackageAndData => {
                self.judge_plan(broken_by(&self.graph()?, id, None))?;
                let others = self.store.versions(id)?.into_iter().filter(|key| active.as_ref() != Some(key));
                active.clone().into_iter().chain(others).collect()
            }
        };
        for key in &keys {
            self.store.remove(id, key)?;
            record.forget(key);
        }
        match removal {
            Removal::PackageAndData => self.store.forget(id, true)?,
            Removal::Package | Removal::Version(_) => self.store.put_record(id, &record)?,
        }
        Ok(keys)
    }

    /// Notes that the version on trial is healthy by now.
    ///
    /// # Errors
    /// What failed.
    pub(crate) fn note_health(&self, id: &PluginId) -> ChangeResult<()> {
        let (_, mut record) = self.known(id)?;
        match &mut record.trial {
            Some(trial) if !trial.was_healthy => trial.was_healthy = true,
            _ => return Ok(()),
        }
        Ok(self.store.put_record(id, &record)?)
    }

    /// Keeps the version that was on trial.
    ///
    /// # Errors
    /// What failed.
    pub(crate) fn keep(&self, id: &PluginId) -> ChangeResult<()> {
        let (active, known) = self.known(id)?;
        let mut record = known.clone();
        record.trial = None;
        record.last_healthy = active;
        if record == known { Ok(()) } else { Ok(self.store.put_record(id, &record)?) }
    }

    /// Ends the trial of a version that failed: the version that was healthy last becomes the active one again, if it may.
    /// That, or why not, is noted until it is acknowledged.
    ///
    /// # Errors
    /// What failed; then it is on trial still.
    pub(crate) fn end_trial(
        &self,
        id: &PluginId,
        fault: &TrialFault,
        progress: Progress<'_>,
    ) -> ChangeResult<Result<Activated, NoWayBack>> {
        let (active, mut record) = self.known(id)?;
        let active = active.ok_or_else(|| Box::new(ChangeError::NoneActive { id: id.clone() }))?;
        let way = match record.trial.take() {
            Some(trial) => way_back(&record, &trial, self.options.minimum.get(id)),
            None => Err(NoWayBack::NeverHealthy),
        };
        let to = match way {
            Ok(to) => to,
            Err(why) => {
                record.note = Some(format!("{active} fails and stays, as {why}: {fault}"));
                self.store.put_record(id, &record)?;
                return Ok(Err(why));
            }
        };
        self.stored(id, &to, &record, progress)?;
        record.go_back(&to);
        record.note = Some(format!("went back from {active} to {to}: {fault}"));
        self.store.activate(id, &to, &record)?;
        Ok(Ok(Activated { key: to, before: Some(active) }))
    }

    /// Lets the next install bind a package to another publisher, who gets nothing of what the one before kept.
    ///
    /// # Errors
    /// Nothing is remembered of the package, or what failed.
    pub(crate) fn approve_publisher(&self, id: &PluginId) -> ChangeResult<()> {
        let (_, mut record) = self.remembered(id)?;
        record.allows_new_publisher = true;
        Ok(self.store.put_record(id, &record)?)
    }

    /// Keeps a package's plugin from being started, or lets it be again; with every daemon from now on.
    ///
    /// # Errors
    /// The package is not known, or what failed.
    pub fn set_disabled(&self, id: &PluginId, is_disabled: bool) -> ChangeResult<()> {
        let (_, mut record) = self.known(id)?;
        if record.is_disabled != is_disabled {
            record.is_disabled = is_disabled;
            self.store.put_record(id, &record)?;
        }
        Ok(())
    }

    /// Removes what is shown of a package until somebody has seen it.
    ///
    /// # Errors
    /// The package is not known, or what failed.
    pub(crate) fn acknowledge(&self, id: &PluginId) -> ChangeResult<()> {
        let (_, mut record) = self.known(id)?;
        if record.note.take().is_some() {
            self.store.put_record(id, &record)?;
        }
        Ok(())
    }

    /// The active version of a package that is stored, and what is remembered of it.
    fn known(&self, id: &PluginId) -> ChangeResult<(Option<VersionKey>, Record)> {
        if self.store.versions(id)?.is_empty() {
            return refused(ChangeError::Unknown { id: id.clone() });
        }
        Ok((self.store.active(id)?, self.store.record(id)?))
    }

    /// The active version of a package that is stored, or of which something is remembered: an id stays bound to its publisher when
    /// the package is removed.
    fn remembered(&self, id: &PluginId) -> ChangeResult<(Option<VersionKey>, Record)> {
        match self.store.record(id)? {
            record if record != Record::default() => Ok((self.store.active(id)?, record)),
            _ => self.known(id),
        }
    }

    /// The one stored version that somebody means.
    fn meant(&self, id: &PluginId, text: &str) -> ChangeResult<VersionKey> {
        let stored = self.store.versions(id)?;
        let mut meant = stored.iter().filter(|key| key.is_meant_by(text));
        match (meant.next(), meant.next()) {
            (Some(key), None) => Ok(key.clone()),
            _ => refused(ChangeError::NoSuchVersion { id: id.clone(), wanted: text.to_owned(), stored }),
        }
    }

    /// The active version of a package that is what was imported, and that is still taken for who published it; if one is active.
    ///
    /// # Errors
    /// What is wrong with it, or what failed.
    pub(crate) fn active_package(
        &self,
        id: &PluginId,
        progress: Progress<'_>,
    ) -> ChangeResult<Option<StoredPackage>> {
        let Some(active) = self.store.active(id)? else { return Ok(None) };
        let record = self.store.record(id)?;
        self.stored(id, &active, &record, progress).map(Some)
    }

    /// A stored version that is what was imported, and that is still taken for who published it.
    pub(super) fn stored(
        &self,
        id: &PluginId,
        key: &VersionKey,
        record: &Record,
        progress: Progress<'_>,
    ) -> ChangeResult<StoredPackage> {
        let stored = self.store.verify(id, key, progress)?;
        let (bytes, signature) = (&stored.manifest_bytes, stored.signature.as_deref());
        self.options.verify.judge(&stored.manifest, bytes, signature, record.publisher.as_ref(), false)?;
        Ok(stored)
    }

    /// Removes the oldest versions that nothing needs, but for [`VERSIONS_MAX`].
    fn prune(&self, id: &PluginId, record: &Record) -> ChangeResult<()> {
        let stored = self.store.versions(id)?;
        let needed = [record.active(), record.before(), record.pinned.as_ref(), record.last_healthy.as_ref()];
        let surplus = stored.len().saturating_sub(VERSIONS_MAX);
        for key in stored.iter().filter(|key| !needed.contains(&Some(*key))).take(surplus) {
            self.store.remove(id, key)?;
        }
        Ok(())
    }
}

fn node_of(manifest: &Manifest) -> PackageNode {
    PackageNode { version: manifest.version.clone(), requires: manifest.requires.plugins.clone() }
}
