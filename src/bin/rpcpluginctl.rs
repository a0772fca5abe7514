//! `rpcpluginctl`: hands this process's surroundings to the control client.

use rpc_plugin_system::ctl::{self, Io};
use rpc_plugin_system::dev;
use rpc_plugin_system::sys::terminal::columns;
use std::ffi::OsString;
use std::io::{BufWriter, IsTerminal};
use std::process::ExitCode;

fn main() -> ExitCode {
    let words: Vec<OsString> = std::env::args_os().skip(1).collect();
    if let Some(args) = dev::asked(&words) {
        return dev::run(&args).into();
    }
    let (stdin, stdout, stderr) = (std::io::stdin(), std::io::stdout(), std::io::stderr());
    let (stdout_is_terminal, stderr_is_terminal) = (stdout.is_terminal(), stderr.is_terminal());
    let io = Io {
        env: &|name| std::env::var_os(name),
        stdin: &mut stdin.lock(),
        stdout: &mut BufWriter::new(stdout.lock()),
        stderr: &mut stderr.lock(),
        stdout_is_terminal,
        stdout_columns: columns(std::io::stdout()),
        stderr_is_terminal,
    };
    ctl::run(words, io).into()
}
