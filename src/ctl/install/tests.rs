//! Archives that are unpacked, and those that are not, with what is said of them.

#[path = "bad_archives.rs"]
mod bad_archives;

use super::archive::ArchivedFile;
use super::*;
use crate::cli::testing::hold_page;
use crate::package::bad_cases::{self, BadCase};
use crate::package::read_folder;
use bad_archives::bad_archives;
use flate2::Compression;
use flate2::write::GzEncoder;
use serde_json::json;
use std::os::unix::fs::PermissionsExt;
use tar::{EntryType, Header};

const RUN: &[u8] = b"#!/bin/sh\n";

/// An archive that is written entry by entry, right or wrong.
#[derive(Clone, Default)]
struct Tar(Vec<u8>);

impl Tar {
    fn header(kind: u8, name: &[u8], mode: u32, size: u64) -> Header {
        let mut header = Header::new_gnu();
        let old = header.as_old_mut();
        old.name[..name.len()].copy_from_slice(name);
        header.set_mode(mode);
        header.set_size(size);
        header.set_uid(1000);
        header.set_gid(1000);
        header.set_mtime(0);
        header.set_entry_type(EntryType::new(kind));
        header.set_cksum();
        header
    }

    fn raw(mut self, header: &Header, content: &[u8]) -> Tar {
        self.0.extend_from_slice(header.as_bytes());
        self.0.extend_from_slice(content);
        self.0.resize(self.0.len().next_multiple_of(512), 0);
        self
    }

    fn entry(self, kind: u8, name: &str, mode: u32, content: &[u8]) -> Tar {
        self.raw(&Tar::header(kind, name.as_bytes(), mode, content.len() as u64), content)
    }

    fn file(self, name: &str, content: &[u8]) -> Tar {
        self.entry(b'0', name, 0o644, content)
    }

    fn program(self, name: &str) -> Tar {
        self.entry(b'0', name, 0o755, RUN)
    }

    fn folder(self, name: &str) -> Tar {
        self.entry(b'5', name, 0o755, b"")
    }

    fn end(mut self) -> Vec<u8> {
        self.0.resize(self.0.len() + 1024, 0);
        self.0
    }
}

/// A manifest of a package with these files.
fn manifest(files: &[(&str, &[u8])]) -> Vec<u8> {
    let files: serde_json::Map<_, _> = files
        .iter()
        .map(|(name, content)| ((*name).to_owned(), json!(Digest::of(content).to_string())))
        .collect();
    json!({"manifest": 1, "id": "kv", "version": "1.0.0", "entrypoint": "run", "files": files})
        .to_string()
        .into_bytes()
}

/// A good archive's beginning, to which something may be added.
fn good() -> Tar {
    Tar::default().file("plugin.json", &manifest(&[("run", RUN)])).program("run")
}

fn gzip(bytes: &[u8]) -> Vec<u8> {
    let mut packed = GzEncoder::new(Vec::new(), Compression::default());
    packed.write_all(bytes).unwrap();
    packed.finish().unwrap()
}

/// A pax record.
fn record(key: &str, value: &str) -> Vec<u8> {
    let rest = format!(" {key}={value}\n");
    let mut length = rest.len() + 1;
    while format!("{length}{rest}").len() != length {
        length = format!("{length}{rest}").len();
    }
    format!("{length}{rest}").into_bytes()
}

const SMALL: Bounds = Bounds { entries: 40, files: 20, file_bytes: 1 << 20, bytes: 2 << 20 };
const UNSIGNED: Expected = Expected { digest: None, may_be_unsigned: true };

/// A file without a name.
fn stored(bytes: &[u8]) -> File {
    let mut file = tempfile::tempfile().unwrap();
    file.write_all(bytes).unwrap();
    file
}

fn opened_as(archive: &[u8], expected: Expected) -> Result<Unpacked, String> {
    open_file(&stored(archive), "kv.tar", (expected, SMALL), None, &mut |_, _| {})
        .map_err(|faults| faults.join("\n"))
}

