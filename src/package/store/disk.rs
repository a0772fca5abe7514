//! The state folder on the disk: which versions there are, which one is active, and the records.
//!
//! What always holds: nothing in the store has the name of a version before all of it is on the disk; a link or a record is
//! replaced by rename(2); what has another name is swept when the store is opened.

use super::Store;
use super::error::StoreError;
use super::files::{failed, names_in, remove_tree, sync_folder};
use super::record::Record;
use super::version_key::VersionKey;
use crate::sys::private_folder::{PrivateFolder, PrivateFolderError};
use crate::sys::state_dir::{StateDir, traversable};
use rpc_plugin_wire::PluginId;
use std::collections::BTreeMap;
use std::fs;
use std::io;
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};

/// The folder of packages.
const STORE: &str = "store";
/// The folder of records.
const RECORDS: &str = "records";
/// The folder of what plugins keep.
const DATA: &str = "data";
/// The link to the version that is active.
const ACTIVE: &str = "active";
/// How what has no place yet begins, or has none any more.
const UNFINISHED: &str = ".";
/// Longest record. Bytes.
const RECORD_BYTES_MAX: usize = 4 * 1024 * 1024;

impl Store {
    /// Opens the store of a state folder, makes what is missing, removes what was not finished, and adapts the records to
    /// what is stored.
    ///
    /// # Errors
    /// The state folder cannot be used, or a system call failed. A record that cannot be read is no error yet.
    pub fn open(state_dir: &Path) -> Result<Store, StoreError> {
        let state = StateDir::open(state_dir).map_err(StoreError::StateDir)?;
        let store = state.traversable_folder(STORE)?;
        let data = state.traversable_folder(DATA)?;
        let records = state.private_folder(RECORDS)?;
        let store = Store { state, store, data, records };
        let mut stored = BTreeMap::new();
        for id in store.ids()? {
            // What is wrong with one package is told by whoever asks for it, and keeps no other from being used.
            if let Ok(versions) = store.tidy(&id) {
                stored.insert(id, versions);
            }
        }
        store.sweep_records(&stored)?;
        Ok(store)
    }

    /// The state folder, without links.
    #[must_use]
    pub fn state_dir(&self) -> &Path {
        self.state.path()
    }

    /// The folder of a package's versions.
    pub(super) fn package_path(&self, id: &PluginId) -> PathBuf {
        self.state.path().join(STORE).join(id.as_str())
    }

    /// The folder of a version.
    #[must_use]
    pub fn version_path(&self, id: &PluginId, key: &VersionKey) -> PathBuf {
        self.package_path(id).join(key.to_string())
    }

    /// The folder of a package's versions, made if it is missing.
    pub(super) fn make_package_folder(&self, id: &PluginId) -> Result<PathBuf, StoreError> {
        let path = self.package_path(id);
        traversable(&self.store, id.as_str().as_ref(), &path)?;
        sync_folder(&self.state.path().join(STORE))?;
        Ok(path)
    }

    /// The folder that is the plugin's own (0700), made if it is missing.
    ///
    /// # Errors
    /// Says what is wrong with the folder that is there, or what failed.
    pub fn data_folder(&self, id: &PluginId) -> Result<PathBuf, PrivateFolderError> {
        let path = self.state.path().join(DATA).join(id.as_str());
        PrivateFolder::open_or_create(&self.data, id.as_str().as_ref(), &path)?;
        Ok(path)
    }

    /// Puts what a plugin keeps where nobody finds it by the plugin's id: the next one of this id has nothing. Gives the place, if
    /// there was something.
    ///
    /// # Errors
    /// What failed.
    pub fn set_data_aside(&self, id: &PluginId) -> Result<Option<PathBuf>, StoreError> {
        let data = self.state.path().join(DATA);
        let path = data.join(id.as_str());
        // No id has an `@`.
        let aside = data.join(format!("{id}@{:016x}", fastrand::u64(..)));
        match fs::rename(&path, &aside) {
            Ok(()) => sync_folder(&data)?,
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
            Err(error) => return Err(failed("rename", &path)(error).into()),
        }
        Ok(Some(aside))
    }

