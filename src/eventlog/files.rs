//! The files of the record: opened without trust in what lies there, few at a time, written in whole
//! lines.
//!
//! What this file is for: appending lines, keeping those that could not be written, trying them
//! again. What it deliberately does not do: know what a line says; sync or rotate.
//!
//! What always holds: no symbolic link is followed below the runtime folder, and nothing but a
//! regular file is written; a line that was torn, by a crash or by a full disk, is ended before the
//! next one begins; at most [`OPEN_MAX`] files are open, and about [`BACKLOG_BYTES_MAX`] bytes wait.

use super::FILE_NAME;
use nix::errno::Errno;
use nix::fcntl::{OFlag, open, openat};
use nix::sys::stat::{Mode, mkdirat};
use rpc_plugin_wire::PluginId;
use std::collections::BTreeMap;
use std::fs::File;
use std::io::{self, Write};
use std::os::fd::OwnedFd;
use std::os::unix::fs::{FileExt, MetadataExt};
use std::path::{Path, PathBuf};

/// Most files that are open at once; the one that was used longest ago is closed for another.
pub(super) const OPEN_MAX: usize = 64;
/// Most bytes that wait for files that cannot be written; beyond it, lines for them are dropped.
/// One batch may come on top.
pub(super) const BACKLOG_BYTES_MAX: usize = 4 * 1024 * 1024;

/// Whose file: a plugin's, or the host's own.
type Whose = Option<PluginId>;

struct Opened {
    file: File,
    last_used: u64,
    /// The file ended in the middle of a line when it was opened.
    is_torn: bool,
}

#[derive(Default)]
struct Waiting {
    lines: Vec<u8>,
    /// How many they are: counted along, because a backlog is too long to be counted at each try.
    count: u64,
    /// What of `lines` stayed behind when they could not be written. Bytes.
    backlog_bytes: usize,
}

/// What became of an attempt to write.
#[derive(Default)]
pub(super) struct Outcome {
    /// Lines that are in their file.
    pub(super) written: u64,
    /// Files that could not be opened or written.
    pub(super) errors: u64,
}

pub(super) struct Files {
    runtime_dir: PathBuf,
    /// Closed after an error, so that a folder that was replaced is found again.
    dir: Option<OwnedFd>,
    opened: BTreeMap<Whose, Opened>,
    waiting: BTreeMap<Whose, Waiting>,
    backlog_bytes: usize,
    uses: u64,
    last_error: Option<String>,
}

impl Files {
    pub(super) fn open(runtime_dir: &Path) -> io::Result<Files> {
        let dir = open_dir(runtime_dir)?;
        Ok(Files {
            runtime_dir: runtime_dir.to_owned(),
            dir: Some(dir),
            opened: BTreeMap::new(),
            waiting: BTreeMap::new(),
            backlog_bytes: 0,
            uses: 0,
            last_error: None,
        })
    }

    /// Takes a line for the next write. False if its file fails and too much waits already.
    pub(super) fn append(&mut self, whose: Whose, line: &[u8]) -> bool {
        let waiting = self.waiting.entry(whose).or_default();
        if waiting.backlog_bytes > 0 && self.backlog_bytes + line.len() > BACKLOG_BYTES_MAX {
            return false;
        }
        waiting.lines.extend_from_slice(line);
        waiting.count += 1;
        true
    }

    /// Whether lines wait that could not be written.
    pub(super) fn has_backlog(&self) -> bool {
        !self.waiting.is_empty()
    }

    /// Why a file could not be written, if that happened since the last question.
    pub(super) fn take_last_error(&mut self) -> Option<String> {
        self.last_error.take()
    }

    /// Drops what waits; returns how many lines.
    pub(super) fn abandon(&mut self) -> u64 {
        self.backlog_bytes = 0;
        std::mem::take(&mut self.waiting).values().map(|waiting| waiting.count).sum()
    }

    /// Writes the lines that wait, one write(2) a file. Without `all`, a file that failed is tried
    /// only if it has new lines.
    pub(super) fn write(&mut self, all: bool) -> Outcome {
        let mut outcome = Outcome::default();
        for (whose, mut waiting) in std::mem::take(&mut self.waiting) {
            let has_new = waiting.lines.len() > waiting.backlog_bytes;
            if has_new || all {
                self.backlog_bytes -= waiting.backlog_bytes;
                let bytes_before = waiting.lines.len();
                if let Err(error) = self.write_one(&whose, &mut waiting.lines) {
                    outcome.errors += 1;
                    self.last_error = Some(format!("{}: {error}", self.path_of(&whose).display()));
                    // What is open may be what is wrong.
                    self.opened.remove(&whose);
                    self.dir = None;
                }
                if waiting.lines.len() != bytes_before {
                    let count = lines_in(&waiting.lines);
                    outcome.written += waiting.count - count;
                    waiting.count = count;
                }
                waiting.backlog_bytes = waiting.lines.len();
                self.backlog_bytes += waiting.backlog_bytes;
            }
            if !waiting.lines.is_empty() {
                self.waiting.insert(whose, waiting);
            }
        }
        outcome
    }

    /// Writes `lines` and takes out of it those that are wholly in the file.
    fn write_one(&mut self, whose: &Whose, lines: &mut Vec<u8>) -> io::Result<()> {
        let opened = self.opened(whose)?;
        if opened.is_torn {
            lines.insert(0, b'\n');
        }
        let (written, result) = write_all(&opened.file, lines);
        drop_whole_lines(lines, written, opened.is_torn);
        opened.is_torn = false;
        result
    }

