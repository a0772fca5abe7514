//! A private folder for the length of a run.

use std::os::unix::fs::DirBuilderExt;
use std::path::{Path, PathBuf};

/// A folder that is removed at the end.
pub(crate) struct Folder(PathBuf);

impl Folder {
    /// Makes one, whose name begins like this.
    ///
    /// # Errors
    /// It cannot be made; also where somebody else has made it.
    pub(crate) fn new(prefix: &str) -> std::io::Result<Folder> {
        let path = std::env::temp_dir().join(format!("{prefix}-{}", std::process::id()));
        std::fs::DirBuilder::new().mode(0o700).create(&path)?;
        Ok(Folder(path))
    }

    /// Where it is.
    pub(crate) fn path(&self) -> &Path {
        &self.0
    }
}

impl Drop for Folder {
    fn drop(&mut self) {
        // What cannot be removed stays in the temporary folder.
        let _ = std::fs::remove_dir_all(&self.0);
    }
}
