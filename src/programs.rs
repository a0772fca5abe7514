//! What the programs `rpcplugind` and `rpcpluginctl` enter by: this process's surroundings are handed to them.
//!
//! What it deliberately does not do: promise anything to others. It is public because a program is a crate of its own.

pub use crate::daemon::KeepingAllocator;
use crate::sys::terminal::columns;
use crate::{ctl, daemon, dev};
use std::ffi::OsString;
use std::io::{BufWriter, IsTerminal};
use std::process::ExitCode;

/// Runs the daemon until it is asked to end.
#[must_use]
pub fn rpcplugind() -> ExitCode {
    daemon::main(std::env::args_os().skip(1))
}

/// Runs one command of the control client.
#[must_use]
pub fn rpcpluginctl() -> ExitCode {
    let words: Vec<OsString> = std::env::args_os().skip(1).collect();
    if let Some(args) = dev::asked(&words) {
        return dev::run(&args).into();
    }
    let (stdin, stdout, stderr) = (std::io::stdin(), std::io::stdout(), std::io::stderr());
    let (stdout_is_terminal, stderr_is_terminal) = (stdout.is_terminal(), stderr.is_terminal());
    let io = ctl::Io {
        env: &|name| std::env::var_os(name),
        stdin: &mut stdin.lock(),
        stdout: &mut BufWriter::new(stdout.lock()),
        stderr: &mut stderr.lock(),
        stdout_is_terminal,
        stdout_columns: columns(std::io::stdout()),
        stderr_is_terminal,
        is_process: true,
    };
    ctl::run(words, io).into()
}
