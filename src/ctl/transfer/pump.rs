//! Copying from one descriptor to another on a thread of its own, until the end, a failure, or until it is stopped.
//!
//! What always holds: one buffer is in memory, however much is copied; a wait for the call's side is bounded where its
//! caller says so, one for this user's own files is not; who waits is woken by [`Stop`].

use nix::errno::Errno;
use nix::fcntl::{FcntlArg, OFlag, fcntl};
use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use rpc_plugin_peer::running_time::WaitLimit;
use std::fs::File;
use std::io::{self, PipeReader, PipeWriter, Read, Write};
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::os::unix::fs::FileExt;
use std::sync::Arc;
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

/// Bytes of the one buffer.
const COPY_BYTES: usize = 64 * 1024;
/// How long the end of an input that was cut off is held back.
const LINGER: Duration = Duration::from_secs(1);

/// What ends the copying of one call early. Clones are the same.
#[derive(Debug, Clone)]
pub(crate) struct Stop {
    reader: Arc<PipeReader>,
    writer: Arc<PipeWriter>,
}

impl Stop {
    /// # Errors
    /// This process cannot have more descriptors.
    pub(super) fn new() -> io::Result<Stop> {
        let (reader, writer) = io::pipe()?;
        Ok(Stop { reader: Arc::new(reader), writer: Arc::new(writer) })
    }

    /// Ends it.
    pub(crate) fn now(&self) {
        // It has room for the few bytes that are ever written into it.
        let _ = (&*self.writer).write(&[0]);
    }
}

/// How the copying ended.
#[derive(Debug)]
pub(super) enum Ended {
    /// All was copied.
    Whole,
    /// The reader of what was to be written has gone.
    Unwanted,
    /// It was stopped.
    Stopped,
    /// The call's side did nothing for too long.
    Stalled,
    /// It ended before the bytes that were announced.
    Short,
    ReadFailed(io::Error),
    WriteFailed(io::Error),
}

/// The end of the copying.
#[derive(Debug)]
pub(super) struct CopyEnd {
    /// How many bytes were written.
    pub(super) bytes: u64,
    pub(super) how: Ended,
    /// What was written into, where it is not closed yet.
    pub(super) rest: Option<OwnedFd>,
}

/// A thread that copies.
pub(super) struct Pump {
    thread: JoinHandle<CopyEnd>,
    /// Becomes readable once reading or passing on has failed.
    failed: PipeReader,
    _tell: Arc<PipeWriter>,
    /// Is closed at its other end once the thread is about to end.
    ended: PipeReader,
}

impl Pump {
    /// Feeds input into a stream of the call, whose other side may take nothing for `patience`.
    ///
    /// # Errors
    /// No thread or descriptor can be had.
    pub(super) fn feed(from: OwnedFd, into: OwnedFd, patience: Duration, stop: &Stop) -> io::Result<Pump> {
        let copy = Copy {
            from,
            into,
            bytes_max: None,
            read_patience: None,
            write_patience: Some(patience),
            stop: stop.clone(),
        };
        copy.start()
    }

    /// Writes a stream of the call, or a blob of so many bytes, whose other side may give nothing for `patience`.
    ///
    /// # Errors
    /// As [`Pump::feed`].
    pub(super) fn drain(
        from: OwnedFd,
        into: OwnedFd,
        (bytes_max, read_patience): (Option<u64>, Option<Duration>),
        stop: &Stop,
    ) -> io::Result<Pump> {
        Copy { from, into, bytes_max, read_patience, write_patience: None, stop: stop.clone() }.start()
    }

    /// Waits for its end.
    pub(super) fn join(self) -> CopyEnd {
        let panicked = |_| {
            let how = Ended::WriteFailed(io::Error::other("the thread that copies panicked"));
            CopyEnd { bytes: 0, how, rest: None }
        };
        self.thread.join().unwrap_or_else(panicked)
    }

    /// Waits for its end after it was stopped; `None` where it does not come, because a write does not return.
    pub(super) fn join_stopped(self) -> Option<CopyEnd> {
        has_within(self.ended.as_fd(), PollFlags::POLLIN, LINGER).then(|| self.join())
    }

