//! `rpcplugind demo`: a tour of the real thing in a temporary folder.
//!
//! What this file is for: showing in a few seconds what a plugin's life looks like, with the host
//! library and `rpcpluginctl` as they are. What it deliberately does not do: fake any of it.

use super::daemon_error::{DaemonError, print};
use super::signals;
use crate::ctl::{self, Io};
use crate::host::{Host, PluginConfig, PluginHandle};
use crate::sys::orphans::kill_child;
use crate::sys::process::keep_exit_statuses;
use crate::sys::temporary::TemporaryFolder;
use crate::sys::terminal::columns;
use std::ffi::OsString;
use std::io::IsTerminal;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::time::Duration;

/// How long each step may take.
const STEP_TIMEOUT: Duration = Duration::from_secs(10);

/// Runs the tour; with `stay`, stays up at its end until a signal comes.
pub(super) fn run(stay: bool) -> Result<ExitCode, DaemonError> {
    let signals = signals::Watch::start()?;
    keep_exit_statuses()?;
    let folder = TemporaryFolder::new("rpcplugind-demo")?;
    let executable = copy_of_this_program(folder.path())?;
    let runtime_dir = folder.path().join("run");
    say("A host starts, and launches the built-in echo plugin as a process of its own.")?;
    let host = Host::builder(&runtime_dir).admin_socket(true).adopt_orphans(true);
    let host = host.on_hang(signals::exit_hung("rpcplugind")).start()?;
    signals.end_with(&host)?;
    std::thread::scope(|scope| {
        // Ctrl-C ends the host at any step, and then the next step fails.
        let watch = crate::threads::builder("signals");
        let watch = match watch.spawn_scoped(scope, || signals.wait(&host, &|_| {}, &|| false)) {
            Ok(watch) => watch,
            Err(error) => {
                host.shutdown();
                return Err(error.into());
            }
        };
        let result = tour(&host, &executable, &runtime_dir, stay);
        if !stay || result.is_err() {
            host.shutdown();
        }
        // A panic there is a bug that the panic handler has reported.
        match watch.join() {
            Ok(Ok(true)) if !stay => {
                result.map_err(|_| DaemonError::failed("the tour was interrupted by a signal"))
            }
            _ => result,
        }
    })?;
    Ok(ExitCode::SUCCESS)
}

fn tour(host: &Host, executable: &Path, runtime_dir: &Path, stay: bool) -> Result<(), DaemonError> {
    let id = "echo".parse().map_err(DaemonError::failed)?;
    let echo = host.add(PluginConfig::new(id, executable).arg(super::flags::SERVE_ECHO))?;
    echo.start()?;
    echo.wait_routable(None, STEP_TIMEOUT)?;
    Tour { host, runtime_dir, echo: &echo }.show()?;
    if !stay {
        say("The host ends: it asks the plugin to end, waits for it, and leaves nothing behind.")?;
        return Ok(());
    }
    say("The host stays up. Try, in another terminal:")?;
    let program = executable_beside("rpcpluginctl");
    for line in ["plugins", "echo echo --message hello", "restart echo", "logs echo --follow", "shutdown"] {
        print(&format!("  {program} --runtime-dir {} {line}\n", runtime_dir.display()))?;
    }
    say("Ctrl-C ends it.")?;
    Ok(())
}

struct Tour<'a> {
    host: &'a Host,
    runtime_dir: &'a Path,
    echo: &'a PluginHandle,
}

impl Tour<'_> {
    fn show(&self) -> Result<(), DaemonError> {
        self.ctl("status")?;
        self.ctl("plugins")?;
        say("A call goes to the plugin and comes back.")?;
        self.ctl("echo echo --message hello")?;
        let status = self.echo.status()?;
        let pid = status.pid.ok_or_else(|| DaemonError::failed("the plugin has no process"))?;
        say(&format!(
            "The plugin, process {pid}, is killed with SIGKILL. The host sees it at once and replaces it."
        ))?;
        kill_child(pid)?;
        self.echo.wait_routable(status.generation, STEP_TIMEOUT)?;
        self.ctl("plugins")?;
        self.ctl("echo echo --message again")?;
        // The record is written by a thread of its own, a moment later than things happen.
        if !self.host.flush_events(STEP_TIMEOUT) {
            return Err(DaemonError::failed("the record could not be written"));
        }
        say("Everything is on record.")?;
        self.ctl("logs echo")
    }

    /// Runs a command of `rpcpluginctl` and shows it as it would be typed.
    fn ctl(&self, line: &str) -> Result<(), DaemonError> {
        print(&format!("$ rpcpluginctl {line}\n"))?;
        let mut words: Vec<OsString> = vec!["--runtime-dir".into(), self.runtime_dir.into()];
        words.extend(line.split(' ').map(OsString::from));
        let (mut stdout, stderr) = (std::io::stdout().lock(), std::io::stderr());
        let is_terminal = stdout.is_terminal();
        let stderr_is_terminal = stderr.is_terminal();
        let io = Io {
            env: &|name| std::env::var_os(name),
            stdin: &mut std::io::empty(),
            stdout: &mut stdout,
            stderr: &mut stderr.lock(),
            stdout_is_terminal: is_terminal,
            stdout_columns: columns(std::io::stdout()),
            stderr_is_terminal,
            is_process: false,
        };
        match ctl::run(words, io) {
            ctl::Exit::Ok => Ok(()),
            exit => Err(DaemonError::failed(format!("rpcpluginctl {line} ended with {exit:?}"))),
        }
    }
}

fn say(text: &str) -> std::io::Result<()> {
    print(&format!("\n# {text}\n"))
}

/// The program as its own plugin. A copy, because where it was built others may write (umask 002), and
/// then no host would launch it.
fn copy_of_this_program(folder: &Path) -> Result<PathBuf, DaemonError> {
    let copy = folder.join("echo-plugin");
    std::fs::copy(std::env::current_exe()?, &copy)?;
    std::fs::set_permissions(&copy, std::fs::Permissions::from_mode(0o700))?;
    Ok(copy)
}

/// Another program of this project, by its path if it lies beside this one.
fn executable_beside(name: &str) -> String {
    let beside = std::env::current_exe().ok().map(|path| path.with_file_name(name));
    beside.filter(|path| path.is_file()).map_or_else(|| name.to_owned(), |path| path.display().to_string())
}
