//! Two pipes as one socket: what a plugin has for standard input and output behind a command such as ssh.
//!
//! What this file is for: two threads that copy bytes between the pipes and one end of a socket pair, so that a
//! session has a socket in every transport. What it deliberately does not do: look into the bytes, or keep more
//! than one buffer of them: who reads too slowly is waited for, as on a socket.
//!
//! What always holds: the end of the input is an end of stream; what the session wrote before it ended is
//! written before [`Pipes::finish`] returns, if that takes no longer than it may; no pipe is left in a mode that
//! it was not in.

use nix::errno::Errno;
use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use std::fs::File;
use std::io::{self, ErrorKind, Read, Write};
use std::net::Shutdown;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::os::unix::net::UnixStream;
use std::sync::{Arc, mpsc};
use std::time::Duration;

/// Bytes copied at once: what a pipe holds (pipe(7)).
const COPY_BYTES: usize = 64 * 1024;

/// The two threads that copy between the pipes and the session. They end with it.
#[derive(Debug)]
pub(crate) struct Pipes {
    /// Disconnected when all that was written is written; nothing is ever sent.
    written: mpsc::Receiver<()>,
}

impl Pipes {
    /// Joins the two pipes to the socket that is given back.
    pub(crate) fn start(input: OwnedFd, output: OwnedFd) -> io::Result<(UnixStream, Pipes)> {
        let (session, ours) = UnixStream::pair()?;
        let (ours, (alive, written)) = (Arc::new(ours), mpsc::channel());
        let socket = Arc::clone(&ours);
        let copy_in = move || {
            copy_in(&mut File::from(input), &socket);
            // The session sees an end of stream, and may still write.
            let _ = socket.shutdown(Shutdown::Write);
        };
        crate::threads::builder("plugin-stdin").spawn(copy_in)?;
        let copy_out = move || {
            copy_out(&ours, &mut File::from(output));
            let _ = ours.shutdown(Shutdown::Both);
            drop(alive);
        };
        crate::threads::builder("plugin-stdout").spawn(copy_out)?;
        Ok((session, Pipes { written }))
    }

    /// Waits until what an ended session wrote is written, at most `timeout`.
    pub(crate) fn finish(self, timeout: Duration) {
        // The only end of this wait but the time is that the other side is dropped.
        let _ = self.written.recv_timeout(timeout);
    }
}

/// Copies until the input ends, or the session has.
fn copy_in(input: &mut File, mut socket: &UnixStream) {
    let mut buffer = vec![0; COPY_BYTES];
    loop {
        // With no event asked for, a socket that both ends have shut down still is told (POLLHUP).
        let session = (socket.as_fd(), PollFlags::empty());
        if !is_ready(&[(input.as_fd(), PollFlags::POLLIN), session]) {
            return;
        }
        match input.read(&mut buffer) {
            Ok(0) => return,
            Ok(bytes) => {
                if socket.write_all(buffer.get(..bytes).unwrap_or_default()).is_err() {
                    return;
                }
            }
            Err(error) if is_passing(&error) => {}
            Err(_) => return,
        }
    }
}

/// Copies until the session has ended, or nobody reads the output.
fn copy_out(mut socket: &UnixStream, output: &mut File) {
    let mut buffer = vec![0; COPY_BYTES];
    loop {
        let bytes = match socket.read(&mut buffer) {
            Ok(0) => return,
            Ok(bytes) => bytes,
            Err(error) if is_passing(&error) => continue,
            Err(_) => return,
        };
        let mut rest = buffer.get(..bytes).unwrap_or_default();
        while !rest.is_empty() {
            match output.write(rest) {
                Ok(written) => rest = rest.get(written..).unwrap_or_default(),
                // Somebody who shares the pipe made it not block (O_NONBLOCK belongs to the open file).
                Err(error) if error.kind() == ErrorKind::WouldBlock => {
                    is_ready(&[(output.as_fd(), PollFlags::POLLOUT)]);
                }
                Err(error) if is_passing(&error) => {}
                Err(_) => return,
            }
        }
    }
}

fn is_passing(error: &io::Error) -> bool {
    matches!(error.kind(), ErrorKind::Interrupted | ErrorKind::WouldBlock)
}

/// Waits until the first is ready; false once any other is.
fn is_ready(fds: &[(BorrowedFd<'_>, PollFlags)]) -> bool {
    let mut polled: Vec<PollFd<'_>> = fds.iter().map(|(fd, flags)| PollFd::new(*fd, *flags)).collect();
    loop {
        match poll(&mut polled, PollTimeout::NONE) {
            Err(Errno::EINTR) => {}
            Err(_) => return false,
            Ok(_) => {
                let is_told = |polled: &PollFd<'_>| polled.any().unwrap_or(true);
                return !polled.iter().skip(1).any(is_told);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::io::{PipeReader, PipeWriter};
    use std::thread;

    const PATIENCE: Duration = Duration::from_secs(20);

    fn pipes() -> (PipeWriter, UnixStream, Pipes, PipeReader) {
        let (input, to_plugin) = std::io::pipe().unwrap();
        let (from_plugin, output) = std::io::pipe().unwrap();
        let (session, pipes) = Pipes::start(input.into(), output.into()).unwrap();
        (to_plugin, session, pipes, from_plugin)
    }

    #[test]
    fn bytes_go_both_ways_in_order_however_many() {
        let (mut to_plugin, session, pipes, mut from_plugin) = pipes();
        let sent: Vec<u8> = (0..3_000_000_u32).map(|n| (n % 251) as u8).collect();
        let expected = sent.clone();
        let writer = thread::spawn(move || to_plugin.write_all(&sent));
        let reader = thread::spawn(move || {
            let mut all = Vec::new();
            from_plugin.read_to_end(&mut all).map(|_| all)
        });
        // An echo.
        let mut buffer = vec![0; 10_000];
        loop {
            let bytes = (&session).read(&mut buffer).unwrap();
            if bytes == 0 {
                break;
            }
            (&session).write_all(&buffer[..bytes]).unwrap();
        }
        session.shutdown(Shutdown::Both).unwrap();
        pipes.finish(PATIENCE);
        writer.join().unwrap().unwrap();
        assert!(reader.join().unwrap().unwrap() == expected);
    }

    #[test]
    fn the_end_of_a_session_is_written_and_ends_both_threads_though_the_input_goes_on() {
        let (mut to_plugin, session, pipes, mut from_plugin) = pipes();
        (&session).write_all(b"last words").unwrap();
        session.shutdown(Shutdown::Both).unwrap();
        drop(session);
        pipes.finish(PATIENCE);
        let mut all = String::new();
        from_plugin.read_to_string(&mut all).unwrap();
        assert_eq!(all, "last words");
        // Its reader goes by itself: nothing that is written keeps it.
        let end = std::time::Instant::now() + PATIENCE;
        while to_plugin.write_all(b"x").is_ok() {
            assert!(std::time::Instant::now() < end, "the input is still read");
            thread::yield_now();
        }
    }

    #[test]
    fn a_reader_that_is_gone_ends_the_session() {
        let (_to_plugin, session, _pipes, from_plugin) = pipes();
        drop(from_plugin);
        (&session).write_all(b"x").unwrap();
        session.set_read_timeout(Some(PATIENCE)).unwrap();
        assert_eq!((&session).read(&mut [0]).unwrap(), 0);
    }
}
