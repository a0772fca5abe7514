//! The packages of a set, wherever they are: what was found in folders, what is stored, which of them runs, and by what.
//!
//! What it deliberately does not do: launch anything, or watch a folder; who does calls [`PackageSet::look`].
//!
//! What always holds: nothing of a folder runs that was not imported: what is launched is in the store.

use super::change_error::{ChangeError, ChangeResult, refused};
use super::outcomes::{InstallOptions, Installed, PackageLaunch};
use super::{FailedImport, PackageSet, StoredManifest};
use crate::package::catalogue::{Acceptance, Candidate, FoundIn, Invalid, decide};
use crate::package::debounce::Due;
use crate::package::digest::Digest;
use crate::package::layers::Layers;
use crate::package::manifest::Manifest;
use crate::package::publisher::{Publisher, VerifyMode};
use crate::package::scan::{Depth, FoundFolder, open_package};
use crate::package::shown_path;
use crate::package::store::{ENV_NO_BYTECODE, PackageOrigin, Progress, Record, StoreError};
use crate::package::version::Version;
use crate::state::start_mode::StartMode;
use rpc_plugin_wire::PluginId;
use rpc_plugin_wire::admin_packages::{ChangedFile, PackageList, PackageSource, PackageState, PackageStatus};
use std::collections::BTreeMap;
use std::ops::ControlFlow;
use std::path::{Path, PathBuf};

/// What becomes of a package that was found.
#[derive(Debug)]
struct Decided {
    found_in: FoundIn,
    id: Option<PluginId>,
    verdict: Result<(), Invalid>,
}

impl PackageSet {
    /// Looks at the folders in which packages are looked for: at all of them, or at those packages.
    pub(crate) fn look(&mut self, what: &Due, depth: Depth) {
        match what {
            Due::All => self.folders.look_at_all(depth),
            Due::Folders(paths) => paths.iter().for_each(|path| self.folders.look_at(path, depth)),
        }
    }

    /// The folders in which packages are looked for.
    #[must_use]
    pub(crate) fn dirs(&self) -> &[PathBuf] {
        self.folders.dirs()
    }

    /// Reads the manifests of the active versions that are not known yet.
    fn refresh(&mut self) -> Result<(), StoreError> {
        let ids = self.store.ids()?;
        self.stored.retain(|id, _| ids.contains(id));
        for id in ids {
            let Some(key) = self.store.active(&id)? else {
                self.stored.remove(&id);
                continue;
            };
            if self.stored.get(&id).is_some_and(|known| known.key == key) {
                continue;
            }
            let verified = self.store.verify(&id, &key, &mut |_, _| ControlFlow::Continue(()));
            let manifest = verified.map(|stored| stored.manifest).map_err(|error| error.to_string());
            self.stored.insert(id, StoredManifest { key, manifest });
        }
        Ok(())
    }

    /// Whether an operator installed it, and not a folder brought it. Where that cannot be read, no folder takes its place.
    fn is_installed(&self, id: &PluginId) -> bool {
        self.store.record(id).map_or(true, |record| record.origin == PackageOrigin::Installed)
    }

    /// What becomes of each package that was found or installed.
    fn decide(&mut self) -> Result<Vec<Decided>, StoreError> {
        self.refresh()?;
        let mut installed = Vec::new();
        for (id, stored) in &self.stored {
            if self.is_installed(id) {
                installed.push((id, stored));
            }
        }
        let in_folders: Vec<_> =
            self.folders.found().iter().map(|(path, found)| (FoundIn::Folder(path.clone()), found)).collect();
        let of_store = installed.iter().map(|(id, stored)| Candidate {
            found_in: &FoundIn::Store,
            names: Some((id, stored.key.version())),
            manifest: stored.manifest.as_ref().map_err(String::as_str),
        });
        let of_folders = in_folders.iter().map(|(found_in, found)| {
            let manifest = found.as_ref().map(|found| &found.manifest).map_err(String::as_str);
            let names = manifest.ok().map(|manifest| (&manifest.id, &manifest.version));
            Candidate { found_in, names, manifest }
        });
        let candidates: Vec<Candidate<'_>> = of_store.chain(of_folders).collect();
        let verdicts = decide(self.acceptance(), &candidates);
        let decided = candidates.iter().zip(verdicts).map(|(candidate, verdict)| Decided {
            found_in: candidate.found_in.clone(),
            id: candidate.names.map(|(id, _)| id.clone()),
            verdict,
        });
        Ok(decided.collect())
    }

