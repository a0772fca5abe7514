//! Which folder is the runtime folder, and whether the sockets in it have names that fit.
//!
//! What it deliberately does not do: make, open or check the folder.
//!
//! What always holds: the folder's path is absolute; what is told first wins: flag, file,
//! `RPC_PLUGIN_SYSTEM_RUNTIME_DIR`, `RUNTIME_DIRECTORY`, then the place by custom.

use super::config::{ADMIN_SOCKET_NAME, Origin, Plugins, Sources};
use super::config_plugin::PATH_BYTES_MAX;
use super::config_text::Source;
use rpc_plugin_wire::limits::SOCKET_PATH_BYTES_MAX;
use std::ffi::OsString;
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};

/// Environment variable that names the runtime folder.
pub const ENV_RUNTIME_DIR: &str = "RPC_PLUGIN_SYSTEM_RUNTIME_DIR";
/// Set by systemd for a unit with `RuntimeDirectory=` (systemd.exec(5)).
const ENV_SYSTEMD: &str = "RUNTIME_DIRECTORY";
/// A user's own folder for such things (XDG base directory specification).
const ENV_XDG: &str = "XDG_RUNTIME_DIR";

/// The runtime folder when neither flag nor file names it, and what named it.
///
/// # Errors
/// Nothing names it, or what does is no absolute path: the place, what is wrong, what is allowed.
pub fn default_runtime_dir(
    environment: &dyn Fn(&str) -> Option<OsString>,
    is_root: bool,
) -> Result<(PathBuf, String), (String, String, String)> {
    let set = |name: &str| environment(name).filter(|value| !value.is_empty());
    let absolute = |name: &str, path: PathBuf| match path.is_absolute() {
        true => Ok((path, name.to_owned())),
        false => Err((name.to_owned(), format!("{path:?} is relative"), "an absolute path".to_owned())),
    };
    if let Some(path) = set(ENV_RUNTIME_DIR) {
        return absolute(ENV_RUNTIME_DIR, path.into());
    }
    if let Some(paths) = set(ENV_SYSTEMD) {
        // Several are separated by colons; the first is ours.
        let first = paths.as_bytes().split(|b| *b == b':').next().unwrap_or_default();
        return absolute(ENV_SYSTEMD, std::ffi::OsStr::from_bytes(first).into());
    }
    if is_root {
        return Ok((PathBuf::from("/run/rpcplugind"), "the place for root".to_owned()));
    }
    match set(ENV_XDG) {
        Some(path) => absolute(ENV_XDG, Path::new(&path).join("rpcplugind")),
        None => {
            let allowed = format!(
                "--runtime-dir DIR, `runtime_dir` in the file, or {ENV_RUNTIME_DIR} in the environment"
            );
            Err(("runtime folder".to_owned(), format!("nothing names it, and {ENV_XDG} is not set"), allowed))
        }
    }
}

/// The runtime folder by all that was configured; an error is noted.
pub(super) fn resolve_runtime_dir<'a>(
    source: &mut Source<'a>,
    in_file: Option<(PathBuf, Origin<'a>)>,
    sources: &Sources<'_>,
) -> Option<(PathBuf, Origin<'a>)> {
    if let Some(path) = &sources.flags.runtime_dir {
        let place = "--runtime-dir".to_owned();
        return match std::path::absolute(path) {
            Ok(path)
                if path.as_os_str().len() <= PATH_BYTES_MAX && !path.as_os_str().as_bytes().contains(&0) =>
            {
                Some((path, Origin::Other(place)))
            }
            _ => {
                source.errors.add(place, "is no usable path", "the path of a folder");
                None
            }
        };
    }
    if in_file.is_some() {
        return in_file;
    }
    match default_runtime_dir(sources.environment, sources.is_root) {
        Ok((path, place)) => Some((path, Origin::Other(place))),
        Err((place, problem, allowed)) => {
            source.errors.add(place, problem, allowed);
            None
        }
    }
}

/// Notes every socket whose path does not fit a socket address.
pub(super) fn check_socket_paths(
    source: &mut Source<'_>,
    dir: &Path,
    origin: &Origin<'_>,
    plugins: &Plugins<'_>,
) {
    let path = dir.join(ADMIN_SOCKET_NAME);
    if let Some(problem) = too_long(&path) {
        origin.error(source, problem, "a runtime folder with a shorter path".to_owned());
        return;
    }
    for (plugin, origin) in plugins {
        let id = plugin.id.as_str();
        if let Some(problem) = too_long(&dir.join(id).join(format!("{id}.sock"))) {
            origin.error(source, problem, "a shorter plugin id or runtime folder".to_owned());
        }
    }
}

fn too_long(path: &Path) -> Option<String> {
    let bytes = path.as_os_str().len();
    (bytes > SOCKET_PATH_BYTES_MAX).then(|| {
        format!(
            "the socket path {} has {bytes} bytes, a socket address holds {SOCKET_PATH_BYTES_MAX}",
            path.display()
        )
    })
}
