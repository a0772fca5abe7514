//! Packages that are found in folders: which run, by what, and what is shown of those that changed.

use super::{InstallOptions, PackageOptions, PackageSet};
use crate::package::debounce::Due;
use crate::package::digest::Digest;
use crate::package::scan::Depth;
use crate::package::store::tests::{on, opened, package, root};
use crate::settings::{AcceptedType, NamedSettings, PackageOverrides};
use crate::state::plugin_config::MayCall;
use crate::state::policy::Policy;
use rpc_plugin_wire::PluginId;
use rpc_plugin_wire::admin_packages::{PackageSource, PackageState, PackageStatus};
use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};
use std::time::Duration;

fn kv() -> PluginId {
    "kv".parse().unwrap()
}

struct Case {
    root: tempfile::TempDir,
    set: PackageSet,
}

impl Case {
    fn new(change: impl FnOnce(&mut PackageOptions)) -> Case {
        let root = root(Path::new("/tmp"));
        fs::create_dir(root.path().join("plugins")).unwrap();
        let mut options = PackageOptions::new(root.path().join("state"));
        options.plugins_dirs = vec![root.path().join("plugins")];
        change(&mut options);
        Case { set: PackageSet::open(options).unwrap(), root }
    }

    fn path(&self, name: &str) -> PathBuf {
        self.root.path().join("plugins").join(name)
    }

    /// Writes a package `kv` into a folder of that name.
    fn write(&self, name: &str, version: &str) -> PathBuf {
        package(&self.path(name), version, &[("bin/kv", version)])
    }

    fn look(&mut self) {
        self.set.look(&Due::All, Depth::Files);
    }

    fn statuses(&mut self) -> Vec<PackageStatus> {
        self.look();
        self.set.statuses().unwrap().packages
    }

    /// The one package that there is.
    fn status(&mut self) -> PackageStatus {
        let [status] = &self.statuses()[..] else { panic!("{:?}", self.set.statuses()) };
        status.clone()
    }

    fn take(&mut self) -> Result<String, String> {
        self.look();
        let taken = self.set.take_found(&kv(), &mut on());
        taken.map(|taken| taken.key.version().to_string()).map_err(|error| error.to_string())
    }

    fn runs(&mut self) -> usize {
        self.set.runnable().unwrap().len()
    }

    fn install(&mut self, version: &str) {
        let folder =
            package(&self.root.path().join("outside").join(version), version, &[("bin/kv", version)]);
        let options = InstallOptions { allows_unsigned: true, ..InstallOptions::default() };
        self.set.install(&opened(&folder), &options, &mut on()).unwrap();
    }
}

#[test]
fn a_package_that_is_found_runs_from_the_store() {
    let mut case = Case::new(|_| ());
    let folder = case.write("kv", "1.0.0");
    let found = case.status();
    assert_eq!(
        (found.state, found.source, found.version.as_deref()),
        (PackageState::Found, PackageSource::PluginsDir, Some("1.0.0"))
    );
    assert_eq!((case.runs(), case.take().unwrap()), (1, "1.0.0".to_owned()));
    let active = case.status();
    assert_eq!((active.state, &active.changed[..]), (PackageState::Active, &[][..]));
    assert!(
        active.publisher.unwrap().starts_with("unsigned")
            && active.verified.unwrap().contains("not attackers")
    );
    let launch = case.set.launch(&kv(), &mut on()).unwrap();
    let store = case.root.path().join("state/store/kv");
    assert!(launch.config.executable.starts_with(&store) && launch.autostart, "{launch:?}");
    // Renaming its folder changes nothing, and removing it does not end what runs.
    fs::rename(&folder, case.path("renamed")).unwrap();
    let renamed = case.status();
    assert_eq!(
        (renamed.state, renamed.folder),
        (PackageState::Active, Some(case.path("renamed").display().to_string()))
    );
    fs::remove_dir_all(case.path("renamed")).unwrap();
    let gone = case.status();
    assert_eq!((gone.state, gone.plugin_id, case.runs()), (PackageState::Gone, Some(kv()), 0));
}

