//! What shows that somebody uses a process: streams that it holds, and processes that it has started.
//!
//! What it deliberately does not do: tell whose they are.
#![forbid(unsafe_code)]

use super::host_identity::ProcessStat;
use super::proc_file;
use std::collections::BTreeMap;
use std::fs;
use std::io;
use std::os::unix::fs::PermissionsExt;

/// What a process holds and has started.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ProcessUse {
    /// Its sockets, and its pipes whose other end another process has.
    pub streams: usize,
    /// Other processes of the session that it leads.
    pub children: usize,
}

impl ProcessUse {
    /// Reads what there is now, from /proc/PID/fd and the states of all processes.
    ///
    /// # Errors
    /// Those of reading /proc: it has ended, or runs as another user.
    pub fn of(pid: u32) -> io::Result<ProcessUse> {
        Ok(ProcessUse { streams: streams(pid)?, children: children(pid)? })
    }
}

fn streams(pid: u32) -> io::Result<usize> {
    let mut sockets = 0;
    // Whether it holds an end to read, and one to write.
    let mut pipes: BTreeMap<String, (bool, bool)> = BTreeMap::new();
    for entry in fs::read_dir(format!("/proc/{pid}/fd"))? {
        let path = entry?.path();
        // Closed since.
        let (Ok(target), Ok(about)) = (fs::read_link(&path), fs::symlink_metadata(&path)) else { continue };
        let target = target.to_string_lossy();
        if target.starts_with("socket:") {
            sockets += 1;
        } else if target.starts_with("pipe:") {
            // proc(5): the mode of the link says how it is open.
            let mode = about.permissions().mode();
            let ends = pipes.entry(target.into_owned()).or_default();
            ends.0 |= mode & 0o400 != 0;
            ends.1 |= mode & 0o200 != 0;
        }
    }
    Ok(sockets + pipes.values().filter(|ends| **ends != (true, true)).count())
}

fn children(pid: u32) -> io::Result<usize> {
    let others = proc_file::pids()?.into_iter().filter(|other| *other != pid);
    Ok(others.filter_map(ProcessStat::of).filter(|stat| stat.runs && stat.session == pid).count())
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::fd::OwnedFd;
    use std::os::unix::net::UnixStream;
    use std::process::{Child, Command, Stdio};

    fn ends(mut child: Child) {
        child.kill().unwrap();
        child.wait().unwrap();
    }

    /// A shell that does as it is told, with an input and an output of its own, in a session of its own.
    fn shell(script: &str) -> Child {
        let mut command = Command::new("setsid");
        command.args(["sh", "-c", script]).stdin(Stdio::piped()).stdout(Stdio::piped());
        command.stderr(Stdio::null());
        command.spawn().unwrap()
    }

    #[test]
    fn streams_count_with_the_other_end_elsewhere_and_children_by_their_session() {
        use std::io::{BufRead, BufReader};
        let mut idle = shell("echo up; read x");
        let mut busy = shell("sleep 600 & echo up; read x; kill $!");
        for child in [&mut idle, &mut busy] {
            let mut line = String::new();
            BufReader::new(child.stdout.as_mut().unwrap()).read_line(&mut line).unwrap();
        }
        // What this process was started with may be passed on to them, so the numbers are compared.
        let of_idle = ProcessUse::of(idle.id()).unwrap();
        assert!(of_idle.streams >= 2 && of_idle.children == 0, "{of_idle:?}");
        assert_eq!(ProcessUse::of(busy.id()).unwrap(), ProcessUse { children: 1, ..of_idle });
        for mut child in [idle, busy] {
            drop(child.stdin.take());
            child.wait().unwrap();
        }

        let held = |stdin: Stdio| {
            let child = Command::new("sleep").arg("600").stdin(stdin).spawn().unwrap();
            let held = ProcessUse::of(child.id()).unwrap().streams;
            ends(child);
            held
        };
        let (socket, _other) = UnixStream::pair().unwrap();
        let (reader, _writer) = io::pipe().unwrap();
        let none = held(Stdio::null());
        assert_eq!(held(Stdio::from(OwnedFd::from(socket))), none + 1, "a socket");
        assert_eq!(held(Stdio::from(reader)), none + 1, "a pipe");
        assert!(ProcessUse::of(u32::MAX).is_err());
    }
}