    /// Becomes readable once reading or passing on has failed.
    pub(super) fn failed(&self) -> &PipeReader {
        &self.failed
    }
}

/// What is copied.
struct Copy {
    from: OwnedFd,
    into: OwnedFd,
    /// Exactly so many bytes, from the beginning where it is a file.
    bytes_max: Option<u64>,
    read_patience: Option<Duration>,
    write_patience: Option<Duration>,
    stop: Stop,
}

impl Copy {
    fn start(self) -> io::Result<Pump> {
        let (failed, tell) = io::pipe()?;
        let tell = Arc::new(tell);
        let kept = Arc::clone(&tell);
        let (ended, ends) = io::pipe()?;
        let thread = crate::threads::builder("call-copy").spawn(move || {
            let end = self.run();
            if matches!(end.how, Ended::ReadFailed(_) | Ended::Stalled) {
                // The pipe is empty, and takes a byte.
                let _ = (&*tell).write(&[0]);
            }
            drop(ends);
            end
        })?;
        Ok(Pump { thread, failed, _tell: kept, ended })
    }

    fn run(self) -> CopyEnd {
        let Copy { from, into, bytes_max, read_patience, write_patience, stop } = self;
        let (from, mut into) = (File::from(from), File::from(into));
        let is_regular = |file: &File| file.metadata().is_ok_and(|metadata| metadata.is_file());
        let is_file = is_regular(&from);
        // A pipe that is ready takes at least that much without making anybody wait.
        let write_bytes = if is_regular(&into) { COPY_BYTES } else { PIPE_BUF };
        let (mut bytes, mut buffer) = (0u64, vec![0; COPY_BYTES]);
        // Somebody else who has the descriptor may take what poll(2) saw.
        if read_patience.is_some()
            && let Err(error) = set_nonblocking(&from)
        {
            return CopyEnd { bytes, how: Ended::ReadFailed(error), rest: Some(into.into()) };
        }
        let mut limit = Limit::new(read_patience);
        let how = loop {
            let left = bytes_max.map_or(u64::MAX, |max| max - bytes);
            if left == 0 {
                break Ended::Whole;
            }
            let room = buffer.len().min(usize::try_from(left).unwrap_or(usize::MAX));
            let Some(room) = buffer.get_mut(..room) else { break Ended::Short };
            match wait(&from, PollFlags::POLLIN, Some(&into), &stop, &mut limit) {
                Ok(Waited::Ready) => {}
                Ok(Waited::Ended(how)) => break how,
                Err(error) => break Ended::ReadFailed(error),
            }
            // The offset of a blob is shared with everybody who has it.
            let read = match (is_file, bytes_max) {
                (true, Some(_)) => from.read_at(room, bytes),
                _ => (&from).read(room),
            };
            let count = match read {
                Ok(0) if bytes_max.is_some() => break Ended::Short,
                Ok(0) => break Ended::Whole,
                Ok(count) => count,
                Err(error) if is_passing(&error) => continue,
                Err(error) => break Ended::ReadFailed(error),
            };
            let part = buffer.get(..count).unwrap_or_default();
            let (written, how) = write_all(&mut into, (part, write_bytes), &stop, write_patience);
            limit = Limit::new(read_patience);
            bytes += written;
            if let Some(how) = how {
                break how;
            }
        };
        // Where all was passed on, its end is told by closing it.
        let rest = if matches!(how, Ended::Whole) { None } else { Some(into.into()) };
        CopyEnd { bytes, how, rest }
    }
}

/// Writes all of it; how much was written, and why not all.
fn write_all(
    into: &mut File,
    (part, bytes_max): (&[u8], usize),
    stop: &Stop,
    patience: Option<Duration>,
) -> (u64, Option<Ended>) {
    let (mut written, mut limit) = (0, Limit::new(patience));
    while let Some(rest) = part.get(written..).filter(|rest| !rest.is_empty()) {
        match wait(into, PollFlags::POLLOUT, None, stop, &mut limit) {
            Ok(Waited::Ready) => {}
            Ok(Waited::Ended(how)) => return (written as u64, Some(how)),
            Err(error) => return (written as u64, Some(Ended::WriteFailed(error))),
        }
        match into.write(rest.get(..bytes_max).unwrap_or(rest)) {
            Ok(0) => return (written as u64, Some(Ended::WriteFailed(io::ErrorKind::WriteZero.into()))),
            Ok(count) => {
                written += count;
                limit = Limit::new(patience);
            }
            Err(error) if is_passing(&error) => {}
            Err(error) if error.kind() == io::ErrorKind::BrokenPipe => {
                return (written as u64, Some(Ended::Unwanted));
            }
            Err(error) => return (written as u64, Some(Ended::WriteFailed(error))),
        }
    }
    (written as u64, None)
}