fn opened(archive: &[u8]) -> Result<Unpacked, String> {
    opened_as(archive, UNSIGNED)
}

#[test]
fn a_good_archive_is_unpacked_as_what_it_holds() {
    let text = b"text".as_slice();
    let manifest = manifest(&[("run", RUN), ("share/a/b", text)]);
    let flat = Tar::default().file("plugin.json", &manifest).program("run").file("share/a/b", text);
    let dotted = Tar::default()
        .folder("./")
        .program("./run")
        .folder("./share/")
        .folder("./share/a")
        .file("./share/a/b", text)
        .file("./plugin.json", &manifest);
    let top = Tar::default()
        .folder("kv-1.0/")
        .program("kv-1.0/run")
        .entry(b'5', "kv-1.0/share", 0o2775, b"")
        .file("kv-1.0/share/a/b", text)
        .file("kv-1.0/plugin.json", &manifest);
    let long = record("path", "share/a/b");
    let pax = Tar::default()
        .entry(b'g', "pax_global_header", 0o644, &record("comment", "a commit\nof two lines"))
        .entry(b'x', "x", 0o644, &[record("mtime", "1.5"), record("size", "4"), long].concat())
        .file("short", text)
        .entry(b'L', "././@LongLink", 0o644, b"plugin.json\0")
        .file("plugi", &manifest)
        .program("run");
    for archive in [flat, dotted, top, pax] {
        let plain = archive.end();
        let halves = [gzip(&plain[..700]), gzip(&plain[700..])].concat();
        let padded = [&plain[..], &[0; 9216]].concat();
        for bytes in [&plain, &gzip(&plain), &halves, &padded] {
            let unpacked = opened(bytes).unwrap();
            let package = read_folder(&unpacked.path()).unwrap();
            assert_eq!((package.manifest.files.len(), package.bytes), (2, 14));
            assert_eq!(unpacked.digest, Some(Digest::of(bytes)));
            let mode = |path: &str| {
                std::fs::metadata(unpacked.path().join(path)).unwrap().permissions().mode() & 0o7777
            };
            assert_eq!((mode("run"), mode("share/a/b")), (0o755, 0o644));
            assert_eq!(mode("..") & 0o077, 0, "nobody else enters it");
            let path = unpacked.path();
            drop(unpacked);
            assert!(!path.exists(), "it goes when it is not needed any more");
        }
    }
}

#[test]
fn what_tar_itself_packs_is_unpacked() {
    let root = tempfile::tempdir().unwrap();
    let package = root.path().join("package");
    let name = format!("{}/{}", "long".repeat(40), "name".repeat(40));
    std::fs::create_dir_all(package.join(&name).parent().unwrap()).unwrap();
    std::fs::write(package.join(&name), "text").unwrap();
    std::fs::write(package.join("run"), RUN).unwrap();
    std::fs::set_permissions(package.join("run"), std::fs::Permissions::from_mode(0o755)).unwrap();
    std::fs::write(package.join("plugin.json"), manifest(&[("run", RUN), (&name, b"text")])).unwrap();
    for format in ["gnu", "pax", "posix"] {
        for (folder, what) in [(&package, "."), (&root.path().to_owned(), "package")] {
            for flag in ["-c", "-cz"] {
                let archive = root.path().join("archive");
                let made = std::process::Command::new("tar")
                    .args([flag, "--format", format, "-f"])
                    .arg(&archive)
                    .arg("-C")
                    .arg(folder)
                    .arg(what)
                    .output()
                    .unwrap();
                assert!(made.status.success(), "{made:?}");
                let unpacked = opened(&std::fs::read(&archive).unwrap()).unwrap();
                assert_eq!(read_folder(&unpacked.path()).unwrap().manifest.files.len(), 2, "{format}");
            }
        }
    }
}

