//! Which state folder: where it is if nobody names one.
//!
//! What it deliberately does not do: touch the folder. [`super::Store::open`] makes and checks it.

use std::ffi::{OsStr, OsString};
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};

/// Set by systemd for a unit with `StateDirectory=` (systemd.exec(5)).
const SERVICE_VARIABLE: &str = "STATE_DIRECTORY";
/// The user's own folder for what lasts (XDG Base Directory Specification).
const STATE_HOME_VARIABLE: &str = "XDG_STATE_HOME";
/// The user's home.
const HOME_VARIABLE: &str = "HOME";
/// The state folder of root.
const ROOT_DIR: &str = "/var/lib/rpcplugind";
/// The name of the state folder in a user's own folder for what lasts.
const NAME: &str = "rpcplugind";

/// Finds the state folder: `$STATE_DIRECTORY` (the first of its folders, which systemd separates by colons), then
/// `/var/lib/rpcplugind` for root, then `$XDG_STATE_HOME/rpcplugind`, then `~/.local/state/rpcplugind`. An empty variable
/// counts as not set.
///
/// # Errors
/// Says what is missing or which variable is wrong, and what to do.
pub fn default_state_dir(env: &dyn Fn(&str) -> Option<OsString>, is_root: bool) -> Result<PathBuf, String> {
    let set = |name: &str| env(name).filter(|value| !value.is_empty());
    if let Some(list) = set(SERVICE_VARIABLE) {
        let first = list.as_bytes().split(|byte| *byte == b':').next().unwrap_or_default();
        return absolute(SERVICE_VARIABLE, Path::new(OsStr::from_bytes(first)), "");
    }
    if is_root {
        return Ok(PathBuf::from(ROOT_DIR));
    }
    if let Some(home) = set(STATE_HOME_VARIABLE) {
        return absolute(STATE_HOME_VARIABLE, Path::new(&home), NAME);
    }
    match set(HOME_VARIABLE) {
        Some(home) => absolute(HOME_VARIABLE, Path::new(&home), ".local/state/rpcplugind"),
        None => {
            Err(format!("no state folder is known: {HOME_VARIABLE} is not set; name one: --state-dir DIR"))
        }
    }
}

fn absolute(variable: &str, path: &Path, below: &str) -> Result<PathBuf, String> {
    match path.is_absolute() {
        true if below.is_empty() => Ok(path.to_owned()),
        true => Ok(path.join(below)),
        false => Err(format!("{variable}: {path:?} is relative; it must be an absolute path")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_first_variable_that_says_something_wins() {
        let all: &[(&str, &str)] =
            &[(SERVICE_VARIABLE, "/s:/t"), (STATE_HOME_VARIABLE, "/x"), (HOME_VARIABLE, "/h")];
        for (variables, is_root, expected) in [
            (all, true, Ok("/s")),
            (&all[1..], true, Ok(ROOT_DIR)),
            (&[(SERVICE_VARIABLE, "")], true, Ok(ROOT_DIR)),
            (&all[1..], false, Ok("/x/rpcplugind")),
            (&all[2..], false, Ok("/h/.local/state/rpcplugind")),
            (&[], false, Err("HOME is not set")),
            (&[(SERVICE_VARIABLE, "s")], true, Err("STATE_DIRECTORY: \"s\" is relative")),
            (&[(STATE_HOME_VARIABLE, "x")], false, Err("XDG_STATE_HOME: \"x\" is relative")),
        ] {
            let env = |name: &str| {
                variables.iter().find(|(variable, _)| *variable == name).map(|(_, value)| value.into())
            };
            match (default_state_dir(&env, is_root), expected) {
                (Ok(found), Ok(path)) => assert_eq!(found, Path::new(path)),
                (Err(error), Err(part)) => assert!(error.contains(part), "{error}"),
                (found, expected) => panic!("{found:?}, expected {expected:?}"),
            }
        }
    }
}
