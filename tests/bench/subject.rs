//! What is measured: hosts and daemons in temporary folders, with the echo plugin.

use nix::sys::statfs::{TMPFS_MAGIC, statfs};
use nix::unistd::{AccessFlags, access};
use rpc_plugin_system::host::{Host, PluginConfig, PluginHandle, Policy};
use serde::{Deserialize, Serialize};
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::time::Duration;
use tempfile::TempDir;

/// How long anything here may take.
pub const SOON: Duration = Duration::from_secs(60);

/// Typed params and results of `echo`, about 80 bytes as a frame of the raw ping-pong.
#[derive(Serialize, Deserialize, Clone, PartialEq, Debug)]
pub struct Echo {
    pub message: String,
}

impl Echo {
    pub fn of_bytes(bytes: usize) -> Echo {
        Echo { message: "x".repeat(bytes) }
    }
}

/// A private folder with the programs in it, and one for runtime folders.
pub struct World {
    folder: TempDir,
    runtime: TempDir,
}

/// A folder in memory, as the default runtime folder is; the temporary folder where there is none.
fn memory() -> PathBuf {
    let own = std::env::var_os("XDG_RUNTIME_DIR").map(PathBuf::from);
    let known = own.into_iter().chain(["/run", "/dev/shm"].map(PathBuf::from));
    let is_memory = |path: &PathBuf| statfs(path).is_ok_and(|of| of.filesystem_type() == TMPFS_MAGIC);
    let mut usable = known.filter(|path| is_memory(path) && access(path, AccessFlags::W_OK).is_ok());
    usable.next().unwrap_or_else(std::env::temp_dir)
}

fn private(folder: &Path) -> TempDir {
    let folder = tempfile::Builder::new().prefix("rps-bench-").tempdir_in(folder).unwrap();
    std::fs::set_permissions(folder.path(), std::fs::Permissions::from_mode(0o700)).unwrap();
    folder
}

impl World {
    pub fn new() -> World {
        World { folder: private(&std::env::temp_dir()), runtime: private(&memory()) }
    }

    /// With its runtime folders in the temporary folder too.
    pub fn on_disk() -> World {
        World { folder: private(&std::env::temp_dir()), runtime: private(&std::env::temp_dir()) }
    }

    /// For files.
    pub fn path(&self) -> &Path {
        self.folder.path()
    }

    /// Where a host may have its runtime folder.
    pub fn runtime_dir(&self, name: &str) -> PathBuf {
        self.runtime.path().join(name)
    }

    /// The daemon, which is its own echo plugin.
    pub fn daemon(&self) -> PathBuf {
        let copy = self.path().join("rpcplugind");
        if !copy.exists() {
            std::fs::copy(env!("CARGO_BIN_EXE_rpcplugind"), &copy).unwrap();
            std::fs::set_permissions(&copy, std::fs::Permissions::from_mode(0o700)).unwrap();
        }
        copy
    }

    pub fn host(&self, name: &str) -> Host {
        Host::builder(self.runtime_dir(name)).start().unwrap()
    }

    pub fn echo(&self, host: &Host, id: &str, policy: Policy) -> PluginHandle {
        let config = PluginConfig::new(id.parse().unwrap(), self.daemon()).arg("serve-echo").policy(policy);
        host.add(config).unwrap()
    }

    /// An echo plugin that is up.
    pub fn running(&self, host: &Host, id: &str) -> PluginHandle {
        let echo = self.echo(host, id, quiet());
        echo.start().unwrap();
        echo.wait_routable(None, SOON).unwrap();
        echo
    }
}

/// Without heartbeats, so that nothing but what is measured happens.
pub fn quiet() -> Policy {
    Policy { heartbeat_interval: Duration::ZERO, ..Policy::default() }
}

/// A host with one plugin that is up.
pub struct Subject {
    pub host: Host,
    pub plugin: PluginHandle,
    _world: World,
}

impl Subject {
    /// `spin`: how long a caller that is alone looks for its answer; the library's own choice if `None`.
    pub fn start(spin: Option<Duration>) -> Subject {
        let world = World::new();
        let mut builder = Host::builder(world.runtime_dir("host"));
        if let Some(spin) = spin {
            builder = builder.spin(spin);
        }
        let host = builder.start().unwrap();
        let plugin = world.running(&host, "echo");
        Subject { host, plugin, _world: world }
    }

    pub fn pid(&self) -> u32 {
        self.plugin.status().unwrap().pid.unwrap()
    }
}

impl Drop for Subject {
    fn drop(&mut self) {
        self.host.shutdown();
    }
}
