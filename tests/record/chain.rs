//! The chain: every change to the files is told, by the first line that it concerns.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::indexing_slicing)]

use rpc_plugin_record::{
    Entry, FILE_NAME, FaultKind, LINE_BYTES_MAX, Place, Stream, StreamOptions, SystemDisk, Verified,
    hash_line, segments, verify,
};
use rpc_plugin_wire::event::EventKind;
use std::fs;
use std::path::{Path, PathBuf};
use std::sync::Arc;

fn write(folder: &Path, chain: bool, messages: usize, bytes: usize) {
    let file_bytes_max = LINE_BYTES_MAX as u64;
    let options = StreamOptions {
        file_bytes_max,
        files_max: 4,
        file_age_max: None,
        chain,
        is_durable: false,
        syncs_beside: false,
    };
    let place = Place { base: folder.to_owned(), below: None };
    let mut stream = Stream::new(place, FILE_NAME, options, Arc::new(SystemDisk));
    for n in 0..messages {
        stream.push(&Entry::new(EventKind::Stdout).message(format!("{n} {}", "x".repeat(bytes)))).unwrap();
        stream.write().unwrap();
    }
}

fn fault(verified: &Verified) -> Option<(u64, FaultKind)> {
    verified.fault.as_ref().map(|fault| (fault.line, fault.kind))
}

fn lines_of(path: &Path) -> Vec<String> {
    fs::read_to_string(path).unwrap().lines().map(str::to_owned).collect()
}

fn put(path: &Path, lines: &[String]) {
    fs::write(path, lines.iter().map(|line| format!("{line}\n")).collect::<String>()).unwrap();
}

#[test]
fn each_change_is_told_at_its_line() {
    let folder = tempfile::tempdir().unwrap();
    write(folder.path(), true, 20, 10);
    let path = folder.path().join(FILE_NAME);
    let good = lines_of(&path);
    let verified = verify(folder.path(), FILE_NAME).unwrap();
    assert_eq!((verified.lines, verified.first_seq, verified.last_seq), (20, Some(1), Some(20)));
    assert_eq!((verified.fault, verified.head), (None, hash_line(good[19].as_bytes())));
    // All but the last line: what comes after it vouches for a line.
    for at in 0..19 {
        let mut lines = good.clone();
        lines[at] = lines[at].replace("stdout", "stderr");
        put(&path, &lines);
        let told = fault(&verify(folder.path(), FILE_NAME).unwrap());
        assert_eq!(told, Some((at as u64 + 1, FaultKind::Altered)), "{at} altered");

        let mut lines = good.clone();
        let forged = lines[at].replace("\"seq\":", "\"seq\":9");
        lines[at] = forged;
        put(&path, &lines);
        let told = fault(&verify(folder.path(), FILE_NAME).unwrap()).unwrap();
        assert!(told.0 == at as u64 + 1 || told.0 == at as u64 + 2, "{at}: {told:?}");

        // Of the first line nothing says that it was there; the next one is not number 1.
        if at > 0 {
            let mut lines = good.clone();
            lines.remove(at);
            put(&path, &lines);
            let told = fault(&verify(folder.path(), FILE_NAME).unwrap());
            assert_eq!(told, Some((at as u64 + 1, FaultKind::Removed(1))), "{at} removed");
        }

        // With the right hash and number, with nothing, and as a copy of an earlier line.
        let hash: String = hash_line(good[at].as_bytes()).iter().map(|b| format!("{b:02x}")).collect();
        let (head, _) = good[at + 1].split_once("\"prev\":\"").unwrap();
        let forged = format!("{head}\"prev\":\"{hash}\"}}").replace("stdout", "exited");
        for inserted in [forged, "{}".into(), good[at / 2].clone()] {
            let mut lines = good.clone();
            lines.insert(at + 1, inserted);
            put(&path, &lines);
            let told = fault(&verify(folder.path(), FILE_NAME).unwrap());
            assert_eq!(told, Some((at as u64 + 2, FaultKind::Inserted)), "inserted after {at}");
        }
    }
    put(&path, &good);
    assert_eq!(verify(folder.path(), FILE_NAME).unwrap().fault, None);
}

#[test]
fn every_byte_counts() {
    let folder = tempfile::tempdir().unwrap();
    write(folder.path(), true, 4, 1);
    let path = folder.path().join(FILE_NAME);
    let good = fs::read(&path).unwrap();
    let last_line = good[..good.len() - 1].iter().rposition(|b| *b == b'\n').unwrap();
    for at in 0..last_line {
        let mut bytes = good.clone();
        bytes[at] ^= 1;
        fs::write(&path, &bytes).unwrap();
        assert!(verify(folder.path(), FILE_NAME).unwrap().fault.is_some(), "byte {at}");
    }
}

#[test]
fn the_chain_goes_on_through_rotation_and_restart_and_begins_with_an_anchor() {
    let folder = tempfile::tempdir().unwrap();
    for _ in 0..6 {
        write(folder.path(), true, 9, 7000);
    }
    let kept: Vec<PathBuf> =
        segments(folder.path(), FILE_NAME).unwrap().into_iter().map(|segment| segment.path).collect();
    assert_eq!(kept.len(), 4);
    let verified = verify(folder.path(), FILE_NAME).unwrap();
    assert!(verified.fault.is_none() && verified.first_seq > Some(1), "{verified:?}");
    assert_eq!(verified.last_seq, Some(54));
    // A whole file in the middle is missing.
    let lines = lines_of(&kept[1]).len() as u64;
    let text = fs::read(&kept[1]).unwrap();
    fs::remove_file(&kept[1]).unwrap();
    let told = fault(&verify(folder.path(), FILE_NAME).unwrap());
    assert_eq!(told, Some((lines_of(&kept[0]).len() as u64 + 1, FaultKind::Removed(lines))));
    fs::write(&kept[1], &text).unwrap();
    // The last line of a rotated file.
    let mut lines = lines_of(&kept[0]);
    let last = lines.len() - 1;
    lines[last] = lines[last].replace("stdout", "stderr");
    put(&kept[0], &lines);
    let told = fault(&verify(folder.path(), FILE_NAME).unwrap());
    assert_eq!(told, Some((last as u64 + 1, FaultKind::Altered)));
}

#[test]
fn a_chain_may_begin_later_and_must_not_stop() {
    let folder = tempfile::tempdir().unwrap();
    write(folder.path(), false, 5, 10);
    write(folder.path(), true, 5, 10);
    let verified = verify(folder.path(), FILE_NAME).unwrap();
    assert_eq!((verified.lines, verified.unchained, verified.fault.clone()), (10, 5, None));
    let path = folder.path().join(FILE_NAME);
    let mut lines = lines_of(&path);
    lines[4] = lines[4].replace("stdout", "stderr");
    put(&path, &lines);
    assert_eq!(fault(&verify(folder.path(), FILE_NAME).unwrap()), Some((5, FaultKind::Altered)));
    lines[4] = lines[4].replace("stderr", "stdout");
    put(&path, &lines);
    write(folder.path(), false, 2, 10);
    assert_eq!(fault(&verify(folder.path(), FILE_NAME).unwrap()), Some((11, FaultKind::Unchained)));
}