    /// The packages that have a folder in the store, by id.
    ///
    /// # Errors
    /// The store cannot be listed.
    pub fn ids(&self) -> Result<Vec<PluginId>, StoreError> {
        let store = self.state.path().join(STORE);
        let mut names = names_in(&store)?;
        names.retain(|name| fs::symlink_metadata(store.join(name)).is_ok_and(|found| found.is_dir()));
        Ok(names.iter().filter_map(|name| name.to_str()?.parse().ok()).collect())
    }

    /// The stored versions of a package, oldest version first.
    ///
    /// # Errors
    /// They cannot be listed.
    pub fn versions(&self, id: &PluginId) -> Result<Vec<VersionKey>, StoreError> {
        let names = names_in(&self.package_path(id))?;
        let mut keys: Vec<VersionKey> = names.iter().filter_map(|name| name.to_str()?.parse().ok()).collect();
        keys.sort();
        Ok(keys)
    }

    /// The active version of a package, if one is active and stored.
    ///
    /// # Errors
    /// The link cannot be read.
    pub fn active(&self, id: &PluginId) -> Result<Option<VersionKey>, StoreError> {
        let link = self.package_path(id).join(ACTIVE);
        let target = match fs::read_link(&link) {
            Ok(target) => target,
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
            Err(error) => return Err(failed("read link", &link)(error).into()),
        };
        let key = target.to_str().and_then(|name| name.parse().ok());
        Ok(key.filter(|key| self.version_path(id, key).is_dir()))
    }

    /// Makes a stored version the active one, and notes `record`, which has to say so.
    ///
    /// # Errors
    /// What failed. The version that was active still is.
    pub fn activate(&self, id: &PluginId, key: &VersionKey, record: &Record) -> Result<(), StoreError> {
        // A record that is ahead of the link is adapted to it when the store is opened.
        self.put_record(id, record)?;
        let folder = self.package_path(id);
        let (link, active) = (unfinished(&folder), folder.join(ACTIVE));
        std::os::unix::fs::symlink(key.to_string(), &link).map_err(failed("make link", &link))?;
        if let Err(error) = fs::rename(&link, &active) {
            // What cannot be removed is swept.
            let _ = fs::remove_file(&link);
            return Err(failed("rename to", &active)(error).into());
        }
        Ok(sync_folder(&folder)?)
    }

    /// Removes a stored version, and what is remembered of its files. If it is the active one, none is.
    ///
    /// # Errors
    /// What failed. Once this has begun the version is not stored any more.
    pub fn remove(&self, id: &PluginId, key: &VersionKey) -> Result<(), StoreError> {
        let folder = self.package_path(id);
        if self.active(id)?.as_ref() == Some(key) {
            let link = folder.join(ACTIVE);
            fs::remove_file(&link).map_err(failed("remove", &link))?;
        }
        let (path, doomed) = (self.version_path(id, key), unfinished(&folder));
        fs::rename(&path, &doomed).map_err(failed("rename", &path))?;
        sync_folder(&folder)?;
        self.records.remove(&stamps_name(id, key))?;
        if self.versions(id)?.is_empty() {
            remove_tree(&folder)?;
            return Ok(sync_folder(&self.state.path().join(STORE))?);
        }
        Ok(remove_tree(&doomed)?)
    }

    /// Removes what is remembered of a package, and what its plugin keeps, if it was told to.
    ///
    /// # Errors
    /// What failed.
    pub fn forget(&self, id: &PluginId, with_data: bool) -> Result<(), StoreError> {
        if with_data {
            let path = self.state.path().join(DATA).join(id.as_str());
            remove_tree(&path)?;
        }
        self.records.remove(&record_name(id))?;
        Ok(())
    }

