//! The shortest way through the host library: launch, call, kill, replacement, end.
#![allow(clippy::unwrap_used)]

use crate::fixtures::world::{SOON, World, is_alive};
use serde_json::{Value, json};

#[test]
fn a_plugin_is_launched_called_replaced_and_ended() {
    let world = World::new();
    let host = world.host();
    let echo = world.echo(&host, "echo");
    echo.start().unwrap();
    let first = echo.wait_routable(None, SOON).unwrap();
    let answer: Value = echo.call("echo", &json!({"message": "hello"})).unwrap();
    assert_eq!(answer, json!({"message": "hello"}));
    assert!(echo.call::<_, Value>("crash", &json!({"how": "kill"})).is_err());
    let second = echo.wait_routable(first.generation, SOON).unwrap();
    assert!(second.generation > first.generation && second.pid != first.pid);
    host.shutdown();
    assert!(!is_alive(first.pid.unwrap()) && !is_alive(second.pid.unwrap()));
}
