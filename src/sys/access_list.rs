//! Whether a file has an access list (acl(5)), which may let users write whom no permission bit names.
//!
//! What this file is for: where there is a list, the group's bits are its mask, so they say nothing of the group. What it
//! deliberately does not do: read the list.
//!
//! What always holds: a file of which this cannot be told counts as having one.
#![allow(unsafe_code, reason = "getxattr(2) has no safe form")]

use nix::errno::Errno;
use std::ffi::{CStr, CString};
use std::os::unix::ffi::OsStrExt;
use std::path::Path;

/// The extended attribute that a list is kept in.
const LIST: &CStr = c"system.posix_acl_access";

/// Whether the file of that path, links followed, has an access list beside its permission bits.
pub(super) fn has_access_list(path: &Path) -> bool {
    let Ok(path) = CString::new(path.as_os_str().as_bytes()) else { return true };
    // SAFETY: both names are C strings that live throughout the call; a null value of length zero only asks for the size.
    let size = unsafe { libc::getxattr(path.as_ptr(), LIST.as_ptr(), std::ptr::null_mut(), 0) };
    size >= 0 || !matches!(Errno::last(), Errno::ENODATA | Errno::EOPNOTSUPP)
}

#[cfg(test)]
mod tests {
    use super::super::testing::{file, folder};
    use super::*;
    use std::process::Command;

    #[test]
    fn a_list_is_seen_and_what_cannot_be_told_counts_as_one() {
        let root = folder();
        let path = file(root.path(), "file", "", 0o664);
        assert!(!has_access_list(&path) && !has_access_list(root.path()));
        assert!(has_access_list(&root.path().join("none")));
        assert!(has_access_list(Path::new("with\0zero")));
        // Not every machine has the program, nor every file system lists.
        let set = Command::new("setfacl").args(["-m", "u:12345:w"]).arg(&path).status();
        if set.is_ok_and(|status| status.success()) {
            assert!(has_access_list(&path));
        }
    }
}