#[test]
fn what_changed_is_shown_by_file_until_it_is_taken() {
    let mut case = Case::new(|_| ());
    let folder = case.write("kv", "1.0.0");
    case.take().unwrap();
    fs::write(folder.join("bin/kv"), "other").unwrap();
    let shown = case.status();
    assert_eq!(shown.state, PackageState::Changed);
    let [file] = &shown.changed[..] else { panic!("{shown:?}") };
    let digest = |content: &str| Some(Digest::of(content.as_bytes()).to_string());
    assert_eq!((&*file.path, &file.old, &file.new), ("bin/kv", &digest("1.0.0"), &digest("other")));
    assert!(shown.reason.unwrap().contains("cannot be taken: \"bin/kv\": has SHA-256"));
    assert!(case.take().unwrap_err().contains("has SHA-256"));
    assert_eq!(case.runs(), 1, "what was imported goes on");
    fs::remove_dir_all(&folder).unwrap();
    package(&folder, "2.0.0", &[("bin/kv", "2.0.0"), ("new", "n")]);
    let shown = case.status();
    assert!(shown.reason.as_ref().unwrap().contains("to version 2.0.0; `rpcpluginctl restart kv` takes it"));
    assert_eq!(shown.version.as_deref(), Some("1.0.0"), "that one runs");
    let paths: Vec<_> = shown.changed.iter().map(|file| (&*file.path, file.old.is_some())).collect();
    assert_eq!(paths, [("bin/kv", true), ("new", false)]);
    assert!(case.set.is_changed(&kv()).unwrap().is_some());
    assert_eq!(case.take().unwrap(), "2.0.0");
    assert_eq!(case.set.is_changed(&kv()).unwrap(), None);
    let active = case.status();
    assert_eq!((active.state, active.version.as_deref()), (PackageState::Active, Some("2.0.0")));
    fs::remove_file(folder.join("new")).unwrap();
    let shown = case.status();
    assert_eq!((shown.changed[0].path.as_str(), &shown.changed[0].new), ("new", &None));
}

#[test]
fn of_two_folders_neither_starts_and_what_runs_goes_on() {
    let mut case = Case::new(|_| ());
    case.write("kv", "1.0.0");
    case.write("copy", "1.0.0");
    let both = case.statuses();
    assert!(both.len() == 2 && both.iter().all(|status| status.state == PackageState::Invalid), "{both:?}");
    assert!(both[1].reason.as_ref().unwrap().contains("plugins/copy; none of them is started"), "{both:?}");
    assert_eq!(case.runs(), 0);
    assert!(case.take().unwrap_err().contains("no folder of a package kv"));
    fs::remove_dir_all(case.path("copy")).unwrap();
    case.take().unwrap();
    case.write("copy", "1.0.0");
    let both = case.statuses();
    assert!(both.iter().all(|status| status.reason.as_ref().unwrap().ends_with("what runs of it goes on")));
    assert_eq!(case.runs(), 0, "none is to be started anew");
}

#[test]
fn what_is_installed_or_configured_wins() {
    let mut case = Case::new(|_| ());
    case.write("kv", "1.0.0");
    case.install("3.0.0");
    let both = case.statuses();
    assert_eq!((both[0].state, both[0].source), (PackageState::Active, PackageSource::Store));
    assert!(
        both[1].reason.as_ref().unwrap().starts_with("version 3.0.0 of this id is installed"),
        "{both:?}"
    );
    assert_eq!(case.runs(), 1);
    let mut options = case.set.options.clone();
    options.configured.insert(kv());
    let Case { root, set } = case;
    drop(set);
    let mut case = Case { set: PackageSet::open(options).unwrap(), root };
    assert!(case.statuses().iter().all(|status| status.state == PackageState::Invalid));
    assert_eq!(case.runs(), 0);
}

/// Where plugins run as the daemon's user, each of them can damage one.
#[test]
fn a_record_that_cannot_be_read_keeps_no_other_package_from_being_listed_and_run() {
    let mut case = Case::new(|_| ());
    case.install("3.0.0");
    case.write("kv", "1.0.0");
    let manifest = case.write("other", "1.0.0").join("plugin.json");
    let mut of_other: serde_json::Value = serde_json::from_slice(&fs::read(&manifest).unwrap()).unwrap();
    of_other["id"] = "other".into();
    fs::write(manifest, of_other.to_string()).unwrap();
    case.look();
    assert_eq!(case.runs(), 2);
    fs::write(case.root.path().join("state/records/kv.json"), "{").unwrap();
    let all = case.statuses();
    let shown: Vec<_> = all.iter().map(|status| (status.state, status.source)).collect();
    let is_damaged =
        |status: &PackageStatus| status.reason.as_ref().is_some_and(|why| why.contains("cannot be read"));
    assert!(shown.contains(&(PackageState::Invalid, PackageSource::Store)), "{all:?}");
    assert!(all.iter().any(is_damaged), "{all:?}");
    // Nor does the one of the folder take the place of the one that may be installed.
    assert!(shown.contains(&(PackageState::Invalid, PackageSource::PluginsDir)), "{all:?}");
    assert!(shown.contains(&(PackageState::Found, PackageSource::PluginsDir)), "{all:?}");
}

