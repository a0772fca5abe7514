//! Archives that are refused: what each is, its bytes, and what is said of it.

use super::*;

/// What it is, its bytes, and what is said of it.
pub(super) type BadArchive = (&'static str, Vec<u8>, &'static str);

/// All of them.
pub(super) fn bad_archives() -> Vec<BadArchive> {
    [formats(), broken_headers(), paths(), kinds(), doubles_and_bounds(), extended_headers(), contents()]
        .concat()
}

/// A good beginning and an entry whose long name has so many bytes.
fn long(size: usize) -> Vec<u8> {
    good().entry(b'L', "././@LongLink", 0o644, &vec![b'a'; size]).file("a", b"").end()
}

/// A good beginning and an entry with these pax records.
fn pax(records: &[u8]) -> Vec<u8> {
    good().entry(b'x', "x", 0o644, records).file("notes", b"text").end()
}

/// Files that are something else, or gzip that is broken.
fn formats() -> Vec<BadArchive> {
    let whole = good().end();
    vec![
        ("an empty file", Vec::new(), "is empty"),
        ("a text", b"not an archive at all, but a text that is long enough".repeat(20), "is no tar archive"),
        ("a program", [b"\x7fELF", &[7; 600][..]].concat(), "is no tar archive"),
        ("a short file", b"x".to_vec(), "is no tar archive: it is cut off"),
        ("xz", b"\xfd7zXZ\0\0\0".to_vec(), "is compressed with xz; expected a tar archive, or one with gzip"),
        ("bzip2", b"BZh91AY&SY".to_vec(), "is compressed with bzip2"),
        ("zstd", b"\x28\xb5\x2f\xfd\0".to_vec(), "is compressed with zstd"),
        ("a zip archive", b"PK\x03\x04\0".to_vec(), "is a zip archive"),
        ("a 7z archive", b"7z\xbc\xaf\x27\x1c".to_vec(), "is a 7z archive"),
        ("a Debian package", b"!<arch>\ndebian-binary".to_vec(), "is an ar archive or a Debian package"),
        ("gzip that is cut off", gzip(&whole)[..60].to_vec(), "it is cut off"),
        ("gzip of which only the beginning is there", gzip(&whole)[..5].to_vec(), "cut off"),
        (
            "gzip whose checksum is wrong",
            {
                let mut packed = gzip(&whole);
                let at = packed.len() - 8;
                packed[at] ^= 1;
                packed
            },
            "cannot be read: corrupt",
        ),
        ("gzip and something behind it", [&gzip(&whole)[..], &[7; 64]].concat(), "invalid gzip header"),
        ("gzip of gzip", gzip(&gzip(&whole)), "is no tar archive"),
        ("gzip of nothing", gzip(b""), "ends without its end mark"),
    ]
}

/// Tars that end too early, go on too long or have a header that is none.
fn broken_headers() -> Vec<BadArchive> {
    let mut torn = good().file("notes", b"text");
    torn.0.truncate(torn.0.len() - 512);
    let mut checksum = good().file("notes", b"text").end();
    let at = checksum.len() - 1024 - 1024 + 148;
    checksum[at] ^= 1;
    let mut mode = Tar::header(b'0', b"notes", 0o644, 0);
    mode.as_old_mut().mode = *b"!!!!!!!!";
    mode.set_cksum();
    let whole = good().end();
    vec![
        ("no entry", Tar::default().end(), "has no plugin.json"),
        ("a tar that is cut off in a header", whole[..700].to_vec(), "it is cut off"),
        ("a tar that is cut off in a file", torn.0, "entry 3: \"notes\": it is cut off"),
        ("a tar that is cut off behind a file", good().0, "ends without its end mark; it was cut off"),
        ("something behind the end", [&whole[..], b"more"].concat(), "goes on behind its end"),
        ("a second tar behind the end", [&whole[..], &whole[..]].concat(), "goes on behind its end"),
        (
            "zeros without end behind the end",
            [&whole[..], &vec![0; 2 << 20]].concat(),
            "more than 1048576 zeros",
        ),
        ("a header whose checksum is wrong", checksum, "entry 3: archive header checksum mismatch"),
        ("a mode that is no number", good().raw(&mode, b"").end(), "entry 3: \"notes\": "),
    ]
}

