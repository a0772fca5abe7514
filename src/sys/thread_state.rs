//! Whether a thread of this process sleeps, as the kernel tells.
#![forbid(unsafe_code)]

use super::proc_file;
use nix::unistd::{Pid, gettid};
use std::cell::Cell;

/// Bytes of a thread's status (proc_pid_status(5)), with room to spare.
const STATUS_BYTES_MAX: usize = 8 * 1024;

thread_local! {
    static OWN: Cell<i32> = const { Cell::new(0) };
}

/// The id of the calling thread. A system call the first time, and none after that.
#[must_use]
pub fn own_thread_id() -> i32 {
    OWN.with(|own| {
        if own.get() == 0 {
            own.set(gettid().as_raw());
        }
        own.get()
    })
}

/// Whether a thread of this process sleeps.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ThreadSleep {
    /// It runs, or waits for a processor, or is stopped.
    Awake,
    /// It waits for something, and has been switched out so often.
    Asleep(u64),
}

/// Asks about a thread of this process. `None`: there is none, or /proc does not say.
#[must_use]
pub fn sleep_of(thread: i32) -> Option<ThreadSleep> {
    let thread = Pid::from_raw(thread);
    read(proc_file::read_text(&format!("/proc/self/task/{thread}/status"), &mut [0; STATUS_BYTES_MAX]))
}

fn read(status: &str) -> Option<ThreadSleep> {
    let value = |name: &str| {
        status.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(':')).map(str::trim)
    };
    if !value("State")?.starts_with(['S', 'D']) {
        return Some(ThreadSleep::Awake);
    }
    let count = |name: &str| value(name)?.parse::<u64>().ok();
    Some(ThreadSleep::Asleep(count("voluntary_ctxt_switches")? + count("nonvoluntary_ctxt_switches")?))
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::io::Read;

    #[test]
    fn what_the_kernel_says_is_read() {
        let text = |state| {
            format!(
                "Name:\tx\nState:\t{state}\nvoluntary_ctxt_switches:\t7\nnonvoluntary_ctxt_switches:\t5\n"
            )
        };
        assert_eq!(read(&text("S (sleeping)")), Some(ThreadSleep::Asleep(12)));
        assert_eq!(read(&text("D (disk sleep)")), Some(ThreadSleep::Asleep(12)));
        assert_eq!(read(&text("R (running)")), Some(ThreadSleep::Awake));
        assert_eq!(read(&text("T (stopped)")), Some(ThreadSleep::Awake));
        assert_eq!(read("State:\tS (sleeping)\n"), None);
        assert_eq!(read(""), None);
    }

    #[test]
    fn a_thread_that_waits_sleeps_and_one_that_asks_does_not() {
        assert_eq!(sleep_of(own_thread_id()), Some(ThreadSleep::Awake));
        assert_eq!(sleep_of(0), None);
        let (mut reader, writer) = std::io::pipe().unwrap();
        let (told, id) = std::sync::mpsc::channel();
        let waiting = std::thread::spawn(move || {
            told.send(own_thread_id()).unwrap();
            reader.read_to_end(&mut Vec::new()).unwrap()
        });
        let id = id.recv().unwrap();
        let end = std::time::Instant::now() + std::time::Duration::from_secs(60);
        while !matches!(sleep_of(id), Some(ThreadSleep::Asleep(_))) {
            assert!(std::time::Instant::now() < end, "it never sleeps");
            std::thread::yield_now();
        }
        drop(writer);
        waiting.join().unwrap();
    }
}
