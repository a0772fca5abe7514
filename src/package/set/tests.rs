//! Changes of packages that are made, and those that are refused, with what is said.

use super::{
    Activated, ChangeError, InstallOptions, Installed, PackageOptions, PackageSet, Removal, VERSIONS_MAX,
};
use crate::package::publisher::{TrustedKey, VerifyPolicy};
use crate::package::signer::Signer;
use crate::package::store::tests::{on, opened, package, root};
use crate::package::store::{Record, VersionKey};
use crate::package::trial::{NoWayBack, TrialFault};
use rpc_plugin_wire::PluginId;
use std::fs;
use std::path::{Path, PathBuf};

/// A set, and the folder that packages are made in.
struct Case {
    root: tempfile::TempDir,
    set: PackageSet,
}

fn kv() -> PluginId {
    "kv".parse().unwrap()
}

fn unsigned() -> InstallOptions {
    InstallOptions { allows_unsigned: true, ..InstallOptions::default() }
}

impl Case {
    fn new(change: impl FnOnce(&mut PackageOptions)) -> Case {
        let root = root(Path::new("/tmp"));
        let mut options = PackageOptions::new(root.path().join("state"));
        change(&mut options);
        Case { set: PackageSet::open(options).unwrap(), root }
    }

    fn again(self, change: impl FnOnce(&mut PackageOptions)) -> Case {
        let Case { root, set } = self;
        let mut options = set.options.clone();
        drop(set);
        change(&mut options);
        Case { set: PackageSet::open(options).unwrap(), root }
    }

    /// The folder of a package of that version.
    fn folder(&self, version: &str) -> PathBuf {
        package(&self.root.path().join(version), version, &[("bin/kv", version)])
    }

    /// The same, with a member of its manifest.
    fn with_member(&self, version: &str, member: &str) -> PathBuf {
        let folder = self.folder(version);
        let manifest = folder.join("plugin.json");
        let text = fs::read_to_string(&manifest).unwrap().replacen('{', &format!("{{{member}, "), 1);
        fs::write(manifest, text).unwrap();
        folder
    }

    fn install_from(&self, folder: &Path, options: &InstallOptions) -> Result<Installed, String> {
        self.set.install(&opened(folder), options, &mut on()).map_err(|error| error.to_string())
    }

    fn install(&self, version: &str) -> Result<Installed, String> {
        self.install_from(&self.folder(version), &unsigned())
    }

    fn active(&self) -> Option<String> {
        self.set.store.active(&kv()).unwrap().map(|key| key.version().to_string())
    }

    fn record(&self) -> Record {
        self.set.store.record(&kv()).unwrap()
    }

    fn versions(&self) -> Vec<String> {
        let versions = self.set.store.versions(&kv()).unwrap();
        versions.iter().map(|key| key.version().to_string()).collect()
    }

    fn roll_back(&self) -> Result<Activated, String> {
        self.set.roll_back(&kv(), false, &mut on()).map_err(|error| error.to_string())
    }

    fn pin(&self, version: Option<&str>) -> Result<Activated, String> {
        self.set.pin(&kv(), version, &mut on()).map_err(|error| error.to_string())
    }

    fn end_trial(&self) -> Result<Activated, NoWayBack> {
        self.set.end_trial(&kv(), &TrialFault::GaveUp("exit code 1".into()), &mut on()).unwrap()
    }
}

fn refused<T: std::fmt::Debug>(result: Result<T, String>, part: &str) {
    let error = result.unwrap_err();
    assert!(error.contains(part), "{part}: {error}");
}

#[test]
fn installs_go_up_and_down_only_as_they_are_told_to() {
    let case = Case::new(|_| ());
    let one = case.install("1.0.0").unwrap();
    assert_eq!((one.before, one.is_on_trial), (None, false));
    let two = case.install("2.0.0").unwrap();
    assert_eq!((two.before.as_ref(), two.is_on_trial), (Some(&one.key), false), "nothing was healthy yet");
    assert_eq!(case.record().before(), Some(&one.key));
    // The same again changes nothing.
    let again = case.install("2.0.0").unwrap();
    assert_eq!((again.before, case.record().before()), (Some(two.key.clone()), Some(&one.key)));
    refused(case.install("1.5.0"), "--downgrade installs it all the same");
    assert_eq!(
        (case.active().unwrap(), case.versions()),
        ("2.0.0".into(), vec!["1.0.0".into(), "2.0.0".into()])
    );
    let down = InstallOptions { allows_downgrade: true, ..unsigned() };
    case.install_from(&case.folder("1.5.0"), &down).unwrap();
    assert_eq!(case.active().unwrap(), "1.5.0");
    // The version before is the one that was active before.
    let back = case.roll_back().unwrap();
    assert_eq!((back.key, back.before.map(|key| key.version().to_string())), (two.key, Some("1.5.0".into())));
    assert_eq!(case.roll_back().unwrap().key, one.key);
    refused(case.roll_back(), "no version of kv was active before this one");
}