/// Bytes that a pipe takes at once where poll(2) says that it takes any (pipe(7)).
const PIPE_BUF: usize = 4096;

/// What a wait came to.
enum Waited {
    Ready,
    Ended(Ended),
}

/// How long may pass without a byte.
struct Limit {
    begin: Instant,
    /// `None`: as long as it takes.
    limit: Option<WaitLimit>,
}

impl Limit {
    fn new(patience: Option<Duration>) -> Limit {
        Limit { begin: Instant::now(), limit: patience.map(WaitLimit::new) }
    }

    fn left(&mut self) -> Option<Duration> {
        self.limit.as_mut().map(|limit| limit.left(self.begin.elapsed()))
    }
}

/// Has reads and writes of it give an error where they would wait.
fn set_nonblocking(file: &File) -> io::Result<()> {
    let flags = OFlag::from_bits_retain(fcntl(file, FcntlArg::F_GETFL)?);
    fcntl(file, FcntlArg::F_SETFL(flags | OFlag::O_NONBLOCK))?;
    Ok(())
}

/// Waits for one descriptor, until it is stopped, nobody reads `into` any more, or the limit is reached.
fn wait(
    fd: &File,
    events: PollFlags,
    into: Option<&File>,
    stop: &Stop,
    limit: &mut Limit,
) -> io::Result<Waited> {
    loop {
        let left = limit.left();
        let timeout =
            left.map_or(PollTimeout::NONE, |left| PollTimeout::try_from(left).unwrap_or(PollTimeout::MAX));
        let mut polled =
            vec![PollFd::new(stop.reader.as_fd(), PollFlags::POLLIN), PollFd::new(fd.as_fd(), events)];
        polled.extend(into.map(|into| PollFd::new(into.as_fd(), PollFlags::empty())));
        match poll(&mut polled, timeout) {
            Err(Errno::EINTR) => continue,
            Err(errno) => return Err(errno.into()),
            Ok(_) => {}
        }
        let came = |at: usize| polled.get(at).and_then(PollFd::revents).unwrap_or(PollFlags::empty());
        if !came(0).is_empty() {
            return Ok(Waited::Ended(Ended::Stopped));
        }
        if !came(1).is_empty() {
            return Ok(Waited::Ready);
        }
        if came(2).intersects(PollFlags::POLLERR | PollFlags::POLLHUP) {
            return Ok(Waited::Ended(Ended::Unwanted));
        }
        if left.is_some_and(|left| left.is_zero()) {
            return Ok(Waited::Ended(Ended::Stalled));
        }
    }
}

/// Keeps the writing end of an input that was cut off, until nobody reads it any more or for a second.
pub(super) fn linger(into: &OwnedFd) {
    has_within(into.as_fd(), PollFlags::empty(), LINGER);
}

/// Whether something of it comes in that time: these events, an error or a hang-up.
pub(super) fn has_within(fd: BorrowedFd<'_>, events: PollFlags, wait: Duration) -> bool {
    let begin = Instant::now();
    while let Some(left) = wait.checked_sub(begin.elapsed()).filter(|left| !left.is_zero()) {
        let timeout = PollTimeout::try_from(left).unwrap_or(PollTimeout::MAX);
        match poll(&mut [PollFd::new(fd, events)], timeout) {
            Err(Errno::EINTR) => {}
            came => return came.is_ok_and(|count| count > 0),
        }
    }
    false
}

fn is_passing(error: &io::Error) -> bool {
    matches!(error.kind(), io::ErrorKind::Interrupted | io::ErrorKind::WouldBlock)
}
