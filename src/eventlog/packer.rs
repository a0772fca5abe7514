//! Packs rotated files of the record, on a thread of its own.
//!
//! What this file is for: choosing what is packed, and when. What it deliberately does not do: pack; the crate
//! `rpc-plugin-record` does.
//!
//! What always holds: the newest rotated file of a stream is not packed, because the writer looks in it for the
//! last number; one file is packed at a time; the thread sleeps unless a file was rotated; nothing waits for it.

use super::log::EventLog;
use super::options::LogOptions;
use super::owner::{StreamOwner, owners};
use super::thread::RecordThread;
use super::waker::StreamWaker;
use crate::sys::file_error::is_shortage;
use nix::errno::Errno;
use rpc_plugin_record::{Disk, Entry, FILE_NAME, PackLimits, Packing, Place, Segment, pack, segments};
use rpc_plugin_wire::event::EventKind;
use std::collections::BTreeSet;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, Instant};

/// Files that stay plain are remembered, so that they are not tried again; at most so many.
const KEPT_MAX: usize = 1024;
/// How often the record tells of failures, at most.
const TELL_INTERVAL: Duration = Duration::from_secs(60);

/// The thread that packs. Dropping it asks the thread to stop, and waits for nothing.
#[derive(Debug)]
pub struct Packer {
    waker: Arc<StreamWaker>,
    thread: RecordThread,
}

struct PackerThread {
    runtime_dir: PathBuf,
    limits: PackLimits,
    disk: Arc<dyn Disk>,
    log: EventLog,
    waker: Arc<StreamWaker>,
    kept: BTreeSet<PathBuf>,
    told_at: Option<Instant>,
}

impl Packer {
    /// Starts the thread, which packs what is there, and what is rotated later.
    ///
    /// # Errors
    /// The thread, or the pipe that wakes it, cannot be made.
    pub fn start(
        runtime_dir: &Path,
        options: &LogOptions,
        disk: Arc<dyn Disk>,
        log: EventLog,
    ) -> io::Result<Packer> {
        let waker = Arc::new(StreamWaker::new()?);
        let packing = PackerThread {
            runtime_dir: runtime_dir.to_owned(),
            limits: options.pack_limits(),
            disk,
            log,
            waker: Arc::clone(&waker),
            kept: BTreeSet::new(),
            told_at: None,
        };
        Ok(Packer { waker, thread: RecordThread::start("log-pack", move || packing.run())? })
    }

    /// Where it is to be told that a file was rotated.
    #[must_use]
    pub fn waker(&self) -> &Arc<StreamWaker> {
        &self.waker
    }

    /// Asks the thread to stop, within 64 KiB of what it packs, and waits for its end until `deadline`.
    pub fn end(mut self, deadline: Instant) {
        self.waker.end_by(Instant::now());
        self.thread.wait_end(deadline.saturating_duration_since(Instant::now()));
    }
}

impl Drop for Packer {
    fn drop(&mut self) {
        self.waker.end_by(Instant::now());
    }
}

impl PackerThread {
    fn run(mut self) {
        let mut changed: BTreeSet<StreamOwner> = owners(&self.runtime_dir).into_iter().collect();
        while self.waker.ends().is_none() {
            for owner in changed {
                self.look(&owner);
            }
            changed = self.waker.take();
            if changed.is_empty() && self.waker.ends().is_none() {
                // It fails only where memory does; then the next file that is rotated is looked at again.
                let _ = self.waker.sleep(None, &[]);
                changed = self.waker.take();
            }
        }
    }

    /// Packs what there is to pack of one stream.
    fn look(&mut self, owner: &StreamOwner) {
        let place = Place::of(&self.runtime_dir, owner.as_ref());
        let Ok(mut rotated) = segments(&place.path(), FILE_NAME) else { return };
        rotated.retain(|segment| segment.first_seq.is_some());
        rotated.pop();
        for Segment { path, first_seq, is_packed, .. } in rotated {
            let Some(first_seq) = first_seq.filter(|_| !is_packed && !self.kept.contains(&path)) else {
                continue;
            };
            let goes_on = || self.waker.ends().is_none();
            match pack(&*self.disk, &place, FILE_NAME, first_seq, self.limits, &goes_on) {
                Ok(Packing::Stopped) => return,
                Ok(Packing::NotSmaller) => self.keep(path),
                Ok(_) => {}
                Err(error) => {
                    self.tell(&path, &error);
                    // What the disk has no room for is tried again with the next file that is rotated.
                    if !error.raw_os_error().is_some_and(|errno| is_shortage(Errno::from_raw(errno))) {
                        self.keep(path);
                    }
                }
            }
        }
    }

    /// Remembers a file that stays plain.
    fn keep(&mut self, path: PathBuf) {
        if self.kept.len() >= KEPT_MAX {
            self.kept.pop_first();
        }
        self.kept.insert(path);
    }

    fn tell(&mut self, path: &Path, error: &io::Error) {
        if self.told_at.is_none_or(|at| at.elapsed() >= TELL_INTERVAL) {
            self.told_at = Some(Instant::now());
            let entry = Entry::new(EventKind::HostFault)
                .message("a rotated file of the record could not be packed; it stays as it is")
                .error(format!("{}: {error}", path.display()));
            // It never waits; a full queue counts it as dropped.
            let _ = self.log.record(entry);
        }
    }
}
