//! The folders in which packages are looked for: each folder in one of them with a manifest is a package.
//!
//! What this file is for: finding them, one level deep, and telling what is in each. What it deliberately does not do: decide
//! which of them runs, or copy anything.
//!
//! What always holds: a folder counts only if nobody but root and our user can change it or what is in it; links are not
//! followed, and what begins with a dot is passed over, so that a package can be made ready under such a name and renamed.

use super::digest::Digest;
use super::folder::{
    FILE_BYTES_MAX, FileStamp, FolderFaults, OpenPackage, PIECE_BYTES, other_content, shown_path,
};
use super::manifest::{MANIFEST_NAME, Manifest};
use super::path::PackagePath;
use crate::sys::folder::{Trust, open_trusted};
use nix::errno::Errno;
use nix::fcntl::{AtFlags, OFlag, openat};
use nix::sys::stat::{Mode, fstatat};
use std::collections::{BTreeMap, BTreeSet};
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};

/// Most packages in one folder in which they are looked for.
pub const FOLDERS_MAX: usize = 4096;

/// How closely a package is looked at.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Depth {
    /// Its manifest, and which files there are.
    Manifest,
    /// The content of its files, too.
    Files,
}

/// A package's folder, as it was found.
#[derive(Debug)]
pub struct FoundFolder {
    /// What its manifest says.
    pub manifest: Manifest,
    /// That of the manifest's bytes.
    pub digest: Digest,
    /// The files that were read, with their content's digest. Of one that is not here nothing is known.
    files: BTreeMap<PackagePath, (FileStamp, Digest)>,
    /// The files that there are.
    paths: BTreeSet<PackagePath>,
    /// What is wrong with its files, as far as they were looked at.
    pub faults: Option<String>,
}

impl FoundFolder {
    /// The files whose content is known, and its digest.
    pub fn files(&self) -> impl Iterator<Item = (&PackagePath, &Digest)> {
        self.files.iter().map(|(path, (_, digest))| (path, digest))
    }

    /// Whether there is a file of that path.
    #[must_use]
    pub fn has(&self, path: &PackagePath) -> bool {
        self.paths.contains(path)
    }
}

/// Packages that were found, by folder, or what is wrong with one.
pub type FoundFolders = BTreeMap<PathBuf, Result<FoundFolder, String>>;

/// The folders in which packages are looked for, and what was found in them.
#[derive(Debug)]
pub struct PackageFolders {
    dirs: Vec<PathBuf>,
    found: FoundFolders,
    /// What is wrong with each of `dirs`.
    faults: BTreeMap<PathBuf, String>,
}

impl PackageFolders {
    /// Nothing was looked at yet.
    #[must_use]
    pub fn new(dirs: Vec<PathBuf>) -> PackageFolders {
        PackageFolders { dirs, found: FoundFolders::new(), faults: BTreeMap::new() }
    }

    /// The folders in which packages are looked for.
    #[must_use]
    pub fn dirs(&self) -> &[PathBuf] {
        &self.dirs
    }

    /// What was found when it was looked at last.
    #[must_use]
    pub fn found(&self) -> &FoundFolders {
        &self.found
    }

    /// Why packages are not looked for in some of them.
    pub fn faults(&self) -> impl Iterator<Item = &str> {
        self.faults.values().map(String::as_str)
    }

    /// Looks at all of them.
    pub fn look_at_all(&mut self, depth: Depth) {
        let mut before = std::mem::take(&mut self.found);
        self.faults.clear();
        for dir in self.dirs.clone() {
            match names_in(&dir) {
                Ok(paths) => {
                    for path in paths {
                        let known = before.remove(&path).and_then(Result::ok);
                        self.look(path, known, depth);
                    }
                }
                Err(fault) => drop(self.faults.insert(dir, fault)),
            }
        }
    }

    /// Looks at one package's folder, which may be there or not.
    pub fn look_at(&mut self, path: &Path, depth: Depth) {
        let is_below = path.parent().is_some_and(|parent| self.dirs.iter().any(|dir| dir == parent));
        if is_below && !is_hidden(path) {
            let known = self.found.remove(path).and_then(Result::ok);
            self.look(path.to_owned(), known, depth);
        }
    }

    fn look(&mut self, path: PathBuf, known: Option<FoundFolder>, depth: Depth) {
        match read(&path) {
            Ok(None) => {}
            Ok(Some(package)) => drop(self.found.insert(path, Ok(content_of(&package, known, depth)))),
            Err(fault) => drop(self.found.insert(path, Err(fault))),
        }
    }
}

/// Opens a package's folder, to be imported.
///
/// # Errors
/// What is wrong with it.
pub fn open_package(path: &Path) -> Result<OpenPackage, String> {
    read(path)?.ok_or_else(|| format!("{}: there is no package any more", shown_path(path)))
}

