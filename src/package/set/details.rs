//! What is stored of one package, and what is remembered of it.

use super::PackageSet;
use super::change_error::{ChangeError, ChangeResult, refused};
use super::outcomes::PackageDetails;
use crate::package::store::VersionKey;
use rpc_plugin_wire::PluginId;

impl PackageSet {
    /// What is stored of a package.
    ///
    /// # Errors
    /// Nothing is, or it cannot be read.
    pub(crate) fn details(&self, id: &PluginId) -> ChangeResult<PackageDetails> {
        let stored = self.store.versions(id)?;
        if stored.is_empty() {
            return refused(ChangeError::Unknown { id: id.clone() });
        }
        let record = self.store.record(id)?;
        let active = self.store.active(id)?;
        let trial = record.trial.as_ref().map(|trial| &trial.version);
        let words = |key: &VersionKey| {
            let known = [
                ("active", active.as_ref()),
                ("before", record.before()),
                ("pinned", record.pinned.as_ref()),
                ("healthy", record.last_healthy.as_ref()),
                ("trial", trial),
            ];
            known.into_iter().filter(|(_, of)| *of == Some(key)).map(|(word, _)| word).collect()
        };
        Ok(PackageDetails {
            versions: stored.iter().map(|key| (key.clone(), words(key))).collect(),
            data: self.store.data_folder(id).map_err(crate::package::store::StoreError::from)?,
            note: record.note.clone(),
        })
    }
}
