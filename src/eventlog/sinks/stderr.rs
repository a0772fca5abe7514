//! The process's own standard error, for people and for a service manager that collects it.
//!
//! What it deliberately does not do: make the descriptor nonblocking, because others write to it too.
//!
//! What always holds: no more is written at once than a pipe that is ready takes (PIPE_BUF, pipe(7)), so that
//! a reader that stands still is noticed.

use super::format::{severity, text_line};
use super::options::Prefix;
use super::target::{Event, EventTarget, SinkFault};
use super::window::write_by;
use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use rpc_plugin_wire::event::Level;
use std::io;
use std::os::fd::AsFd;
use std::time::Duration;

/// PIPE_BUF on Linux. Bytes.
const PIECE_BYTES: usize = 4096;

/// A sink that writes lines of text to standard error.
#[derive(Debug)]
pub struct StderrSink {
    with_priority: bool,
}

impl StderrSink {
    /// Lines with or without their priority.
    #[must_use]
    pub fn new(prefix: Prefix) -> StderrSink {
        let with_priority = match prefix {
            Prefix::Always => true,
            Prefix::Never => false,
            Prefix::Auto => is_journal(std::env::var("JOURNAL_STREAM").ok().as_deref()),
        };
        StderrSink { with_priority }
    }

    /// What begins a line of that level: its priority, where lines have one.
    #[must_use]
    pub fn prefix(&self, level: Level) -> String {
        if self.with_priority { format!("<{}>", severity(level.as_str())) } else { String::new() }
    }

    /// Writes text.
    ///
    /// # Errors
    /// `TimedOut` when the reader takes nothing for `timeout`, of which a part may be written then; those of poll(2) and
    /// write(2).
    pub fn write(&self, text: &[u8], timeout: Duration) -> io::Result<()> {
        write_patiently(io::stderr(), text, timeout)
    }
}

/// Whether standard error is the stream that the variable names by device and inode (systemd.exec(5)): a shell
/// in between may have directed it elsewhere.
fn is_journal(variable: Option<&str>) -> bool {
    let named = variable.and_then(|text| {
        let (device, inode) = text.split_once(':')?;
        Some((device.parse::<u64>().ok()?, inode.parse::<u64>().ok()?))
    });
    let seen = nix::sys::stat::fstat(io::stderr()).ok();
    named.is_some() && named == seen.map(|stat| (stat.st_dev, stat.st_ino))
}

impl EventTarget for StderrSink {
    fn deliver(&mut self, events: &[Event], timeout: Duration) -> Result<(), SinkFault> {
        for (taken, event) in events.iter().enumerate() {
            let written = self.write(&text_line(&event.record, self.with_priority), timeout);
            written.map_err(|error| SinkFault::down(taken, format!("standard error: {error}")))?;
        }
        Ok(())
    }
}

/// Writes text to a descriptor that blocks.
///
/// # Errors
/// Those of [`StderrSink::write`].
pub fn write_patiently(mut to: impl AsFd, text: &[u8], timeout: Duration) -> io::Result<()> {
    write_by(&mut to, text, timeout, write_piece, |_| Vec::new(), |_| ())
}

fn write_piece(to: &impl AsFd, bytes: &[u8]) -> io::Result<usize> {
    let mut fds = [PollFd::new(to.as_fd(), PollFlags::POLLOUT)];
    if poll(&mut fds, PollTimeout::ZERO)? == 0 {
        return Err(io::ErrorKind::WouldBlock.into());
    }
    let piece = bytes.get(..PIECE_BYTES).unwrap_or(bytes);
    Ok(nix::unistd::write(to, piece)?)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_the_stream_that_is_named_is_the_journal() {
        let stat = nix::sys::stat::fstat(io::stderr()).unwrap();
        let named = format!("{}:{}", stat.st_dev, stat.st_ino);
        assert!(is_journal(Some(&named)));
        for other in [None, Some(""), Some("1:2:3"), Some("0:0")] {
            assert!(!is_journal(other), "{other:?}");
        }
    }
}