/// Entries whose paths a package may not have.
fn paths() -> Vec<BadArchive> {
    vec![
        (
            "an absolute path",
            good().file("/etc/passwd", b"").end(),
            "entry 3: the path \"/etc/passwd\" is absolute",
        ),
        (
            "a path that climbs",
            good().file("../run", b"").end(),
            "entry 3: the path \"../run\" has a part \"..\", and may not climb",
        ),
        ("a path that climbs inside", good().file("a/../../b", b"").end(), "has a part \"..\""),
        ("a folder that climbs", good().folder("../a/").end(), "has a part \"..\""),
        ("a path with '.' inside", good().file("a/./b", b"").end(), "has a part \".\""),
        ("a path with an empty part", good().file("a//b", b"").end(), "has an empty part"),
        ("a file that ends with '/'", good().file("a/", b"").end(), "has an empty part"),
        ("a file without a name", good().file("", b"").end(), "the path is empty"),
        ("a path with a backslash", good().file("a\\b", b"").end(), "a control character or a '\\'"),
        (
            "a path with a newline",
            good().file("a\nb", b"").end(),
            "the path \"a\\nb\" has a control character",
        ),
        (
            "a name that is not UTF-8",
            good().raw(&Tar::header(b'0', b"a\xff", 0o644, 0), b"").end(),
            "its name is not UTF-8",
        ),
        ("a name of more than 255 bytes", long(256), "has a part of 256 bytes"),
        ("a path of more than 1024 bytes", long(1025), "the path has 1025 bytes"),
        (
            "a header of more than 16 KiB",
            long(16 * 1024 + 1),
            "entry 3: is a header of more than 16384 bytes",
        ),
    ]
}

/// Entries that are neither plain files nor folders.
fn kinds() -> Vec<BadArchive> {
    vec![
        (
            "a symbolic link",
            good().entry(b'2', "link", 0o777, b"").end(),
            "entry 3: \"link\": is a symbolic link; a package has files and folders only",
        ),
        ("a hard link", good().entry(b'1', "link", 0o644, b"").end(), "entry 3: \"link\": is a hard link"),
        (
            "a long name of a link",
            good().entry(b'K', "x", 0o644, b"/etc/passwd\0").end(),
            "is a symbolic link",
        ),
        (
            "a character device",
            good().entry(b'3', "null", 0o666, b"").end(),
            "entry 3: \"null\": is a character device",
        ),
        (
            "a block device",
            good().entry(b'4', "sda", 0o660, b"").end(),
            "entry 3: \"sda\": is a block device",
        ),
        ("a named pipe", good().entry(b'6', "pipe", 0o644, b"").end(), "entry 3: \"pipe\": is a named pipe"),
        (
            "a sparse file",
            good().entry(b'S', "disk", 0o644, b"").end(),
            "is a sparse file; pack it without `tar --sparse`",
        ),
        (
            "a sparse file as pax has it",
            pax(&record("GNU.sparse.major", "1")),
            "is the header of a sparse file",
        ),
        (
            "a volume label",
            good().entry(b'V', "label", 0o644, b"").end(),
            "is of a type that is not known here, 'V'",
        ),
        (
            "a part of a file",
            good().entry(b'M', "part", 0o644, b"").end(),
            "is of a type that is not known here, 'M'",
        ),
        (
            "a set-uid file",
            good().entry(b'0', "su", 0o4755, b"").end(),
            "entry 3: \"su\": is set-uid or set-gid (mode 4755)",
        ),
        ("a set-gid file", good().entry(b'0', "sg", 0o2755, b"").end(), "is set-uid or set-gid (mode 2755)"),
        (
            "a folder with content",
            good().entry(b'5', "a", 0o755, b"text").end(),
            "entry 3: \"a\": is a folder with content",
        ),
    ]
}

