//! Imports from folders whose files somebody swaps meanwhile: what is stored is what was judged, or nothing is.

use super::tests::{on, opened, package, root};
use super::{Store, StoreError};
use crate::package::digest::Digest;
use crate::package::folder::OpenPackage;
use crate::package::manifest::MANIFEST_NAME;
use std::fs::{self, File};
use std::os::unix::fs::symlink;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering::SeqCst};
use std::time::{Duration, Instant};

/// How often a file, a folder or the manifest is swapped, and put back.
const SWAPS: u64 = 10_000;
/// How many imports there are at least of those that succeed and of those that do not.
const IMPORTS: usize = 20;
const FILES: [&str; 4] = ["bin/kv", "lib/a", "lib/b", "share/c"];

fn swap_one(random: &mut fastrand::Rng, folder: &Path, good: &Path, bad: &Path) {
    let name = FILES[random.usize(..FILES.len())];
    let path = folder.join(name);
    // A name that comes and goes, and another file of the same length and mode under the right one.
    let put = |from: &Path| {
        let new = folder.with_extension("new");
        fs::copy(from.join(name), &new).unwrap();
        fs::rename(&new, &path).unwrap();
    };
    match random.u8(..7) {
        0 => put(bad),
        1 => fs::write(&path, fs::read(bad.join(name)).unwrap()).unwrap(),
        2 => {
            fs::remove_file(&path).unwrap();
            symlink(bad.join(name), &path).unwrap();
            fs::remove_file(&path).unwrap();
        }
        3 => {
            fs::remove_file(&path).unwrap();
            fs::hard_link(bad.join(name), &path).unwrap();
            fs::remove_file(&path).unwrap();
        }
        4 => {
            let (lib, away) = (folder.join("lib"), folder.with_extension("away"));
            fs::rename(&lib, &away).unwrap();
            symlink(bad.join("lib"), &lib).unwrap();
            fs::remove_file(&lib).unwrap();
            fs::rename(&away, &lib).unwrap();
        }
        5 => File::options().write(true).open(&path).unwrap().set_len(1).unwrap(),
        _ => {
            let manifest = folder.join(MANIFEST_NAME);
            for from in [bad, good] {
                let new = folder.with_extension("new");
                fs::copy(from.join(MANIFEST_NAME), &new).unwrap();
                fs::rename(&new, &manifest).unwrap();
            }
        }
    }
    // Not over what may be a link to the bad one by now.
    put(good);
}

/// Every file that is stored has the digest of the manifest that was judged.
fn check(stored: &Path, judged: &OpenPackage) {
    assert_eq!(fs::read(stored.join(MANIFEST_NAME)).unwrap(), judged.manifest_bytes);
    for (path, expected) in &judged.manifest.files {
        let file = stored.join(path);
        assert!(fs::symlink_metadata(&file).unwrap().is_file(), "{path}");
        assert_eq!(Digest::of(&fs::read(&file).unwrap()), *expected, "{path}");
    }
}

#[test]
fn ten_thousand_swaps_of_source_files_never_store_what_was_not_judged() {
    // Without a disk, imports and swaps are about equally quick.
    let shared_memory = Path::new("/dev/shm");
    let root = if shared_memory.is_dir() { root(shared_memory) } else { root(Path::new("/tmp")) };
    let seed = fastrand::u64(..);
    eprintln!("seed {seed}");
    let store = Store::open(&root.path().join("state")).unwrap();
    let [folder, good, bad]: [PathBuf; 3] = ["folder", "good", "bad"].map(|name| root.path().join(name));
    let content = |kind: &str| FILES.map(|name| (name, format!("{kind} {name} ").repeat(100)));
    for (at, kind) in [(&folder, "good"), (&good, "good"), (&bad, "evil")] {
        let files = content(kind);
        package(at, "1.0.0", &files.each_ref().map(|(name, text)| (*name, text.as_str())));
    }
    let judged = opened(&good);
    let (swaps, is_over) = (AtomicU64::new(0), AtomicBool::new(false));
    std::thread::scope(|scope| {
        scope.spawn(|| {
            let mut random = fastrand::Rng::with_seed(seed);
            while !is_over.load(SeqCst) {
                swap_one(&mut random, &folder, &good, &bad);
                swaps.fetch_add(1, SeqCst);
            }
        });
        let deadline = Instant::now() + Duration::from_secs(120);
        let (mut stored, mut refused) = (0, 0);
        while swaps.load(SeqCst) < SWAPS || stored < IMPORTS || refused < IMPORTS {
            assert!(Instant::now() < deadline, "{stored} stored, {refused} refused, {swaps:?} swaps");
            let Ok(package) = OpenPackage::read(File::open(&folder).unwrap().into(), &folder) else {
                continue;
            };
            // What a signature would say: only this manifest is good.
            if package.manifest_bytes != judged.manifest_bytes {
                continue;
            }
            match store.import(&package, &mut on()) {
                Ok(imported) => {
                    check(&store.version_path(&judged.manifest.id, &imported.key), &judged);
                    store.remove(&judged.manifest.id, &imported.key).unwrap();
                    stored += 1;
                }
                Err(StoreError::Package(_)) => refused += 1,
                Err(error) => panic!("{error}"),
            }
        }
        is_over.store(true, SeqCst);
        eprintln!("{stored} imports stored, {refused} refused, {} swaps", swaps.load(SeqCst));
    });
}
