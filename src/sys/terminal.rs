//! The size of a terminal.
#![allow(unsafe_code, reason = "ioctl(TIOCGWINSZ) has no safe form")]

use std::mem::MaybeUninit;
use std::os::fd::{AsFd, AsRawFd};

/// The characters of a line of the terminal that a descriptor is; `None` where it is no terminal, or one that does not say.
#[must_use]
pub fn columns(fd: impl AsFd) -> Option<usize> {
    let mut size = MaybeUninit::<libc::winsize>::zeroed();
    let number = fd.as_fd().as_raw_fd();
    // SAFETY: the request writes one winsize, and `size` is writable memory for one.
    let result = unsafe { libc::ioctl(number, libc::TIOCGWINSZ, size.as_mut_ptr()) };
    if result != 0 {
        return None;
    }
    // SAFETY: winsize is plain data, zeroed at creation and filled by the call, which succeeded.
    let size = unsafe { size.assume_init() };
    Some(usize::from(size.ws_col)).filter(|columns| *columns > 0)
}

#[cfg(test)]
mod tests {
    use super::*;
    use nix::pty::{Winsize, openpty};

    #[test]
    fn a_terminal_says_how_wide_it_is_and_nothing_else_does() {
        let size = |ws_col| Winsize { ws_row: 24, ws_col, ws_xpixel: 0, ws_ypixel: 0 };
        assert_eq!(columns(openpty(&size(132), None).unwrap().slave), Some(132));
        assert_eq!(columns(openpty(&size(0), None).unwrap().slave), None, "it does not say");
        assert_eq!(columns(std::fs::File::open("/dev/null").unwrap()), None);
    }
}
