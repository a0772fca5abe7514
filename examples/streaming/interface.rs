//! Files that go to a plugin and come back, for the plugin that keeps them and the host that has them kept.
#![allow(unreachable_pub, reason = "a crate of its own would export it")]

use rpc_plugin_interface::{AppError, Blob, Stream, interface};
use serde::{Deserialize, Serialize};
use std::fmt;
use std::io::{self, Read, Write};

interface! {
    /// Keeps files. How many MiB have gone through is told as progress.
    pub trait Files = "files" version 1, client FilesClient {
        /// Keeps what comes through the stream, until its end.
        fn upload(name: String, content: Stream) -> Result<Sum, FilesError>;
        /// Sends a file that is kept into the stream.
        fn download(name: String, into: Stream) -> Result<Sum, FilesError>;
        /// A file that is kept, as a stream.
        fn fetch(name: String) -> Result<Stream, FilesError>;
        /// The same as a piece of memory.
        fn whole(name: String) -> Result<Blob, FilesError>;
        /// The sum of some memory, which is not copied.
        fn sum(memory: Blob) -> Sum;
    }
}

/// Why files are not kept, or not given.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum FilesError {
    /// There is none of that name.
    Missing {
        /// Which.
        name: String,
    },
    /// Not a name for a file: letters, digits, `-` and `_`.
    BadName {
        /// Which.
        name: String,
    },
}

impl fmt::Display for FilesError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            FilesError::Missing { name } => write!(f, "there is no file {name:?}"),
            FilesError::BadName { name } => write!(f, "{name:?} has more than letters, digits, '-' and '_'"),
        }
    }
}

impl AppError for FilesError {}

/// How many bytes, and which: their Adler-32 (RFC 1950), by which both sides see that they have the same.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Sum {
    /// How many.
    pub bytes: u64,
    /// Their checksum.
    pub adler32: u32,
}

impl Sum {
    /// Copies everything, telling after each MiB how many there are.
    pub fn copy(from: &mut impl Read, into: &mut impl Write, mut tell: impl FnMut(u64)) -> io::Result<Sum> {
        let (mut bytes, mut low, mut high, mut mib) = (0, 1, 0, 0);
        let mut buffer = vec![0; 1 << 16];
        loop {
            let count = from.read(&mut buffer)?;
            let part = buffer.get(..count).unwrap_or_default();
            if part.is_empty() {
                return Ok(Sum { bytes, adler32: high << 16 | low });
            }
            into.write_all(part)?;
            for byte in part {
                low = (low + u32::from(*byte)) % 65_521;
                high = (high + low) % 65_521;
            }
            bytes += count as u64;
            if bytes >> 20 > mib {
                mib = bytes >> 20;
                tell(mib);
            }
        }
    }
}

impl fmt::Display for Sum {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} bytes with checksum {:08x}", self.bytes, self.adler32)
    }
}
