//! A private folder for as long as somebody needs it.
//!
//! What always holds: nobody else made it; it goes with its owner, unless the process is killed first.
#![forbid(unsafe_code)]

use std::os::unix::fs::DirBuilderExt;
use std::path::{Path, PathBuf};

/// How often a name is tried that somebody else has.
const TRIES_MAX: u32 = 16;

/// A folder that is removed when this is dropped.
pub(crate) struct TemporaryFolder(PathBuf);

impl TemporaryFolder {
    /// Makes one, whose name begins like this and goes on by chance.
    ///
    /// # Errors
    /// It cannot be made.
    pub(crate) fn new(prefix: &str) -> std::io::Result<TemporaryFolder> {
        let mut tries = 0;
        loop {
            tries += 1;
            match TemporaryFolder::make(&format!("{prefix}-{:08x}", fastrand::u32(..))) {
                Err(error) if error.kind() == std::io::ErrorKind::AlreadyExists && tries < TRIES_MAX => {}
                made => return made,
            }
        }
    }

    fn make(name: &str) -> std::io::Result<TemporaryFolder> {
        // Without symbolic links, as a host wants it: `TMPDIR` may be one.
        let path = std::fs::canonicalize(std::env::temp_dir())?.join(name);
        std::fs::DirBuilder::new().mode(0o700).create(&path)?;
        Ok(TemporaryFolder(path))
    }

    /// Where it is.
    pub(crate) fn path(&self) -> &Path {
        &self.0
    }
}

impl Drop for TemporaryFolder {
    fn drop(&mut self) {
        // What cannot be removed stays in the temporary folder.
        let _ = std::fs::remove_dir_all(&self.0);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::unix::fs::PermissionsExt;

    #[test]
    fn each_is_another_one_private_and_gone_at_the_end() {
        let folders =
            [TemporaryFolder::new("rps-folder").unwrap(), TemporaryFolder::new("rps-folder").unwrap()];
        assert_ne!(folders[0].path(), folders[1].path());
        let path = folders[0].path().to_owned();
        assert_eq!(std::fs::metadata(&path).unwrap().permissions().mode() & 0o777, 0o700);
        std::fs::write(path.join("file"), "x").unwrap();
        drop(folders);
        assert!(!path.exists());
    }
}
