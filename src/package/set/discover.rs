//! The packages of a set in one go, for a program that has no operator: all that may run is taken into the store.
//!
//! What it deliberately does not do: launch anything; who has a host adds what is launched to it.

use super::PackageSet;
use super::outcomes::{DiscoveredPackages, InvalidPackage};
use crate::package::debounce::Due;
use crate::package::scan::Depth;
use crate::package::store::StoreError;
use rpc_plugin_wire::PluginId;
use rpc_plugin_wire::admin_packages::{PackageState, PackageStatus};
use std::collections::BTreeSet;
use std::ops::ControlFlow;

impl PackageSet {
    /// Looks at every package in `plugins_dirs`, reads all its files, takes those that may run into the store, each as its active
    /// version, and gives what they are launched with. Blocks until all files are read and written. A package whose
    /// folder is gone stays in the store and is not launched.
    ///
    /// A package that cannot be taken is listed as invalid, and keeps no others from being taken. One that was taken
    /// before and has changed into something invalid is listed, and launched as it was taken.
    ///
    /// # Errors
    /// The store cannot be read. What is wrong with one package is none.
    pub fn discover(&mut self) -> Result<DiscoveredPackages, StoreError> {
        self.look(&Due::All, Depth::Files);
        let mut left: BTreeSet<PluginId> = self.runnable()?.into_iter().collect();
        // What requires a package that comes later is taken in the next turn; each turn takes one at least.
        loop {
            let mut is_more_active = false;
            for id in &left {
                if self.is_changed(id)?.is_some() {
                    // Why it cannot be taken is kept for the list below.
                    is_more_active |= self.take_found(id, &mut |_, _| ControlFlow::Continue(())).is_ok();
                }
            }
            left.retain(|id| self.is_unmet(id));
            if left.is_empty() || !is_more_active {
                break;
            }
            self.forget_unmet();
        }
        let list = self.statuses()?;
        let mut discovered = DiscoveredPackages::default();
        for problem in list.problems {
            discovered.invalid.push(InvalidPackage { id: None, folder: None, why: problem });
        }
        discovered.invalid.extend(list.packages.into_iter().filter_map(invalid));
        for id in self.runnable()? {
            match self.launch(&id, &mut |_, _| ControlFlow::Continue(())) {
                Ok(launch) => discovered.launches.push(launch),
                Err(error) => {
                    let why = error.to_string();
                    discovered.invalid.push(InvalidPackage { id: Some(id), folder: None, why });
                }
            }
        }
        Ok(discovered)
    }
}

/// What is wrong with a package, if anything is.
fn invalid(status: PackageStatus) -> Option<InvalidPackage> {
    let is_invalid =
        matches!(status.state, PackageState::Invalid | PackageState::Found | PackageState::Changed);
    let PackageStatus { plugin_id, folder, reason, .. } = status;
    is_invalid.then(|| InvalidPackage { id: plugin_id, folder, why: reason.unwrap_or_default() })
}