    /// Removes what was not finished of a package, and adapts its record to what is stored. Gives its versions.
    fn tidy(&self, id: &PluginId) -> Result<Vec<VersionKey>, StoreError> {
        self.sweep(id)?;
        let versions = self.versions(id)?;
        if let Ok(known) = self.record(id) {
            let mut record = known.clone();
            record.adapt(self.active(id)?.as_ref(), &versions);
            if record != known {
                self.put_record(id, &record)?;
            }
        }
        Ok(versions)
    }

    /// Removes what was not finished of a package, and what stands where only its link may.
    fn sweep(&self, id: &PluginId) -> Result<(), StoreError> {
        let folder = self.package_path(id);
        for name in
            names_in(&folder)?.iter().filter(|name| name.as_bytes().starts_with(UNFINISHED.as_bytes()))
        {
            remove_tree(&folder.join(name))?;
        }
        let active = folder.join(ACTIVE);
        if fs::symlink_metadata(&active).is_ok_and(|found| !found.is_symlink()) {
            remove_tree(&active)?;
        }
        if names_in(&folder)?.is_empty() {
            remove_tree(&folder)?;
        }
        Ok(())
    }

    /// Removes what is remembered of files of versions that are not stored, and records that were not finished.
    fn sweep_records(&self, stored: &BTreeMap<PluginId, Vec<VersionKey>>) -> Result<(), StoreError> {
        for (name, _) in self.records.entries()? {
            let Some(name) = name.to_str() else { continue };
            let of = name.strip_suffix(".json").and_then(|name| name.split_once('@'));
            let is_stale = of.is_some_and(|(id, key)| match (id.parse::<PluginId>(), key.parse()) {
                (Ok(id), Ok(key)) => stored.get(&id).is_none_or(|keys| !keys.contains(&key)),
                _ => false,
            });
            if is_stale || name.ends_with(".json.new") {
                self.records.remove(name)?;
            }
        }
        Ok(())
    }

    /// What is remembered of a package. One that is not known has the record of a new one.
    ///
    /// # Errors
    /// It cannot be read.
    pub fn record(&self, id: &PluginId) -> Result<Record, StoreError> {
        let name = record_name(id);
        let Some(content) = self.records.read(&name, RECORD_BYTES_MAX)? else { return Ok(Record::default()) };
        let path = self.records.path().join(&name);
        serde_json::from_slice(&content).map_err(|error| StoreError::Record(path, error.to_string()))
    }

    /// Remembers this of a package, on the disk.
    ///
    /// # Errors
    /// What failed.
    pub fn put_record(&self, id: &PluginId, record: &Record) -> Result<(), StoreError> {
        self.put(&record_name(id), record)
    }

    fn put(&self, name: &str, content: &impl serde::Serialize) -> Result<(), StoreError> {
        let path = self.records.path().join(name);
        let bytes =
            serde_json::to_vec(content).map_err(|error| StoreError::Record(path, error.to_string()))?;
        Ok(self.records.replace(name, &bytes)?)
    }

    /// What is remembered of a version's files; nothing if it cannot be read.
    pub(super) fn stamps<T: serde::de::DeserializeOwned>(
        &self,
        id: &PluginId,
        key: &VersionKey,
    ) -> Option<T> {
        let content = self.records.read(&stamps_name(id, key), RECORD_BYTES_MAX).ok()??;
        serde_json::from_slice(&content).ok()
    }

    pub(super) fn put_stamps(
        &self,
        id: &PluginId,
        key: &VersionKey,
        stamps: &impl serde::Serialize,
    ) -> Result<(), StoreError> {
        self.put(&stamps_name(id, key), stamps)
    }
}

/// A name in a package's folder that no version has.
pub(super) fn unfinished(folder: &Path) -> PathBuf {
    folder.join(format!("{UNFINISHED}new-{:016x}", fastrand::u64(..)))
}

fn record_name(id: &PluginId) -> String {
    format!("{id}.json")
}

/// No id has an `@`, so that no record has this name.
fn stamps_name(id: &PluginId, key: &VersionKey) -> String {
    format!("{id}@{key}.json")
}
