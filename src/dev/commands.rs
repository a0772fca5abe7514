//! The lines that are typed, one after the other.
//!
//! What always holds: every line ends by its deadline; a line that fails does not end anything.

use super::input::{Input, Request};
use super::up;
use super::view::View;
use crate::cli::text::count;
use crate::ctl::Exit;
use crate::host::{CallError, CallOptions, CancelToken, Host, HostError, PluginHandle, PluginState};
use crossbeam_channel::Receiver;
use serde_json::value::RawValue;
use std::io::{self, IsTerminal};
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
            Request::Call(method, params) => return self.call(method, params),
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

    fn call(&self, method: &str, params: Option<&str>) -> io::Result<LineEnd> {
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
        let token = self.current.begin();
        let progress = |value: &RawValue| drop(self.view.progress(method, value));
        let called = self.plugin.call_raw_start(method, raw, options);
        let called = called.and_then(|call| call.wait_watched(Some(&progress), Some(&token)));
        self.current.end();
        match called {
            Ok(reply) => {
                self.view.result(method, &reply)?;
                if !reply.fds.is_empty() {
                    let held = count(reply.fds.len() as u64, "stream or blob");
                    self.view
                        .note(&format!("the result holds {held}, which is closed: 'dev' shows JSON only"))?;
                }
                Ok(LineEnd::Well)
            }
            Err(error) => {
                self.view.call_failed(method, &error, begin.elapsed())?;
                Ok(LineEnd::Failed(exit_of(&error)))
            }
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

fn exit_of(error: &CallError) -> Exit {
    Exit::from(error.code)
}

/// The call that is under way, if one is, for whoever cancels it.
#[derive(Default)]
pub(super) struct RunningCall(Mutex<Option<CancelToken>>);

impl RunningCall {
    fn begin(&self) -> CancelToken {
        let token = CancelToken::new();
        *self.0.lock().unwrap_or_else(PoisonError::into_inner) = Some(token.clone());
        token
    }

    fn end(&self) {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).take();
    }

    /// Cancels it, once; whether there was one.
    pub(super) fn cancel(&self) -> bool {
        let token = self.0.lock().unwrap_or_else(PoisonError::into_inner).take();
        token.as_ref().map(CancelToken::cancel).is_some()
    }
}

/// What a line came to.
enum LineEnd {
    Well,
    Failed(Exit),
    Quit,
}
