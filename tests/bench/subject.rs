//! What is measured: hosts and daemons in temporary folders, with the echo plugin.

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

/// A private folder with the programs in it.
pub struct World {
    folder: TempDir,
}

impl World {
    pub fn new() -> World {
        let folder = tempfile::Builder::new().prefix("rps-bench-").tempdir().unwrap();
        std::fs::set_permissions(folder.path(), std::fs::Permissions::from_mode(0o700)).unwrap();
        World { folder }
    }

    pub fn path(&self) -> &Path {
        self.folder.path()
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
        Host::builder(self.path().join(name)).start().unwrap()
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
        let mut builder = Host::builder(world.path().join("host"));
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
