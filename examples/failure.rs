//! A plugin that misbehaves on demand, for tests of the host. It says on stderr what it is about to do.
//!
//! The operator chooses through variables that are named for this plugin, never through the daemon's own
//! environment:
//!
//! - `FAILURE_MODE`: one of the modes below; absent is `none`; `list` prints them.
//! - `FAILURE_GENERATIONS=n`: misbehave in generations up to n only, and behave from then on.
//! - `FAILURE_AFTER_HEARTBEATS=n`: answer n heartbeats well before a `heartbeat-*` mode begins (0 unless
//!   named), or before `never-read` stops to read (1 unless named).
//! - `FAILURE_REPLAY=file`: instead of a mode, send what line n of the file says in generation n; past its
//!   last line the mode counts again. `failure/replay.rs` tells how a line is written.
//!
//! Instead of `FAILURE_MODE` it obeys `RPC_PLUGIN_SYSTEM_PLUGIN_BEHAVIOR_FAIL_AUTH` and others, as the failure plugin of the Go
//! system did that came before this one; `docs/migrating.md` lists them.
//!
//! It serves `work`, which returns its params, or fails with the error object that they hold as `error`, and
//! `sleep` with `ms`, which can be cancelled, and with `progress` tells so many steps of it. The modes:
//!
//! - `none`: behaves
//! - `exit-at-once`: ends with exit code 3 before it connects
//! - `never-connect`: lives and never connects
//! - `close-on-connect`: connects, closes the connection at once, and lives on
//! - `reject-hello`: connects and ends with exit code 1 before its hello
//! - `silent`: connects and never says hello
//! - `half-hello`: sends half of its hello, then nothing
//! - `garbled-hello`: sends a line that is not JSON as its hello
//! - `huge-hello`: sends a hello of 1 MiB
//! - `call-before-hello`: calls host.log before its hello
//! - `wrong-token`: says hello with a token of its own making
//! - `wrong-id`: says hello with the id of another plugin
//! - `wrong-generation`: says hello with the next generation's number
//! - `wrong-protocol`: says hello with protocol version 999 only
//! - `hello-malformed-capabilities`: says hello with capabilities that are no list
//! - `hello-empty-capabilities`: says hello without any capability
//! - `replayed-token`: says hello a second time once it was answered
//! - `second-connection`: makes two connections and says the same hello on both
//! - `malformed-capabilities`: answers plugin.capabilities with a text instead of a list
//! - `empty-capabilities`: answers plugin.capabilities with an empty list
//! - `wrong-capabilities-id`: answers plugin.capabilities with another plugin's id
//! - `wrong-capabilities-generation`: answers plugin.capabilities with the next generation's number
//! - `capabilities-error`: answers plugin.capabilities with an error
//! - `capabilities-silent`: never answers plugin.capabilities
//! - `heartbeat-starting`: answers heartbeats with `starting`
//! - `heartbeat-degraded`: answers heartbeats with `degraded`
//! - `heartbeat-overloaded`: answers heartbeats with `overloaded`
//! - `heartbeat-unhealthy`: answers heartbeats with `unhealthy`
//! - `heartbeat-error`: answers heartbeats with an error
//! - `heartbeat-silent`: does not answer heartbeats
//! - `heartbeat-malformed`: answers heartbeats with a status that does not exist
//! - `never-read`: never reads from its connection again
//! - `call-slow`: answers `work` after `ms` milliseconds of its params, 500 if not named
//! - `call-hang`: never answers `work`, cancelled or not
//! - `call-late`: answers `work` only 50 ms after it is cancelled, with a result
//! - `call-crash`: ends by SIGABRT when `work` is called
//! - `call-close`: closes the connection when `work` is called, and lives on
//! - `answer-twice`: answers `work` twice
//! - `answer-unknown-id`: answers `work`, and a request that was never made
//! - `oversized-frame`: answers `work` with a frame of one byte more than allowed
//! - `invalid-utf8`: answers `work` with bytes that are not UTF-8
//! - `malformed-frame`: answers `work` with a line that is not JSON
//! - `stdout-flood`: behaves, and writes to stdout without end
//! - `stderr-flood`: behaves, and writes to stderr without end
//! - `grandchild-holds-pipes`: behaves, and leaves a child that holds stdout and stderr open
//! - `ignore-shutdown`: ignores plugin.shutdown and the end of its connection
//! - `ignore-shutdown-and-term`: ignores plugin.shutdown, the end of its connection, and SIGTERM
//!
//! What it deliberately does not do: speak through the SDK, which would not let it break a rule.
#![forbid(unsafe_code)]

#[path = "failure/hello.rs"]
mod hello;
#[path = "failure/mode.rs"]
mod mode;
#[path = "failure/original.rs"]
mod original;
#[path = "failure/replay.rs"]
mod replay;
#[path = "failure/serve.rs"]
mod serve;

