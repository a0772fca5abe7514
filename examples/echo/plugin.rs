//! What the echo plugin serves: `echo` returns its params, `sleep` takes its time and can be cancelled,
//! `crash` ends the process in the way that is asked for.
//!
//! What it deliberately does not do: anything of the protocol; the SDK does that.

use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use rpc_plugin_sdk::{Call, HandlerError, Plugin};
use serde::{Deserialize, Serialize};
use serde_json::value::RawValue;
use std::time::{Duration, Instant};

/// The echo plugin, ready for [`Plugin::run`].
pub(crate) fn echo_plugin() -> Plugin {
    Plugin::new(env!("CARGO_PKG_VERSION"))
        .raw_method("echo", echo)
        .method("sleep", sleep)
        .method("crash", crash)
}

/// Any object, back as it came. It needs no types, so it takes none.
fn echo(_: &Call, params: Option<&RawValue>) -> Result<Box<RawValue>, serde_json::Error> {
    match params {
        Some(params) => Ok(params.to_owned()),
        None => RawValue::from_string("{}".to_owned()),
    }
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct SleepParams {
    ms: u64,
}

#[derive(Serialize)]
struct SleepResult {
    slept_ms: u64,
}

/// Sleeps `ms` milliseconds; ends with `cancelled` as soon as the caller gives up.
fn sleep(call: &Call, params: SleepParams) -> Result<SleepResult, HandlerError> {
    let started = Instant::now();
    call.wait(Duration::from_millis(params.ms))?;
    Ok(SleepResult { slept_ms: u64::try_from(started.elapsed().as_millis())? })
}

#[derive(Deserialize)]
#[serde(rename_all = "snake_case")]
enum How {
    /// Ends the process with `code`.
    Exit,
    /// SIGABRT.
    Abort,
    /// Panics: the call fails, the plugin lives on.
    Panic,
    /// SIGKILL.
    Kill,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct CrashParams {
    how: How,
    /// The exit code, with `exit`.
    #[serde(default = "exit_code_default")]
    code: u8,
}

fn exit_code_default() -> u8 {
    1
}

#[expect(clippy::panic, reason = "the caller asked for it")]
fn crash(_: &Call, params: CrashParams) -> Result<(), HandlerError> {
    match params.how {
        How::Exit => std::process::exit(i32::from(params.code)),
        How::Abort => std::process::abort(),
        How::Panic => panic!("crash was asked to panic"),
        How::Kill => {
            kill(Pid::this(), Signal::SIGKILL)?;
            Ok(())
        }
    }
}
