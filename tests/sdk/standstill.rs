//! A plugin that stands still while it waits for its host: what the host answered in time is its answer.

use crate::fake_host::FakeHost;
use crate::fixtures::child::alone;
use crate::fixtures::standstill::Stopper;
use crate::methods::plugin;
use rpc_plugin_sdk::{Call, HandlerError, Plugin};
use serde_json::{Value, json};

/// `ask` calls the host's `svc` twice, and gives the second result back.
fn asking() -> Plugin {
    plugin().method("ask", |call: &Call, (): ()| {
        let _: Value = call.host().call("svc", &json!({}))?;
        Ok::<Value, HandlerError>(call.host().call("svc", &json!({}))?)
    })
}

fn answer_to(request: &Value) -> String {
    json!({"jsonrpc": "2.0", "id": request["id"], "result": {}}).to_string()
}

/// By less than what counts as a standstill: the answer lies in the socket as the deadline has passed.
#[test]
fn an_answer_that_came_before_the_deadline_is_taken_after_it() {
    alone(|| {
        let plugin = plugin().method("ask", |call: &Call, (): ()| {
            Ok::<Value, HandlerError>(call.host().call("svc", &json!({}))?)
        });
        let mut host = FakeHost::greeted_with_all(plugin);
        let mut stopper = Stopper::new(1.4, host.writer());
        host.send_line(r#"{"jsonrpc":"2.0","id":1,"method":"ask","deadline_ms":1000}"#);
        let asked = host.expect("svc");
        stopper.stop(&answer_to(&asked));
        stopper.wait();
        let answer = host.recv();
        assert_eq!((&answer["id"], &answer["result"]), (&json!(1), &json!({})), "{answer}");
    });
}

#[test]
fn what_it_stood_still_counts_for_no_deadline_of_its_own() {
    alone(|| {
        let mut host = FakeHost::greeted_with_all(asking().threads(1));
        let mut stopper = Stopper::new(5.0, host.writer());
        host.send_line(r#"{"jsonrpc":"2.0","id":1,"method":"ask","deadline_ms":3000}"#);
        let asked = host.expect("svc");
        // With one place, another call is answered once the handler waits: from then on it sees a standstill.
        host.send_line(r#"{"jsonrpc":"2.0","id":2,"method":"echo","params":{}}"#);
        assert_eq!(host.recv()["id"], 2);
        // What is written meanwhile is no answer; that comes once it goes on.
        stopper.stop(r#"{"jsonrpc":"2.0","method":"nobody.knows"}"#);
        stopper.wait();
        host.send_line(&answer_to(&asked));
        let asked = host.expect("svc");
        let left = asked["deadline_ms"].as_u64().unwrap();
        assert!((1000..=3000).contains(&left), "{left} ms are left for what the handler asks next");
        host.send_line(&answer_to(&asked));
        let answer = host.recv();
        assert_eq!((&answer["id"], &answer["result"]), (&json!(1), &json!({})), "{answer}");
    });
}
