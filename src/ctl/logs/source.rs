//! One stream of the record that is asked for, and those that cannot be read.

use crate::ctl::client::no_permission;
use crate::ctl::exit::{Exit, Failure};
use crate::ctl::out::Out;
use rpc_plugin_wire::PluginId;
use std::collections::BTreeSet;
use std::io;
use std::path::{Path, PathBuf};

/// Most plugins, or files, that an error names.
pub(super) const NAMED_MAX: usize = 8;

/// One stream of lines, and whose it is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct RecordSource {
    pub(super) folder: PathBuf,
    pub(super) name: &'static str,
    /// `None` for the daemon's own.
    pub(super) plugin_id: Option<PluginId>,
}

impl RecordSource {
    pub(super) fn path(&self) -> PathBuf {
        self.folder.join(self.name)
    }

    pub(super) fn label(&self) -> &str {
        self.plugin_id.as_ref().map_or("daemon", PluginId::as_str)
    }
}

/// A record that cannot be read.
pub(super) fn unreadable(path: &Path, error: &io::Error) -> Failure {
    if error.kind() == io::ErrorKind::PermissionDenied {
        return no_permission(path);
    }
    Failure::new(Exit::Failed, format!("cannot read {path:?}: {error}"))
}

/// The sources that cannot be read. The others are read all the same, and in the end the command fails.
pub(super) struct Unread {
    pub(super) of: usize,
    pub(super) paths: BTreeSet<PathBuf>,
    /// Whether all that was met so far was that this user may not.
    is_denied: bool,
}

impl Unread {
    pub(super) fn new(of: usize) -> Unread {
        Unread { of, paths: BTreeSet::new(), is_denied: true }
    }

    pub(super) fn note(
        &mut self,
        out: &mut Out<'_>,
        source: &RecordSource,
        error: &io::Error,
    ) -> Result<(), Failure> {
        let failure = unreadable(&source.path(), error);
        if self.of == 1 {
            return Err(failure);
        }
        self.is_denied &= failure.exit == Exit::Denied;
        if self.paths.insert(source.path()) {
            out.warn(&failure.message);
        }
        Ok(())
    }

    pub(super) fn end(&self) -> Result<(), Failure> {
        match self.paths.len() {
            0 => Ok(()),
            count => {
                let exit = if self.is_denied { Exit::Denied } else { Exit::Failed };
                Err(Failure::new(exit, format!("{count} of {} records cannot be read", self.of)))
            }
        }
    }
}
