//! `rpcpluginctl logs --verify` on chains that hold and that do not.
#![allow(missing_docs, clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::indexing_slicing)]

use crate::fixtures::ctl::{Folder, Ran, Run};
use rpc_plugin_record::{
    Entry, FILE_NAME, PackLimits, Place, Stream, StreamOptions, SystemDisk, hash_line, pack, segments,
};
use rpc_plugin_system::ctl::Exit;
use rpc_plugin_wire::event::EventKind;
use serde_json::{Value, json};
use std::fs;
use std::path::Path;
use std::sync::Arc;

fn write(folder: &Path, chain: bool, count: usize) {
    fs::create_dir_all(folder).unwrap();
    let place = Place { base: folder.to_owned(), below: None };
    let options =
        StreamOptions { chain, file_bytes_max: 64 * 1024, files_max: 8, ..StreamOptions::default() };
    let mut stream = Stream::new(place, FILE_NAME, options, Arc::new(SystemDisk));
    for n in 0..count {
        let mut entry = Entry::new(EventKind::Stdout).message(format!("{n} {}", "x".repeat(6000)));
        entry.fit();
        stream.push(&entry).unwrap();
        stream.write().unwrap();
    }
}

fn verify(folder: &Folder, words: &[&str]) -> Ran {
    Run::new(&folder.0).run(&[&["logs", "--verify"], words].concat())
}

#[test]
fn a_chain_that_holds_is_told_with_its_head() {
    let folder = Folder::new();
    write(&folder.0.join("kv"), true, 30);
    write(&folder.0, false, 2);
    write(&folder.0, true, 3);
    fs::create_dir(folder.0.join("new")).unwrap();
    let ran = verify(&folder, &["--all"]);
    assert_eq!((ran.exit, &*ran.stderr), (Exit::Ok, ""));
    let current = fs::read_to_string(folder.0.join("kv/events.jsonl")).unwrap();
    let head: String =
        hash_line(current.lines().last().unwrap().as_bytes()).iter().map(|b| format!("{b:02x}")).collect();
    let lines: Vec<&str> = ran.stdout.lines().collect();
    assert_eq!(
        lines[0],
        "daemon  3 lines hold (seq 3 to 5); 2 lines before them are from before log.chain was on"
    );
    assert_eq!(
        lines[2..],
        ["kv      30 lines hold (seq 1 to 30)", &format!("        head {head}"), "new     no lines"]
    );
    let json: Value = serde_json::from_str(&verify(&folder, &["kv", "--json"]).stdout).unwrap();
    assert_eq!((&json["holds"], &json["streams"][0]["head"]), (&json!(true), &json!(head)));
    assert_eq!(json["streams"][0].get("fault"), None);
}

#[test]
fn the_first_line_that_does_not_fit_is_named_and_has_an_exit_code() {
    type Change = fn(&mut Vec<String>);
    let table: [(&str, Change, &str, Value); 3] = [
        (
            "altered",
            |lines| lines[2] = lines[2].replace("x ", "y ").replace("xx", "xy"),
            "line 3 (seq 3) was altered",
            json!({"kind": "altered", "line": 3, "seq": 3}),
        ),
        (
            "removed",
            |lines| drop(lines.drain(3..5)),
            "line 4 (seq 6) comes after 2 lines that were removed",
            json!({"kind": "removed", "line": 4, "seq": 6, "removed": 2}),
        ),
        (
            "inserted",
            |lines| lines.insert(4, lines[1].clone()),
            "line 5 (seq 2) was inserted",
            json!({"kind": "inserted", "line": 5, "seq": 2}),
        ),
    ];
    for (name, change, sentence, fault) in table {
        let folder = Folder::new();
        write(&folder.0.join("kv"), true, 30);
        write(&folder.0.join("web"), true, 3);
        // The oldest of the rotated files.
        let path = folder.0.join("kv/events.jsonl.1");
        let mut lines: Vec<String> = fs::read_to_string(&path).unwrap().lines().map(str::to_owned).collect();
        change(&mut lines);
        fs::write(&path, lines.join("\n") + "\n").unwrap();
        let ran = verify(&folder, &["--all"]);
        assert_eq!((ran.exit, ran.exit.code()), (Exit::Unverified, 8), "{name}");
        assert!(ran.stdout.contains(&format!("kv      {sentence}\n")), "{name}: {}", ran.stdout);
        assert!(ran.stdout.contains("web     3 lines hold"), "{name}: {}", ran.stdout);
        assert!(ran.stderr.contains("1 of 3 records"), "{name}: {}", ran.stderr);
        assert_eq!(verify(&folder, &["web"]).exit, Exit::Ok);
        let json = verify(&folder, &["kv", "--json"]);
        let document: Value = serde_json::from_str(&json.stdout).unwrap();
        assert_eq!((json.exit, &document["holds"]), (Exit::Unverified, &json!(false)), "{name}");
        assert_eq!(document["streams"][0]["fault"], fault, "{name}");
        let error: Value = serde_json::from_str(&json.stderr).unwrap();
        assert_eq!(
            (&error["error"]["name"], &error["error"]["exit_code"]),
            (&json!("unverified"), &json!(8))
        );
    }
}

