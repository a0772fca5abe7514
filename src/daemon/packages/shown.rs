//! What is shown of packages.

use super::answers::refusal;
use crate::host::PluginId;
use crate::package::set::PackageSet;
use crate::package::store::{PackageOrigin, StoredPackage};
use rpc_plugin_wire::ErrorObject;
use rpc_plugin_wire::admin_install::{PackageReply, StoredVersion};
use rpc_plugin_wire::admin_packages::{PackageSource, PackageState, PackageStatus};
use std::ops::ControlFlow;

/// All that is known of one.
pub(super) fn package(set: &PackageSet, id: &PluginId) -> Result<PackageReply, ErrorObject> {
    let details = set.details(id).map_err(|error| refusal(&error))?;
    let (status, stored) = status(set, id);
    let versions = details.versions.iter().map(|(key, is)| StoredVersion {
        version: key.to_string(),
        is: is.iter().map(|word| (*word).to_owned()).collect(),
    });
    Ok(PackageReply {
        status,
        versions: versions.collect(),
        asks_for: stored.map(|stored| stored.manifest.capabilities.lines()).unwrap_or_default(),
        data: Some(details.data.to_string_lossy().into_owned()),
        note: details.note,
    })
}

/// What holds of a package that is stored, and its active version if that may run.
fn status(set: &PackageSet, id: &PluginId) -> (PackageStatus, Option<StoredPackage>) {
    let active = set.active_package(id, &mut |_, _| ControlFlow::Continue(()));
    let record = set.store().record(id).unwrap_or_default();
    let (stored, fault) = match active {
        Ok(Some(stored)) => (Some(stored), None),
        Ok(None) => (None, Some("no version is active".to_owned())),
        Err(error) => (None, Some(error.to_string())),
    };
    let state = match &fault {
        Some(_) => PackageState::Invalid,
        None if record.is_disabled => PackageState::Disabled,
        None => PackageState::Active,
    };
    let (source, folder) = match record.origin {
        PackageOrigin::Installed => (PackageSource::Store, None),
        PackageOrigin::PluginsDir(folder) => (PackageSource::PluginsDir, Some(folder)),
    };
    let status = PackageStatus {
        plugin_id: Some(id.clone()),
        version: stored.as_ref().map(|stored| stored.manifest.version.to_string()),
        kind: stored.as_ref().and_then(|stored| stored.manifest.kind.clone()),
        source,
        folder,
        state,
        publisher: record.publisher.map(|publisher| publisher.shown()),
        verified: stored.as_ref().map(|_| set.verify_mode().shown().to_owned()),
        reason: fault.or(record.note),
        changed: Vec::new(),
    };
    (status, stored)
}
