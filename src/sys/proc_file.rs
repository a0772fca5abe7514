//! Small files of /proc, and the processes that it has folders for.
//!
//! What this file is for: what each launch asks the kernel. [`std::fs::read_to_string`] asks for a size too, which these
//! files do not have, and reads them in small pieces. What it deliberately does not do: tell why there is nothing.
#![forbid(unsafe_code)]

use std::fs::File;
use std::io::{self, ErrorKind, Read};

/// All that a file holds. `None`: it cannot be read, or fills `buffer`.
pub(super) fn read<'a>(path: &str, buffer: &'a mut [u8]) -> Option<&'a [u8]> {
    let mut file = File::open(path).ok()?;
    let mut end = 0;
    loop {
        let space = buffer.get_mut(end..).filter(|space| !space.is_empty())?;
        match file.read(space) {
            Ok(0) => return buffer.get(..end),
            Ok(bytes) => end += bytes,
            Err(error) if error.kind() == ErrorKind::Interrupted => {}
            Err(_) => return None,
        }
    }
}

/// The same as text; empty where there is none.
pub(super) fn read_text<'a>(path: &str, buffer: &'a mut [u8]) -> &'a str {
    read(path, buffer).and_then(|bytes| std::str::from_utf8(bytes).ok()).unwrap_or_default()
}

/// Every process that this one sees, by its pid.
///
/// # Errors
/// Those of reading the folder /proc.
pub(super) fn pids() -> io::Result<Vec<u32>> {
    let mut pids = Vec::new();
    for entry in std::fs::read_dir("/proc")? {
        pids.extend(entry?.file_name().to_str().and_then(|name| name.parse::<u32>().ok()));
    }
    Ok(pids)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_file_is_read_whole_or_not_at_all() {
        let path = "/proc/self/oom_score_adj";
        let whole = std::fs::read_to_string(path).unwrap();
        assert_eq!(read_text(path, &mut [0; 16]), whole);
        assert_eq!(read(path, &mut vec![0; whole.len()]), None, "there may be more");
        assert_eq!(read("/proc/self/does-not-exist", &mut [0; 16]), None);
        assert_eq!(read_text("/proc/self/does-not-exist", &mut [0; 16]), "");
    }
}
