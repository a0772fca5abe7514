//! Removes what a dead host left in its runtime folder.
//!
//! What this file is for: sockets, token files and half-written files of plugins. What it deliberately
//! does not do: touch generations, events, or any name it does not know; enter a folder that is not
//! private; follow a link.
//!
//! What always holds: it is called with the lock held (it takes the [`RuntimeDir`]), so nothing it removes
//! is in use by a host.
#![forbid(unsafe_code)]

use super::file_error::FileError;
use super::private_folder::PrivateFolder;
use super::runtime_dir::{ADMIN_SOCKET, RuntimeDir};
use super::token;
use nix::sys::stat::SFlag;
use rpc_plugin_wire::{Generation, PluginId};
use std::path::PathBuf;

/// What a sweep did.
#[derive(Debug, Default)]
pub struct Swept {
    /// What was removed.
    pub removed: Vec<PathBuf>,
    /// What could not be removed or looked into, and why.
    pub failed: Vec<String>,
}

/// Removes stale sockets, tokens and half-written files. Before any listener is bound.
///
/// # Errors
/// If the runtime folder itself cannot be listed. What fails inside it is told in [`Swept::failed`].
pub fn sweep(runtime: &RuntimeDir) -> Result<Swept, FileError> {
    let mut swept = Swept::default();
    let folder = runtime.folder();
    for (name, kind) in folder.entries()? {
        let Some(name) = name.to_str() else { continue };
        if kind == SFlag::S_IFSOCK && name == ADMIN_SOCKET {
            remove(&folder, name, &mut swept);
        }
        if kind != SFlag::S_IFDIR || name.parse::<PluginId>().is_err() {
            continue;
        }
        let path = runtime.path().join(name);
        match PrivateFolder::open(folder.fd(), name.as_ref(), &path) {
            Ok(folder) => sweep_plugin(&folder, &mut swept),
            Err(error) => swept.failed.push(error.to_string()),
        }
    }
    Ok(swept)
}

fn sweep_plugin(folder: &PrivateFolder, swept: &mut Swept) {
    let entries = match folder.entries() {
        Ok(entries) => entries,
        Err(error) => return swept.failed.push(error.to_string()),
    };
    for (name, kind) in entries {
        if let Some(name) = name.to_str().filter(|name| is_stale(name, kind)) {
            remove(folder, name, swept);
        }
    }
}

fn is_stale(name: &str, kind: SFlag) -> bool {
    match kind {
        SFlag::S_IFSOCK => name.ends_with(".sock"),
        SFlag::S_IFREG => {
            let token = name.strip_prefix(token::NAME_PREFIX);
            token.is_some_and(|generation| generation.parse::<Generation>().is_ok())
        }
        _ => false,
    }
}

fn remove(folder: &PrivateFolder, name: &str, swept: &mut Swept) {
    match folder.remove(name) {
        Ok(_) => swept.removed.push(folder.path().join(name)),
        Err(error) => swept.failed.push(error.to_string()),
    }
}

#[cfg(test)]
mod tests {
    use super::super::testing::{chmod, file, folder, subfolder};
    use super::*;
    use std::os::unix::fs::symlink;
    use std::os::unix::net::UnixListener;

    #[test]
    fn stale_sockets_and_tokens_go_and_everything_else_stays() {
        let root = folder();
        let outside = root.path().join("outside");
        let path = root.path().join("run");
        let runtime = RuntimeDir::open(&path).unwrap();
        let echo = runtime.plugin_folder(&"echo".parse().unwrap()).unwrap().path().to_owned();
        subfolder(&outside);
        symlink(&outside, path.join("link")).unwrap();
        for socket in
            [path.join("admin.sock"), echo.join("echo.sock"), outside.join("x.sock"), path.join("y.sock")]
        {
            drop(UnixListener::bind(socket).unwrap());
        }
        for name in ["token.1", "token.22", "generation", "events.jsonl", "token.x", "fake.sock"] {
            file(&echo, name, "", 0o600);
        }
        symlink(outside.join("x.sock"), echo.join("link.sock")).unwrap();
        subfolder(&echo.join("token.3"));
        let open_folder = subfolder(&path.join("open"));
        chmod(&open_folder, 0o755);
        file(&open_folder, "token.1", "", 0o600);

        let swept = sweep(&runtime).unwrap();
        let mut expected = vec![path.join("admin.sock")];
        expected.extend(["echo.sock", "token.1", "token.22"].map(|name| echo.join(name)));
        assert_eq!(swept.removed, expected);
        assert_eq!(swept.failed.len(), 1);
        assert!(swept.failed[0].contains("mode 0755"), "{:?}", swept.failed);
        for kept in
            [&path.join("lock"), &path.join("y.sock"), &outside.join("x.sock"), &open_folder.join("token.1")]
        {
            assert!(kept.exists(), "{kept:?}");
        }
        for kept in ["generation", "events.jsonl", "token.x", "fake.sock", "link.sock", "token.3"] {
            assert!(echo.join(kept).symlink_metadata().is_ok(), "{kept}");
        }
        assert!(expected.iter().all(|gone| !gone.exists()));
        assert!(sweep(&runtime).unwrap().removed.is_empty());
    }
}
