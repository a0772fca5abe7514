//! Lists of SHA-256 as sha256sum(1) writes them, and what one of them says of a file.
//!
//! What it deliberately does not do: open a file.
//!
//! What always holds: a line that is none, and two lines about one file that say something else, are errors, wherever they
//! stand.
#![forbid(unsafe_code)]

use std::ffi::OsStr;
use std::os::unix::ffi::OsStrExt;
use std::path::{Component, Path, PathBuf};

/// Hexadecimal digits of a SHA-256.
const DIGITS: usize = 64;

/// Whether a text is a SHA-256 as it is written: 64 lower-case hexadecimal digits.
pub(super) fn is_digest(text: &str) -> bool {
    text.len() == DIGITS && text.bytes().all(|byte| matches!(byte, b'0'..=b'9' | b'a'..=b'f'))
}

/// The SHA-256 that a list says a file has. Relative names in it count from the list's own folder.
///
/// # Errors
/// What is wrong with the list, in words that follow its name.
pub(super) fn listed(list: &[u8], folder: &Path, file: &Path) -> Result<String, String> {
    let mut found: Option<String> = None;
    let lines = list.strip_suffix(b"\n").unwrap_or(list).split(|byte| *byte == b'\n');
    for (at, line) in lines.enumerate() {
        let line = line.strip_suffix(b"\r").unwrap_or(line);
        let (digest, name) = read_line(line).ok_or_else(|| {
            format!("line {} is none of sha256sum(1); expected 64 hexadecimal digits, ' ', ' ' or '*', and a name", at + 1)
        })?;
        let name = folder.join(OsStr::from_bytes(&name));
        if without_dots(&name) != without_dots(file) {
            continue;
        }
        if found.as_ref().is_some_and(|found| *found != digest) {
            return Err(format!(
                "lists {} twice, with different digests; expected one line about it",
                file.display()
            ));
        }
        found = Some(digest);
    }
    found.ok_or_else(|| {
        format!("lists no {}; expected a line about it, as sha256sum(1) writes it", file.display())
    })
}

/// Digest and name of a line. A backslash before it says that its name has escapes.
fn read_line(line: &[u8]) -> Option<(String, Vec<u8>)> {
    let (is_escaped, line) = line.strip_prefix(b"\\").map_or((false, line), |rest| (true, rest));
    let (digest, rest) = line.split_at_checked(DIGITS)?;
    let digest = str::from_utf8(digest).ok()?.to_ascii_lowercase();
    let name = rest.strip_prefix(b"  ").or_else(|| rest.strip_prefix(b" *"))?;
    let name = if is_escaped { unescaped(name)? } else { name.to_vec() };
    (is_digest(&digest) && !name.is_empty()).then_some((digest, name))
}

fn unescaped(name: &[u8]) -> Option<Vec<u8>> {
    let (mut plain, mut bytes) = (Vec::new(), name.iter());
    while let Some(byte) = bytes.next() {
        plain.push(match byte {
            b'\\' => match bytes.next()? {
                b'\\' => b'\\',
                b'n' => b'\n',
                b'r' => b'\r',
                _ => return None,
            },
            byte => *byte,
        });
    }
    Some(plain)
}

/// A path without `.` in it. `..` stays: what it leads to depends on links.
fn without_dots(path: &Path) -> PathBuf {
    path.components().filter(|part| *part != Component::CurDir).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    const A: &str = "aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa";
    const B: &str = "bbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbb";

    fn of(list: &str, file: &str) -> Result<String, String> {
        listed(list.as_bytes(), Path::new("/opt/p"), Path::new(file))
    }

    #[test]
    fn a_file_is_found_by_its_name_from_the_lists_folder_or_from_the_root() {
        for list in [
            format!("{A}  kv\n"),
            format!("{A} *kv"),
            format!("{A}  ./kv\r\n"),
            format!("{A}  /opt/p/kv\n"),
            format!("{}  kv\n", A.to_uppercase()),
            format!("{B}  other\n{A}  kv\n{B}  a/kv\n"),
            format!("{A}  kv\n{A} */opt/p/kv\n"),
        ] {
            assert_eq!(of(&list, "/opt/p/kv").as_deref(), Ok(A), "{list}");
        }
        assert_eq!(of(&format!("{A}  bin/kv\n"), "/opt/p/bin/kv").as_deref(), Ok(A));
        assert_eq!(of(&format!("\\{A}  a\\nb\\\\c\\r\n"), "/opt/p/a\nb\\c\r").as_deref(), Ok(A));
        // Without the mark, a backslash is one.
        assert_eq!(of(&format!("{A}  a\\nb\n"), "/opt/p/a\\nb").as_deref(), Ok(A));
        assert_eq!(
            of(&format!("{A}   kv\n"), "/opt/p/ kv").as_deref(),
            Ok(A),
            "a name that begins with a blank"
        );
    }

    #[test]
    fn what_the_tool_itself_writes_is_read() {
        let folder = tempfile::tempdir().unwrap();
        for name in ["kv", "with blank", "with\nnewline", "with\\backslash"] {
            let path = folder.path().join(name);
            std::fs::write(&path, name).unwrap();
            for mark in ["--text", "--binary"] {
                let mut tool = std::process::Command::new("sha256sum");
                let output = tool.arg(mark).arg(name).current_dir(folder.path()).output().unwrap();
                let digest = listed(&output.stdout, folder.path(), &path).unwrap();
                assert!(is_digest(&digest), "{name}: {digest}");
            }
        }
    }

    #[test]
    fn what_is_no_list_or_says_nothing_of_the_file_is_refused() {
        for (list, why) in [
            (String::new(), "line 1 is none of sha256sum(1)"),
            (format!("{A}  kv\nkv\n"), "line 2 is none"),
            (format!("{A}  kv\n\n"), "line 2 is none"),
            (format!("{A} kv\n"), "line 1 is none"),
            (format!("{A}  \n"), "line 1 is none"),
            (format!("{A}a  kv\n"), "line 1 is none"),
            (format!("{}g  kv\n", &A[1..]), "line 1 is none"),
            (format!("\\{A}  k\\v\n"), "line 1 is none"),
            (format!("SHA256 (kv) = {A}\n"), "line 1 is none"),
            (format!("{A}  other\n"), "lists no /opt/p/kv; expected a line about it"),
            (format!("{A}  ../p/kv\n"), "lists no /opt/p/kv"),
            (format!("{A}  kv\n{B}  kv\n"), "lists /opt/p/kv twice, with different digests"),
        ] {
            let error = of(&list, "/opt/p/kv").unwrap_err();
            assert!(error.contains(why), "{list:?}: {error}");
        }
    }
}
