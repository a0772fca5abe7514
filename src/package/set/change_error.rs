//! Why a change of a package is refused.

use crate::package::catalogue::Invalid;
use crate::package::digest::Digest;
use crate::package::plan::PlanFault;
use crate::package::publisher::Refusal;
use crate::package::store::{StoreError, VersionKey};
use crate::package::version::Version;
use crate::state::config_error::ConfigErrors;
use rpc_plugin_wire::PluginId;
use std::fmt;

/// Why a change of a package was not made.
#[derive(Debug)]
#[non_exhaustive]
#[allow(missing_docs)]
pub enum ChangeError {
    /// The store could not do it, or the package is not as it has to be.
    Store(StoreError),
    /// It is refused for who published it.
    Publisher(Refusal),
    /// Its manifest is another than the expected one.
    Digest { id: PluginId, expected: Digest, seen: Digest },
    /// The package is unsigned, and the install does not allow that.
    Unsigned { id: PluginId, digest: Digest },
    /// The version is below the active one.
    Downgrade { id: PluginId, active: VersionKey, wanted: VersionKey },
    /// The version is below what the configuration allows.
    BelowMinimum { id: PluginId, wanted: VersionKey, minimum: Version },
    /// The package is kept at another version.
    Pinned { id: PluginId, pinned: VersionKey, wanted: VersionKey },
    /// What packages require of each other would not hold.
    Broken(Vec<PlanFault>),
    /// The active version's manifest says that the one before could not do with its data.
    NoWayBack { id: PluginId, active: VersionKey, wanted: VersionKey },
    /// No version was active before.
    NothingBefore { id: PluginId },
    /// No version is active.
    NoneActive { id: PluginId },
    /// No version of the package is stored.
    Unknown { id: PluginId },
    /// No version is meant by that, or several are.
    NoSuchVersion { id: PluginId, wanted: String, stored: Vec<VersionKey> },
    /// No folder in which packages are looked for has it, or none has won its id.
    NotFound { id: PluginId },
    /// This host does not take it: why.
    NotAccepted { id: PluginId, why: Invalid },
    /// Its folder cannot be used: why.
    Folder(String),
    /// What it is launched with contradicts itself.
    Settings { id: PluginId, errors: ConfigErrors },
    /// The version is the active one.
    Active { id: PluginId, key: VersionKey },
}

impl ChangeError {
    /// Whether what was named is not there.
    #[must_use]
    pub fn is_not_found(&self) -> bool {
        matches!(
            self,
            ChangeError::Unknown { .. } | ChangeError::NoSuchVersion { .. } | ChangeError::NotFound { .. }
        )
    }

    /// Whether it is a fault of this machine, and not of what was asked for.
    #[must_use]
    pub fn is_internal(&self) -> bool {
        matches!(self, ChangeError::Store(error) if !matches!(error, StoreError::Package(_) | StoreError::Cancelled))
    }
}

impl fmt::Display for ChangeError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            ChangeError::Store(error) => error.fmt(f),
            ChangeError::Publisher(refusal) => refusal.fmt(f),
            ChangeError::Digest { id, expected, seen } => write!(
                f,
                "the manifest of {id} has SHA-256 {seen}; expected {expected}; get the package that was meant"
            ),
            ChangeError::Unsigned { id, digest } => write!(
                f,
                "{id} is not signed; expected a signature, or --sha256 or --unsigned, which say that it is meant all the \
                 same; its manifest has SHA-256 {digest}"
            ),
            ChangeError::Downgrade { id, active, wanted } => write!(
                f,
                "{wanted} of {id} is below {active}, which is active; --downgrade installs it all the same"
            ),
            ChangeError::BelowMinimum { id, wanted, minimum } => write!(
                f,
                "{wanted} of {id} is below {minimum}, the \"minimum\" that the configuration has for it"
            ),
            ChangeError::Pinned { id, pinned, wanted } => write!(
                f,
                "{id} is pinned to {pinned}, and {wanted} is another version; `rpcpluginctl pin {id} --off` lets it go on"
            ),
            ChangeError::Broken(faults) => {
                let faults: Vec<String> = faults.iter().map(ToString::to_string).collect();
                f.write_str(&faults.join("\n"))
            }
            ChangeError::NoWayBack { id, active, wanted } => write!(
                f,
                "{active} of {id} says that a version before cannot do with its data (\"rollback\": false); --downgrade \
                 goes back to {wanted} all the same"
            ),
            ChangeError::NothingBefore { id } => write!(f, "no version of {id} was active before this one"),
            ChangeError::NoneActive { id } => {
                write!(f, "no version of {id} is active; install one, or `rpcpluginctl pin {id}@VERSION`")
            }
            ChangeError::Unknown { id } => {
                write!(f, "no version of {id} is installed; `rpcpluginctl packages` shows what is")
            }
            ChangeError::NoSuchVersion { id, wanted, stored } => {
                let stored: Vec<String> = stored.iter().map(ToString::to_string).collect();
                write!(f, "{wanted:?} is no one version of {id}; stored: {}", stored.join(", "))
            }
            ChangeError::NotFound { id } => write!(
                f,
                "no folder of a package {id} is there to be taken; `rpcpluginctl packages` shows which are there, and why \
                 they are not taken"
            ),
            ChangeError::NotAccepted { id, why } => write!(f, "{id} is not taken by this host: {why}"),
            ChangeError::Folder(fault) => f.write_str(fault),
            ChangeError::Settings { id, errors } => {
                write!(
                    f,
                    "{id} cannot be launched with its settings, and those of its type and the operator: {errors}"
                )
            }
            ChangeError::Active { id, key } => write!(
                f,
                "{key} of {id} is active; install or go back to another version before, or `rpcpluginctl remove {id}` \
                 removes all of them"
            ),
        }
    }
}

impl std::error::Error for ChangeError {}

/// What came of a change.
pub type ChangeResult<T> = Result<T, Box<ChangeError>>;

/// A change that is refused.
pub(super) fn refused<T>(error: ChangeError) -> ChangeResult<T> {
    Err(Box::new(error))
}

impl From<StoreError> for Box<ChangeError> {
    fn from(error: StoreError) -> Box<ChangeError> {
        Box::new(ChangeError::Store(error))
    }
}

impl From<Refusal> for Box<ChangeError> {
    fn from(refusal: Refusal) -> Box<ChangeError> {
        Box::new(ChangeError::Publisher(refusal))
    }
}
