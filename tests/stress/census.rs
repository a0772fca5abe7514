//! Counting what is open and what runs.

use crate::fixture::SOON;
use std::collections::BTreeMap;
use std::path::Path;
use std::time::{Duration, Instant};

/// Open descriptors of this process by kind. Files and folders are counted together: while a host lives they come
/// and go, because its record keeps 64 open at most.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Census(BTreeMap<String, usize>);

impl Census {
    pub fn take() -> Census {
        Census(census("/proc/self/fd"))
    }

    /// Waits until the same are open as then.
    pub fn check_again(&self, when: &str) {
        self.wait(when, Census::take);
    }

    /// Waits until the same are open as then, but for files.
    pub fn check_again_without_files(&self, when: &str) {
        self.without_files().wait(when, || Census::take().without_files());
    }

    fn wait(&self, when: &str, take: impl Fn() -> Census) {
        let begin = Instant::now();
        loop {
            let now = take();
            if now == *self {
                return;
            }
            assert!(begin.elapsed() < SOON, "{when}, and open are {now:?}; open were {self:?}");
            std::thread::park_timeout(Duration::from_millis(5));
        }
    }

    fn without_files(&self) -> Census {
        let mut kinds = self.0.clone();
        kinds.remove(FILE);
        Census(kinds)
    }
}

const FILE: &str = "file";

/// Counts the descriptors behind such a folder by kind.
pub fn census(folder: impl AsRef<Path>) -> BTreeMap<String, usize> {
    let mut kinds = BTreeMap::new();
    for entry in std::fs::read_dir(folder).unwrap() {
        // One that was closed meanwhile is not open.
        let Ok(target) = std::fs::read_link(entry.unwrap().path()) else { continue };
        let target = target.to_string_lossy();
        // `socket:[123]`, `anon_inode:[pidfd]`, `/a/path`; proc(5).
        let kind = match target.split_once(":[") {
            Some((kind @ ("socket" | "pipe"), _)) => kind,
            _ if target.starts_with('/') => FILE,
            _ => &*target,
        };
        *kinds.entry(kind.to_owned()).or_insert(0) += 1;
    }
    kinds
}

/// The same but for files.
pub fn census_without_files(folder: impl AsRef<Path>) -> BTreeMap<String, usize> {
    let mut kinds = census(folder);
    kinds.remove(FILE);
    kinds
}

/// Processes that run an executable.
pub fn processes_of(executable: &Path) -> Vec<u32> {
    let mut pids = Vec::new();
    for entry in std::fs::read_dir("/proc").unwrap() {
        let entry = entry.unwrap();
        let Some(pid) = entry.file_name().to_str().and_then(|name| name.parse().ok()) else { continue };
        // A launch runs the open file, and so does the link's text; a zombie has no link.
        if std::fs::read_link(entry.path().join("exe")).is_ok_and(|exe| exe == executable) {
            pids.push(pid);
        }
    }
    pids
}

/// CPU time that the event loop's thread uses in a second. Milliseconds, in steps of 10.
pub fn idle_loop_ms() -> u64 {
    // Time passes here because a rate is measured; nothing waits for it.
    let (ticks, begin) = (loop_ticks(), Instant::now());
    while begin.elapsed() < Duration::from_secs(1) {
        std::thread::park_timeout(Duration::from_secs(1).saturating_sub(begin.elapsed()));
    }
    (loop_ticks() - ticks) * 10_000 / begin.elapsed().as_millis() as u64
}

/// CPU time of the event loop's thread. Ticks of 10 ms (proc(5): USER_HZ, 100 but for old Alphas).
fn loop_ticks() -> u64 {
    for thread in std::fs::read_dir("/proc/self/task").unwrap() {
        let thread = thread.unwrap().path();
        let name = std::fs::read_to_string(thread.join("comm")).unwrap_or_default();
        if name.trim_end() == "rpcplugin-loop" {
            let stat = std::fs::read_to_string(thread.join("stat")).unwrap();
            let (_, fields) = stat.rsplit_once(')').unwrap();
            let field = |index: usize| fields.split_whitespace().nth(index).unwrap().parse::<u64>().unwrap();
            // utime and stime, fields 14 and 15 of the whole line.
            return field(11) + field(12);
        }
    }
    panic!("there is no event loop");
}