use mode::Mode;
use nix::sys::signal::{SigSet, Signal};
use rpc_plugin_sdk::{Config, exit};
use std::io::Write;
use std::path::Path;
use std::process::{Command, ExitCode, Stdio};
use std::time::Duration;

/// The mode of the grandchild that `grandchild-holds-pipes` leaves: for this program only.
const HOLD_PIPES: &str = "hold-pipes";
/// How long that grandchild lives unless it is killed.
const HOLD_PIPES_TIME: Duration = Duration::from_secs(120);

/// What this process is to do.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Plan {
    mode: Mode,
    generations: u64,
    after_heartbeats: u64,
}

fn main() -> ExitCode {
    let name = std::env::var("FAILURE_MODE").unwrap_or_default();
    match &*name {
        "list" => {
            let _ = std::io::stdout().write_all(Mode::list().as_bytes());
            return ExitCode::SUCCESS;
        }
        HOLD_PIPES => {
            std::thread::sleep(HOLD_PIPES_TIME);
            return ExitCode::SUCCESS;
        }
        _ => {}
    }
    let (mut plan, config) = match read_plan(&name).and_then(|plan| Ok((plan, read_config()?))) {
        Ok(read) => read,
        Err(fault) => {
            say(&fault);
            return ExitCode::from(exit::CONFIG);
        }
    };
    if config.generation.get() > plan.generations {
        plan.mode = Mode::None;
    }
    if let Some(file) = std::env::var_os("FAILURE_REPLAY") {
        match replay::play(Path::new(&file), &config) {
            Ok(true) => return ExitCode::SUCCESS,
            Ok(false) => {}
            Err(fault) => {
                say(&format!("the replay failed: {fault}"));
                return ExitCode::FAILURE;
            }
        }
    }
    say(&format!("mode {}: {}", plan.mode.name(), plan.mode.does()));
    if let Err(fault) = begin(plan.mode) {
        say(&format!("cannot begin: {fault}"));
        return ExitCode::from(exit::OS);
    }
    match hello::start(plan.mode, &config) {
        Ok(greeted) => serve::serve(plan, greeted),
        Err(fault) => {
            say(&format!("the hello failed: {fault}"));
            ExitCode::FAILURE
        }
    }
}

fn read_plan(name: &str) -> Result<Plan, String> {
    let mode = match name {
        "" => original::mode_of(&|name| std::env::var(name).ok())?.unwrap_or(Mode::None),
        name => Mode::from_name(name)
            .ok_or_else(|| format!("FAILURE_MODE {name:?} is not a mode; FAILURE_MODE=list shows them"))?,
    };
    let after_heartbeats_default = u64::from(mode == Mode::NeverRead);
    Ok(Plan {
        mode,
        generations: read_number("FAILURE_GENERATIONS", u64::MAX)?,
        after_heartbeats: read_number("FAILURE_AFTER_HEARTBEATS", after_heartbeats_default)?,
    })
}

fn read_number(name: &str, absent: u64) -> Result<u64, String> {
    match std::env::var(name) {
        Err(_) => Ok(absent),
        Ok(text) => text.parse().map_err(|_| format!("{name} {text:?} is not a whole number from 0 on")),
    }
}

fn read_config() -> Result<Config, String> {
    Config::from_env().map_err(|error| format!("{error}. Run it as a plugin of rpcplugind."))
}

/// What a mode needs before anything is connected.
fn begin(mode: Mode) -> std::io::Result<()> {
    match mode {
        Mode::StdoutFlood => flood(std::io::stdout()),
        Mode::StderrFlood => flood(std::io::stderr()),
        Mode::GrandchildHoldsPipes => {
            let mut child = Command::new("/proc/self/exe")
                .env_clear()
                .env("FAILURE_MODE", HOLD_PIPES)
                .stdin(Stdio::null())
                .spawn()?;
            std::thread::spawn(move || child.wait());
        }
        Mode::IgnoreShutdownAndTerm => {
            // Blocked for ever is as good as ignored, and needs no unsafe code. Threads inherit it.
            let mut signals = SigSet::empty();
            signals.add(Signal::SIGTERM);
            signals.thread_block()?;
        }
        _ => {}
    }
    Ok(())
}

/// Writes short lines and ones of 100 kB until nobody takes them.
fn flood(mut out: impl Write + Send + 'static) {
    std::thread::spawn(move || {
        let short = format!("{}\n", "flood ".repeat(16));
        let long = format!("{}\n", "f".repeat(100_000));
        while (0..1000).all(|_| out.write_all(short.as_bytes()).is_ok())
            && out.write_all(long.as_bytes()).is_ok()
        {}
    });
}

/// One line to stderr. When that is closed there is nobody left to tell.
pub(crate) fn say(text: &str) {
    let _ = std::io::stderr().write_all(format!("failure: {text}\n").as_bytes());
}