#[test]
fn each_bad_archive_is_refused_with_what_is_wrong_before_anything_is_written() {
    let mut wrong = Vec::new();
    for (what, archive, why) in bad_archives() {
        let file = stored(&archive);
        let length = archive.len() as u64;
        let mut read = 0;
        let opened = open_file(&file, "kv.tar", (UNSIGNED, SMALL), None, &mut |done, _| read = done);
        let told = opened.map(drop).expect_err(what).join("\n");
        // Unpacking would be a third reading.
        if !told.contains(why) || !told.starts_with("kv.tar: ") || told.lines().any(|line| line.len() > 250) {
            wrong.push(format!("{what}: {why}:\n{told}"));
        }
        assert!(read <= 2 * length, "{what}: {read} of {length}");
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n\n"));
}

#[test]
fn an_archive_without_a_signature_needs_its_digest_or_to_be_asked_for() {
    let archive = gzip(&good().end());
    let digest = Digest::of(&archive);
    let named = |digest| Expected { digest: Some(digest), may_be_unsigned: false };
    let told = opened_as(&archive, Expected::default()).map(drop).unwrap_err();
    assert!(
        told.starts_with("kv.tar: is not signed (there is no plugin.json.minisig); expected --sha256")
            && told.contains(&format!("or --unsigned; seen SHA-256 {digest}")),
        "{told}"
    );
    opened_as(&archive, UNSIGNED).unwrap();
    opened_as(&archive, named(digest)).unwrap();
    let other = Digest::of(b"other");
    let told = opened_as(&archive, named(other)).map(drop).unwrap_err();
    assert_eq!(told, format!("kv.tar: expected SHA-256 {other}; seen {digest}"));
    // What is not what was named is not looked at any further, and a signature does not make up for it.
    let told =
        opened_as(b"no archive", Expected { may_be_unsigned: true, ..named(other) }).map(drop).unwrap_err();
    assert_eq!(told, format!("kv.tar: expected SHA-256 {other}; seen {}", Digest::of(b"no archive")));
    let signed = good().file("plugin.json.minisig", b"whatever it is").end();
    opened_as(&signed, Expected::default()).unwrap();
    opened_as(&signed, named(other)).map(drop).unwrap_err();
}

#[test]
fn an_archive_that_changes_while_it_is_read_is_refused() {
    // Both are good and of one length.
    let first = good().end();
    let manifest = manifest(&[("run", RUN)]);
    let second = Tar::default().file("plugin.json", &manifest).entry(b'0', "run", 0o775, RUN).end();
    assert_eq!(first.len(), second.len());
    for at_pass in [1, 2] {
        let path = tempfile::NamedTempFile::new().unwrap();
        std::fs::write(path.path(), &first).unwrap();
        let file = path.reopen().unwrap();
        let length = first.len() as u64;
        let mut changed = false;
        let opened = open_file(&file, "kv.tar", (UNSIGNED, SMALL), None, &mut |done, _| {
            if done == at_pass * length && !changed {
                changed = true;
                std::fs::write(path.path(), &second).unwrap();
            }
        });
        assert!(changed);
        assert_eq!(opened.map(drop).unwrap_err(), ["kv.tar: was changed while it was read"]);
    }
}

#[test]
fn faults_of_files_are_told_at_once_and_bounded() {
    let archive = (0..18).fold(good(), |tar, number| tar.file(&format!("f{number}"), b""));
    let told = opened(&archive.end()).map(drop).unwrap_err();
    assert_eq!(told.lines().count(), 18);
    let listed: Vec<String> = (0..100).map(|number| format!("f{number}")).collect();
    let mut files: Vec<(&str, &[u8])> = listed.iter().map(|name| (&**name, &b""[..])).collect();
    files.push(("run", RUN));
    let archive = Tar::default().file("plugin.json", &manifest(&files)).program("run").end();
    let told = opened(&archive).map(drop).unwrap_err();
    assert!(told.ends_with("kv.tar: and 80 more") && told.lines().count() == 21, "{told}");
}

#[test]
fn standard_input_is_kept_within_its_bound() {
    let piped = |bytes: &[u8]| {
        let (reader, mut writer) = std::io::pipe().unwrap();
        writer.write_all(bytes).unwrap();
        File::from(std::os::fd::OwnedFd::from(reader))
    };
    assert_eq!(spooled(piped(b"12345"), 5, None).unwrap().metadata().unwrap().len(), 5);
    assert!(spooled(piped(b"123456"), 5, None).unwrap_err().to_string().contains("more than 5 bytes"));
    let file = spooled(piped(&good().end()), u64::MAX, None).unwrap();
    open_file(&file, "-", (UNSIGNED, SMALL), None, &mut |_, _| {}).unwrap();
    // What is no archive.
    let folder = tempfile::tempdir().unwrap();
    let told =
        |path: &Path| open_archive(path, UNSIGNED, None, &mut |_, _| {}).map(drop).unwrap_err().join("\n");
    assert!(told(folder.path()).ends_with("is a folder; expected an archive"));
    assert!(told(&folder.path().join("a\nb")).contains("a\\nb: No such file"));
}

#[test]
fn a_file_is_known_by_its_length_and_whether_it_is_executable() {
    let mut seen = Vec::new();
    let archive = Tar::default().program("run").file("a", b"text").end();
    let contents = read_archive(&archive[..], SMALL, &mut |path, file, _| {
        seen.push((path.to_string(), file));
        Ok(())
    });
    let run = ArchivedFile { bytes: RUN.len() as u64, is_executable: true };
    let text = ArchivedFile { bytes: 4, is_executable: false };
    assert_eq!(seen, [("run".to_owned(), run), ("a".to_owned(), text)]);
    assert_eq!(contents.unwrap().bytes, 14);
}

/// Longest message on the page. Characters.
const MESSAGE_CHARS_MAX: usize = 140;

fn table(heading: &str, text: &str, cases: &[BadCase]) -> String {
    let mut table = format!("\n## {heading}\n\n{text}\n\n| what it is | what is said of it |\n|---|---|\n");
    // As code, so that nothing of it is taken for a mark.
    let code = |text: &str| format!("`{}`", text.replace('|', "\\|").replace('\n', " / ").replace('`', "'"));
    for (what, told) in cases {
        let told = match told.char_indices().nth(MESSAGE_CHARS_MAX) {
            Some((end, _)) => format!("{}...", &told[..end]),
            None => told.clone(),
        };
        table.push_str(&format!("| {} | {} |\n", code(what), code(&told)));
    }
    table
}

#[test]
fn the_page_lists_each_bad_package_with_what_is_said_of_it() {
    let archives: Vec<BadCase> = bad_archives()
        .into_iter()
        .map(|(what, archive, _)| (what.to_owned(), opened(&archive).map(drop).unwrap_err()))
        .collect();
    let (manifests, folders, publishers) =
        (bad_cases::manifests(), bad_cases::folders(), bad_cases::publishers());
    let count = manifests.len() + folders.len() + publishers.len() + archives.len();
    assert!(count >= 200, "{count}");
    let page = [
        format!(
            "# Bad packages\n\nWhat is said of {count} [packages](packages.md) that are refused. This page is made from what the code \
             says (`UPDATE_DOCS=1 cargo test --lib ctl::install`).\n"
        ),
        table(
            "Manifests",
            "A good manifest of which one member is another. Before each message stand file and line.",
            &manifests,
        ),
        table("Folders", "A good package's folder in which one thing is another.", &folders),
        table(
            "Signatures and publishers",
            "Of `plugin.json.minisig`, and of whom is trusted with what.",
            &publishers,
        ),
        table("Archives", "As `kv.tar`, with bounds that are small.", &archives),
    ];
    hold_page("docs/bad-packages.md", &page.concat(), "ctl::install");
}
