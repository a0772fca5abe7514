//! Executables that are the expected ones, and those that are not.

use super::super::executable::open;
use super::super::testing::{chmod, file, folder};
use super::*;
use std::os::fd::AsFd;

fn hex(bytes: &[u8]) -> String {
    hmac_sha256::Hash::hash(bytes).iter().map(|byte| format!("{byte:02x}")).collect()
}

/// Long after the file was made.
fn later() -> SystemTime {
    SystemTime::now() + 10 * SETTLED_AFTER
}

#[test]
fn an_executable_is_compared_with_the_digest_that_is_named_or_listed() {
    let root = folder();
    let large = vec![b'#'; 3 * PIECE_BYTES + 7];
    for content in [&b"#!/bin/sh\n"[..], &large, b""] {
        let path = file(root.path(), "program", content, 0o755);
        let program = open(&path).unwrap();
        let cache = DigestCache::default();
        check(&program, ExpectedDigest::Is(&hex(content)), &cache).unwrap();
        let other = hex(b"other");
        let error = check(&program, ExpectedDigest::Is(&other), &cache).unwrap_err();
        let path_shown = path.display();
        assert_eq!(
            error.to_string(),
            format!(
                "executable {path_shown} is another file: expected SHA-256 {other}, seen {}; put the file back, or correct \
                 the digest if the change was meant",
                hex(content)
            )
        );
        let list = file(root.path(), "SHA256SUMS", format!("{}  program\n", hex(content)), 0o644);
        check(&program, ExpectedDigest::ListedIn(&list), &cache).unwrap();
        std::fs::write(&list, format!("{other} *program\n")).unwrap();
        let error = check(&program, ExpectedDigest::ListedIn(&list), &cache).unwrap_err().to_string();
        assert!(
            error.contains(&format!("expected SHA-256 {other} (of {}), seen", list.display())),
            "{error}"
        );
        std::fs::remove_file(path).unwrap();
        std::fs::remove_file(list).unwrap();
    }
}

#[test]
fn a_list_that_cannot_be_used_is_told_with_its_name() {
    let root = folder();
    let program = open(&file(root.path(), "program", "x", 0o755)).unwrap();
    let cache = DigestCache::default();
    let list = root.path().join("SHA256SUMS");
    let told = || {
        let error = check(&program, ExpectedDigest::ListedIn(&list), &cache).unwrap_err().to_string();
        assert!(error.starts_with(&format!("sha256_file {}: ", list.display())), "{error}");
        error
    };
    assert!(told().contains("No such file"));
    std::fs::write(&list, "nothing").unwrap();
    assert!(told().contains("line 1 is none of sha256sum(1)"));
    std::fs::write(&list, vec![b'x'; LIST_BYTES_MAX + 1]).unwrap();
    assert!(told().contains("more than 1048576 bytes"));
    std::fs::write(&list, format!("{}  program\n", hex(b"x"))).unwrap();
    chmod(&list, 0o666);
    assert!(told().contains("write"), "others could have written it");
}

/// The same size throughout, so that nothing but the time of change tells.
#[test]
fn a_digest_is_remembered_of_a_file_that_had_settled_and_of_no_other() {
    let root = folder();
    let path = file(root.path(), "program", "first", 0o755);
    let program = open(&path).unwrap();
    let cache = DigestCache::default();
    let known = || cache.0.lock().unwrap().len();
    let digest = |now| digest_of(&program, &cache, now).unwrap();
    let changed = FileVersion::of(&fstat(&program).unwrap());
    let changed_at = UNIX_EPOCH + Duration::new(changed.changed_s as u64, changed.changed_ns as u32);
    assert_eq!(digest(changed_at + SETTLED_AFTER / 2), hex(b"first"));
    assert_eq!(digest(changed_at - SETTLED_AFTER), hex(b"first"), "a clock that is behind the file's");
    assert_eq!(known(), 0);
    assert_eq!(digest(changed_at + SETTLED_AFTER), hex(b"first"));
    assert_eq!(known(), 1);
    // What is remembered is used, by what the file is.
    cache.put(changed, "remembered".to_owned());
    assert_eq!(digest(later()), "remembered");
    let mut other = changed;
    for change in [
        |version: &mut FileVersion| version.device += 1,
        |version: &mut FileVersion| version.inode += 1,
        |version: &mut FileVersion| version.size += 1,
        |version: &mut FileVersion| version.changed_s += 1,
        |version: &mut FileVersion| version.changed_ns += 1,
    ] {
        change(&mut other);
        assert_eq!(cache.get(other), None);
    }
    // A change in place has another time, which no utimensat(2) turns back.
    let written = || {
        std::fs::write(&path, "other").unwrap();
        FileVersion::of(&fstat(&program).unwrap()) == changed
    };
    while written() {
        std::thread::yield_now();
    }
    assert_eq!(digest(later()), hex(b"other"));
}

#[test]
fn no_more_digests_are_remembered_than_may_be() {
    let cache = DigestCache::default();
    for inode in 0..CACHED_MAX as u64 + 10 {
        let version = FileVersion { device: 1, inode, size: 0, changed_s: 0, changed_ns: 0 };
        cache.put(version, String::new());
    }
    assert_eq!(cache.0.lock().unwrap().len(), CACHED_MAX);
}

#[test]
fn hashing_leaves_the_descriptor_where_it_stood() {
    let root = folder();
    let program = open(&file(root.path(), "program", "#!/bin/sh\nexit 0\n", 0o755)).unwrap();
    let place = || nix::unistd::lseek(program.as_fd(), 0, nix::unistd::Whence::SeekCur).unwrap();
    let before = place();
    digest_of(&program, &DigestCache::default(), later()).unwrap();
    assert_eq!(place(), before);
}