#[test]
fn a_broken_one_and_one_of_another_type_are_listed_and_keep_nobody_from_running() {
    let mut case = Case::new(|options| {
        options.types = Some(BTreeMap::from([("store".into(), AcceptedType::default())]));
    });
    case.write("kv", "1.0.0");
    fs::create_dir(case.path("broken")).unwrap();
    fs::write(case.path("broken/plugin.json"), "{}").unwrap();
    let both = case.statuses();
    assert!(both[0].reason.as_ref().unwrap().contains("no type, which this host wants; accepted: store"));
    assert!(
        both[1].plugin_id.is_none() && both[1].reason.as_ref().unwrap().contains("is missing"),
        "{both:?}"
    );
    assert!(both[1].folder.as_ref().unwrap().ends_with("broken"));
    let manifest = case.path("kv/plugin.json");
    let text = fs::read_to_string(&manifest).unwrap().replacen('{', "{\"type\": \"store\", ", 1);
    fs::write(manifest, text).unwrap();
    case.look();
    assert_eq!((case.runs(), case.take().unwrap()), (1, "1.0.0".to_owned()));
}

#[test]
fn it_is_launched_with_the_layers_around_its_manifest() {
    let mut case = Case::new(|options| {
        options.defaults.call_timeout = Duration::from_secs(7);
        let policy = Policy { call_timeout: Duration::from_secs(8), ..Policy::default() };
        options.overrides.push(PackageOverrides {
            id: kv(),
            settings: NamedSettings::new(&policy, ["call_timeout"]),
            args: None,
            env: vec![("A".into(), "1".into())],
            pass_env: Vec::new(),
            has_bare_env: None,
            working_folder: None,
            interfaces: BTreeMap::new(),
            may_call: MayCall::default(),
            start: Some(crate::state::start_mode::StartMode::Manual),
            after: Vec::new(),
            idle_stop: None,
        });
    });
    case.write("kv", "1.0.0");
    case.take().unwrap();
    let launch = case.set.launch(&kv(), &mut on()).unwrap();
    assert_eq!((launch.config.policy.call_timeout, launch.autostart), (Duration::from_secs(8), false));
    assert!(launch.config.env.contains(&("A".into(), "1".into())));
    let has_default = |case: &Case| {
        let config = case.set.launch(&kv(), &mut on()).unwrap().config;
        config.env.iter().any(|(name, _)| name == "PYTHONDONTWRITEBYTECODE")
    };
    assert!(has_default(&case));
    case.set.options.overrides[0].has_bare_env = Some(true);
    assert!(!has_default(&case), "its environment is not bare");
    // Settings that contradict each other only together.
    let policy = Policy { heartbeat_timeout: Duration::from_secs(60), ..Policy::default() };
    let mut options = case.set.options.clone();
    options.overrides[0].settings = NamedSettings::new(&policy, ["heartbeat_timeout"]);
    let Case { root, set } = case;
    drop(set);
    let case = Case { set: PackageSet::open(options).unwrap(), root };
    let error = case.set.launch(&kv(), &mut on()).unwrap_err().to_string();
    assert!(
        error.contains("kv cannot be launched with its settings") && error.contains("heartbeat_timeout"),
        "{error}"
    );
}

#[test]
fn what_this_host_does_not_take_is_neither_installed_nor_launched() {
    let mut case = Case::new(|_| ());
    case.install("1.0.0");
    assert!(case.set.launch(&kv(), &mut on()).is_ok());
    case.set.options.types = Some(BTreeMap::from([("store".into(), AcceptedType::default())]));
    let error = case.set.launch(&kv(), &mut on()).unwrap_err().to_string();
    assert_eq!(error, "kv is not taken by this host: it has no type, which this host wants; accepted: store");
    let folder = package(&case.root.path().join("outside/2.0.0"), "2.0.0", &[("bin/kv", "2.0.0")]);
    let options = InstallOptions { allows_unsigned: true, ..InstallOptions::default() };
    let error = case.set.install(&opened(&folder), &options, &mut on()).unwrap_err().to_string();
    assert!(error.contains("it has no type"), "{error}");
    assert_eq!(case.set.store().versions(&kv()).unwrap().len(), 1, "nothing was stored of it");
}