#[test]
fn a_record_that_was_never_chained_is_no_sign_of_a_writer() {
    let folder = Folder::new();
    write(&folder.0.join("kv"), false, 3);
    write(&folder.0, false, 1);
    let ran = verify(&folder, &["kv"]);
    assert_eq!(ran.exit, Exit::Unverified);
    assert!(ran.stderr.contains("the record has no hash chain\n  with log.chain on"), "{}", ran.stderr);
    let ran = verify(&folder, &["--all"]);
    assert_eq!(ran.exit, Exit::Unverified);
    assert!(ran.stderr.contains("2 of 2 records have no hash chain\n"), "{}", ran.stderr);
    assert!(ran.stdout.contains("daemon  1 line without a hash chain"), "{}", ran.stdout);
    assert!(!ran.stderr.contains("who wrote"), "{}", ran.stderr);
}

#[test]
fn a_chain_goes_on_through_packed_files_and_a_damaged_one_is_told() {
    let folder = Folder::new();
    let kv = folder.0.join("kv");
    write(&kv, true, 60);
    let before = verify(&folder, &[]);
    assert_eq!(before.exit, Exit::Ok);
    let place = Place { base: kv.clone(), below: None };
    let limits = PackLimits { bytes_max: u64::MAX, is_durable: false };
    let files = segments(&kv, FILE_NAME).unwrap();
    let first: Vec<u64> = files.iter().filter_map(|file| file.first_seq).collect();
    for first_seq in &first[..first.len() - 1] {
        pack(&SystemDisk, &place, FILE_NAME, *first_seq, limits, &|| true).unwrap();
    }
    let packed = verify(&folder, &[]);
    assert_eq!((packed.exit, packed.stdout), (Exit::Ok, before.stdout));
    // What another says is not what was recorded, however well it is packed.
    let path = kv.join(format!("{FILE_NAME}.{}.gz", first[1]));
    let whole = fs::read(&path).unwrap();
    fs::copy(kv.join(format!("{FILE_NAME}.{}.gz", first[0])), &path).unwrap();
    let ran = verify(&folder, &[]);
    assert!(ran.exit == Exit::Unverified && ran.stdout.contains("line 10 (seq "), "{}", ran.stdout);
    assert!(ran.stderr.contains("the hash chain does not hold"), "{}", ran.stderr);
    let mut damaged = whole;
    damaged[100] ^= 1;
    fs::write(&path, damaged).unwrap();
    let ran = verify(&folder, &[]);
    assert_eq!(ran.exit, Exit::Unverified);
    assert!(
        ran.stdout.contains("1 part of a packed file is damaged, and any lines in it are lost"),
        "{}",
        ran.stdout
    );
    // Nobody need have written to the files.
    assert!(ran.stderr.contains("a part of the record is damaged; the rest holds"), "{}", ran.stderr);
    assert!(!ran.stderr.contains("chain") && !ran.stderr.contains("who wrote"), "{}", ran.stderr);
    assert!(
        ran.stdout.contains(&format!("{}: member 1 at byte 0 is damaged", path.display())),
        "{}",
        ran.stdout
    );
    let document: Value = serde_json::from_str(&verify(&folder, &["--json"]).stdout).unwrap();
    let stream = &document["streams"][0];
    assert_eq!((&document["holds"], &stream["damaged_parts"]), (&json!(false), &json!(1)));
    assert_eq!((&stream["damage"][0]["member"], &stream["damage"][0]["offset"]), (&json!(1), &json!(0)));
    assert_eq!((stream.get("fault"), &stream["last_seq"]), (None, &json!(60)), "the rest holds");
}

#[test]
fn a_record_without_a_chain_is_not_called_whole() {
    let folder = Folder::new();
    write(&folder.0.join("kv"), false, 4);
    let ran = verify(&folder, &[]);
    assert_eq!(ran.exit, Exit::Unverified);
    assert_eq!(ran.stdout, "kv  4 lines without a hash chain: log.chain is off\n");
}