    /// What this host takes.
    fn acceptance(&self) -> Acceptance<'_> {
        Acceptance { configured: &self.options.configured, types: &self.options.types, host: &self.host }
    }

    /// Whether this host takes what a manifest says.
    pub(super) fn check_accepted(&self, manifest: &Manifest) -> ChangeResult<()> {
        let id = || manifest.id.clone();
        self.acceptance().check(manifest).map_err(|why| Box::new(ChangeError::NotAccepted { id: id(), why }))
    }

    /// The packages that may run: installed ones, and those whose folder won their id and is or can be imported.
    ///
    /// # Errors
    /// The store cannot be read.
    pub(crate) fn runnable(&mut self) -> Result<Vec<PluginId>, StoreError> {
        let decided = self.decide()?;
        let mut ids = Vec::new();
        for Decided { found_in, id, verdict } in decided {
            let Some(id) = id.filter(|_| verdict.is_ok()) else { continue };
            let is_active = self.stored.contains_key(&id);
            let may_come = match &found_in {
                FoundIn::Store => true,
                FoundIn::Folder(path) => is_active || self.fault_of(path).is_none(),
            };
            if may_come {
                ids.push(id);
            }
        }
        Ok(ids)
    }

    /// Why a folder cannot be imported, as far as that is known.
    fn fault_of(&self, path: &Path) -> Option<String> {
        let found = self.folders.found().get(path)?.as_ref().ok()?;
        let failed = self.failed.get(path).filter(|failed| failed.digest == found.digest);
        found.faults.clone().or_else(|| failed.map(|failed| failed.why.clone()))
    }

    /// The packages that the folder which has won an id requires.
    #[must_use]
    pub(crate) fn required_by_folder(&self, id: &PluginId) -> Vec<PluginId> {
        let found = self.folders.found().values().flatten().find(|found| found.manifest.id == *id);
        found.map(|found| found.manifest.requires.plugins.keys().cloned().collect()).unwrap_or_default()
    }

    /// Whether the folder of a package could not be imported for what packages require of each other.
    #[must_use]
    pub(crate) fn is_unmet(&self, id: &PluginId) -> bool {
        let of_it =
            |path| matches!(self.folders.found().get(path), Some(Ok(found)) if found.manifest.id == *id);
        self.failed.iter().any(|(path, failed)| failed.is_unmet && of_it(path))
    }

    /// Has folders tried anew that could not be imported for what packages require of each other: other ones are active now.
    pub(crate) fn forget_unmet(&mut self) {
        self.failed.retain(|_, failed| !failed.is_unmet);
    }

    /// The folder that won an id.
    fn winner(&mut self, id: &PluginId) -> Result<Option<PathBuf>, StoreError> {
        let decided = self.decide()?;
        Ok(decided.into_iter().find_map(|decided| match decided.found_in {
            FoundIn::Folder(path) if decided.verdict.is_ok() && decided.id.as_ref() == Some(id) => Some(path),
            _ => None,
        }))
    }

    /// Whether the folder of a package is there, has won its id, and has another manifest than the version that is active.
    ///
    /// # Errors
    /// The store cannot be read.
    pub(crate) fn is_changed(&mut self, id: &PluginId) -> Result<Option<Digest>, StoreError> {
        let Some(path) = self.winner(id)? else { return Ok(None) };
        let digest = self.folders.found().get(&path).and_then(|found| Some(found.as_ref().ok()?.digest));
        let active = self.stored.get(id).map(|stored| &stored.key);
        Ok(digest.filter(|digest| active.is_none_or(|key| !key.is_of(digest))))
    }

    /// Imports the folder that has won an id, and makes it the active version.
    ///
    /// # Errors
    /// No folder has won it, or why it cannot be imported; then nothing has changed.
    pub(crate) fn take_found(&mut self, id: &PluginId, progress: Progress<'_>) -> ChangeResult<Installed> {
        let Some(path) = self.winner(id)? else {
            return refused(ChangeError::NotFound { id: id.clone() });
        };
        let options = InstallOptions {
            allows_downgrade: true,
            allows_unsigned: true,
            origin: PackageOrigin::PluginsDir(path.display().to_string()),
            ..InstallOptions::default()
        };
        // What is stored already is not read again, so what else is in the folder would go unnoticed.
        self.folders
            .look_at(&path, if self.stored.contains_key(id) { Depth::Files } else { Depth::Manifest });
        let faults = self.folders.found().get(&path).and_then(|found| found.as_ref().ok()?.faults.clone());
        let opened = faults.map_or_else(|| open_package(&path), Err);
        let opened = opened.map_err(|fault| Box::new(ChangeError::Folder(fault)));
        let taken = opened.and_then(|package| {
            if package.manifest.id != *id {
                return refused(ChangeError::NotFound { id: id.clone() });
            }
            self.install(&package, &options, progress)
        });
        match (&taken, self.folders.found().get(&path)) {
            (Err(error), Some(Ok(found))) => {
                let is_unmet = matches!(**error, ChangeError::Broken(_));
                let why = error.to_string().replace('\n', "; ");
                self.failed.insert(path, FailedImport { digest: found.digest, why, is_unmet });
            }
            _ => drop(self.failed.remove(&path)),
        }
        taken
    }

    /// What the active version of a package is launched with.
    ///
    /// # Errors
    /// It is not what was imported, is not taken any more for who published it or for its type or host, or its settings contradict
    /// each other.
    pub(crate) fn launch(&self, id: &PluginId, progress: Progress<'_>) -> ChangeResult<PackageLaunch> {
        let record = self.store.record(id)?;
        let key =
            self.store.active(id)?.ok_or_else(|| Box::new(ChangeError::NoneActive { id: id.clone() }))?;
        let stored = self.stored(id, &key, &record, progress)?;
        self.check_accepted(&stored.manifest)?;
        let mut config = self.store.launch_config(&stored)?;
        let manifest = &stored.manifest;
        let types = self.options.types.as_ref();
        let overrides = self.options.overrides.iter().find(|overrides| overrides.id == *id);
        // Who asks for a bare environment gets none of the host's defaults; what the manifest says is none.
        let (name, _) = ENV_NO_BYTECODE;
        if overrides.is_some_and(|overrides| overrides.has_bare_env == Some(true))
            && manifest.config.env.iter().all(|(named, _)| named != name)
        {
            config.env.retain(|(named, _)| named != name);
        }
        let layers = Layers {
            defaults: &self.options.defaults,
            accepted: types.and_then(|types| types.get(manifest.kind.as_deref()?)),
            overrides,
        };
        layers.apply(manifest, &mut config);
        if let Err(errors) = config.check() {
            return refused(ChangeError::Settings { id: id.clone(), errors });
        }
        let autostart = config.start == StartMode::Auto && !record.is_disabled;
        Ok(PackageLaunch { config, autostart })
    }

    /// What is known of each package.
    ///
    /// # Errors
    /// The store cannot be read.
    pub(crate) fn statuses(&mut self) -> Result<PackageList, StoreError> {
        let decided = self.decide()?;
        let mut packages = Vec::new();
        for Decided { found_in, id, verdict } in &decided {
            packages.push(match found_in {
                FoundIn::Store => self.status_of_installed(id.as_ref(), verdict)?,
                FoundIn::Folder(path) => self.status_of_folder(path, verdict)?,
            });
        }
        for (id, stored) in &self.stored {
            if !decided.iter().any(|decided| decided.id.as_ref() == Some(id))
                && let Ok(Record { origin: PackageOrigin::PluginsDir(folder), .. }) = self.store.record(id)
            {
                let status = self.status(id, stored.key.version(), PackageState::Gone)?;
                let reason =
                    Some("its folder is gone; what was imported of it goes on until it is stopped".into());
                packages.push(PackageStatus {
                    source: PackageSource::PluginsDir,
                    folder: Some(folder),
                    reason: status.reason.clone().or(reason),
                    ..status
                });
            }
        }
        packages.sort_by(|one, other| {
            let key = |status: &PackageStatus| {
                (status.plugin_id.is_none(), status.plugin_id.clone(), status.state, status.folder.clone())
            };
            key(one).cmp(&key(other))
        });
        let problems = self.folders.faults().map(str::to_owned).collect();
        Ok(PackageList { packages, problems, unsettled: false })
    }

    /// What the store knows of a package.
    fn status(
        &self,
        id: &PluginId,
        version: &Version,
        state: PackageState,
    ) -> Result<PackageStatus, StoreError> {
        // One whose record cannot be read keeps no other from being listed.
        let read = self.store.record(id).map_err(|error| error.to_string());
        let (is_readable, record) = (read.is_ok(), read.as_ref().cloned().unwrap_or_default());
        let manifest = self.stored.get(id).and_then(|stored| stored.manifest.as_ref().ok());
        let state = match state {
            _ if !is_readable => PackageState::Invalid,
            PackageState::Active if record.is_disabled => PackageState::Disabled,
            state => state,
        };
        Ok(PackageStatus {
            plugin_id: Some(id.clone()),
            version: Some(version.to_string()),
            kind: manifest.and_then(|manifest| manifest.kind.clone()),
            source: PackageSource::Store,
            folder: None,
            state,
            publisher: record.publisher.as_ref().map(Publisher::shown),
            verified: is_readable.then(|| PackageSet::verified(&record)),
            reason: read.err().or(record.note),
            changed: Vec::new(),
        })
    }

    /// What was verified of a package, and whom it protects against.
    fn verified(record: &Record) -> String {
        match &record.publisher {
            Some(Publisher::Key(_)) => VerifyMode::Signature.to_string(),
            _ => format!("{}, which protect against accidents, not attackers", VerifyMode::Checksums),
        }
    }

    fn status_of_installed(
        &self,
        id: Option<&PluginId>,
        verdict: &Result<(), Invalid>,
    ) -> Result<PackageStatus, StoreError> {
        let Some((id, stored)) = id.and_then(|id| Some((id, self.stored.get(id)?))) else {
            return Ok(unknown(PackageSource::Store, None));
        };
        let status = self.status(id, stored.key.version(), PackageState::Active)?;
        Ok(match verdict {
            Ok(()) => status,
            Err(why) => {
                PackageStatus { state: PackageState::Invalid, reason: Some(why.to_string()), ..status }
            }
        })
    }

    fn status_of_folder(
        &self,
        path: &Path,
        verdict: &Result<(), Invalid>,
    ) -> Result<PackageStatus, StoreError> {
        let folder = Some(shown_path(path));
        let Some(Ok(found)) = self.folders.found().get(path) else {
            let reason = verdict.as_ref().err().map(Invalid::to_string);
            return Ok(PackageStatus { reason, ..unknown(PackageSource::PluginsDir, folder) });
        };
        let manifest = &found.manifest;
        let of_folder = |status: PackageStatus| PackageStatus {
            version: Some(manifest.version.to_string()),
            kind: manifest.kind.clone(),
            source: PackageSource::PluginsDir,
            folder: folder.clone(),
            ..status
        };
        let active = self.stored.get(&manifest.id);
        let was_imported = active.is_some() && !self.is_installed(&manifest.id);
        if let Err(why) = verdict {
            let goes_on = if was_imported && matches!(why, Invalid::Ambiguous(_)) {
                "; what runs of it goes on"
            } else {
                ""
            };
            let reason = Some(format!("{why}{goes_on}"));
            let plugin_id = Some(manifest.id.clone());
            let status = of_folder(unknown(PackageSource::PluginsDir, None));
            return Ok(PackageStatus { plugin_id, reason, ..status });
        }
        let fault = self.fault_of(path);
        let Some(active) = active.filter(|_| was_imported) else {
            let state = if fault.is_some() { PackageState::Invalid } else { PackageState::Found };
            let status = self.status(&manifest.id, &manifest.version, state)?;
            return Ok(of_folder(PackageStatus { reason: fault, verified: None, ..status }));
        };
        if active.key.is_of(&found.digest) && fault.is_none() {
            return Ok(of_folder(self.status(&manifest.id, &manifest.version, PackageState::Active)?));
        }
        let status = self.status(&manifest.id, active.key.version(), PackageState::Changed)?;
        let changed = active.manifest.as_ref().map(|manifest| changed(manifest, found)).unwrap_or_default();
        let reason = match fault {
            Some(fault) => format!("changed on disk, and cannot be taken: {fault}"),
            None => format!(
                "changed on disk to version {}; `rpcpluginctl restart {}` takes it",
                manifest.version, manifest.id
            ),
        };
        let kind = manifest.kind.clone();
        Ok(PackageStatus {
            source: PackageSource::PluginsDir,
            folder,
            kind,
            reason: Some(reason),
            changed,
            ..status
        })
    }
}

/// A package of which nothing is known.
fn unknown(source: PackageSource, folder: Option<String>) -> PackageStatus {
    PackageStatus {
        plugin_id: None,
        version: None,
        kind: None,
        source,
        folder,
        state: PackageState::Invalid,
        publisher: None,
        verified: None,
        reason: None,
        changed: Vec::new(),
    }
}

/// The files that are others than those of the version that was imported, as far as they were read.
fn changed(imported: &Manifest, found: &FoundFolder) -> Vec<ChangedFile> {
    let new: BTreeMap<_, _> = found.files().collect();
    let is_gone = |path| !found.has(path);
    let gone = imported.files.iter().filter(|(path, _)| is_gone(*path)).map(|(path, old)| ChangedFile {
        path: path.to_string(),
        old: Some(old.to_string()),
        new: None,
    });
    let others = new.iter().filter(|(path, digest)| imported.files.get(**path) != Some(**digest)).map(
        |(path, digest)| ChangedFile {
            path: path.to_string(),
            old: imported.files.get(*path).map(Digest::to_string),
            new: Some(digest.to_string()),
        },
    );
    let mut changed: Vec<ChangedFile> = gone.chain(others).collect();
    changed.sort_by(|one, other| one.path.cmp(&other.path));
    changed
}
