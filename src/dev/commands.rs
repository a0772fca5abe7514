//! The lines that are typed, one after the other.
//!
//! What always holds: every line ends by its deadline; a line that fails does not end anything.

use super::input::{Files, Input, Request};
use super::up;
use super::view::View;
use crate::cli::text::count;
use crate::ctl::Exit;
use crate::ctl::transfer::{Running, STANDARD, Standard, Stop, Transfer, TransferError, WrittenOutput};
use crate::host::{CallError, CallOptions, CancelToken, Host, HostError, PluginHandle, PluginState};
use crossbeam_channel::Receiver;
use rpc_plugin_wire::answered_error::is_marked;
use serde_json::value::RawValue;
use std::io::{self, IsTerminal};
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

/// One plugin, and where to print.
pub(super) struct Console<'a> {
    pub(super) view: &'a View,
    pub(super) host: &'a Host,
    pub(super) plugin: &'a PluginHandle,
    pub(super) current: &'a RunningCall,
    pub(super) timeout: Duration,
}

impl Console<'_> {
    /// Starts the plugin, listens once it takes calls or is given up, and goes on until the end. What was the first
    /// failure counts where a script speaks, not a person.
    pub(super) fn serve(&self, inputs: &Receiver<Input>, listen: impl FnOnce() -> io::Result<()>) -> Exit {
        let failure = self.lines(inputs, listen).unwrap_or_else(|error| match error.kind() {
            // Nobody reads what is printed.
            io::ErrorKind::BrokenPipe => None,
            _ => Some(Exit::Failed),
        });
        failure.filter(|_| !io::stdin().is_terminal()).unwrap_or(Exit::Ok)
    }

    fn lines(
        &self,
        inputs: &Receiver<Input>,
        listen: impl FnOnce() -> io::Result<()>,
    ) -> io::Result<Option<Exit>> {
        let folder = self.host.runtime_dir().display();
        self.view.note(&format!("runtime folder {folder}; 'help' says what can be typed"))?;
        let mut failure = self.bring_up(|| self.plugin.start(), None)?;
        listen()?;
        for input in inputs {
            let ended = match input {
                Input::Line(line) => self.answer(Request::read(&line))?,
                Input::End(None) | Input::HostEnded => return Ok(failure),
                Input::End(Some(why)) => {
                    self.view.failed(&why)?;
                    return Ok(failure.or(Some(Exit::Failed)));
                }
            };
            match ended {
                LineEnd::Well => {}
                LineEnd::Failed(exit) => failure = failure.or(Some(exit)),
                LineEnd::Quit => return Ok(failure),
            }
        }
        Ok(failure)
    }

    fn answer(&self, request: Request<'_>) -> io::Result<LineEnd> {
        match request {
            Request::Nothing => {}
            Request::Help => self.view.help()?,
            Request::Quit => return Ok(LineEnd::Quit),
            Request::Call(method, params, files) => return self.call(method, params, &files),
            Request::Wrong(why) => {
                self.view.failed(&why)?;
                return Ok(LineEnd::Failed(Exit::Usage));
            }
            Request::Restart => {
                let before = self.plugin.status().ok().and_then(|status| status.generation);
                let failure = self.bring_up(|| self.plugin.restart(), before)?;
                return Ok(failure.map_or(LineEnd::Well, LineEnd::Failed));
            }
            Request::Status | Request::Capabilities => match (self.plugin.status(), request) {
                (Ok(status), Request::Status) => self.view.status(&status)?,
                (Ok(status), _) => self.view.capabilities(&status)?,
                (Err(error), _) => return self.host_failed(&error),
            },
        }
        Ok(LineEnd::Well)
    }

    /// Asks for a process, and waits until it takes calls.
    fn bring_up<T>(
        &self,
        ask: impl FnOnce() -> Result<T, HostError>,
        after: Option<crate::host::Generation>,
    ) -> io::Result<Option<Exit>> {
        match ask().and_then(|_| up(self.plugin, after, self.timeout)) {
            Ok(()) => Ok(None),
            Err(error) => match self.host_failed(&error)? {
                LineEnd::Failed(exit) => Ok(Some(exit)),
                LineEnd::Well | LineEnd::Quit => Ok(None),
            },
        }
    }

    /// Makes a call, and shows what comes of it in lines where `-` is to be written into.
    fn call(&self, method: &str, params: Option<&str>, files: &Files) -> io::Result<LineEnd> {
        if files.output.as_deref() != Some(STANDARD) {
            return self.call_into(method, params, files, Err("the output goes elsewhere"));
        }
        let (shown, into) = io::pipe()?;
        std::thread::scope(|scope| {
            let show = || self.view.show_output(shown);
            let showing = crate::threads::builder("dev-output").spawn_scoped(scope, show)?;
            let ended = self.call_into(method, params, files, Ok(into.as_fd()));
            drop(into);
            showing.join().unwrap_or(Ok(()))?;
            ended
        })
    }

    fn call_into(
        &self,
        method: &str,
        params: Option<&str>,
        files: &Files,
        output: Result<BorrowedFd<'_>, &'static str>,
    ) -> io::Result<LineEnd> {
        let raw = match params.map(|params| RawValue::from_string(params.to_owned())).transpose() {
            Ok(raw) => raw,
            Err(error) => {
                self.view.failed(&format!("{method}: its params are no JSON: {error}"))?;
                return Ok(LineEnd::Failed(Exit::Usage));
            }
        };
        let begin = Instant::now();
        let mut options = CallOptions::default().timeout(self.timeout);
        options.progress = true;
        let standard = Standard { input: Err("standard input has the lines: name a file"), output };
        let named = (files.input.as_deref(), files.output.as_deref());
        let (params, fds, running) = match self.begin_copying(raw, named, &standard) {
            Ok(begun) => begun,
            Err(error) => return self.not_copied(method, &error),
        };
        let token = self.current.begin();
        let progress = |value: &RawValue| drop(self.view.progress(method, value));
        let called = self.plugin.start_with_fds(method, params, fds, options);
        let called = called.and_then(|call| call.wait_watched(Some(&progress), Some(&token)));
        match called {
            Ok(reply) => {
                // Who has seen the result and presses Ctrl+C does not mean the call, unless it is copied from still.
                match files.is_empty() {
                    true => self.current.end(),
                    false => self.current.copies(running.stop()),
                }
                self.view.result(method, &reply)?;
                let written = running.finish(&reply.result, reply.fds);
                self.current.end();
                match written {
                    Ok(written) => self.tell_rest(method, &written, files),
                    Err(error) => self.not_copied(method, &error),
                }
            }
            Err(error) => {
                self.current.end();
                let why = running.abandon();
                self.view.call_failed(method, &error, begin.elapsed())?;
                match why {
                    Some(error) => self.not_copied(method, &error),
                    None => Ok(LineEnd::Failed(exit_of(&error))),
                }
            }
        }
    }

    /// Opens the files of a call, and begins to copy.
    fn begin_copying(
        &self,
        params: Option<Box<RawValue>>,
        named: (Option<&str>, Option<&str>),
        standard: &Standard<'_>,
    ) -> Result<CallBegun, TransferError> {
        let mut transfer = Transfer::prepare(params, named, standard, self.timeout)?;
        let (params, fds) = (transfer.params.take(), std::mem::take(&mut transfer.fds));
        Ok((params, fds, transfer.begin()?))
    }

    fn not_copied(&self, method: &str, error: &TransferError) -> io::Result<LineEnd> {
        self.view.failed(&format!("{method}: {error}"))?;
        Ok(LineEnd::Failed(error.exit))
    }

    /// Tells what of a result was not written.
    fn tell_rest(&self, method: &str, written: &WrittenOutput, files: &Files) -> io::Result<LineEnd> {
        if written.left > 0 {
            let held = count(written.left as u64, "stream or blob");
            let which = if files.output.is_some() { "further " } else { "" };
            self.view
                .note(&format!("the result holds {which}{held}, closed unread; --output FILE writes one"))?;
        }
        match files.output.as_ref().filter(|_| written.is_nothing) {
            Some(name) => {
                self.view.failed(&format!(
                    "{method}: the result holds no stream or blob: nothing was written to {name:?}"
                ))?;
                Ok(LineEnd::Failed(Exit::Failed))
            }
            None => Ok(LineEnd::Well),
        }
    }

    fn host_failed(&self, error: &HostError) -> io::Result<LineEnd> {
        // It was ended while it was asked, which is told at the end.
        if matches!(error, HostError::Ended) {
            return Ok(LineEnd::Quit);
        }
        match self.plugin.status() {
            Ok(status) if status.state == PluginState::Failed => self.view.given_up(&error.to_string())?,
            _ => self.view.failed(&error.to_string())?,
        }
        Ok(LineEnd::Failed(match error {
            HostError::Call(error) => exit_of(error),
            _ => Exit::Failed,
        }))
    }
}

