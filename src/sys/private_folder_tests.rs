//! Private folders and the files in them.

use super::super::folder::{Trust, open_trusted};
use super::super::private_file::PrivateFile;
use super::super::testing::{chmod, file, folder, private};
use super::*;
use std::os::unix::fs::{PermissionsExt, symlink};

fn open_in(parent: &Path, name: &str) -> Result<PrivateFolder, PrivateFolderError> {
    let parent_fd = open_trusted(parent, Trust::current()).unwrap().fd;
    PrivateFolder::open_or_create(&parent_fd, name.as_ref(), &parent.join(name))
}

fn mode(path: &Path) -> u32 {
    std::fs::metadata(path).unwrap().permissions().mode() & 0o7777
}

#[test]
fn a_missing_folder_is_made_private_and_found_again() {
    let root = folder();
    for _ in 0..2 {
        assert_eq!(open_in(root.path(), "new").unwrap().path(), root.path().join("new"));
        assert_eq!(mode(&root.path().join("new")), 0o700);
    }
}

#[test]
fn a_folder_that_is_not_private_is_refused_and_left_as_it_is() {
    let root = folder();
    for bits in [0o755, 0o750, 0o701, 0o777, 0o1777] {
        let path = root.path().join(format!("{bits:o}"));
        std::fs::create_dir(&path).unwrap();
        chmod(&path, bits);
        let error = open_in(root.path(), path.file_name().unwrap().to_str().unwrap()).unwrap_err();
        let is_meant = bits != 0o1777;
        assert_eq!(error, PrivateFolderError::Mode { path: path.clone(), mode: bits, is_meant });
        let command = format!("chmod 700 {}", path.display());
        assert_eq!(error.to_string().contains(&command), is_meant, "{error}");
        assert_eq!(mode(&path), bits);
    }
}

#[test]
fn the_mode_of_a_folder_that_has_other_things_in_it_is_left_to_its_owner() {
    let root = folder();
    let path = root.path().join("shared");
    std::fs::create_dir(&path).unwrap();
    chmod(&path, 0o755);
    file(&path, "other", "", 0o600);
    let error = open_in(root.path(), "shared").unwrap_err().to_string();
    assert!(!error.contains("chmod") && error.contains("choose one that does not exist yet"), "{error}");
    file(&path, "lock", "", 0o600);
    assert!(open_in(root.path(), "shared").unwrap_err().to_string().contains("chmod 700"));
}

#[test]
fn what_is_no_folder_of_ours_is_refused() {
    let root = folder();
    std::fs::create_dir(root.path().join("target")).unwrap();
    chmod(&root.path().join("target"), 0o700);
    symlink("target", root.path().join("link")).unwrap();
    file(root.path(), "file", "", 0o600);
    for name in ["link", "file"] {
        let error = open_in(root.path(), name).unwrap_err();
        assert_eq!(error, PrivateFolderError::NotAFolder(root.path().join(name)));
    }
    // The system's folder is another user's, unless we are root.
    let (mut parent, mut name) = (Path::new("/"), "usr");
    if nix::sys::stat::stat("/usr").unwrap().st_uid == nix::unistd::geteuid().as_raw() {
        nix::unistd::chown(&root.path().join("target"), Some(12345.into()), None).unwrap();
        (parent, name) = (root.path(), "target");
    }
    assert!(matches!(open_in(parent, name).unwrap_err(), PrivateFolderError::Owner { .. }));
}

#[test]
fn files_are_made_once_private_and_never_through_a_link() {
    let root = folder();
    let private = private(root.path());
    let made = PrivateFile::create(&private, "a", b"content").unwrap();
    assert_eq!(mode(made.path()), 0o600);
    assert_eq!(private.read("a", 7).unwrap().unwrap(), b"content");
    assert_eq!(private.read("a", 6).unwrap_err().errno, Errno::EFBIG);
    assert_eq!(private.read("none", 6).unwrap(), None);
    assert_eq!(PrivateFile::create(&private, "a", b"").unwrap_err().errno, Errno::EEXIST);
    symlink("elsewhere", root.path().join("link")).unwrap();
    assert_eq!(PrivateFile::create(&private, "link", b"").unwrap_err().errno, Errno::EEXIST);
    symlink("a", root.path().join("to-a")).unwrap();
    assert_eq!(private.read("to-a", 10).unwrap_err().errno, Errno::ELOOP);
    nix::unistd::mkfifo(&root.path().join("fifo"), Mode::S_IRWXU).unwrap();
    assert_eq!(private.read("fifo", 10).unwrap_err().errno, Errno::EINVAL);
    assert!(!root.path().join("elsewhere").exists());
}

#[test]
fn a_removed_file_is_no_error_and_says_so() {
    let root = folder();
    let private = private(root.path());
    let made = PrivateFile::create(&private, "a", b"").unwrap();
    assert!(private.remove("a").unwrap());
    assert!(!private.remove("a").unwrap());
    made.remove().unwrap();
    std::fs::create_dir(root.path().join("folder")).unwrap();
    let error = private.remove("folder").unwrap_err();
    assert!(error.to_string().starts_with("cannot remove /tmp/"), "{error}");
}
