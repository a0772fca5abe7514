//! A private folder for as long as somebody needs it.
//!
//! What always holds: nobody else made it; it goes with its owner, unless the process is killed first.
#![forbid(unsafe_code)]

use std::os::unix::fs::{DirBuilderExt, PermissionsExt};
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
        if std::fs::remove_dir_all(&self.0).is_err() {
            make_writable(&self.0);
            // What cannot be removed stays in the temporary folder.
            let _ = std::fs::remove_dir_all(&self.0);
        }
    }
}

/// Makes the folders below one writable, as far as that goes: whoever is not root removes nothing from one that is not.
fn make_writable(folder: &Path) {
    let _ = std::fs::set_permissions(folder, std::fs::Permissions::from_mode(0o700));
    let Ok(entries) = std::fs::read_dir(folder) else { return };
    for entry in entries.flatten() {
        if entry.file_type().is_ok_and(|kind| kind.is_dir()) {
            make_writable(&entry.path());
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

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

    #[test]
    fn folders_that_are_read_only_go_too() {
        let folder = TemporaryFolder::new("rps-folder").unwrap();
        let path = folder.path().to_owned();
        let inner = path.join("a/b");
        std::fs::create_dir_all(&inner).unwrap();
        std::fs::write(inner.join("file"), "x").unwrap();
        let modes = || [&path, &inner].map(|at| std::fs::metadata(at).unwrap().permissions().mode() & 0o777);
        for at in [&inner, &path.join("a")] {
            std::fs::set_permissions(at, std::fs::Permissions::from_mode(0o555)).unwrap();
        }
        make_writable(&path);
        assert_eq!(modes(), [0o700, 0o700]);
        drop(folder);
        assert!(!path.exists());
    }
}
