//! Opening, locking and measuring a runtime folder.

use super::super::testing::{chmod, file, folder};
use super::*;
use std::os::unix::fs::{PermissionsExt, symlink};

fn refused(path: &Path) -> RuntimeDirError {
    RuntimeDir::open(path).unwrap_err()
}

#[test]
fn a_missing_folder_is_made_and_a_plugins_folder_in_it() {
    let root = folder();
    let path = root.path().join("run");
    let runtime = RuntimeDir::open(&path).unwrap();
    assert_eq!(runtime.path(), path);
    let plugin = runtime.plugin_folder(&"echo".parse().unwrap()).unwrap();
    assert_eq!(plugin.path(), path.join("echo"));
    for private in [&path, &path.join("echo")] {
        assert_eq!(std::fs::metadata(private).unwrap().permissions().mode() & 0o7777, 0o700);
    }
    runtime.plugin_folder(&"echo".parse().unwrap()).unwrap();
    symlink("echo", path.join("link")).unwrap();
    let error = runtime.plugin_folder(&"link".parse().unwrap()).unwrap_err();
    assert!(matches!(error, PrivateFolderError::NotAFolder(_)), "{error}");
}

#[test]
fn a_second_host_is_told_the_pid_of_the_first_until_that_one_ends() {
    let root = folder();
    let path = root.path().join("run");
    let first = RuntimeDir::open(&path).unwrap();
    let pid = Some(std::process::id());
    let error = refused(&path);
    assert_eq!(error, RuntimeDirError::Locked { path: path.clone(), pid });
    assert!(error.to_string().contains(&format!("in use by process {}", std::process::id())), "{error}");
    // Under another name it is the same folder.
    symlink(root.path(), root.path().join("alias")).unwrap();
    assert_eq!(refused(&root.path().join("alias/run")), error);
    file(&path, "lock", "rubbish", 0o600);
    assert_eq!(refused(&path), RuntimeDirError::Locked { path: path.clone(), pid: None });
    drop(first);
    let again = RuntimeDir::open(&path).unwrap();
    assert_eq!(std::fs::read_to_string(path.join("lock")).unwrap(), format!("{}\n", std::process::id()));
    drop(again);
    assert!(path.join("lock").exists());
}

#[test]
fn a_folder_that_is_a_link_open_or_missing_its_parent_is_refused() {
    let root = folder();
    let target = root.path().join("target");
    drop(RuntimeDir::open(&target).unwrap());
    symlink(&target, root.path().join("link")).unwrap();
    let link = refused(&root.path().join("link"));
    assert!(matches!(link, RuntimeDirError::Folder(PrivateFolderError::NotAFolder(_))), "{link}");
    chmod(&target, 0o755);
    let open = refused(&target);
    assert!(matches!(&open, RuntimeDirError::Folder(PrivateFolderError::Mode { mode: 0o755, .. })), "{open}");
    assert!(open.to_string().contains("chmod 700"), "{open}");
    let orphan = refused(&root.path().join("none/run"));
    assert!(matches!(&orphan, RuntimeDirError::Way(e) if e.path == root.path().join("none")), "{orphan}");
    for bad in ["run", "", "/", "./run", "/tmp/.."] {
        assert!(matches!(refused(Path::new(bad)), RuntimeDirError::Way(_)), "{bad:?}");
    }
    std::fs::create_dir(root.path().join("open")).unwrap();
    chmod(&root.path().join("open"), 0o777);
    let way = refused(&root.path().join("open/run"));
    assert!(way.to_string().contains("is shared with other users"), "{way}");
    assert!(!root.path().join("open/run").exists());
}

#[test]
fn a_lock_that_is_no_plain_file_is_refused() {
    let root = folder();
    let path = root.path().join("run");
    drop(RuntimeDir::open(&path).unwrap());
    std::fs::remove_file(path.join("lock")).unwrap();
    let outside = file(root.path(), "outside", "precious", 0o600);
    symlink(&outside, path.join("lock")).unwrap();
    assert!(matches!(refused(&path), RuntimeDirError::Lock(_)));
    assert_eq!(std::fs::read_to_string(outside).unwrap(), "precious");
}

#[test]
fn socket_paths_are_measured_before_anything_is_made() {
    let root = folder();
    let long = root.path().join("r".repeat(100));
    let error = refused(&long);
    assert!(matches!(error, RuntimeDirError::SocketPath(_)), "{error}");
    assert!(error.to_string().contains("at most 107"), "{error}");
    assert!(!long.exists());
    let runtime = RuntimeDir::open(&root.path().join("run")).unwrap();
    runtime.check_plugin(&"echo".parse().unwrap()).unwrap();
    let id: PluginId = "x".repeat(64).parse().unwrap();
    let error = runtime.check_plugin(&id).unwrap_err();
    assert_eq!(error.path, plugin_socket_path(runtime.path(), &id));
}

#[test]
fn ids_that_name_the_hosts_own_files_are_reserved_and_no_others() {
    let reserved = |id: &str| id.parse::<PluginId>().unwrap().reserved();
    for name in [LOCK, ADMIN_SOCKET, SINKS] {
        assert_eq!(reserved(name), Some(name));
    }
    assert_eq!(rpc_plugin_record::FILE_NAME, "events.jsonl");
    assert_eq!(reserved("events.jsonl"), Some("events.jsonl*"));
    assert_eq!(reserved("events.jsonl.1.gz"), Some("events.jsonl*"));
    for id in ["locksmith", "admin.socket", "events", "Lock"] {
        assert_eq!(reserved(id), None, "{id}");
    }
}

#[test]
fn what_is_removed_is_made_again_unless_another_host_was_faster() {
    let root = folder();
    let path = root.path().join("run");
    let runtime = RuntimeDir::open(&path).unwrap();
    runtime.host().write(&runtime.folder()).unwrap();
    assert_eq!(runtime.look_after(), Ok(Found::Whole));
    std::fs::remove_file(path.join("lock")).unwrap();
    assert_eq!(runtime.look_after(), Ok(Found::LockMade));
    assert!(matches!(refused(&path), RuntimeDirError::Locked { .. }), "it is locked again");
    std::fs::remove_dir_all(&path).unwrap();
    assert_eq!((runtime.look_after(), runtime.look_after()), (Ok(Found::FolderMade), Ok(Found::Whole)));
    assert!(matches!(refused(&path), RuntimeDirError::Locked { .. }));
    assert_eq!(HostIdentity::read(&runtime.folder()).as_ref(), Some(runtime.host()));
    runtime.plugin_folder(&"echo".parse().unwrap()).unwrap();
    assert!(path.join("echo").is_dir(), "in the folder that is there now");
    // Moved away, with another in its place.
    std::fs::rename(&path, root.path().join("moved")).unwrap();
    assert_eq!(runtime.look_after(), Ok(Found::FolderMade));
    // Another host came first.
    std::fs::remove_dir_all(&path).unwrap();
    let other = RuntimeDir::open(&path).unwrap();
    assert!(matches!(runtime.look_after(), Err(RuntimeDirError::Locked { .. })));
    drop(other);
    assert_eq!(runtime.look_after(), Ok(Found::FolderMade));
    std::fs::remove_dir_all(root.path()).unwrap();
    assert!(matches!(runtime.look_after(), Err(RuntimeDirError::Way(_))), "nor can it be made");
    std::fs::create_dir(root.path()).unwrap();
}
