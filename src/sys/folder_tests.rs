//! Ways that are trusted and ways that are not, on real folders.

use super::super::testing::{chmod, file, folder, subfolder};
use super::*;
use std::os::unix::fs::symlink;

fn refused(path: &Path) -> FolderError {
    open_trusted(path, Trust::with_groups(|_, _| false)).unwrap_err()
}

#[test]
fn a_private_folder_is_opened_and_its_real_path_is_told() {
    let root = folder();
    subfolder(&root.path().join("a/b"));
    symlink("a/../a/./b", root.path().join("relative")).unwrap();
    symlink(root.path().join("a"), root.path().join("absolute")).unwrap();
    for way in ["a/b", "relative", "absolute/b", "relative/../b", "a/b/../../absolute/b/"] {
        let found = open_trusted(&root.path().join(way), Trust::current()).unwrap();
        assert_eq!(found.path, root.path().join("a/b"), "{way}");
        let (through_fd, by_path) = (fstat(&found.fd).unwrap(), nix::sys::stat::stat(&found.path).unwrap());
        assert_eq!(through_fd.st_ino, by_path.st_ino);
    }
    assert_eq!(open_trusted(Path::new("/../.."), Trust::current()).unwrap().path, Path::new("/"));
}

#[test]
fn a_folder_that_others_can_write_to_is_refused_wherever_it_stands() {
    let root = folder();
    let open_to_all = root.path().join("open");
    subfolder(&open_to_all.join("inner"));
    for mode in [0o777, 0o770, 0o775, 0o702, 0o720] {
        chmod(&open_to_all, mode);
        for path in [open_to_all.clone(), open_to_all.join("inner"), open_to_all.join("inner/..")] {
            let error = refused(&path);
            assert_eq!(error.path, open_to_all);
            let text = error.to_string();
            let is_shared = mode & 0o002 != 0;
            assert!(text.contains(&format!("mode {mode:04o}")), "{text}");
            assert_eq!(text.contains("chmod go-w"), !is_shared, "{text}");
        }
    }
    chmod(&open_to_all, 0o1777);
    open_trusted(&open_to_all.join("inner"), Trust::current()).unwrap();
}

#[test]
fn a_link_through_an_open_folder_is_refused_although_its_target_is_private() {
    let root = folder();
    let open_to_all = root.path().join("open");
    subfolder(&root.path().join("private"));
    subfolder(&open_to_all);
    chmod(&open_to_all, 0o777);
    symlink(root.path().join("private"), open_to_all.join("link")).unwrap();
    assert_eq!(refused(&open_to_all.join("link")).path, open_to_all);
}

#[test]
fn what_is_no_folder_is_named() {
    let root = folder();
    file(root.path(), "file", "", 0o600);
    symlink("circle", root.path().join("circle")).unwrap();
    assert_eq!(refused(&root.path().join("file")).problem, FolderProblem::NotAFolder);
    assert_eq!(refused(&root.path().join("file/x")).problem, FolderProblem::NotAFolder);
    let missing = refused(&root.path().join("none/x"));
    assert_eq!((missing.problem, missing.path), (FolderProblem::Missing, root.path().join("none")));
    assert_eq!(refused(&root.path().join("circle")).problem, FolderProblem::TooManySteps);
    assert_eq!(refused(Path::new("a/b")).problem, FolderProblem::NotAbsolute);
    assert_eq!(refused(Path::new("")).problem, FolderProblem::NotAbsolute);
}

#[test]
fn a_folder_of_a_stranger_is_refused() {
    let root = folder();
    if nix::unistd::geteuid().is_root() {
        // Root of a user namespace cannot give files away to a user that is not in it.
        let Ok(()) = nix::unistd::chown(root.path(), Some(12345.into()), None) else { return };
        let strange = FolderProblem::Owner { owner: 12345, uid: 0 };
        assert_eq!(refused(root.path()).problem, strange);
        nix::unistd::chown(root.path(), Some(0.into()), None).unwrap();
        let link = root.path().join("link");
        symlink("/", &link).unwrap();
        open_trusted(&link, Trust::current()).unwrap();
        std::os::unix::fs::lchown(&link, Some(12345), None).unwrap();
        assert_eq!(refused(&link), FolderError { path: link, problem: strange });
    } else {
        // Seen by a user that owns nothing here: our folder is a stranger's.
        let stranger = Trust { uid: 4_000_000, ..Trust::current() };
        let error = open_trusted(root.path(), stranger).unwrap_err();
        assert_eq!(error.path, root.path());
        assert!(error.to_string().contains("expected uid 0 or 4000000"), "{error}");
    }
}

#[test]
fn an_unmapped_owner_passes_for_folders_only() {
    let trust = |uid, unmapped| Trust { uid, unmapped, is_private_group: |_, _| true };
    let inside = trust(1000, Some(65534));
    assert!(inside.of_folder(65534) && !inside.of_file(65534));
    assert!(inside.of_folder(1000) && inside.of_file(1000));
    assert!(inside.of_folder(0) && inside.of_file(0));
    assert!(!inside.of_folder(1001) && !inside.of_file(1001));

    let nobody_outside = trust(65534, None);
    assert!(nobody_outside.of_folder(65534) && nobody_outside.of_file(65534));
    // A namespace that does not even map us: every owner looks like us, so none is proof.
    let nobody_inside = trust(65534, Some(65534));
    assert!(nobody_inside.of_folder(65534) && !nobody_inside.of_file(65534));
}

#[test]
fn a_group_may_write_where_it_is_the_owners_private_one_and_there_is_no_access_list() {
    let root = folder();
    let inner = subfolder(&root.path().join("inner"));
    chmod(&inner, 0o775);
    let stat = nix::sys::stat::stat(&inner).unwrap();
    let private = Trust::with_groups(|_, _| true);
    open_trusted(&inner, private).unwrap();
    assert!(!private.lets_others_write(&inner, &stat));
    // Whether there is a list cannot be told of what is not there.
    assert!(private.lets_others_write(&root.path().join("none"), &stat));
    // An owner that is not mapped may be anybody, whatever the group is called.
    let inside = Trust { unmapped: Some(stat.st_uid), ..private };
    assert!(inside.lets_others_write(&inner, &stat));
    chmod(&inner, 0o777);
    assert_eq!(open_trusted(&inner, private).unwrap_err().path, inner);
}