#[test]
fn what_is_expected_and_whether_it_may_be_unsigned_are_asked_before_anything_is_written() {
    let case = Case::new(|_| ());
    let folder = case.folder("1.0.0");
    let digest = opened(&folder).digest();
    refused(case.install_from(&folder, &InstallOptions::default()), "kv is not signed; expected a signature");
    let other = InstallOptions { expected: Some(crate::package::digest::Digest::of(b"x")), ..unsigned() };
    refused(case.install_from(&folder, &other), &format!("has SHA-256 {digest}; expected 2d711642"));
    assert!(case.set.store.ids().unwrap().is_empty());
    let options = InstallOptions { expected: Some(digest), ..InstallOptions::default() };
    case.install_from(&folder, &options).unwrap();
}

#[test]
fn the_minimum_of_the_configuration_binds_installs_rollbacks_pins_and_trials() {
    let case = Case::new(|_| ());
    for version in ["1.0.0", "2.0.0"] {
        case.install(version).unwrap();
        case.set.keep(&kv()).unwrap();
    }
    case.install("3.0.0").unwrap();
    let minimum = "2.1.0".parse().unwrap();
    let case = case.again(|options| drop(options.minimum.insert(kv(), minimum)));
    let below = "is below 2.1.0, the \"minimum\"";
    let down = InstallOptions { allows_downgrade: true, ..unsigned() };
    refused(case.install_from(&case.folder("2.0.5"), &down), below);
    refused(case.roll_back(), below);
    refused(case.pin(Some("2.0.0")), below);
    assert!(matches!(case.end_trial(), Err(NoWayBack::BelowMinimum(_))));
    assert_eq!(case.active().unwrap(), "3.0.0");
    let note = case.record().note.unwrap();
    assert!(note.contains("fails and stays, as 2.0.0@") && note.contains("minimum 2.1.0"), "{note}");
}

#[test]
fn a_pinned_package_stays_where_it_is() {
    let case = Case::new(|_| ());
    ["1.0.0", "2.0.0", "3.0.0"].iter().for_each(|version| drop(case.install(version).unwrap()));
    refused(case.pin(Some("4.0.0")), "\"4.0.0\" is no one version of kv; stored: 1.0.0@");
    assert_eq!(case.pin(Some("2.0.0")).unwrap().key.version().to_string(), "2.0.0");
    assert_eq!(case.active().unwrap(), "2.0.0");
    for result in [case.install("4.0.0").map(drop), case.roll_back().map(drop)] {
        refused(result, "`rpcpluginctl pin kv --off` lets it go on");
    }
    let details = case.set.details(&kv()).unwrap();
    let of: Vec<_> =
        details.versions.iter().map(|(key, is)| (key.version().to_string(), is.join(" "))).collect();
    let expected = [("1.0.0", ""), ("2.0.0", "active pinned"), ("3.0.0", "before")];
    assert_eq!(of, expected.map(|(version, is)| (version.to_owned(), is.to_owned())));
    case.set.unpin(&kv()).unwrap();
    case.install("4.0.0").unwrap();
    case.pin(None).unwrap();
    assert_eq!(case.record().pinned.unwrap().version().to_string(), "4.0.0");
}

#[test]
fn a_trial_that_fails_goes_back_once_to_what_was_healthy_last() {
    let case = Case::new(|_| ());
    let one = case.install("1.0.0").unwrap().key;
    case.set.keep(&kv()).unwrap();
    assert_eq!(case.record().last_healthy, Some(one.clone()));
    // One that never ran lies between.
    assert!(case.install("1.1.0").unwrap().is_on_trial);
    let two = case.install("2.0.0").unwrap();
    assert!(two.is_on_trial);
    let back = case.end_trial().unwrap();
    assert_eq!((&back.key, back.before.as_ref()), (&one, Some(&two.key)));
    let record = case.record();
    assert_eq!((record.trial.as_ref(), record.active()), (None, Some(&one)));
    let note = record.note.unwrap();
    assert!(
        note.starts_with("went back from 2.0.0@") && note.ends_with("was not replaced: exit code 1"),
        "{note}"
    );
    assert_eq!(case.end_trial(), Err(NoWayBack::NeverHealthy), "once an install");
    case.set.acknowledge(&kv()).unwrap();
    assert_eq!(case.record().note, None);
    // Kept: the next one goes back to it.
    case.install("3.0.0").unwrap();
    case.set.keep(&kv()).unwrap();
    assert_eq!(case.record().trial, None);
    case.install("4.0.0").unwrap();
    assert_eq!(case.end_trial().unwrap().key.version().to_string(), "3.0.0");
    // One that was healthy when the next one was installed over it counts, though its trial was not over.
    case.install("5.0.0").unwrap();
    case.set.note_health(&kv()).unwrap();
    case.install("6.0.0").unwrap();
    assert_eq!(case.end_trial().unwrap().key.version().to_string(), "5.0.0");
}

