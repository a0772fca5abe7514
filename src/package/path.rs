//! Paths of a package's files, relative to its folder.
//!
//! What it deliberately does not do: look whether there is such a file.
//!
//! What always holds: such a path stays inside the folder that it is joined to, as long as nothing on its way is a link.

use crate::state::config_error::quoted;
use std::borrow::Borrow;
use std::fmt;
use std::path::Path;

/// Longest path within a package. Bytes.
pub const PACKAGE_PATH_BYTES_MAX: usize = 1024;
/// Longest part of it: NAME_MAX (limits.h(0p)). Bytes.
const PART_BYTES_MAX: usize = 255;
/// Most parts of it.
const PARTS_MAX: usize = 32;

/// What is allowed, for error messages.
pub const PACKAGE_PATH_ALLOWED: &str =
    "a relative path such as bin/kv, without '.', '..', empty parts, control characters and '\\'";

/// A path of a file in a package: parts with `/` between them, none of which is empty, `.` or `..`.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct PackagePath(String);

impl PackagePath {
    /// Reads a path.
    ///
    /// # Errors
    /// What is wrong with it.
    pub fn new(text: &str) -> Result<PackagePath, String> {
        if text.is_empty() {
            return Err("the path is empty".to_owned());
        }
        if text.len() > PACKAGE_PATH_BYTES_MAX {
            return Err(format!("the path has {} bytes, more than {PACKAGE_PATH_BYTES_MAX}", text.len()));
        }
        if text.starts_with('/') {
            return Err(format!("the path {} is absolute", quoted(text)));
        }
        if text.chars().any(|c| c.is_control() || c == '\\') {
            return Err(format!("the path {} has a control character or a '\\'", quoted(text)));
        }
        if text.split('/').count() > PARTS_MAX {
            return Err(format!("the path {} has more than {PARTS_MAX} parts", quoted(text)));
        }
        for part in text.split('/') {
            match part {
                "" => return Err(format!("the path {} has an empty part", quoted(text))),
                "." | ".." => {
                    return Err(format!("the path {} has a part {part:?}, and may not climb", quoted(text)));
                }
                part if part.len() > PART_BYTES_MAX => {
                    let problem = format!("has a part of {} bytes, more than {PART_BYTES_MAX}", part.len());
                    return Err(format!("the path {} {problem}", quoted(text)));
                }
                _ => {}
            }
        }
        Ok(PackagePath(text.to_owned()))
    }

    /// The path as text.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// The folders that lead to it, innermost first.
    pub fn folders(&self) -> impl Iterator<Item = &str> {
        self.0.rmatch_indices('/').filter_map(|(at, _)| self.0.get(..at))
    }
}

impl AsRef<Path> for PackagePath {
    fn as_ref(&self) -> &Path {
        Path::new(&self.0)
    }
}

impl Borrow<str> for PackagePath {
    fn borrow(&self) -> &str {
        &self.0
    }
}

impl fmt::Display for PackagePath {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_path_stays_inside() {
        for text in ["kv", "bin/kv", "a/b c/ä.txt", ".hidden", "..a", "a/...", "a-b_c:d"] {
            assert_eq!(PackagePath::new(text).unwrap().to_string(), text);
        }
        for (text, why) in [
            ("", "empty"),
            ("/bin/sh", "absolute"),
            ("//a", "absolute"),
            ("../a", "climb"),
            ("a/../b", "climb"),
            ("a/..", "climb"),
            ("./a", "climb"),
            ("a/./b", "climb"),
            ("a//b", "empty part"),
            ("a/", "empty part"),
            ("a\\b", "'\\'"),
            ("a\nb", "control"),
            ("a\0b", "control"),
            ("a\u{7f}", "control"),
        ] {
            let error = PackagePath::new(text).unwrap_err();
            assert!(error.contains(why), "{text:?}: {error}");
        }
        assert!(PackagePath::new(&"a".repeat(256)).unwrap_err().contains("256 bytes"));
        assert!(PackagePath::new(&"a/".repeat(600)).unwrap_err().contains("1200 bytes"));
        assert!(PackagePath::new(&format!("{}a", "a/".repeat(32))).unwrap_err().contains("32 parts"));
    }

    #[test]
    fn the_folders_of_a_path_are_those_above_it() {
        let path = PackagePath::new("a/b/c").unwrap();
        assert_eq!(path.folders().collect::<Vec<_>>(), ["a/b", "a"]);
        assert_eq!(PackagePath::new("a").unwrap().folders().count(), 0);
    }
}
