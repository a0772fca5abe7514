//! `shutdown`: asks the daemon to end, and waits until it has.
//!
//! What it deliberately does not do: kill anything.
//!
//! What always holds: success means that the daemon has hung up, that nobody holds the lock of its runtime
//! folder any more, and that its process is gone or goes on without a host (an embedding program does). So
//! the next daemon can be started at once.

use super::Invocation;
use super::client::AdminClient;
use super::commands::read;
use super::exit::{Exit, Failure};
use super::out::Out;
use super::table::NO_WAIT;
use crate::cli::text::{self, Style};
use crate::sys::host_identity::ProcessIdentity;
use rpc_plugin_wire::admin::{METHOD_PLUGINS, METHOD_SHUTDOWN, PluginList};
use rpc_plugin_wire::life::PluginState;
use serde_json::value::RawValue;
use std::os::unix::fs::MetadataExt;
use std::time::{Duration, Instant};

const ENDED: &str = "the daemon has ended";
/// How often it is looked whom the daemon waits for.
const LOOK_INTERVAL: Duration = Duration::from_millis(500);
/// How often it is looked whether lock and process are gone, once the daemon has hung up.
const GONE_INTERVAL: Duration = Duration::from_millis(10);
/// Time for the process to end once its lock is released. An embedding program lives on.
const PROCESS_TIMEOUT: Duration = Duration::from_millis(500);
/// Plugins that are named; of more, the rest is counted.
const NAMED_MAX: usize = 8;

impl Invocation<'_> {
    pub(super) fn shutdown(&self, out: &mut Out<'_>) -> Result<(), Failure> {
        let is_waited_for = !self.args.is_set(NO_WAIT);
        if self.timeout.is_zero() {
            let why = "shutdown waits until the daemon has ended; --no-wait does not";
            return Err(self.args.wrong("timeout", "0", why).into());
        }
        let deadline = Instant::now() + self.timeout;
        let mut client = self.connect(self.timeout)?;
        let pid = client.daemon_pid;
        // Before it is asked: then it still is the daemon's.
        let process = other_process(pid);
        let lock = std::fs::symlink_metadata(self.runtime_dir.path.join("lock")).ok().map(|lock| lock.ino());
        let result = match client.request(METHOD_SHUTDOWN, &()) {
            // It was ending already, and has hung up before it read that.
            Err(failure) if failure.exit == Exit::Unreachable && has_ended(process) => {
                return if out.json { out.safe("{}\n") } else { out.line(&[(ENDED, Style::Plain)]) };
            }
            result => result?,
        };
        if !is_waited_for {
            return say(out, &result, "the daemon is ending");
        }
        self.wait_for_hang_up(out, &mut client, deadline)?;
        while is_locked(pid, lock) {
            if Instant::now() >= deadline {
                return Err(self.late(pid, "it has ended its plugins, and still writes its record"));
            }
            std::thread::sleep(GONE_INTERVAL);
        }
        has_ended(process);
        say(out, &result, ENDED)
    }

    /// Waits until the daemon has hung up, and tells whom it waits for whenever that has changed.
    fn wait_for_hang_up(
        &self,
        out: &mut Out<'_>,
        client: &mut AdminClient,
        deadline: Instant,
    ) -> Result<(), Failure> {
        let mut told = Vec::new();
        loop {
            let left = deadline.saturating_duration_since(Instant::now());
            if client.hangs_up_within(left.min(LOOK_INTERVAL))? {
                return Ok(());
            }
            if left <= LOOK_INTERVAL {
                let whom =
                    if told.is_empty() { "it does not say for what".to_owned() } else { waits_for(&told) };
                return Err(self.late(client.daemon_pid, &whom));
            }
            let answer = match client.request(METHOD_PLUGINS, &()) {
                Ok(answer) => answer,
                // It hung up in the middle of it.
                Err(failure) if failure.exit == Exit::Unreachable => return Ok(()),
                Err(failure) => return Err(failure),
            };
            let list: PluginList = read(METHOD_PLUGINS, &answer)?;
            let whom: Vec<(String, PluginState)> = (list.plugins.into_iter())
                .filter(|plugin| plugin.pid.is_some() || plugin.state == PluginState::Stopping)
                .map(|plugin| (plugin.plugin_id.to_string(), plugin.state))
                .collect();
            if whom != told {
                told = whom;
                if !told.is_empty() {
                    out.tell(&waits_for(&told));
                }
            }
        }
    }

    fn late(&self, pid: u32, what: &str) -> Failure {
        let timeout = text::duration(self.timeout);
        Failure::new(
            Exit::Deadline,
            format!("the daemon (process {pid}) has not ended within {timeout}: {what}"),
        )
        .hint("it goes on ending; a second Ctrl+C at its terminal (SIGINT) kills its plugins; see --timeout")
    }
}