#[test]
fn who_says_that_there_is_no_way_back_is_obeyed() {
    let case = Case::new(|_| ());
    case.install("1.0.0").unwrap();
    case.set.keep(&kv()).unwrap();
    let options = InstallOptions { no_rollback: true, ..unsigned() };
    assert!(!case.install_from(&case.folder("2.0.0"), &options).unwrap().is_on_trial);
    assert_eq!(case.end_trial().unwrap_err().to_string(), "it was installed with --no-rollback");
    assert_eq!(case.active().unwrap(), "2.0.0");
    let folder = case.with_member("3.0.0", "\"rollback\": false");
    assert!(!case.install_from(&folder, &unsigned()).unwrap().is_on_trial);
    assert_eq!(case.end_trial().unwrap_err().to_string(), "its manifest says \"rollback\": false");
    refused(case.roll_back(), "--downgrade goes back to 2.0.0@");
    case.set.roll_back(&kv(), true, &mut on()).unwrap();
    assert_eq!(case.active().unwrap(), "2.0.0");
}

#[test]
fn versions_are_removed_but_for_the_active_one_and_all_of_them_at_once() {
    let case = Case::new(|_| ());
    ["1.0.0", "2.0.0"].iter().for_each(|version| drop(case.install(version).unwrap()));
    let remove = |removal| case.set.remove(&kv(), &removal).map_err(|error| error.to_string());
    refused(
        remove(Removal::Version("2.0.0".into())),
        "is active; install or go back to another version before",
    );
    assert_eq!(remove(Removal::Version("1.0.0".into())).unwrap().len(), 1);
    refused(case.roll_back(), "no version of kv was active before");
    let data = case.set.store.data_folder(&kv()).unwrap();
    remove(Removal::Package).unwrap();
    assert!(case.record().publisher.is_some() && data.exists(), "whose it is stays known");
    refused(remove(Removal::Package), "no version of kv is installed");
    case.install("1.0.0").unwrap();
    remove(Removal::PackageAndData).unwrap();
    assert!(!data.exists());
    assert_eq!(case.record(), Record::default());
}

#[test]
fn old_versions_go_but_for_those_that_are_needed() {
    let case = Case::new(|_| ());
    case.install("1.0.0").unwrap();
    case.set.keep(&kv()).unwrap();
    (2..12).for_each(|major| drop(case.install(&format!("{major}.0.0")).unwrap()));
    assert_eq!(case.versions().len(), VERSIONS_MAX);
    assert_eq!(case.versions(), ["1.0.0", "8.0.0", "9.0.0", "10.0.0", "11.0.0"]);
    assert_eq!(case.end_trial().unwrap().key.version().to_string(), "1.0.0");
}

#[test]
fn another_publisher_needs_approval_and_gets_nothing_of_the_one_before() {
    let signers = [Signer::new(0, 1), Signer::new(1, 2)];
    let keys = signers.each_ref().map(|signer| TrustedKey::of_any_package(signer.public().parse().unwrap()));
    let case = Case::new(|options| options.verify = VerifyPolicy::new(None, keys.to_vec()));
    let signed = |version: &str, signer: &Signer| {
        let folder = case.folder(version);
        let manifest = fs::read(folder.join("plugin.json")).unwrap();
        fs::write(folder.join("plugin.json.minisig"), signer.sign(&manifest, version)).unwrap();
        folder
    };
    refused(case.install("1.0.0"), "plugin.json.minisig: is missing");
    let options = InstallOptions::default();
    case.install_from(&signed("1.0.0", &signers[0]), &options).unwrap();
    case.set.keep(&kv()).unwrap();
    let data = case.set.store.data_folder(&kv()).unwrap();
    fs::write(data.join("secret"), "x").unwrap();
    let other = signed("2.0.0", &signers[1]);
    refused(case.install_from(&other, &options), "kv belongs to another publisher");
    case.set.approve_publisher(&kv()).unwrap();
    let installed = case.install_from(&other, &options).unwrap();
    assert!(installed.verdict.replaces_publisher && !installed.is_on_trial);
    assert_eq!(fs::read_dir(case.set.store.data_folder(&kv()).unwrap()).unwrap().count(), 0);
    refused(case.roll_back(), "no version of kv was active before");
    refused(case.pin(Some("1.0.0")), "kv belongs to another publisher");
    refused(case.install_from(&signed("3.0.0", &signers[0]), &options), "kv belongs to another publisher");
}

