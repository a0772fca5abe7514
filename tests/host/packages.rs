//! Packages of an embedding program: which of a folder's are added, what is said of the others, and what runs.

use crate::fixtures::world::{SOON, World};
use rpc_plugin_system::host::packages::{
    AddedPackages, InvalidPackage, PackageOptions, PackageSet, TrustedKey, VerifyPolicy,
};
use rpc_plugin_system::host::{Host, HostError, PluginHandle};
use rpc_plugin_wire::life::PluginState;
use serde_json::{Value, json};
use std::fs::{self, Permissions};
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};

/// The packages of `examples/packages`, where a test can change them.
fn examples(world: &World) -> PathBuf {
    let project = std::env::var_os("CARGO_MANIFEST_DIR").unwrap_or(env!("CARGO_MANIFEST_DIR").into());
    let from = Path::new(&project).join("examples/packages");
    let to = world.path().join("plugins");
    for name in ["greeter", "adder"] {
        let folder = to.join(name);
        fs::create_dir_all(&folder).unwrap();
        for entry in fs::read_dir(from.join(name)).unwrap().map(Result::unwrap) {
            let copy = folder.join(entry.file_name());
            fs::copy(entry.path(), &copy).unwrap();
            let mode =
                if entry.path().extension().is_some_and(|ending| ending == "sh") { 0o755 } else { 0o644 };
            fs::set_permissions(copy, Permissions::from_mode(mode)).unwrap();
        }
        fs::set_permissions(folder, Permissions::from_mode(0o755)).unwrap();
    }
    fs::set_permissions(&to, Permissions::from_mode(0o755)).unwrap();
    to
}

/// The key that the example's host trusts.
fn key() -> TrustedKey {
    let host = include_str!("../../examples/packages/host.rs");
    let line = host.lines().find(|line| line.starts_with("const KEY")).unwrap();
    TrustedKey::of_any_package(line.split('"').nth(1).unwrap().parse().unwrap())
}

/// What is kept in a folder beside the host's, with that policy.
fn set(world: &World, folder: &Path, verify: VerifyPolicy) -> PackageSet {
    let options = PackageOptions::new(world.path().join("state")).with(|options| {
        options.plugins_dirs = vec![folder.to_owned()];
        options.verify = verify;
    });
    PackageSet::open(options).unwrap()
}

fn ids(added: &AddedPackages) -> Vec<&str> {
    added.plugins.iter().map(|plugin| plugin.id().as_str()).collect()
}

/// The one that is invalid.
fn invalid(added: &AddedPackages) -> &InvalidPackage {
    let [invalid] = &added.invalid[..] else { panic!("{:?}", added.invalid) };
    invalid
}

fn up(plugin: &PluginHandle) {
    plugin.start().unwrap();
    plugin.wait_routable(None, SOON).unwrap();
}

fn greeting(plugin: &PluginHandle) -> Value {
    plugin.call("greet", &json!({"name": "Ann"})).unwrap()
}

#[test]
fn every_good_package_of_a_folder_is_added_and_runs_from_the_store() {
    let world = World::new();
    let folder = examples(&world);
    let host = Host::temporary().start().unwrap();
    let runtime_dir = host.runtime_dir().to_owned();
    let added = host.discover(&folder).unwrap();
    assert_eq!((ids(&added), &added.invalid), (vec!["adder", "greeter"], &vec![]));
    let status = added.plugins[1].status().unwrap();
    assert_eq!(status.pid, None, "it is not started");
    assert!(Path::new(&status.executable).starts_with(runtime_dir.join("@packages/store/greeter")));
    // The folder is of no account any more.
    fs::remove_dir_all(&folder).unwrap();
    added.plugins.iter().for_each(up);
    assert_eq!(greeting(&added.plugins[1]), json!("Hello, Ann!"));
    let sum: Value = added.plugins[0].call("add", &json!({"a": 2, "b": 3})).unwrap();
    assert_eq!(sum, json!(5));
    drop((added, host));
    assert!(!runtime_dir.exists(), "the store goes with a temporary host");
}

#[test]
fn an_invalid_package_is_listed_with_why_and_keeps_no_others_from_running() {
    let world = World::new();
    let host = world.host();
    for (name, spoil, why) in [
        ("its manifest is broken", "plugin.json", "plugin.json"),
        ("a file is not what is listed", "adder.sh", "adder.sh"),
        ("a file is not listed", "more", "more"),
    ] {
        let folder = examples(&world);
        fs::write(folder.join("adder").join(spoil), "#!/bin/sh\n").unwrap();
        let added = host.discover(&folder).unwrap();
        assert_eq!(ids(&added), ["greeter"], "{name}");
        let invalid = invalid(&added);
        assert!(invalid.why.contains(why), "{name}: {invalid}");
        assert!(invalid.folder.as_ref().unwrap().ends_with("plugins/adder"), "{name}: {invalid}");
        up(&added.plugins[0]);
        assert_eq!(greeting(&added.plugins[0]), json!("Hello, Ann!"));
        added.plugins[0].stop().unwrap();
        added.plugins[0].wait_for(PluginState::Stopped, SOON).unwrap();
        host.remove(added.plugins[0].id()).unwrap();
        fs::remove_dir_all(folder).unwrap();
    }
    // A folder that is not there is told, too.
    let added = host.discover(world.path().join("nothing")).unwrap();
    assert!(invalid(&added).why.contains("nothing"), "{added:?}");
}

