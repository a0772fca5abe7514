//! What other users can change, and the one command that mends all of it.
//!
//! What this file is for: whoever is told of one such path, mends it, and is told of the next one, gives up. What it
//! deliberately does not do: decide what others can change; [`super::folder`] does.
//!
//! What always holds: no command changes the mode of a folder that others share, such as `/tmp`.
#![forbid(unsafe_code)]

use super::private_group::is_usual_group;
use nix::sys::stat::FileStat;
use std::fmt;
use std::path::{Path, PathBuf};

/// A file or folder that other users can change.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct WritablePath {
    /// Its path, without links.
    pub path: PathBuf,
    /// Permission bits.
    pub mode: u32,
    /// Owner's uid.
    pub owner: u32,
    /// Whether it is a folder that others work in: its mode is not to be changed for our sake.
    pub is_shared: bool,
}

impl WritablePath {
    /// Describes what was found at that path.
    pub(super) fn new(path: &Path, stat: &FileStat) -> WritablePath {
        let (mode, owner) = (stat.st_mode & 0o7777, stat.st_uid);
        let is_shared = stat.st_mode & libc::S_IFMT == libc::S_IFDIR
            && is_shared_folder(
                mode,
                owner == nix::unistd::geteuid().as_raw(),
                is_usual_group(owner, stat.st_gid),
            );
        WritablePath { path: path.to_owned(), mode, owner, is_shared }
    }
}

/// Whether a folder that others can write to is meant to be: by its bits (for everybody, sticky, or handing on its
/// group), as another user's, or as one of a group that its owner's files do not get by themselves.
fn is_shared_folder(mode: u32, is_ours: bool, has_usual_group: bool) -> bool {
    mode & 0o3002 != 0 || !is_ours || !has_usual_group
}

/// All that others can change of what was looked at: in the order of the way, each path once.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct WritablePaths(Vec<WritablePath>);

impl WritablePaths {
    /// Adds one, unless it is there.
    pub(super) fn add(&mut self, found: WritablePath) {
        if !self.0.iter().any(|other| other.path == found.path) {
            self.0.push(found);
        }
    }

    /// Nothing, or an error of all of them.
    pub(super) fn none(&self) -> Result<(), WritablePaths> {
        if self.0.is_empty() { Ok(()) } else { Err(self.clone()) }
    }

    /// Each of them.
    pub fn iter(&self) -> impl Iterator<Item = &WritablePath> {
        self.0.iter()
    }
}

impl fmt::Display for WritablePaths {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut separator = "";
        for WritablePath { path, mode, owner, .. } in &self.0 {
            write!(f, "{separator}{} (mode {mode:04o}, owner uid {owner})", path.display())?;
            separator = ", ";
        }
        write!(
            f,
            " can be changed by other users; expected no write permission for others, nor for a group but its \
             owner's private one, unless a folder is sticky; "
        )?;
        if let Some(shared) = self.0.iter().find(|found| found.is_shared) {
            return write!(
                f,
                "{} is shared with other users, so leave it as it is and move to a folder of this user's own",
                shared.path.display()
            );
        }
        write!(f, "run `chmod go-w")?;
        self.0.iter().try_for_each(|found| write!(f, " {}", shell_word(&found.path)))?;
        write!(f, "`")
    }
}

/// The path as a shell takes it for one word.
fn shell_word(path: &Path) -> String {
    let text = path.display().to_string();
    let is_plain = |c: char| c.is_alphanumeric() || "/._-+=:@%,".contains(c);
    if text.chars().all(is_plain) { text } else { format!("'{}'", text.replace('\'', r"'\''")) }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn found(path: &str, mode: u32, is_shared: bool) -> WritablePath {
        WritablePath { path: path.into(), mode, owner: 1000, is_shared }
    }

    #[test]
    fn all_of_them_are_named_once_with_one_command() {
        let mut all = WritablePaths::default();
        all.none().unwrap();
        for path in ["/home/a/target", "/home/a/target/it's mine", "/home/a/target"] {
            all.add(found(path, 0o775, false));
        }
        let text = all.none().unwrap_err().to_string();
        assert_eq!(text.matches("(mode 0775, owner uid 1000)").count(), 2, "{text}");
        assert!(text.ends_with(r"run `chmod go-w /home/a/target '/home/a/target/it'\''s mine'`"), "{text}");
    }

    #[test]
    fn no_command_changes_a_folder_that_is_shared() {
        let mut all = WritablePaths::default();
        all.add(found("/srv/share", 0o2775, true));
        all.add(found("/srv/share/plugin", 0o775, false));
        let text = all.to_string();
        assert!(text.contains("/srv/share is shared with other users") && !text.contains("chmod"), "{text}");
    }

    #[test]
    fn a_folder_is_shared_by_its_bits_its_owner_or_its_group() {
        for (mode, is_ours, has_usual_group, expected) in [
            (0o775, true, true, false),
            (0o770, true, true, false),
            (0o777, true, true, true),
            (0o1777, true, true, true),
            (0o1775, true, true, true),
            (0o2775, true, true, true),
            (0o775, false, true, true),
            (0o775, true, false, true),
        ] {
            let seen = is_shared_folder(mode, is_ours, has_usual_group);
            assert_eq!(seen, expected, "{mode:o} {is_ours} {has_usual_group}");
        }
    }
}
