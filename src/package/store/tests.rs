//! Packages that are brought into a store, become active, are damaged, and go.

use super::{Progress, Record, Store, StoreError, VersionKey};
use crate::package::digest::Digest;
use crate::package::folder::OpenPackage;
use crate::package::manifest::{MANIFEST_NAME, SIGNATURE_NAME};
use rpc_plugin_wire::PluginId;
use serde_json::json;
use std::fs::{self, File, Permissions};
use std::ops::ControlFlow;
use std::os::unix::fs::{MetadataExt, PermissionsExt, symlink};
use std::path::{Path, PathBuf};

pub(in crate::package) fn root(at: &Path) -> tempfile::TempDir {
    let root = tempfile::Builder::new().prefix("rps").tempdir_in(at).unwrap();
    chmod(root.path(), 0o700);
    root
}

fn chmod(path: &Path, mode: u32) {
    fs::set_permissions(path, Permissions::from_mode(mode)).unwrap();
}

fn mode(path: &Path) -> u32 {
    fs::symlink_metadata(path).unwrap().mode() & 0o7777
}

fn kv() -> PluginId {
    "kv".parse().unwrap()
}

/// Writes the package kv of that version with these files; `bin/kv` is its entrypoint.
pub(in crate::package) fn package(at: &Path, version: &str, files: &[(&str, &str)]) -> PathBuf {
    let mut manifest =
        json!({"manifest": 1, "id": "kv", "version": version, "entrypoint": "bin/kv", "files": {}});
    for (name, text) in files {
        fs::create_dir_all(at.join(name).parent().unwrap()).unwrap();
        fs::write(at.join(name), text).unwrap();
        manifest["files"][*name] = json!(Digest::of(text.as_bytes()).to_string());
    }
    chmod(&at.join("bin/kv"), 0o755);
    fs::write(at.join(MANIFEST_NAME), manifest.to_string()).unwrap();
    at.to_owned()
}

pub(in crate::package) fn opened(folder: &Path) -> OpenPackage {
    OpenPackage::read(File::open(folder).unwrap().into(), folder).unwrap()
}

pub(in crate::package) fn on() -> impl FnMut(u64, u64) -> ControlFlow<()> {
    |_, _| ControlFlow::Continue(())
}

fn import(store: &Store, folder: &Path) -> Result<VersionKey, StoreError> {
    store.import(&opened(folder), &mut on()).map(|imported| imported.key)
}

/// Imports a package of that version, and makes it the active one.
fn install(store: &Store, root: &Path, version: &str) -> VersionKey {
    let folder = package(&root.join(version), version, &[("bin/kv", version), ("share/a/b", "text")]);
    let key = import(store, &folder).unwrap();
    let mut record = store.record(&kv()).unwrap();
    record.advance(&key);
    store.activate(&kv(), &key, &record).unwrap();
    key
}

#[test]
fn a_package_is_stored_as_it_was_judged_and_nobody_can_write_to_it() {
    let root = root(Path::new("/tmp"));
    let store = Store::open(&root.path().join("state")).unwrap();
    let folder =
        package(&root.path().join("a"), "1.0.0", &[("bin/kv", "#!/bin/sh\n"), ("share/a/b", "text")]);
    fs::write(folder.join(SIGNATURE_NAME), "signed").unwrap();
    let judged = opened(&folder);
    // What is there by now is not what was judged.
    fs::write(folder.join(MANIFEST_NAME), "{}").unwrap();
    fs::write(folder.join(SIGNATURE_NAME), "other").unwrap();
    let imported = store.import(&judged, &mut on()).unwrap();
    assert!(!imported.was_stored);
    let path = store.version_path(&kv(), &imported.key);
    assert_eq!(fs::read(path.join(MANIFEST_NAME)).unwrap(), judged.manifest_bytes);
    assert_eq!(fs::read_to_string(path.join(SIGNATURE_NAME)).unwrap(), "signed");
    for (name, expected) in [
        ("", 0o555),
        ("bin", 0o555),
        ("bin/kv", 0o555),
        ("share/a", 0o555),
        ("share/a/b", 0o444),
        (MANIFEST_NAME, 0o444),
        (SIGNATURE_NAME, 0o444),
    ] {
        assert_eq!(mode(&path.join(name)), expected, "{name}");
    }
    assert_eq!(mode(&root.path().join("state")), 0o711);
    assert_eq!(mode(&root.path().join("state/store/kv")), 0o711);
    assert_eq!(mode(&root.path().join("state/records")), 0o700);
    assert_eq!(store.active(&kv()).unwrap(), None, "it is not active yet");
    let stored = store.verify(&kv(), &imported.key, &mut on()).unwrap();
    assert_eq!((stored.hashed, stored.bytes), (0, 14), "what was hashed as it was copied is known");
    let config = store.launch_config(&stored).unwrap();
    assert_eq!(config.executable, path.join("bin/kv"));
    let data = root.path().join("state/data/kv");
    assert_eq!((config.working_folder.as_path(), mode(&data)), (data.as_path(), 0o700));
    assert!(config.env.contains(&("RPC_PLUGIN_SYSTEM_PLUGIN_DATA_DIR".into(), data.into())));
    assert!(config.env.contains(&("PYTHONDONTWRITEBYTECODE".into(), "1".into())));
    config.check().unwrap();
    assert!(store.import(&judged, &mut on()).unwrap().was_stored);
}

