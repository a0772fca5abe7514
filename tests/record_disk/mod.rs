//! A disk that fails when it is told to, over real files.
#![allow(dead_code, unreachable_pub, clippy::unwrap_used, clippy::expect_used, clippy::panic)]

use nix::errno::Errno;
use rpc_plugin_record::{Disk, Place, SystemDisk};
use std::fs::File;
use std::io;
use std::os::fd::OwnedFd;
use std::sync::{Condvar, Mutex};

/// What goes wrong.
#[derive(Debug, Default, Clone)]
pub struct Faults {
    /// Opening a folder or a file.
    pub open: Option<Errno>,
    /// Writing, once there is no room any more; all of it without `room`.
    pub write: Option<Errno>,
    /// Bytes that may still be written before `write`.
    pub room: Option<usize>,
    /// Most bytes that one write takes.
    pub write_bytes_max: Option<usize>,
    /// fdatasync.
    pub sync: Option<Errno>,
    /// ftruncate.
    pub truncate: Option<Errno>,
    /// rename.
    pub rename: Option<Errno>,
    /// fdatasync does not return.
    pub hangs: bool,
}

/// See the module's text.
#[derive(Debug, Default)]
pub struct FaultyDisk {
    faults: Mutex<Faults>,
    changed: Condvar,
    pub syncs: std::sync::atomic::AtomicU64,
}

impl FaultyDisk {
    pub fn set(&self, faults: Faults) {
        *self.faults.lock().unwrap() = faults;
        self.changed.notify_all();
    }

    pub fn heal(&self) {
        self.set(Faults::default());
    }

    fn check(&self, fault: fn(&Faults) -> Option<Errno>) -> io::Result<()> {
        fault(&self.faults.lock().unwrap()).map_or(Ok(()), |errno| Err(errno.into()))
    }
}

impl Disk for FaultyDisk {
    fn open_folder(&self, place: &Place) -> io::Result<OwnedFd> {
        self.check(|faults| faults.open)?;
        SystemDisk.open_folder(place)
    }

    fn open(&self, folder: &OwnedFd, name: &str) -> io::Result<(File, bool)> {
        self.check(|faults| faults.open)?;
        SystemDisk.open(folder, name)
    }

    fn write(&self, file: &File, bytes: &[u8]) -> io::Result<usize> {
        let mut faults = self.faults.lock().unwrap();
        let mut taken = bytes.len().min(faults.write_bytes_max.unwrap_or(usize::MAX));
        if let Some(errno) = faults.write {
            taken = taken.min(faults.room.unwrap_or(0));
            if taken == 0 {
                return Err(errno.into());
            }
        }
        let written = SystemDisk.write(file, &bytes[..taken])?;
        faults.room = faults.room.map(|room| room.saturating_sub(written));
        Ok(written)
    }

    fn sync(&self, file: &File) -> io::Result<()> {
        let mut faults = self.faults.lock().unwrap();
        while faults.hangs {
            faults = self.changed.wait(faults).unwrap();
        }
        if let Some(errno) = faults.sync {
            return Err(errno.into());
        }
        drop(faults);
        self.syncs.fetch_add(1, std::sync::atomic::Ordering::Relaxed);
        SystemDisk.sync(file)
    }

    fn truncate(&self, file: &File, bytes: u64) -> io::Result<()> {
        self.check(|faults| faults.truncate)?;
        SystemDisk.truncate(file, bytes)
    }

    fn rename(&self, folder: &OwnedFd, from: &str, to: &str) -> io::Result<()> {
        self.check(|faults| faults.rename)?;
        SystemDisk.rename(folder, from, to)
    }
}
