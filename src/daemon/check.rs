//! What of a configuration can be checked without launching anything: executables, their interpreters, folders.
//!
//! What always holds: nothing is made, changed or executed.

use super::config::Config;
use crate::host::{LogSink, PluginConfig, SinkTarget};
use crate::sys::executable::{self, Format};
use crate::sys::executable_digest::{DigestCache, ExpectedDigest, check};
use nix::unistd::{AccessFlags, access};
use std::path::Path;

/// Everything that would keep plugins and sinks from being launched now, a text each.
pub(super) fn problems(config: &Config) -> Vec<String> {
    let plugins = config.plugins.iter().filter(|plugin| !plugin.config.is_by_hand());
    let of_plugins = plugins.flat_map(|plugin| of_plugin(&plugin.config));
    of_plugins.chain(config.sinks.iter().filter_map(of_sink)).collect()
}

fn of_plugin(config: &PluginConfig) -> Vec<String> {
    let executable = of_executable(&config.executable).or_else(|| of_digest(config));
    let found = [executable, of_folder(&config.working_folder)];
    found.into_iter().flatten().map(|problem| format!("plugin {}: {problem}", config.id)).collect()
}

fn of_sink(sink: &LogSink) -> Option<String> {
    let SinkTarget::Command(command) = &sink.target else { return None };
    of_executable(&command.program).map(|problem| format!("sink {}: {problem}", sink.options.name))
}

fn of_executable(path: &Path) -> Option<String> {
    let executable = match executable::open(path) {
        Ok(executable) => executable,
        Err(error) => return Some(error.to_string()),
    };
    // The kernel would tell of it when it is launched.
    let Format::Script { interpreter } = executable.format() else { return None };
    let (path, shown) = (path.display(), interpreter.display());
    match interpreter.metadata() {
        _ if interpreter.as_os_str().is_empty() => {
            Some(format!("executable {path} names no interpreter after `#!`; name one"))
        }
        Ok(_) => None,
        Err(error) => Some(format!(
            "executable {path} is a script, and its interpreter {shown} cannot be found: {error}; install it or correct \
             the `#!` line"
        )),
    }
}

/// Whether the executable is another than the one that is named.
fn of_digest(config: &PluginConfig) -> Option<String> {
    let expected = ExpectedDigest::of(config.sha256.as_deref(), config.sha256_file.as_deref())?;
    let executable = executable::open(&config.executable).ok()?;
    check(&executable, expected, &DigestCache::default()).err().map(|error| error.to_string())
}

fn of_folder(path: &Path) -> Option<String> {
    let shown = path.display();
    match path.metadata() {
        Err(error) => Some(format!("working folder {shown}: {error}; make it, or name another")),
        Ok(found) if !found.is_dir() => Some(format!("working folder {shown} is no folder; name another")),
        Ok(_) => access(path, AccessFlags::X_OK).err().map(|errno| {
            format!("working folder {shown} cannot be entered: {}; run `chmod u+x`", errno.desc())
        }),
    }
}