/// As `rpcpluginctl call` ends: what a plugin answered with a code of the host's is no word of the host's.
fn exit_of(error: &CallError) -> Exit {
    match is_marked(error.outcome, error.code, error.data.as_deref()) {
        true => Exit::PluginAnswered,
        false => Exit::from(error.code),
    }
}

/// The params of a call, the descriptors that go with it, and what is copied beside it.
type CallBegun = (Option<Box<RawValue>>, Vec<OwnedFd>, Running);

/// The call that is under way, or copied from, if one is, for whoever cancels it.
#[derive(Default)]
pub(super) struct RunningCall(Mutex<Option<(CancelToken, Option<Stop>)>>);

impl RunningCall {
    fn begin(&self) -> CancelToken {
        let token = CancelToken::new();
        *self.0.lock().unwrap_or_else(PoisonError::into_inner) = Some((token.clone(), None));
        token
    }

    /// It was answered, and bytes are copied still; whoever cancels it ends that.
    fn copies(&self, stop: &Stop) {
        match self.0.lock().unwrap_or_else(PoisonError::into_inner).as_mut() {
            Some((_, copying)) => *copying = Some(stop.clone()),
            None => stop.now(),
        }
    }

    fn end(&self) {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).take();
    }

    /// Cancels it, once; whether there was one.
    pub(super) fn cancel(&self) -> bool {
        let running = self.0.lock().unwrap_or_else(PoisonError::into_inner).take();
        let Some((token, copying)) = running else { return false };
        token.cancel();
        if let Some(copying) = copying {
            copying.now();
        }
        true
    }
}

/// What a line came to.
enum LineEnd {
    Well,
    Failed(Exit),
    Quit,
}