/// An id stays bound to its publisher when the package is removed, and what its plugin kept stays too: neither for ever.
#[test]
fn what_a_removed_package_left_can_be_taken_over_or_removed() {
    for is_taken_over in [true, false] {
        let signers = [Signer::new(0, 1), Signer::new(1, 2)];
        let keys =
            signers.each_ref().map(|signer| TrustedKey::of_any_package(signer.public().parse().unwrap()));
        let case = Case::new(|options| options.verify = VerifyPolicy::new(None, keys.to_vec()));
        let install = |version: &str, signer: &Signer| {
            let folder = case.folder(version);
            let manifest = fs::read(folder.join("plugin.json")).unwrap();
            fs::write(folder.join("plugin.json.minisig"), signer.sign(&manifest, version)).unwrap();
            case.install_from(&folder, &InstallOptions::default())
        };
        install("1.0.0", &signers[0]).unwrap();
        fs::write(case.set.store.data_folder(&kv()).unwrap().join("secret"), "x").unwrap();
        case.set.remove(&kv(), &Removal::Package).unwrap();
        refused(install("2.0.0", &signers[1]), "kv belongs to another publisher");
        if is_taken_over {
            case.set.approve_publisher(&kv()).unwrap();
        } else {
            assert_eq!(case.set.remove(&kv(), &Removal::PackageAndData).unwrap(), []);
            assert!(case.set.remove(&kv(), &Removal::PackageAndData).unwrap_err().is_not_found());
        }
        install("2.0.0", &signers[1]).unwrap();
        assert_eq!(fs::read_dir(case.set.store.data_folder(&kv()).unwrap()).unwrap().count(), 0);
        assert!(case.set.approve_publisher(&"other".parse().unwrap()).unwrap_err().is_not_found());
    }
}

#[test]
fn errors_say_whether_something_is_missing_or_broken() {
    let case = Case::new(|_| ());
    let unknown = case.set.unpin(&kv()).unwrap_err();
    assert!(
        unknown.is_not_found() && !unknown.is_internal() && matches!(*unknown, ChangeError::Unknown { .. })
    );
    case.install("1.0.0").unwrap();
    let key: VersionKey = case.set.store.active(&kv()).unwrap().unwrap();
    fs::write(case.root.path().join("state/records/kv.json"), "[").unwrap();
    let broken = case.set.unpin(&kv()).unwrap_err();
    assert!(broken.is_internal() && !broken.is_not_found(), "{broken} {key}");
}

#[test]
fn what_packages_require_of_each_other_holds_before_and_after_a_change() {
    let case = Case::new(|_| ());
    let needs_clock = "\"requires\": {\"plugins\": {\"clock\": \"^1\"}}";
    let clock = |version: &str| {
        let folder = case.root.path().join(format!("clock-{version}"));
        let folder = package(&folder, version, &[("bin/kv", version)]);
        let manifest = folder.join("plugin.json");
        let text = fs::read_to_string(&manifest).unwrap().replace("\"id\":\"kv\"", "\"id\":\"clock\"");
        fs::write(manifest, text).unwrap();
        folder
    };
    let kv_folder = case.with_member("1.0.0", needs_clock);
    refused(
        case.install_from(&kv_folder, &unsigned()),
        "kv 1.0.0 requires clock ^1, and no package clock would be installed",
    );
    case.install_from(&clock("1.0.0"), &unsigned()).unwrap();
    case.install_from(&kv_folder, &unsigned()).unwrap();
    let why = "kv 1.0.0 requires clock ^1, and clock would be 2.0.0";
    refused(case.install_from(&clock("2.0.0"), &unsigned()), why);
    let id = "clock".parse().unwrap();
    let removed = case.set.remove(&id, &Removal::Package).map_err(|error| error.to_string());
    refused(removed, "and no package clock would be installed");
    case.install_from(&clock("1.1.0"), &unsigned()).unwrap();
    case.set.remove(&kv(), &Removal::Package).unwrap();
    case.install_from(&clock("2.0.0"), &unsigned()).unwrap();
}
