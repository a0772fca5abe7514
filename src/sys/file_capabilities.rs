//! Whether a file has capabilities (capabilities(7)), which a program is given that is executed from it.
//!
//! What this file is for: the kernel clears the parent-death signal of such a program (prctl(2)). What it deliberately does
//! not do: read which capabilities they are, or refuse any.
//!
//! What always holds: nothing but the file's attributes is read. A file of which it cannot be told counts as having none.
#![allow(unsafe_code, reason = "fgetxattr(2) has no safe form")]

use std::ffi::CStr;
use std::os::fd::{AsFd, AsRawFd};

/// The extended attribute that capabilities are kept in.
const CAPABILITIES: &CStr = c"security.capability";

/// Whether an open file has capabilities that count in our user namespace.
pub(super) fn has_capabilities(file: impl AsFd) -> bool {
    let fd = file.as_fd().as_raw_fd();
    // SAFETY: the name is a constant C string, and the descriptor is borrowed; a null value of length zero only asks for
    // the size.
    let size = unsafe { libc::fgetxattr(fd, CAPABILITIES.as_ptr(), std::ptr::null_mut(), 0) };
    size > 0
}

#[cfg(test)]
mod tests {
    use super::super::testing::{file, folder, set_capabilities};
    use super::*;
    use std::fs::File;

    #[test]
    fn capabilities_are_seen_and_gone_when_the_file_is_written() {
        let root = folder();
        let path = file(root.path(), "file", "one", 0o755);
        let opened = File::open(&path).unwrap();
        assert!(!has_capabilities(&opened) && !has_capabilities(std::io::pipe().unwrap().0));
        if !set_capabilities(&path) {
            return eprintln!("skipped: this user, or file system, cannot give files capabilities");
        }
        assert!(has_capabilities(&opened));
        std::fs::write(&path, "two").unwrap();
        assert!(!has_capabilities(&opened), "the kernel takes them from a file that is written");
    }
}
