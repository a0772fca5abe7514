//! How far a sink has come, on the disk: `RUNTIME/sinks/NAME.cursor`.
//!
//! What it deliberately does not do: decide when to write.
//!
//! What always holds: the file is replaced as a whole, so that after a crash it is the old one or the new one; it is
//! private (0600, in a folder of 0700); one that cannot be read counts as absent, which costs repetitions and
//! no event.

use crate::eventlog::owner::StreamOwner;
use rpc_plugin_record::{Disk, Place, SystemDisk};
use std::collections::BTreeMap;
use std::fs::File;
use std::io::{self, Read};
use std::path::{Path, PathBuf};

/// The folder of the cursors in the runtime folder.
pub const FOLDER: &str = "sinks";
/// Most bytes of a cursor; a larger file is none.
const FILE_BYTES_MAX: u64 = 4 * 1024 * 1024;

/// The file that holds how far a sink has come.
#[derive(Debug)]
pub(super) struct Cursor {
    place: Place,
    name: String,
}

impl Cursor {
    pub(super) fn new(runtime_dir: &Path, sink: &str) -> Cursor {
        let place = Place { base: runtime_dir.to_owned(), below: Some(FOLDER.to_owned()) };
        Cursor { place, name: format!("{sink}.cursor") }
    }

    pub(super) fn path(&self) -> PathBuf {
        self.place.path().join(&self.name)
    }

    /// The number up to which each stream was taken.
    pub(super) fn read(&self) -> BTreeMap<StreamOwner, u64> {
        let mut text = String::new();
        let read =
            File::open(self.path()).and_then(|file| file.take(FILE_BYTES_MAX).read_to_string(&mut text));
        let numbers: BTreeMap<String, u64> = match read.map(|_| serde_json::from_str(&text)) {
            Ok(Ok(numbers)) => numbers,
            _ => return BTreeMap::new(),
        };
        // The host's own stream has no name.
        let whose = |name: String| if name.is_empty() { Some(None) } else { name.parse().ok().map(Some) };
        numbers.into_iter().filter_map(|(name, seq)| Some((whose(name)?, seq))).collect()
    }

    /// Replaces the file.
    pub(super) fn write<'a>(&self, numbers: impl Iterator<Item = (&'a StreamOwner, u64)>) -> io::Result<()> {
        let numbers: BTreeMap<&str, u64> =
            numbers.map(|(whose, seq)| (whose.as_ref().map_or("", |id| id.as_str()), seq)).collect();
        let text = serde_json::to_vec(&numbers)?;
        let (disk, new) = (SystemDisk, format!("{}.new", self.name));
        let folder = disk.open_folder(&self.place)?;
        let (file, _) = disk.open(&folder, &new)?;
        disk.truncate(&file, 0)?;
        let mut rest = text.as_slice();
        while !rest.is_empty() {
            let written = disk.write(&file, rest)?;
            rest = rest.get(written..).unwrap_or_default();
        }
        // Without it a power failure may leave an empty file.
        disk.sync(&file)?;
        disk.rename(&folder, &new, &self.name)
    }
}