/// Waits a moment for the end of a process; whether it has ended.
fn has_ended(process: Option<ProcessIdentity>) -> bool {
    let Some(process) = process else { return false };
    let until = Instant::now() + PROCESS_TIMEOUT;
    while process.runs() {
        if Instant::now() >= until {
            return false;
        }
        std::thread::sleep(GONE_INTERVAL);
    }
    true
}

/// Prints the daemon's answer, or what it means.
fn say(out: &mut Out<'_>, answer: &RawValue, meaning: &str) -> Result<(), Failure> {
    if out.json { out.document(answer) } else { out.line(&[(meaning, Style::Plain)]) }
}

/// The plugins that a daemon waits for while it ends, in words.
fn waits_for(plugins: &[(String, PluginState)]) -> String {
    let mut names: Vec<String> =
        plugins.iter().take(NAMED_MAX).map(|(id, state)| format!("{id} ({state})")).collect();
    if let Some(more) = plugins.len().checked_sub(NAMED_MAX).filter(|more| *more > 0) {
        names.push(format!("{more} more"));
    }
    format!("it waits for {}: {}", text::count(plugins.len() as u64, "plugin"), names.join(", "))
}

/// Whether that process holds an flock(2) on the file with this inode, or, where that is not known, any.
/// Asking the kernel for the lock instead would keep the next daemon from it for a moment.
fn is_locked(pid: u32, inode: Option<u64>) -> bool {
    std::fs::read_to_string("/proc/locks").is_ok_and(|locks| has_lock(&locks, pid, inode))
}

/// The same in the text of `/proc/locks` (proc_locks(5)), whose fifth column is the pid and whose sixth is
/// `MAJOR:MINOR:INODE`.
fn has_lock(locks: &str, pid: u32, inode: Option<u64>) -> bool {
    locks.lines().any(|line| {
        let columns: Vec<&str> = line.split_whitespace().collect();
        let &[_, kind, _, _, of, file, ..] = &*columns else { return false };
        let inode_of = || file.rsplit(':').next().and_then(|inode| inode.parse::<u64>().ok());
        kind == "FLOCK" && of.parse() == Ok(pid) && (inode.is_none() || inode_of() == inode)
    })
}

/// The process that has this pid, unless it is this one, or in a pid namespace that this one does not see.
fn other_process(pid: u32) -> Option<ProcessIdentity> {
    ProcessIdentity::of(pid).filter(|_| pid != std::process::id())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_lock_of_one_process_on_one_file_is_found() {
        let locks = "1: FLOCK  ADVISORY  WRITE 470 08:01:1311 0 EOF\n\
                     2: POSIX  ADVISORY  WRITE 471 08:01:1312 0 EOF\n2: -> FLOCK ADVISORY WRITE 472 08:01:1311 0 EOF\n";
        let table = [
            (470, Some(1311), true),
            (470, Some(1312), false),
            (470, None, true),
            (471, Some(1312), false),
            (472, Some(1311), false),
            (47, None, false),
        ];
        for (pid, inode, expected) in table {
            assert_eq!(has_lock(locks, pid, inode), expected, "{pid} {inode:?}");
        }
    }

    #[test]
    fn nobody_waits_for_its_own_end() {
        assert!(other_process(std::process::id()).is_none());
        assert!(other_process(0).is_none(), "the daemon's pid means nothing here");
    }

    #[test]
    fn many_plugins_are_counted() {
        let plugins = |count: usize| -> Vec<(String, PluginState)> {
            (0..count).map(|number| (format!("p{number}"), PluginState::Stopping)).collect()
        };
        assert_eq!(waits_for(&plugins(1)), "it waits for 1 plugin: p0 (stopping)");
        let many = waits_for(&plugins(10));
        assert!(
            many.starts_with("it waits for 10 plugins: p0 (stopping), ")
                && many.ends_with("p7 (stopping), 2 more")
        );
    }
}