    fn opened(&mut self, whose: &Whose) -> io::Result<&mut Opened> {
        self.uses += 1;
        // A file that somebody removed would swallow everything without a trace.
        if let Some(opened) = self.opened.get(whose)
            && opened.file.metadata()?.nlink() == 0
        {
            self.opened.remove(whose);
        }
        if !self.opened.contains_key(whose) {
            let opened = self.open_file(whose)?;
            while self.opened.len() >= OPEN_MAX {
                let oldest = self.opened.iter().min_by_key(|(_, opened)| opened.last_used);
                let Some(oldest) = oldest.map(|(whose, _)| whose.clone()) else { break };
                self.opened.remove(&oldest);
            }
            self.opened.insert(whose.clone(), opened);
        }
        let opened = self.opened.get_mut(whose).ok_or_else(|| io::Error::from(io::ErrorKind::NotFound))?;
        opened.last_used = self.uses;
        Ok(opened)
    }

    fn open_file(&mut self, whose: &Whose) -> io::Result<Opened> {
        let dir = match self.dir.take() {
            Some(dir) => dir,
            None => open_dir(&self.runtime_dir)?,
        };
        let dir = self.dir.insert(dir);
        // Reading is for the look at the last byte; O_NONBLOCK so that a pipe laid in the way cannot
        // hold the writer (open(2), ENXIO and fifo(7)).
        let flags = OFlag::O_RDWR | OFlag::O_APPEND | OFlag::O_CREAT | OFlag::O_NOFOLLOW;
        let flags = flags | OFlag::O_CLOEXEC | OFlag::O_NONBLOCK | OFlag::O_NOCTTY;
        let mode = Mode::S_IRUSR | Mode::S_IWUSR;
        let fd = match whose {
            None => openat(&*dir, FILE_NAME, flags, mode)?,
            Some(plugin_id) => openat(plugin_dir(dir, plugin_id)?, FILE_NAME, flags, mode)?,
        };
        let file = File::from(fd);
        let metadata = file.metadata()?;
        if !metadata.is_file() {
            return Err(io::Error::other("is not a regular file; remove it"));
        }
        let mut is_torn = false;
        if let Some(last) = metadata.len().checked_sub(1) {
            let mut byte = [0];
            file.read_exact_at(&mut byte, last)?;
            is_torn = byte != *b"\n";
        }
        Ok(Opened { file, last_used: self.uses, is_torn })
    }

    fn path_of(&self, whose: &Whose) -> PathBuf {
        match whose {
            None => self.runtime_dir.join(FILE_NAME),
            Some(plugin_id) => self.runtime_dir.join(plugin_id.as_str()).join(FILE_NAME),
        }
    }

    #[cfg(test)]
    pub(super) fn open_count(&self) -> usize {
        self.opened.len()
    }
}

fn lines_in(bytes: &[u8]) -> u64 {
    bytes.iter().filter(|b| **b == b'\n').count() as u64
}

/// Takes out of `lines` those that are wholly within the first `written` bytes, and the line end
/// before them if one was `prepended`. A line of which only a part was written is written again
/// whole: when the file is opened for that, the part is found and ended.
pub(super) fn drop_whole_lines(lines: &mut Vec<u8>, written: usize, prepended: bool) {
    let last_end = lines.get(..written).and_then(|part| part.iter().rposition(|b| *b == b'\n'));
    lines.drain(..last_end.map_or(usize::from(prepended), |at| at + 1));
}

/// How many bytes were written, and what stopped it before all were.
fn write_all(mut file: &File, bytes: &[u8]) -> (usize, io::Result<()>) {
    let mut written = 0;
    while let Some(rest) = bytes.get(written..).filter(|rest| !rest.is_empty()) {
        match file.write(rest) {
            Ok(0) => return (written, Err(io::ErrorKind::WriteZero.into())),
            Ok(count) => written += count,
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(error) => return (written, Err(error)),
        }
    }
    (written, Ok(()))
}

const DIR_FLAGS: OFlag =
    OFlag::O_RDONLY.union(OFlag::O_DIRECTORY).union(OFlag::O_NOFOLLOW).union(OFlag::O_CLOEXEC);

fn open_dir(path: &Path) -> io::Result<OwnedFd> {
    open(path, DIR_FLAGS, Mode::empty()).map_err(|errno| {
        let error = io::Error::from(errno);
        io::Error::new(error.kind(), format!("runtime folder {}: {error}", path.display()))
    })
}

/// The plugin's folder. An event may come before the folder is there: then it is made, 0700.
fn plugin_dir(dir: &OwnedFd, plugin_id: &PluginId) -> nix::Result<OwnedFd> {
    match openat(dir, plugin_id.as_str(), DIR_FLAGS, Mode::empty()) {
        Err(Errno::ENOENT) => {
            match mkdirat(dir, plugin_id.as_str(), Mode::S_IRWXU) {
                Ok(()) | Err(Errno::EEXIST) => {}
                Err(errno) => return Err(errno),
            }
            openat(dir, plugin_id.as_str(), DIR_FLAGS, Mode::empty())
        }
        other => other,
    }
}
