//! A process that installs, updates, rolls back and removes is killed at random moments: what it leaves is the version before or
//! the one after, whole.

use super::{InstallOptions, PackageOptions, PackageSet, Removal};
use crate::package::digest::Digest;
use crate::package::manifest::MANIFEST_NAME;
use crate::package::store::tests::{on, opened, package, root};
use crate::package::trial::TrialFault;
use rpc_plugin_wire::PluginId;
use std::fs;
use std::io::Read;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

/// How often the process is killed.
const KILLS: usize = 100;
/// Longest time from its first change to its end. Microseconds.
const LIFE_MAX_US: u64 = 20_000;
/// The folder that the process works in; where this is not set the test is the one that kills.
const FOLDER: &str = "RPC_PLUGIN_SYSTEM_TEST_KILLED_IN";
/// Its seed.
const SEED: &str = "RPC_PLUGIN_SYSTEM_TEST_SEED";
const VERSIONS: [&str; 3] = ["1.0.0", "2.0.0", "3.0.0"];
const FILES: [&str; 4] = ["bin/kv", "lib/a", "lib/b/c", "share/d"];

fn kv() -> PluginId {
    "kv".parse().unwrap()
}

fn unsigned() -> InstallOptions {
    InstallOptions { allows_unsigned: true, allows_downgrade: true, ..InstallOptions::default() }
}

fn folder(root: &Path, version: &str) -> PathBuf {
    root.join(format!("source-{version}"))
}

/// Changes the package until it is killed, in an order that the seed of its process gives.
fn change_for_ever(root: &Path) {
    let set = PackageSet::open(PackageOptions::new(root.join("state"))).unwrap();
    let install =
        |version: &str| set.install(&opened(&folder(root, version)), &unsigned(), &mut on()).map(drop);
    // Who waits for this kills from now on.
    println!("ready");
    loop {
        // What may not be done at this moment is refused, which is well.
        let _ = match fastrand::u8(..8) {
            0 => set.roll_back(&kv(), true, &mut on()).map(drop),
            1 => set.pin(&kv(), Some(VERSIONS[fastrand::usize(..3)]), &mut on()).map(drop),
            2 => set.unpin(&kv()).map(drop),
            3 => set.remove(&kv(), &Removal::Version(VERSIONS[fastrand::usize(..3)].to_owned())).map(drop),
            4 => set.keep(&kv()),
            5 => set.end_trial(&kv(), &TrialFault::GaveUp("x".to_owned()), &mut on()).map(drop),
            _ => install(VERSIONS[fastrand::usize(..3)]),
        };
    }
}

/// Every stored version is what was judged, without help of what is remembered of it; and the rest is as one of them says.
fn check(root: &Path, seed: u64) {
    let set = PackageSet::open(PackageOptions::new(root.join("state"))).unwrap();
    let store = set.store();
    let stored = store.versions(&kv()).unwrap();
    for key in &stored {
        let path = store.version_path(&kv(), key);
        let source = folder(root, &key.version().to_string());
        for name in FILES.iter().chain(&[MANIFEST_NAME]) {
            let [is, was] = [&path, &source].map(|folder| Digest::of(&fs::read(folder.join(name)).unwrap()));
            assert_eq!(is, was, "seed {seed}: {name} of {key}");
        }
        store.verify(&kv(), key, &mut on()).unwrap();
    }
    let active = store.active(&kv()).unwrap().unwrap_or_else(|| panic!("seed {seed}: none is active"));
    assert!(stored.contains(&active), "seed {seed}");
    let record = store.record(&kv()).unwrap();
    assert_eq!(record.active(), Some(&active), "seed {seed}");
    let remembered = [record.before(), record.pinned.as_ref(), record.last_healthy.as_ref()];
    assert!(remembered.iter().flatten().all(|key| stored.contains(key)), "seed {seed}: {record:?}");
    assert!(record.trial.is_none_or(|trial| trial.version == active), "seed {seed}");
    let names = fs::read_dir(root.join("state/store/kv")).unwrap().count();
    assert_eq!(names, stored.len() + 1, "seed {seed}: something else was left");
}

#[test]
fn killed_at_a_hundred_moments_a_package_is_the_old_version_or_the_new_one() {
    if let Some(root) = std::env::var_os(FOLDER) {
        return change_for_ever(Path::new(&root));
    }
    let shared_memory = Path::new("/dev/shm");
    let root = if shared_memory.is_dir() { root(shared_memory) } else { root(Path::new("/tmp")) };
    let root = root.path();
    for version in VERSIONS {
        let files = FILES.map(|name| (name, format!("{name} of {version} ").repeat(2000)));
        package(
            &folder(root, version),
            version,
            &files.each_ref().map(|(name, text)| (*name, text.as_str())),
        );
    }
    let set = PackageSet::open(PackageOptions::new(root.join("state"))).unwrap();
    set.install(&opened(&folder(root, VERSIONS[0])), &unsigned(), &mut on()).unwrap();
    drop(set);
    let mut seen = std::collections::BTreeSet::new();
    for _ in 0..KILLS {
        let seed = fastrand::u64(..);
        let mut random = fastrand::Rng::with_seed(seed);
        let name = std::thread::current().name().unwrap().to_owned();
        let mut command = Command::new(std::env::current_exe().unwrap());
        command
            .args([&*name, "--exact", "--nocapture"])
            .env(FOLDER, root)
            .env(SEED, seed.to_string())
            .stdout(Stdio::piped());
        let mut child = command.stderr(Stdio::null()).spawn().unwrap();
        let mut said = Vec::new();
        let mut out = child.stdout.take().unwrap();
        let mut byte = [0];
        while !said.ends_with(b"ready\n") {
            assert_eq!(out.read(&mut byte).unwrap(), 1, "{}", String::from_utf8_lossy(&said));
            said.push(byte[0]);
        }
        // The moment is what is random here; there is no condition to wait for.
        let (begun, life) = (Instant::now(), Duration::from_micros(random.u64(..LIFE_MAX_US)));
        while begun.elapsed() < life {
            std::hint::spin_loop();
        }
        child.kill().unwrap();
        child.wait().unwrap();
        check(root, seed);
        let set = PackageSet::open(PackageOptions::new(root.join("state"))).unwrap();
        seen.insert(set.store().active(&kv()).unwrap().unwrap());
    }
    assert!(seen.len() > 1, "they changed something");
}
