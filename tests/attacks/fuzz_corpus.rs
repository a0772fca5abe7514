//! Replays the committed fuzz corpus on stable: every input that fuzzing found worth keeping, against
//! the same bodies.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::indexing_slicing)]

#[path = "../../fuzz/targets.rs"]
mod targets;

use std::fs;
use std::path::PathBuf;

/// Bounds on what is committed: the corpus is read by people too.
const FILES_PER_TARGET: std::ops::RangeInclusive<usize> = 10..=200;
const FILE_BYTES_MAX: u64 = 2048;

/// `fuzz/`, where cargo says now, which may be a copy, or said when this was compiled.
fn fuzz() -> PathBuf {
    let root = std::env::var_os("CARGO_MANIFEST_DIR").unwrap_or(env!("CARGO_MANIFEST_DIR").into());
    PathBuf::from(root).join("fuzz")
}

#[test]
fn every_target_takes_its_whole_corpus() {
    for (name, target) in targets::TARGETS {
        let mut files: Vec<PathBuf> = fs::read_dir(fuzz().join("corpus").join(name))
            .unwrap()
            .map(|entry| entry.unwrap().path())
            .collect();
        files.sort();
        assert!(FILES_PER_TARGET.contains(&files.len()), "{name} has {} files", files.len());
        for file in files {
            let data = fs::read(&file).unwrap();
            assert!(data.len() as u64 <= FILE_BYTES_MAX, "{} has {} bytes", file.display(), data.len());
            let replay = std::panic::catch_unwind(|| target(&data));
            assert!(replay.is_ok(), "{name} does not hold for {}", file.display());
        }
    }
}

#[test]
fn every_corpus_and_every_binary_has_a_target() {
    let known: Vec<&str> = targets::TARGETS.iter().map(|(name, _)| *name).collect();
    for folder in ["corpus", "fuzz_targets"] {
        let mut names: Vec<String> = fs::read_dir(fuzz().join(folder))
            .unwrap()
            .map(|entry| entry.unwrap().path().file_stem().unwrap().to_str().unwrap().to_owned())
            .collect();
        names.sort();
        let mut expected = known.clone();
        expected.sort_unstable();
        assert_eq!(names, expected, "fuzz/{folder} and TARGETS");
    }
}
