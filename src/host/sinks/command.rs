//! A program that takes JSON lines on its standard input.
//!
//! What this file is for: launching it when there is something to take, launching it again when it ended, and
//! ending it with the host. What it deliberately does not do: put what it prints on record, which could go round
//! and round; its last words on standard error are part of what is said when it fails.
//!
//! What always holds: its environment is the name of its sink and nothing else; an event counts as taken when
//! the program has read it; it leads a session of its own, and what is left of its group is killed with it.

use crate::eventlog::sinks::{
    CommandLine, Event, EventTarget, SinkFault, Window, json_line, wait_until_read, write_by,
};
use crate::sys::known_children::{KnownChild, KnownChildren};
use crate::sys::launcher::Launcher;
use crate::sys::process::Child;
use crate::sys::spawn::{SpawnSpec, Spawned, spawn_reading};
use crate::sys::{executable, unread};
use nix::fcntl::{FcntlArg, OFlag, fcntl};
use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use std::ffi::OsString;
use std::fs::File;
use std::io::{ErrorKind, Read, Write};
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::sync::Arc;
use std::time::{Duration, Instant};

/// The one variable of its environment.
const ENV_SINK: &str = "RPC_PLUGIN_SYSTEM_LOG_SINK";
/// How much of its standard error is kept. Bytes.
const TAIL_BYTES: usize = 512;
/// Size of the buffer for what it prints. Bytes.
const BLOCK_BYTES: usize = 4096;

/// A sink that writes events to the standard input of a program.
#[derive(Debug)]
pub(super) struct CommandSink {
    line: CommandLine,
    name: String,
    children: KnownChildren,
    launcher: Arc<Launcher>,
    running: Option<RunningProgram>,
    window: Window,
}

/// The order matters: the child is reaped before it is forgotten.
#[derive(Debug)]
struct RunningProgram {
    child: Child,
    _known: KnownChild,
    stdin: Option<File>,
    stdout: Option<File>,
    stderr: Option<File>,
    tail: Vec<u8>,
}

impl AsFd for RunningProgram {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.stdin.as_ref().map_or_else(|| self.child.as_fd(), AsFd::as_fd)
    }
}

impl RunningProgram {
    fn watched(&self) -> Vec<BorrowedFd<'_>> {
        let mut fds = vec![self.child.as_fd()];
        fds.extend([&self.stdout, &self.stderr].into_iter().flatten().map(AsFd::as_fd));
        fds
    }

    /// Throws away what it prints, but for its last words.
    fn drain(&mut self) {
        let mut block = [0; BLOCK_BYTES];
        for (stream, is_kept) in [(&mut self.stdout, false), (&mut self.stderr, true)] {
            let Some(file) = stream else { continue };
            match file.read(&mut block) {
                Ok(0) => *stream = None,
                Ok(count) if is_kept => {
                    self.tail.extend_from_slice(block.get(..count).unwrap_or_default());
                    self.tail.drain(..self.tail.len().saturating_sub(TAIL_BYTES));
                }
                Ok(_) => {}
                Err(error) if matches!(error.kind(), ErrorKind::WouldBlock | ErrorKind::Interrupted) => {}
                Err(_) => *stream = None,
            }
        }
    }

    /// How it ended, if it has.
    fn ended(&mut self) -> Option<String> {
        let status = match self.child.peek_exit() {
            Ok(None) => return None,
            Ok(Some(status)) => format!("it ended ({status})"),
            Err(error) => format!("it is lost: {error}"),
        };
        self.drain();
        let tail = String::from_utf8_lossy(&self.tail);
        let tail = tail.trim();
        Some(if tail.is_empty() { status } else { format!("{status}; its last words on stderr: {tail}") })
    }

    fn write_once(&self, bytes: &[u8]) -> std::io::Result<usize> {
        match &self.stdin {
            Some(stdin) => {
                let mut stdin = stdin;
                stdin.write(bytes)
            }
            None => Err(ErrorKind::BrokenPipe.into()),
        }
    }
}

impl CommandSink {
    pub(super) fn new(
        name: &str,
        line: CommandLine,
        children: KnownChildren,
        launcher: Arc<Launcher>,
    ) -> CommandSink {
        let name = name.to_owned();
        CommandSink { line, name, children, launcher, running: None, window: Window::default() }
    }