#[test]
fn what_a_package_may_not_have_is_refused_before_anything_is_written() {
    let root = root(Path::new("/tmp"));
    let state = root.path().join("state");
    let store = Store::open(&state).unwrap();
    let folder = package(&root.path().join("a"), "1.0.0", &[("bin/kv", "x"), ("share/a", "text")]);
    let share = folder.join("share");
    type Change<'a> = (&'a str, &'a dyn Fn());
    let changes: &[Change<'_>] = &[
        ("\"share/more\": is not listed", &|| fs::write(share.join("more"), "").unwrap()),
        ("\"share/more\": is a symbolic link", &|| symlink("a", share.join("more")).unwrap()),
        ("\"share/more\": is neither a file nor a folder", &|| {
            nix::unistd::mkfifo(&share.join("more"), nix::sys::stat::Mode::S_IRWXU).unwrap();
        }),
        ("\"share/more\": is set-uid", &|| {
            fs::write(share.join("more"), "").unwrap();
            chmod(&share.join("more"), 0o4755);
        }),
        ("\"share/a\": is missing", &|| fs::rename(share.join("a"), share.join("more")).unwrap()),
        ("\"share/a\": has 4294967297 bytes", &|| {
            File::options().write(true).open(share.join("a")).unwrap().set_len((4 << 30) + 1).unwrap();
        }),
        ("is the entrypoint, and not executable", &|| chmod(&folder.join("bin/kv"), 0o644)),
    ];
    for (expected, change) in changes {
        change();
        let error = import(&store, &folder).unwrap_err().to_string();
        assert!(error.contains(expected), "{error}");
        assert!(!state.join("store/kv").exists(), "{expected}");
        fs::remove_dir_all(&folder).unwrap();
        package(&folder, "1.0.0", &[("bin/kv", "x"), ("share/a", "text")]);
    }
    // Only reading tells this one; nothing of it stays.
    fs::write(share.join("a"), "tex!").unwrap();
    let error = import(&store, &folder).unwrap_err().to_string();
    assert!(error.contains("\"share/a\": has SHA-256 "), "{error}");
    assert_eq!(fs::read_dir(state.join("store/kv")).unwrap().count(), 0);
}

#[test]
fn an_import_that_is_cancelled_leaves_nothing() {
    let root = root(Path::new("/tmp"));
    let store = Store::open(&root.path().join("state")).unwrap();
    let folder = package(&root.path().join("a"), "1.0.0", &[("bin/kv", "x"), ("share/a", "text")]);
    let mut seen = Vec::new();
    let mut stop: Progress<'_> = &mut |done, total| {
        seen.push((done, total));
        ControlFlow::Break(())
    };
    let error = store.import(&opened(&folder), &mut stop).unwrap_err();
    assert!(matches!(error, StoreError::Cancelled), "{error}");
    assert_eq!(seen, [(1, 5)]);
    assert_eq!(fs::read_dir(root.path().join("state/store/kv")).unwrap().count(), 0);
}

#[test]
fn one_version_is_active_and_removing_it_leaves_none() {
    let root = root(Path::new("/tmp"));
    let store = Store::open(&root.path().join("state")).unwrap();
    let [one, two] = ["1.0.0", "1.10.0"].map(|version| install(&store, root.path(), version));
    assert_eq!(store.active(&kv()).unwrap(), Some(two.clone()));
    assert_eq!(store.versions(&kv()).unwrap(), [one.clone(), two.clone()]);
    let link = fs::read_link(root.path().join("state/store/kv/active")).unwrap();
    assert_eq!(link, Path::new(&two.to_string()), "it is relative");
    store.remove(&kv(), &two).unwrap();
    assert_eq!((store.active(&kv()).unwrap(), store.versions(&kv()).unwrap()), (None, vec![one.clone()]));
    store.remove(&kv(), &one).unwrap();
    assert!(store.ids().unwrap().is_empty());
    assert_eq!(fs::read_dir(root.path().join("state/store")).unwrap().count(), 0);
    let names: Vec<_> =
        fs::read_dir(root.path().join("state/records")).unwrap().map(Result::unwrap).collect();
    assert_eq!(names.len(), 1, "the record stays until it is forgotten: {names:?}");
    store.data_folder(&kv()).unwrap();
    store.forget(&kv(), true).unwrap();
    assert!(
        !root.path().join("state/data/kv").exists() && !root.path().join("state/records/kv.json").exists()
    );
}

