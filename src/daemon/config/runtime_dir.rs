//! Where the file's runtime folder stands among the other sources, and whether the sockets in the
//! folder have names that fit.
//!
//! What it deliberately does not do: know the other sources; `cli::runtime_dir` has the one rule for
//! both programs. Make, open or check the folder; the host does.
//!
//! What always holds: the folder's path is absolute; the file comes after the flag and before the
//! environment.

use super::origin::Origin;
use super::plugin::Plugins;
use super::types::Sources;
use crate::cli::runtime_dir::{self, ResolveDirError, ResolvedDir};
use crate::settings::JsonSource;
use crate::sys::runtime_dir::ADMIN_SOCKET;
use rpc_plugin_wire::limits::SOCKET_PATH_BYTES_MAX;
use std::path::{Path, PathBuf};

/// The runtime folder by all that was configured; an error is noted.
pub(super) fn resolve_runtime_dir<'a>(
    source: &mut JsonSource<'a>,
    in_file: Option<(PathBuf, Origin<'a>)>,
    sources: &Sources<'_>,
) -> Option<(PathBuf, Origin<'a>)> {
    let flag = sources.flags.runtime_dir.as_deref();
    if flag.is_none() && in_file.is_some() {
        return in_file;
    }
    match runtime_dir::resolve(flag.map(Path::as_os_str), sources.environment, sources.is_root) {
        Ok(ResolvedDir { path, source }) => Some((path, Origin::Other(source.to_string()))),
        Err(error) => {
            let (place, problem, allowed) = told(&error);
            source.errors.add(place, problem, allowed);
            None
        }
    }
}

/// The place, what is wrong there, and what is allowed.
fn told(error: &ResolveDirError) -> (String, String, String) {
    let absolute = || "an absolute path".to_owned();
    match error {
        ResolveDirError::Unknown => (
            "runtime folder".to_owned(),
            format!("nothing names it, and {} is not set", runtime_dir::SESSION_VARIABLE),
            format!(
                "--runtime-dir DIR, `runtime_dir` in the file, or {} in the environment",
                runtime_dir::VARIABLE
            ),
        ),
        ResolveDirError::Empty => {
            ("--runtime-dir".to_owned(), "is empty".to_owned(), "the path of a folder".to_owned())
        }
        ResolveDirError::Relative(source, path) => {
            (source.to_string(), format!("{path:?} is relative"), absolute())
        }
        ResolveDirError::NoWorkingDirectory(path) => (
            "--runtime-dir".to_owned(),
            format!("{path:?} is relative, and the working directory cannot be read"),
            absolute(),
        ),
    }
}

/// Notes every socket whose path does not fit a socket address.
pub(super) fn check_socket_paths(
    source: &mut JsonSource<'_>,
    dir: &Path,
    origin: &Origin<'_>,
    plugins: &Plugins<'_>,
) {
    let path = dir.join(ADMIN_SOCKET);
    if let Some(problem) = too_long(&path) {
        origin.error(source, problem, "a runtime folder with a shorter path".to_owned());
        return;
    }
    for (plugin, origin) in plugins {
        let id = plugin.config.id.as_str();
        if let Some(problem) = too_long(&dir.join(id).join(format!("{id}.sock"))) {
            origin.error(source, problem, "a shorter plugin id or runtime folder".to_owned());
        }
    }
}

/// What is wrong with a socket path that does not fit a socket address.
pub(super) fn too_long(path: &Path) -> Option<String> {
    let bytes = path.as_os_str().len();
    (bytes > SOCKET_PATH_BYTES_MAX).then(|| {
        format!(
            "the socket path {} has {bytes} bytes, a socket address holds {SOCKET_PATH_BYTES_MAX}",
            path.display()
        )
    })
}