    fn launch(&self) -> Result<RunningProgram, String> {
        let executable = executable::open(&self.line.program).map_err(|error| error.to_string())?;
        let (reader, stdin) = std::io::pipe().map_err(|error| format!("no pipe: {error}"))?;
        let stdin = OwnedFd::from(stdin);
        fcntl(&stdin, FcntlArg::F_SETFL(OFlag::O_NONBLOCK)).map_err(|errno| errno.to_string())?;
        let args: Vec<OsString> = self.line.args.iter().map(OsString::from).collect();
        let env = [(OsString::from(ENV_SINK), OsString::from(&self.name))];
        let mark = format!("{ENV_SINK}={}", self.name).into();
        let children = self.children.clone();
        let launched = self.launcher.launch_and_wait(move |slot| {
            let spec = SpawnSpec { args: &args, env: &env, ..SpawnSpec::new(&executable) };
            let launch = || spawn_reading(&spec, reader.into(), slot);
            children.launch(mark, launch, |spawned: &Spawned| spawned.child.pid())
        });
        let (spawned, known) = launched
            .ok_or("it could not be launched, because other launches hang; does a file system?")?
            .map_err(|error| error.to_string())?;
        let Spawned { child, stdout, stderr } = spawned;
        let [stdin, stdout, stderr] = [Some(stdin), stdout, stderr].map(|fd| fd.map(File::from));
        Ok(RunningProgram { child, _known: known, stdin, stdout, stderr, tail: Vec::new() })
    }

    /// The program is of no use any more.
    fn fault(&mut self, error: impl std::fmt::Display) -> SinkFault {
        // What it did not read stays in the pipe, also when it is gone.
        if let Some(Ok(bytes)) = self.running.take().and_then(|running| running.stdin.map(unread::of_pipe)) {
            self.window.settle(bytes);
        }
        let unread = self.window.clear();
        SinkFault { unread, ..SinkFault::down(0, format!("{}: {error}", self.line.program.display())) }
    }
}

impl EventTarget for CommandSink {
    fn deliver(&mut self, events: &[Event], timeout: Duration) -> Result<(), SinkFault> {
        self.tend()?;
        let mut running = match self.running.take().map_or_else(|| self.launch(), Ok) {
            Ok(running) => running,
            Err(error) => return Err(self.fault(error)),
        };
        let lines: Vec<Vec<u8>> = events.iter().map(json_line).collect();
        let written = write_by(
            &mut running,
            &lines.concat(),
            timeout,
            RunningProgram::write_once,
            // Not the process itself: that it has ended shows in the pipe.
            |running| running.watched().into_iter().skip(1).collect(),
            RunningProgram::drain,
        );
        if let Err(error) = written {
            // A program that just closed its input is about to say why.
            let _ = running.child.wait_exit(Duration::from_millis(100));
            let error = running.ended().unwrap_or_else(|| error.to_string());
            self.running = Some(running);
            return Err(self.fault(error));
        }
        lines.iter().for_each(|line| self.window.push(line.len()));
        self.running = Some(running);
        Ok(())
    }

    fn unread(&mut self) -> Result<usize, SinkFault> {
        let Some(running) = &mut self.running else { return Ok(0) };
        running.drain();
        let unread = running.stdin.as_ref().map_or(Ok(0), unread::of_pipe);
        match (running.ended(), unread) {
            (Some(ended), _) => Err(self.fault(ended)),
            (None, Ok(bytes)) => Ok(self.window.settle(bytes)),
            (None, Err(error)) => Err(self.fault(error)),
        }
    }

    fn watched(&self) -> Vec<BorrowedFd<'_>> {
        self.running.as_ref().map_or_else(Vec::new, RunningProgram::watched)
    }

    fn tend(&mut self) -> Result<(), SinkFault> {
        self.unread().map(drop)
    }

    fn finish(&mut self, deadline: Instant) -> usize {
        let unread = wait_until_read(deadline, || {
            let in_window = self.window.len();
            self.unread().map_err(|_| in_window)
        });
        if unread > 0 {
            return unread;
        }
        let Some(mut running) = self.running.take() else { return 0 };
        // The end of its input asks it to end.
        running.stdin = None;
        while running.ended().is_none() {
            let left = deadline.saturating_duration_since(Instant::now());
            if left.is_zero() {
                break;
            }
            let mut fds: Vec<PollFd<'_>> =
                running.watched().into_iter().map(|fd| PollFd::new(fd, PollFlags::POLLIN)).collect();
            let ms = left.as_millis().saturating_add(1);
            let _ = poll(&mut fds, PollTimeout::try_from(ms).unwrap_or(PollTimeout::MAX));
            running.drain();
        }
        let _ = running.child.reap();
        0
    }
}