/// What is in a folder; `None`: there is none, or it is no package's.
fn read(path: &Path) -> Result<Option<OpenPackage>, String> {
    let trust = Trust::current();
    let kind = match path.symlink_metadata() {
        Ok(metadata) => metadata.file_type(),
        Err(_) => return Ok(None),
    };
    if kind.is_symlink() && path.join(MANIFEST_NAME).is_file() {
        let path = shown_path(path);
        return Err(format!("{path} is a symbolic link; a package is a folder: copy or move it there"));
    }
    if !kind.is_dir() {
        return Ok(None);
    }
    let folder = open_trusted(path, trust).map_err(|error| error.to_string())?;
    match fstatat(&folder.fd, MANIFEST_NAME, AtFlags::AT_SYMLINK_NOFOLLOW) {
        Err(Errno::ENOENT) => return Ok(None),
        Err(errno) => return Err(format!("{}: {}", shown_path(path), errno.desc())),
        Ok(_) => {}
    }
    let flags = OFlag::O_DIRECTORY | OFlag::O_RDONLY | OFlag::O_CLOEXEC;
    let root = openat(&folder.fd, ".", flags, Mode::empty())
        .map_err(|errno| format!("{} cannot be read: {}", shown_path(path), errno.desc()))?;
    OpenPackage::read_trusted(root, path, trust).map(Some).map_err(|faults| line_of(&faults))
}

/// What was found in a folder. What `known` has of files that are the same still is taken over.
fn content_of(package: &OpenPackage, known: Option<FoundFolder>, depth: Depth) -> FoundFolder {
    let mut known = known.map(|known| known.files).unwrap_or_default();
    let (mut files, mut piece) = (BTreeMap::new(), vec![0; PIECE_BYTES]);
    let mut digest_of = |path: &PackagePath, stamp: &FileStamp| -> std::io::Result<Option<Digest>> {
        let digest = match known.remove(path).filter(|(before, _)| before == stamp) {
            Some((_, digest)) => digest,
            None if depth == Depth::Manifest => return Ok(None),
            None => package.read_file(path, stamp.length, &mut piece, &mut |_| Ok(()))?.1,
        };
        files.insert(path.clone(), (*stamp, digest));
        Ok(Some(digest))
    };
    let checked = package.check(&mut |path, expected, stamp| match digest_of(path, stamp)? {
        Some(seen) if seen != *expected => Err(other_content(seen, expected)),
        _ => Ok(()),
    });
    for (path, stamp) in package.unlisted().filter(|(_, stamp)| stamp.length <= FILE_BYTES_MAX) {
        // What cannot be read is told as a fault: it is not listed.
        let _ = digest_of(path, stamp);
    }
    FoundFolder {
        manifest: package.manifest.clone(),
        digest: package.digest(),
        files,
        paths: package.paths().cloned().collect(),
        faults: checked.err().map(|faults| line_of(&faults)),
    }
}

/// Faults in one line.
fn line_of(faults: &FolderFaults) -> String {
    faults.to_string().replace('\n', "; ")
}

fn is_hidden(path: &Path) -> bool {
    path.file_name().is_none_or(|name| name.as_bytes().starts_with(b"."))
}

