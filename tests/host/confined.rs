//! Plugins under the base: what they cannot do, and how an operator hears of it.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::indexing_slicing)]

use crate::fixtures::world::{SOON, World};
use rpc_plugin_system::host::{
    Confine, Host, PluginConfig, PluginHandle, PluginState, Policy, RestartPolicy,
};
use std::path::Path;

fn add(host: &Host, id: &str, executable: &Path, confine: Confine) -> PluginHandle {
    let policy = Policy { confine, restart: RestartPolicy::Never, ..Policy::default() };
    host.add(PluginConfig::new(id.parse().unwrap(), executable).policy(policy)).unwrap()
}

/// How a plugin that ends at once has ended, in words.
fn end_of(plugin: &PluginHandle) -> String {
    plugin.start().unwrap();
    let status = plugin.wait_for(PluginState::Failed, SOON).unwrap();
    status.last_exit.unwrap().text
}

/// It says on standard error what it could do, and then ends.
const SCRIPT: &str = "#!/bin/sh
grep -E '^(NoNewPrivs|Seccomp):' /proc/self/status >&2
unshare --user true && echo namespaces >&2
exit 3
";

#[test]
fn a_plugin_is_confined_unless_its_configuration_says_otherwise() {
    let world = World::new();
    let host = world.host();
    assert_eq!(Policy::default().confine, Confine::Base);
    let script = world.script("asks", SCRIPT);
    let confined = add(&host, "confined", &script, Confine::Base);
    let said = end_of(&confined);
    let tail = confined.status().unwrap().last_exit.unwrap().stderr_tail.join("\n");
    assert!(tail.contains("NoNewPrivs:\t1\nSeccomp:\t2"), "{tail}");
    assert!(!tail.contains("namespaces"), "{tail}");
    let advice =
        "exit status 3; it was confined (`confine: base`), which may be why: `confine: off` is without";
    assert_eq!(said, advice, "unshare(1) said that it is not permitted: {tail}");
    // The error that an operator sees says so too.
    let error = confined.status().unwrap().last_error.unwrap();
    assert!(error.contains("`confine: off`"), "{error}");

    let free = add(&host, "free", &script, Confine::Off);
    assert_eq!(end_of(&free), "exit status 3");
    host.shutdown();
}

/// On a machine for 64 bits. The file need not be whole: it is refused by what it says of itself.
#[cfg(target_pointer_width = "64")]
#[test]
fn a_program_for_32_bits_is_refused_with_what_to_do() {
    let world = World::new();
    let host = world.host();
    let path = world.script("old", "\x7fELF\x01\x01\x01");
    let plugin = add(&host, "old", &path, Confine::Base);
    plugin.start().unwrap();
    let error = plugin.wait_for(PluginState::Failed, SOON).unwrap().last_error.unwrap();
    let expected = "is a program for 32 bits, which cannot be confined here; build it for 64 bits, or configure `confine: off`";
    assert!(error.contains(expected), "{error}");
    let plugin = add(&host, "free", &path, Confine::Off);
    plugin.start().unwrap();
    let error = plugin.wait_for(PluginState::Failed, SOON).unwrap().last_error.unwrap();
    assert!(error.contains("ENOEXEC"), "{error}");
    host.shutdown();
}
