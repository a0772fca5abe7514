//! `call` once its command line is understood: the call, and the bytes that are copied beside it.
//!
//! What always holds: what a result holds and what is not written of it is told; a call that was given input is cancelled
//! before its input ends early.

use super::client::{Answer, RequestExtras};
use super::commands::read;
use super::exit::{Exit, Failure};
use super::out::Out;
use super::pretty::pretty;
use super::transfer::{Running, STANDARD, Standard, Transfer, TransferError, WrittenOutput};
use super::{Invocation, table};
use crate::cli::text::{count, escape_json};
use crate::sys::interrupts::Interrupts;
use rpc_plugin_wire::admin::{self, CallParams, CallReply};
use serde_json::value::RawValue;
use std::os::fd::AsFd;

/// Why there are no descriptors to copy to and from.
const NO_PROCESS: &str = "standard input and output are not this process's own here";

impl Invocation<'_> {
    /// Makes a call, and copies what goes with it.
    pub(super) fn call_and_copy(&self, out: &mut Out<'_>, mut params: CallParams) -> Result<(), Failure> {
        let (input, output) = (self.args.text(table::INPUT)?, self.args.text(table::OUTPUT)?);
        let (stdin, stdout) = (std::io::stdin(), std::io::stdout());
        let standard = Standard {
            input: if out.is_process { Ok(stdin.as_fd()) } else { Err(NO_PROCESS) },
            output: if out.is_process { Ok(stdout.as_fd()) } else { Err(NO_PROCESS) },
        };
        let mut transfer = Transfer::prepare(params.params.take(), (input, output), &standard, self.timeout)?;
        params.params = transfer.params.take();
        params.take_fds = transfer.takes_fds();
        let fds = std::mem::take(&mut transfer.fds);
        // Before there are threads, which are to hold them back too.
        let interrupts = match transfer.has_input_stream() && out.is_process {
            true => Some(Interrupts::hold().map_err(|error| Failure::new(Exit::Failed, error.to_string()))?),
            false => None,
        };
        let running = transfer.begin()?;
        let cancelled_by = interrupts.iter().map(AsFd::as_fd).chain(running.input_failed()).collect();
        let beside = RequestExtras { progress: &mut |value| out.progress(value), fds, cancelled_by };
        let answered = self.ask_call(&params, beside);
        match answered {
            Ok(answer) => {
                // From here on a signal ends all as it always does: the plugin sees how its streams end.
                drop(interrupts);
                self.show_and_copy(out, running, answer, output)
            }
            Err(failure) => {
                let why = running.abandon();
                out.flush()?;
                if interrupts.as_ref().is_some_and(Interrupts::came) {
                    out.tell("interrupted: the call was cancelled");
                }
                drop(interrupts);
                match why {
                    Some(why) => Err(why.into()),
                    None => Err(self.with_meant(failure, &params)),
                }
            }
        }
    }

    /// Prints the result, and writes what it holds.
    fn show_and_copy(
        &self,
        out: &mut Out<'_>,
        running: Running,
        answer: Answer,
        output: Option<&str>,
    ) -> Result<(), Failure> {
        let Answer { result, fds } = answer;
        let reply: Result<CallReply, Failure> = read(admin::METHOD_CALL, &result);
        if let Some(dropped) = reply.as_ref().ok().map(|reply| reply.dropped).filter(|dropped| *dropped > 0) {
            let held = count(u64::from(dropped), "stream or blob");
            out.warn(&format!("the result holds {held}, which was closed; --output FILE writes one"));
        }
        let is_beside = output == Some(STANDARD);
        match (&reply, out.json) {
            (_, true) | (Err(_), false) if is_beside => out.beside(&result),
            (_, true) => out.document(&result)?,
            (Ok(reply), false) if is_beside => out.beside(&reply.result),
            (Ok(reply), false) => {
                let json = escape_json(reply.result.get());
                let json = if out.stdout_is_terminal { pretty(&json) } else { json.into_owned() };
                out.safe(&format!("{json}\n"))?;
            }
            (Err(_), false) => {}
        }
        out.flush()?;
        let json = reply.as_ref().map_or_else(|_| RawValue::NULL, |reply| &reply.result);
        let WrittenOutput { left, is_nothing } = running.finish(json, fds)?;
        if left > 0 {
            let held = count(left as u64, "further stream or blob");
            out.warn(&format!("the result holds {held}, which was closed; --output writes one"));
        }
        reply?;
        match output.filter(|_| is_nothing) {
            Some(name) => {
                let message = format!("the result holds no stream or blob: nothing was written to {name:?}");
                Err(Failure::new(Exit::Failed, message).hint(
                    "a method that writes into a stream of its params takes it as {\"$stream\":\"output\"} there",
                ))
            }
            None => Ok(()),
        }
    }
}

impl From<TransferError> for Failure {
    fn from(error: TransferError) -> Failure {
        Failure::new(error.exit, error.message)
    }
}
