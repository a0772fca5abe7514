//! A plugin of `rpcplugind` calls another one as the configuration file allows, driven by `rpcpluginctl call`.
#![allow(missing_docs, clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::indexing_slicing)]
#![allow(unreachable_pub)]

use crate::fixtures::child;
use crate::fixtures::daemon::Daemon;
use crate::fixtures::nested;
use crate::fixtures::world::World;
use serde_json::{Value, json};

/// The plugin that the test starts.
pub(crate) fn serve_nested() {
    // Where this fails the daemon that started it says why.
    let _ = nested::plugin().run();
}

#[test]
fn the_configuration_file_says_whom_a_plugin_may_call() {
    let world = World::new();
    let program = child::copy(&world);
    let plugin = |further: Value| {
        let mut plugin = json!({"executable": program, "args": child::WORDS, "env": {child::BODY: "nested"}});
        plugin.as_object_mut().unwrap().extend(further.as_object().unwrap().clone());
        plugin
    };
    let echo = world.program("echo");
    let config = json!({"plugins": {
        "echo": {"executable": echo},
        "other": {"executable": echo},
        "named": plugin(json!({"may_call": ["echo"]})),
        "routed": plugin(json!({"may_call_capabilities": ["echo"]})),
        "alone": plugin(json!({})),
    }});
    let path = world.path().join("config.json");
    std::fs::write(&path, config.to_string()).unwrap();
    let daemon = Daemon::start(&world, &["--config", path.to_str().unwrap()]);
    for id in ["echo", "other", "named", "routed", "alone"] {
        daemon.wait_for(id, "healthy");
    }
    let to = |target: Value| {
        let mut made = json!({"method": "echo", "params": {"message": "hello"}});
        made.as_object_mut().unwrap().extend(target.as_object().unwrap().clone());
        made.to_string()
    };
    let (by_id, other) = (to(json!({"plugin": "echo"})), to(json!({"plugin": "other"})));
    let by_capability = to(json!({"capability": "echo"}));
    for (id, made) in [("named", &by_id), ("routed", &by_capability)] {
        let ran = daemon.ctl(&["call", id, "work.call", made]);
        assert_eq!((ran.code, ran.stdout.contains("hello")), (0, true), "{id}: {ran:?}");
    }
    let denied = [
        ("named", &other, "plugin \"other\", see may_call"),
        ("named", &by_capability, "capability \"echo\", see may_call_capabilities"),
        ("routed", &by_id, "plugin \"echo\", see may_call"),
        ("alone", &by_id, "plugin \"echo\", see may_call"),
        ("alone", &by_capability, "capability \"echo\", see may_call_capabilities"),
    ];
    for (id, made, text) in denied {
        let ran = daemon.ctl(&["call", id, "work.call", made]);
        // Its own call was denied, and that is what it answers: what it says is told as its word.
        let is_its = ran.stderr.contains("the plugin answered -32007: ") && ran.stderr.contains(text);
        assert!(ran.code == 9 && is_its, "{id}: {ran:?}");
    }
}