#[test]
fn what_was_changed_in_the_store_is_noticed_and_only_that_is_hashed_again() {
    let root = root(Path::new("/tmp"));
    let store = Store::open(&root.path().join("state")).unwrap();
    let key = install(&store, root.path(), "1.0.0");
    let path = store.version_path(&kv(), &key);
    let file = path.join("share/a/b");
    let verify = || store.verify(&kv(), &key, &mut on());
    assert_eq!(verify().unwrap().hashed, 0);
    // Touched, with the same content: its status change tells.
    chmod(&file, 0o644);
    fs::write(&file, "text").unwrap();
    assert_eq!(verify().unwrap().hashed, 1);
    assert_eq!(verify().unwrap().hashed, 0);
    // Of the same length, and with its time of modification put back.
    let times = fs::FileTimes::new().set_modified(fs::metadata(&file).unwrap().modified().unwrap());
    fs::write(&file, "tex!").unwrap();
    File::options().write(true).open(&file).unwrap().set_times(times).unwrap();
    let error = verify().unwrap_err().to_string();
    assert!(error.contains("\"share/a/b\": has SHA-256 "), "{error}");
    // Another install of the same package mends it.
    let imported = store.import(&opened(&root.path().join("1.0.0")), &mut on()).unwrap();
    assert_eq!((imported.was_stored, &imported.key), (false, &key));
    assert_eq!(verify().unwrap().hashed, 0);
    assert_eq!(store.active(&kv()).unwrap(), Some(key.clone()));
    let manifest = path.join(MANIFEST_NAME);
    let text = fs::read_to_string(&manifest).unwrap().replace("1.0.0", "1.0.1");
    chmod(&manifest, 0o644);
    fs::write(&manifest, text).unwrap();
    assert!(matches!(verify(), Err(StoreError::Manifest(_))));
}

#[test]
fn what_a_crash_left_is_swept_and_records_follow_the_link() {
    let root = root(Path::new("/tmp"));
    let state = root.path().join("state");
    let store = Store::open(&state).unwrap();
    let [one, two] = ["1.0.0", "2.0.0"].map(|version| install(&store, root.path(), version));
    // As it is between the record and the link of an activation.
    let mut record = store.record(&kv()).unwrap();
    record.go_back(&one);
    store.put_record(&kv(), &record).unwrap();
    let kv_path = state.join("store/kv");
    fs::create_dir(kv_path.join(".new-1")).unwrap();
    fs::write(kv_path.join(".new-1/x"), "").unwrap();
    chmod(&kv_path.join(".new-1"), 0o555);
    symlink(one.to_string(), kv_path.join(".new-2")).unwrap();
    fs::create_dir(state.join("store/other")).unwrap();
    let stamps = |version: &str| state.join(format!("records/kv@{version}@0123456789abcdef.json"));
    fs::write(stamps("9.0.0"), "{}").unwrap();
    let unfinished = state.join("records/kv.json.new");
    fs::write(&unfinished, "{").unwrap();
    drop(store);
    let store = Store::open(&state).unwrap();
    let mut names: Vec<_> = fs::read_dir(&kv_path).unwrap().map(|entry| entry.unwrap().file_name()).collect();
    names.sort();
    assert_eq!(names, [one.to_string(), two.to_string(), "active".to_owned()].map(std::ffi::OsString::from));
    assert!(!stamps("9.0.0").exists() && !unfinished.exists());
    assert_eq!(store.ids().unwrap(), [kv()]);
    let record = store.record(&kv()).unwrap();
    assert_eq!((record.active(), record.before()), (Some(&two), Some(&one)));
    assert_eq!(store.verify(&kv(), &two, &mut on()).unwrap().hashed, 0);
}

/// Where plugins run as our user, each of them can put such things there.
#[test]
fn what_stands_in_the_place_of_a_package_or_its_link_keeps_no_other_from_being_used() {
    let root = root(Path::new("/tmp"));
    let state = root.path().join("state");
    let store = Store::open(&state).unwrap();
    let key = install(&store, root.path(), "1.0.0");
    drop(store);
    let bad = state.join("store/bad");
    fs::create_dir_all(bad.join("active/within")).unwrap();
    fs::create_dir(bad.join(key.to_string())).unwrap();
    fs::write(state.join("store/file"), "x").unwrap();
    symlink("kv", state.join("store/link")).unwrap();
    let store = Store::open(&state).unwrap();
    assert_eq!(store.ids().unwrap(), ["bad".parse().unwrap(), kv()]);
    assert_eq!(
        (store.active(&kv()).unwrap(), store.active(&"bad".parse().unwrap()).unwrap()),
        (Some(key), None)
    );
    assert!(!bad.join("active").exists() && state.join("store/file").exists());
}

#[test]
fn a_record_that_cannot_be_read_is_told_and_keeps_no_other_package_from_being_used() {
    let root = root(Path::new("/tmp"));
    let state = root.path().join("state");
    let store = Store::open(&state).unwrap();
    install(&store, root.path(), "1.0.0");
    fs::write(state.join("records/kv.json"), "{\"history\": 1}").unwrap();
    drop(store);
    let store = Store::open(&state).unwrap();
    let error = store.record(&kv()).unwrap_err().to_string();
    assert!(error.contains("records/kv.json cannot be read") && error.contains("remove it"), "{error}");
    assert_eq!(store.record(&"other".parse().unwrap()).unwrap(), Record::default());
}