#[test]
fn where_a_key_is_trusted_what_nobody_signed_is_not_added() {
    let world = World::new();
    let folder = examples(&world);
    let host = world.host();
    let mut set = set(&world, &folder, VerifyPolicy::new(None, vec![key()]));
    let added = host.add_packages(&mut set).unwrap();
    assert_eq!(ids(&added), ["greeter"]);
    let unsigned = invalid(&added);
    assert_eq!(unsigned.id.as_ref().unwrap().as_str(), "adder");
    assert!(unsigned.why.contains("plugin.json.minisig: is missing"), "{unsigned}");
    up(&added.plugins[0]);
    assert_eq!(greeting(&added.plugins[0]), json!("Hello, Ann!"));
    // A manifest that was changed after it was signed, and another key.
    let manifest = folder.join("greeter/plugin.json");
    let text = fs::read_to_string(&manifest).unwrap().replace("Greets people", "Greets nobody");
    fs::write(&manifest, text).unwrap();
    let discovered = set.discover().unwrap();
    let changed =
        discovered.invalid.iter().find(|invalid| invalid.id.as_ref().unwrap().as_str() == "greeter");
    assert!(changed.unwrap().why.contains("changed after it was signed"), "{changed:?}");
    assert_eq!(discovered.launches.len(), 1, "what was taken before is launched");
}

#[test]
fn a_changed_package_is_taken_if_it_is_valid_and_else_what_was_taken_goes_on() {
    let world = World::new();
    let folder = examples(&world);
    let mut set = set(&world, &folder, VerifyPolicy::default());
    let executables = |set: &mut PackageSet| {
        let discovered = set.discover().unwrap();
        let of = discovered.launches.iter().map(|launch| launch.config.executable.display().to_string());
        (of.collect::<Vec<_>>(), discovered.invalid)
    };
    let (first, none) = executables(&mut set);
    assert_eq!((first.len(), none), (2, vec![]));
    // One file is another, and its manifest is not.
    let script = folder.join("adder/adder.sh");
    let text = fs::read_to_string(&script).unwrap();
    fs::write(&script, text.clone() + "# more\n").unwrap();
    let (second, changed) = executables(&mut set);
    assert_eq!(second, first);
    assert!(changed[0].why.contains("cannot be taken") && changed[0].why.contains("adder.sh"), "{changed:?}");
    // A new version.
    fs::write(&script, text).unwrap();
    let manifest = folder.join("adder/plugin.json");
    let text = fs::read_to_string(&manifest).unwrap().replace("1.0.0", "1.1.0");
    fs::write(&manifest, text).unwrap();
    let (third, none) = executables(&mut set);
    assert!(
        third[0].contains("/adder/1.1.0@") && third[1] == first[1] && none.is_empty(),
        "{third:?} {none:?}"
    );
}

#[test]
fn a_package_is_taken_after_those_that_it_requires_and_without_them_not_at_all() {
    let world = World::new();
    let folder = examples(&world);
    let manifest = folder.join("adder/plugin.json");
    let text = fs::read_to_string(&manifest).unwrap();
    let requires = "\"requires\": {\"plugins\": {\"greeter\": \"^1\"}}";
    fs::write(&manifest, text.replacen('{', &format!("{{{requires}, "), 1)).unwrap();
    let host = Host::temporary().start().unwrap();
    let added = host.discover(&folder).unwrap();
    assert_eq!((ids(&added), &added.invalid), (vec!["adder", "greeter"], &vec![]));
    fs::remove_dir_all(folder.join("greeter")).unwrap();
    let host = Host::temporary().start().unwrap();
    let added = host.discover(&folder).unwrap();
    assert!(added.plugins.is_empty() && invalid(&added).why.contains("greeter"), "{added:?}");
}

#[test]
fn an_id_that_the_host_has_is_not_added_twice_and_a_store_that_is_in_use_is_told() {
    let world = World::new();
    let folder = examples(&world);
    let host = world.host();
    assert_eq!(host.discover(&folder).unwrap().plugins.len(), 2);
    let again = host.discover(&folder).unwrap();
    assert!(again.plugins.is_empty());
    assert!(again.invalid.iter().all(|invalid| invalid.why.contains("of that id already")), "{again:?}");
    let held = PackageSet::open(PackageOptions::new(host.runtime_dir().join("@packages"))).unwrap();
    let error = host.discover(&folder).unwrap_err();
    assert!(matches!(error, HostError::Setup(..)) && error.to_string().contains("in use by"), "{error}");
    drop(held);
    host.shutdown();
    assert!(matches!(host.discover(&folder), Err(HostError::Ended)));
}