/// The entries of a folder in which packages are looked for.
fn names_in(dir: &Path) -> Result<Vec<PathBuf>, String> {
    open_trusted(dir, Trust::current()).map_err(|error| error.to_string())?;
    let entries = std::fs::read_dir(dir).map_err(|error| format!("{}: {error}", shown_path(dir)))?;
    let mut paths: Vec<PathBuf> =
        entries.flatten().map(|entry| entry.path()).filter(|path| !is_hidden(path)).collect();
    paths.sort();
    if paths.len() > FOLDERS_MAX {
        let count = paths.len();
        return Err(format!("{} has {count} entries, at most {FOLDERS_MAX} are looked at", shown_path(dir)));
    }
    Ok(paths)
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::fs;
    use std::os::unix::fs::{PermissionsExt, symlink};

    fn chmod(path: &Path, mode: u32) {
        fs::set_permissions(path, fs::Permissions::from_mode(mode)).unwrap();
    }

    /// Writes a package with one file.
    fn package(folder: &Path, content: &str) {
        fs::create_dir_all(folder).unwrap();
        let id = folder.file_name().unwrap().to_str().unwrap();
        fs::write(folder.join("run"), content).unwrap();
        chmod(&folder.join("run"), 0o755);
        chmod(folder, 0o755);
        let digest = Digest::of(content.as_bytes());
        let manifest = format!(
            "{{\"manifest\": 1, \"id\": {id:?}, \"version\": \"1.0.0\", \"entrypoint\": \"run\", \"files\": {{\"run\": \
             \"{digest}\"}}}}"
        );
        fs::write(folder.join(MANIFEST_NAME), manifest).unwrap();
        chmod(&folder.join(MANIFEST_NAME), 0o644);
    }

    fn root() -> (tempfile::TempDir, PackageFolders) {
        let root = crate::sys::testing::folder();
        let folders = PackageFolders::new(vec![root.path().to_owned()]);
        (root, folders)
    }

    fn fault_of(folders: &PackageFolders, path: &Path) -> String {
        match &folders.found()[path] {
            Ok(found) => found.faults.clone().unwrap_or_default(),
            Err(fault) => fault.clone(),
        }
    }

    #[test]
    fn each_folder_with_a_manifest_is_a_package_and_nothing_else_is() {
        let (root, mut folders) = root();
        let path = |name: &str| root.path().join(name);
        package(&path("kv"), "1");
        package(&path(".half"), "1");
        package(&path("kv/below"), "1");
        fs::create_dir(path("empty")).unwrap();
        fs::write(path("file"), "").unwrap();
        symlink("kv", path("link")).unwrap();
        symlink("nothing", path("dangling")).unwrap();
        fs::create_dir(path("broken")).unwrap();
        fs::write(path("broken").join(MANIFEST_NAME), "{").unwrap();
        folders.look_at_all(Depth::Manifest);
        let names: Vec<_> = folders.found().keys().map(|path| path.file_name().unwrap()).collect();
        assert_eq!(names, ["broken", "kv", "link"]);
        assert!(
            fault_of(&folders, &path("broken")).contains("JSON"),
            "{}",
            fault_of(&folders, &path("broken"))
        );
        assert!(fault_of(&folders, &path("link")).contains("is a symbolic link"));
        assert!(fault_of(&folders, &path("kv")).contains("is not listed"), "the folder below is part of it");
        fs::remove_dir_all(path("kv/below")).unwrap();
        folders.look_at(&path("kv"), Depth::Manifest);
        assert_eq!(fault_of(&folders, &path("kv")), "");
        fs::remove_dir_all(path("kv")).unwrap();
        folders.look_at(&path("kv"), Depth::Manifest);
        folders.look_at(&path(".half"), Depth::Manifest);
        folders.look_at(Path::new("/etc"), Depth::Manifest);
        assert_eq!(folders.found().len(), 2, "{:?}", folders.found().keys());
    }

    #[test]
    fn files_are_read_once_as_long_as_they_are_the_same() {
        let (root, mut folders) = root();
        let kv = root.path().join("kv");
        package(&kv, "1");
        folders.look_at_all(Depth::Manifest);
        let known = |folders: &PackageFolders| {
            let found = folders.found()[&kv].as_ref().unwrap();
            found.files().map(|(path, digest)| (path.to_string(), *digest)).collect::<Vec<_>>()
        };
        assert!(known(&folders).is_empty());
        folders.look_at_all(Depth::Files);
        assert_eq!(known(&folders), [("run".to_owned(), Digest::of(b"1"))]);
        fs::write(kv.join("run"), "2").unwrap();
        fs::write(kv.join("new"), "3").unwrap();
        chmod(&kv.join("new"), 0o644);
        folders.look_at(&kv, Depth::Files);
        assert_eq!(
            known(&folders),
            [("new".to_owned(), Digest::of(b"3")), ("run".to_owned(), Digest::of(b"2"))]
        );
        let faults = fault_of(&folders, &kv);
        assert!(
            faults.contains("\"new\": is not listed") && faults.contains("\"run\": has SHA-256"),
            "{faults}"
        );
    }

    #[test]
    fn what_others_can_change_is_not_taken() {
        let (root, mut folders) = root();
        let kv = root.path().join("kv");
        package(&kv, "1");
        let mut seen = |path: &Path, mode: u32, back: u32| {
            chmod(path, mode);
            folders.look_at_all(Depth::Files);
            chmod(path, back);
            fault_of(&folders, &kv)
        };
        for (path, back) in [(kv.join("run"), 0o755), (kv.join(MANIFEST_NAME), 0o644)] {
            let fault = seen(&path, 0o757, back);
            assert!(fault.contains("can be changed by other users (mode 0757)"), "{fault}");
        }
        let fault = seen(&kv, 0o757, 0o755);
        assert!(fault.contains("can be changed by other users"), "{fault}");
        assert_eq!(seen(&kv, 0o755, 0o755), "");
        chmod(root.path(), 0o757);
        folders.look_at_all(Depth::Files);
        chmod(root.path(), 0o700);
        assert!(folders.found().is_empty() && folders.faults().next().unwrap().contains("by other users"));
        folders = PackageFolders::new(vec![root.path().join("none")]);
        folders.look_at_all(Depth::Files);
        assert!(folders.faults().next().unwrap().contains("does not exist"));
        if nix::unistd::geteuid().is_root() {
            let mut folders = PackageFolders::new(vec![root.path().to_owned()]);
            nix::unistd::chown(&kv.join("run"), Some(12345.into()), None).unwrap();
            folders.look_at_all(Depth::Files);
            assert!(fault_of(&folders, &kv).contains("belongs to uid 12345"), "{}", fault_of(&folders, &kv));
        }
    }
}
