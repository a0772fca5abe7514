//! Plugins whose exec hangs, beside others and at the end of a host.

use super::{Host, PluginConfig, PluginHandle, Policy, RestartPolicy};
use crate::sys::launcher::LAUNCH_TIMEOUT;
use crate::sys::testing::{DEADLINE, HangingExecutable, eventually, folder, script};
use rpc_plugin_wire::life::PluginState;
use std::path::Path;
use std::time::{Duration, Instant};

fn start(host: &Host, id: &str, executable: &Path) -> PluginHandle {
    let policy = Policy {
        restart: RestartPolicy::Never,
        connect_timeout: Duration::from_secs(1000),
        ..Policy::default()
    };
    let plugin = host.add(PluginConfig::new(id.parse().unwrap(), executable).policy(policy)).unwrap();
    plugin.start().unwrap();
    plugin
}

#[test]
fn two_plugins_that_hang_in_exec_hinder_no_launch_no_answer_and_no_end() {
    let root = folder();
    let hanging = [HangingExecutable::new(root.path(), "1"), HangingExecutable::new(root.path(), "2")];
    let path = script(root.path(), "exec sleep 1000");
    let host = Host::builder(root.path().join("run")).start().unwrap();
    let begun = Instant::now();
    let hung = [start(&host, "one", &hanging[0].path), start(&host, "two", &hanging[1].path)];
    let other = start(&host, "other", &path);
    eventually("the other one runs", || other.status().unwrap().pid.is_some());
    let states = hung.each_ref().map(|plugin| plugin.status().unwrap().state);
    if begun.elapsed() < LAUNCH_TIMEOUT {
        assert_eq!(states, [PluginState::Starting; 2], "they hang meanwhile");
    }
    for plugin in &hung {
        let reason = plugin.wait_for(PluginState::Failed, DEADLINE).unwrap().last_error.unwrap();
        assert!(reason.contains("its exec did not end within 2s"), "{reason}");
    }
    // What is wanted no more while it hangs ends with its launch.
    for plugin in &hung {
        plugin.start().unwrap();
    }
    hung[0].stop().unwrap();
    hung[0].wait_for(PluginState::Stopped, DEADLINE).unwrap();
    host.shutdown();
}