/// Entries that stand twice, and too much of something.
fn doubles_and_bounds() -> Vec<BadArchive> {
    let many = (0..41).fold(good(), |tar, number| tar.folder(&format!("f{number}"))).end();
    let files = (0..20).fold(good(), |tar, number| tar.file(&format!("f{number}"), b"")).end();
    let large = Tar::header(b'0', b"large", 0o644, (1 << 20) + 1);
    let megabyte = vec![0; 1 << 20];
    let sum = good().file("a", &megabyte).file("b", &megabyte).end();
    let whole = good().end();
    vec![
        ("a file that stands twice", good().program("run").end(), "entry 3: \"run\": stands twice"),
        (
            "a file that stands twice in two ways",
            good().program("./run").end(),
            "entry 3: \"./run\": stands twice",
        ),
        (
            "a folder that stands twice",
            good().folder("a").folder("a/").end(),
            "entry 4: \"a/\": stands twice",
        ),
        ("a folder and a file of one name", good().folder("a").file("a", b"").end(), "\"a\": stands twice"),
        (
            "a file with something in it",
            good().file("run/more", b"").end(),
            "\"run\" is a file, and \"run/more\" is in it",
        ),
        ("too many entries", many, "has more than 40 entries"),
        ("too many files", files, "with it there are more than 20 files"),
        (
            "a file that is too large",
            good().raw(&large, b"").0,
            "entry 3: \"large\": has 1048577 bytes, 1048576 are the most",
        ),
        ("too much altogether", sum, "entry 4: \"b\": with it there are more than 2097152 bytes"),
        (
            "a gzip bomb",
            gzip(&good().raw(&large, &vec![0; 1 << 24]).end()),
            "has 1048577 bytes, 1048576 are the most",
        ),
        (
            "a gzip bomb behind the end",
            gzip(&[&whole[..], &vec![0; 1 << 24]].concat()),
            "more than 1048576 zeros",
        ),
    ]
}

/// Headers about the next entry that contradict each other or say too much.
fn extended_headers() -> Vec<BadArchive> {
    vec![
        (
            "two names for one entry",
            good().entry(b'L', "x", 0o644, b"a\0").entry(b'L', "x", 0o644, b"b\0").file("c", b"").end(),
            "entry 4: is a second name for one entry",
        ),
        (
            "a long name and one of pax",
            good()
                .entry(b'L', "x", 0o644, b"a\0")
                .entry(b'x', "x", 0o644, &record("path", "b"))
                .file("c", b"")
                .end(),
            "is a second name for one entry",
        ),
        (
            "two extended headers for one entry",
            good().entry(b'x', "x", 0o644, b"").entry(b'x', "x", 0o644, b"").file("c", b"").end(),
            "entry 4: is a second extended header",
        ),
        (
            "an extended header of nothing",
            good().entry(b'x', "x", 0o644, &record("path", "a")).end(),
            "entry 3: is a header of an entry that does not follow",
        ),
        ("an extended header that is none", pax(b"hello"), "entry 3: is an extended header that is none"),
        ("a length of pax that is another", pax(&record("size", "5")), "entry 4: \"notes\": has two lengths"),
        ("a link of pax", pax(&record("linkpath", "/etc")), "is the header of a link"),
        ("a path of pax that climbs", pax(&record("path", "../a")), "has a part \"..\""),
        (
            "a name for every entry",
            good().entry(b'g', "g", 0o644, &record("path", "a")).end(),
            "is a header that sets \"path\" for every entry",
        ),
    ]
}

/// Archives whose content is no package.
fn contents() -> Vec<BadArchive> {
    let other = manifest(&[("run", b"other")]);
    let more = manifest(&[("run", RUN), ("notes", b"")]);
    vec![
        (
            "no manifest",
            Tar::default().program("run").end(),
            "has no plugin.json; expected one at its top, or in the one folder that all of it is in",
        ),
        (
            "two top folders",
            Tar::default().file("a/plugin.json", &manifest(&[])).file("b/plugin.json", &manifest(&[])).end(),
            "has no plugin.json",
        ),
        (
            "a top folder and a file beside it",
            Tar::default().file("a/plugin.json", &manifest(&[])).file("b", b"").end(),
            "has no plugin.json",
        ),
        (
            "a manifest two folders deep",
            Tar::default().file("a/b/plugin.json", &manifest(&[])).end(),
            "has no plugin.json",
        ),
        (
            "a manifest that is wrong",
            Tar::default().file("plugin.json", b"{}").end(),
            "kv.tar: plugin.json:1: key \"manifest\": is missing",
        ),
        (
            "a file that is not listed",
            good().file("notes", b"").end(),
            "\"notes\": is not listed in \"files\"",
        ),
        (
            "a file that is missing",
            Tar::default().file("plugin.json", &more).program("run").end(),
            "\"notes\": is missing, and listed in \"files\"",
        ),
        (
            "a file that is another",
            Tar::default().file("plugin.json", &other).program("run").end(),
            "\"run\": has SHA-256 ",
        ),
        (
            "an entrypoint that is not executable",
            Tar::default().file("plugin.json", &manifest(&[("run", RUN)])).file("run", RUN).end(),
            "\"run\": is the entrypoint, and not executable; chmod a+x it",
        ),
    ]
}
