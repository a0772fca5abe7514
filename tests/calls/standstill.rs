//! A host that stands still while its program or a service waits: what came in time, or is asked in time, counts.

use crate::fixtures::child::alone;
use crate::fixtures::raw;
use crate::fixtures::standstill::Stopper;
use crate::fixtures::world::{SOON, World, calm, eventually, up};
use rpc_plugin_system::host::{CallOptions, HandlerError, Host, PluginConfig, Policy, ServiceCall};
use serde_json::{Value, json};
use std::process::Stdio;
use std::sync::{Arc, Mutex, OnceLock};
use std::time::Duration;

/// By less than what counts as a standstill of the host; the thread that waits is not the one that reads.
#[test]
fn a_threads_wait_ends_with_the_answer_that_came_before_its_end() {
    alone(|| {
        let world = World::new();
        let host = world.host();
        let echo = up(world.echo(&host, "echo"));
        let mut stopper = Stopper::new(1.4, Stdio::null());
        let options = CallOptions::default().timeout(SOON);
        let call = echo.call_start("sleep", &json!({"ms": 300}), options).unwrap();
        eventually("it is on its way", || (echo.status().unwrap().calls_in_flight == 1).then_some(()));
        stopper.stop("");
        let ended = call.wait_timeout(Duration::from_secs(1));
        let answer = ended.expect("its answer came while the host was stopped");
        assert!(answer.is_ok(), "{answer:?}");
        stopper.wait();
    });
}

#[test]
fn what_a_service_calls_has_the_time_that_the_host_did_not_stand_still() {
    alone(|| {
        let world = World::new();
        let reached = Arc::new(OnceLock::<Host>::new());
        let (from_service, stopper) = (reached.clone(), Mutex::new(Stopper::new(5.0, Stdio::null())));
        let serve = move |_: &ServiceCall, _: Value| -> Result<Value, HandlerError> {
            let mut stopper = stopper.lock().unwrap();
            stopper.stop("");
            stopper.wait();
            let echo = from_service.get().unwrap().plugin(&"echo".parse().unwrap()).unwrap();
            Ok(echo.call("echo", &json!({"text": "late"}))?)
        };
        let host = world.builder().service("svc", serve).start().unwrap();
        assert!(reached.set(host.clone()).is_ok());
        // With them the host knows when it wanted to wake up.
        let often = Duration::from_millis(500);
        let heartbeats = Policy { heartbeat_interval: often, heartbeat_timeout: often, ..calm() };
        let echo = PluginConfig::new("echo".parse().unwrap(), world.program("echo")).policy(heartbeats);
        up(host.add(echo).unwrap());
        let asker = up(host.add(raw::plugin(&world, "asker", "shares", "").policy(calm())).unwrap());
        let request = json!({"method": "svc", "deadline_ms": 3000, "params": {}});
        let options = || CallOptions::default().timeout(SOON);
        let _: Value = asker.call_with("go", &json!({"count": 1, "request": request}), options()).unwrap();
        let told = eventually("the service has answered", || {
            let told: Value = asker.call_with("told", &json!({}), options()).unwrap();
            told["told"].get(0).cloned()
        });
        assert_eq!(told["result"], json!({"text": "late"}), "{told}");
    });
}
