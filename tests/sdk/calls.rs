//! A plugin that calls: what it sends, how such a call ends, and that it serves others meanwhile.
//!
//! What it deliberately does not do: descriptors (`fds.rs`), and buffers that are full (`both_full.rs`).
#![allow(missing_docs, clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::indexing_slicing)]
#![allow(unreachable_pub, dead_code)]

use crate::fake_host::{FakeHost, PATIENCE, code};
use crate::methods::plugin;
use rpc_plugin_sdk::{Call, CallError, End, Error, ErrorCode, HandlerError, Outcome, Plugin};
use serde_json::{Value, json};
use std::sync::{Arc, Mutex, mpsc};
use std::time::{Duration, Instant};

/// `ask` calls the host's `svc` with its own params and gives that result back.
fn asking() -> Plugin {
    plugin().method("ask", |call: &Call, params: Value| {
        Ok::<Value, HandlerError>(call.host().call("svc", &params)?)
    })
}

/// Sends a request with members of the envelope.
fn send(host: &mut FakeHost, id: u64, method: &str, more: &Value) {
    let mut request = json!({"jsonrpc": "2.0", "id": id, "method": method, "params": {}});
    for (name, value) in more.as_object().unwrap() {
        request[name] = value.clone();
    }
    host.send_line(&request.to_string());
}

#[test]
fn a_call_made_for_another_carries_its_chain_and_what_is_left_of_its_time() {
    let mut host = FakeHost::greeted(asking());
    send(&mut host, 7, "ask", &json!({"deadline_ms": 5000, "chain": ["a/1/1", "host:a/1/2"]}));
    let nested = host.expect("svc");
    assert_eq!(nested["chain"], json!(["a/1/1", "host:a/1/2", "tested/3/7"]));
    assert!((1..=5000).contains(&nested["deadline_ms"].as_u64().unwrap()), "{nested}");
    assert_eq!((&nested["id"], &nested["params"], nested.get("progress")), (&json!(2), &json!({}), None));
    host.answer(&nested, &json!([1]));
    assert_eq!(host.recv(), json!({"jsonrpc": "2.0", "id": 7, "result": [1]}));
    send(&mut host, 8, "ask", &json!({}));
    let nested = host.expect("svc");
    assert_eq!((&nested["chain"], &nested["id"]), (&json!(["tested/3/8"]), &json!(3)));
    assert!((29_000..=30_000).contains(&nested["deadline_ms"].as_u64().unwrap()), "{nested}");
}

#[test]
fn a_chain_that_is_too_long_is_not_sent() {
    let mut host = FakeHost::greeted(asking());
    let chain: Vec<String> = (0..32).map(|number| format!("a/1/{number}")).collect();
    send(&mut host, 1, "ask", &json!({"chain": chain}));
    let answer = host.recv();
    assert_eq!((&answer["id"], code(&answer)), (&json!(1), -32009));
    assert!(answer["error"]["message"].as_str().unwrap().contains("a/1/31 -> tested/3/1"), "{answer}");
    assert_eq!(answer["error"]["data"], json!({"nested": {"outcome": "not_sent"}}));
}

#[test]
fn other_plugins_are_called_through_the_host_and_events_told_to_it() {
    let plugin = plugin().method("go", |call: &Call, (): ()| {
        let host = call.host();
        host.event("index_built", &json!({"rows": 3}))?;
        let one: u32 = host.plugin("kv").idempotent().call("kv.get", &json!({"key": "a"}))?;
        let two: u32 = rpc_plugin_interface::client::call(&host.capability("kv"), "kv.size", &())?;
        Ok::<_, HandlerError>(one + two)
    });
    let mut host = FakeHost::greeted(plugin);
    host.request(1, "go", &json!({}));
    let event = host.expect("host.event");
    assert_eq!(event["params"], json!({"name": "index_built", "data": {"rows": 3}}));
    host.answer(&event, &json!({}));
    let call = host.expect("host.call");
    let params = json!({"plugin_id": "kv", "method": "kv.get", "params": {"key": "a"}, "idempotent": true});
    assert_eq!(call["params"], params);
    host.answer(&call, &json!(40));
    let call = host.expect("host.call");
    assert_eq!(call["params"], json!({"capability": "kv", "method": "kv.size"}));
    host.answer(&call, &json!(2));
    assert_eq!(host.recv()["result"], 42);
}

#[test]
fn an_error_keeps_its_code_and_data_through_a_handler() {
    let mut host = FakeHost::greeted(asking());
    host.request(1, "ask", &json!({}));
    let nested = host.expect("svc");
    let error = json!({"code": 77, "message": "no such key", "data": {"key": "a"}});
    host.send_line(&json!({"jsonrpc": "2.0", "id": nested["id"], "error": error}).to_string());
    assert_eq!(host.recv()["error"], error);
    // What the host could not do is known, and not mistaken for what became of the outer call.
    host.request(2, "ask", &json!({}));
    let nested = host.expect("svc");
    let data = json!({"outcome": "not_sent", "plugin_id": "kv"});
    let error = json!({"code": -32002, "message": "nobody is there", "data": data});
    host.send_line(&json!({"jsonrpc": "2.0", "id": nested["id"], "error": error}).to_string());
    assert_eq!(host.recv()["error"]["data"], json!({"nested": data}));
}

/// What a call of the author's own thread comes to.
fn ask_from_a_thread(host: &rpc_plugin_sdk::Host) -> mpsc::Receiver<Result<Value, CallError>> {
    let (told, seen) = mpsc::channel();
    let host = host.clone();
    std::thread::spawn(move || told.send(host.call("svc", &json!({}))));
    seen
}

#[test]
fn at_the_deadline_the_host_is_told_and_its_late_answer_dropped() {
    let plugin = plugin();
    let handle = plugin.host().timeout(Duration::from_millis(30));
    let mut host = FakeHost::greeted(plugin);
    host.request(1, "echo", &json!({}));
    host.recv();
    let ended = ask_from_a_thread(&handle);
    let request = host.expect("svc");
    let cancel = host.expect("rpc.cancel");
    assert_eq!(cancel["params"], json!({"id": request["id"], "reason": "its deadline has passed"}));
    let error = ended.recv_timeout(PATIENCE).unwrap().unwrap_err();
    assert_eq!((error.code, error.outcome), (ErrorCode::DeadlineExceeded, Outcome::Indeterminate));
    host.answer(&request, &json!("late"));
    host.request(2, "echo", &json!({}));
    assert_eq!(host.recv()["id"], 2, "and nothing else happened");
    host.answer(&request, &json!("twice"));
    assert!(matches!(host.end(), Err(Error::Violation(what)) if what.contains("an answer to unknown id 2")));
}

#[test]
fn of_timeout_and_deadline_the_earlier_is_told_to_the_host() {
    let plugin = plugin().method("go", |call: &Call, params: Value| {
        let [timeout, deadline] =
            ["timeout", "deadline"].map(|name| Duration::from_secs(params[name].as_u64().unwrap()));
        let host = call.host().timeout(timeout).deadline(Instant::now() + deadline);
        let kv = host.plugin("kv").timeout(timeout).deadline(Instant::now() + deadline);
        let _: Value = host.call("svc", &())?;
        Ok::<Value, HandlerError>(kv.call("kv.get", &())?)
    });
    let mut host = FakeHost::greeted(plugin);
    for (timeout, deadline, least_ms) in [(5, 90, 4_000), (90, 5, 4_000), (90, 60, 59_000)] {
        host.request(1, "go", &json!({"timeout": timeout, "deadline": deadline}));
        for method in ["svc", "host.call"] {
            let asked = host.expect(method);
            let left = asked["deadline_ms"].as_u64().unwrap();
            assert!((least_ms..=timeout.min(deadline) * 1000).contains(&left), "{method}: {left}");
            host.answer(&asked, &json!(1));
        }
        host.recv();
    }
}

#[test]
fn a_cancelled_call_ends_what_it_has_called_at_once() {
    let mut host = FakeHost::greeted(asking().threads(1));
    host.request(1, "ask", &json!({}));
    let nested = host.expect("svc");
    let params = json!({"id": 1, "reason": "enough\u{1b}".repeat(100)});
    host.send_line(&json!({"jsonrpc": "2.0", "method": "rpc.cancel", "params": params}).to_string());
    let mut frames = [host.recv(), host.recv()];
    frames.sort_by_key(|frame| frame["id"].as_u64());
    assert_eq!(frames[0]["method"], "rpc.cancel");
    // For the same reason, of which so much is kept.
    let reason = &"enough\u{1b}".repeat(100)[..256];
    assert_eq!(frames[0]["params"], json!({"id": nested["id"], "reason": reason}));
    assert_eq!((&frames[1]["id"], code(&frames[1])), (&json!(1), -32800));
    host.answer(&nested, &json!("late"));
    host.request(2, "echo", &json!({}));
    assert_eq!(host.recv()["id"], 2);
}

#[test]
fn one_thread_serves_calls_that_led_to_each_other_to_any_depth() {
    const DEPTH: u64 = 15;
    let mut host = FakeHost::greeted(asking().threads(1));
    let mut chain: Vec<String> = Vec::new();
    let mut nested = Vec::new();
    for level in 0..DEPTH {
        send(&mut host, level, "ask", &json!({"chain": chain}));
        let request = host.expect("svc");
        chain = serde_json::from_value(request["chain"].clone()).unwrap();
        chain.push(format!("host:tested/3/{}", request["id"]));
        nested.push(request);
        host.request(1000, "plugin.heartbeat", &json!({}));
        assert_eq!(host.recv()["id"], 1000);
        host.request(1001, "echo", &json!({}));
        assert_eq!(host.recv()["id"], 1001, "others are served at level {level}");
    }
    for (level, request) in nested.into_iter().enumerate().rev() {
        host.answer(&request, &json!(level));
        assert_eq!(host.recv()["result"], level);
    }
}

#[test]
fn a_quick_method_that_calls_keeps_nobody_from_reading() {
    let ask = Arc::new(Mutex::new(false));
    let asks = Arc::clone(&ask);
    let plugin = plugin().threads(1).method("sometimes", move |call: &Call, (): ()| {
        if *asks.lock().unwrap() {
            return Ok::<Value, HandlerError>(call.host().call("svc", &())?);
        }
        Ok(Value::Null)
    });
    let mut host = FakeHost::greeted(plugin);
    for round in 0..20 {
        *ask.lock().unwrap() = false;
        let calls: String = (0..300)
            .map(|id| format!("{{\"jsonrpc\":\"2.0\",\"id\":{id},\"method\":\"sometimes\"}}\n"))
            .collect();
        host.send(calls.as_bytes());
        (0..300).for_each(|_| assert_eq!(host.recv()["result"], Value::Null));
        *ask.lock().unwrap() = true;
        host.send(calls.lines().take(3).map(|line| format!("{line}\n")).collect::<String>().as_bytes());
        let mut nested: Vec<Value> = (0..3).map(|_| host.expect("svc")).collect();
        host.request(999, "echo", &json!({}));
        assert_eq!(host.recv()["id"], 999, "round {round}");
        nested.drain(..).rev().for_each(|request| host.answer(&request, &json!(round)));
        (0..3).for_each(|_| assert_eq!(host.recv()["result"], round));
    }
}

#[test]
fn without_reentrance_a_call_that_could_only_wait_for_itself_is_answered_at_once() {
    let mut host = FakeHost::greeted(asking().threads(1).reentrant(false));
    send(&mut host, 1, "ask", &json!({"chain": ["host:x/1/9"]}));
    let nested = host.expect("svc");
    let chain = nested["chain"].clone();
    send(&mut host, 2, "echo", &json!({"chain": chain}));
    let answer = host.recv();
    assert_eq!((&answer["id"], code(&answer)), (&json!(2), -32009));
    assert_eq!(answer["error"]["data"], json!({"outcome": "not_sent", "chain": chain}));
    assert!(answer["error"]["message"].as_str().unwrap().contains("host:x/1/9 -> tested/3/1"), "{answer}");
    // Another one waits for its turn, and heartbeats do not.
    host.request(3, "echo", &json!({}));
    host.request(4, "plugin.heartbeat", &json!({}));
    assert_eq!(host.recv()["id"], 4);
    host.answer(&nested, &json!(5));
    assert_eq!((&host.recv()["result"], &host.recv()["id"]), (&json!(5), &json!(3)));
}

#[test]
fn the_end_of_the_connection_ends_every_wait() {
    let plugin = asking();
    let handle = plugin.host();
    let before = handle.call::<_, Value>("svc", &()).unwrap_err();
    assert_eq!((before.code, before.outcome), (ErrorCode::Unavailable, Outcome::NotSent));
    let mut host = FakeHost::greeted(plugin);
    host.request(1, "ask", &json!({}));
    host.expect("svc");
    let ended = ask_from_a_thread(&handle);
    host.expect("svc");
    let begin = Instant::now();
    host.end_of_stream();
    let error = ended.recv_timeout(PATIENCE).unwrap().unwrap_err();
    assert_eq!((error.code, error.outcome), (ErrorCode::PluginLost, Outcome::Indeterminate));
    assert_eq!(host.end().unwrap(), End::HostGone);
    assert!(begin.elapsed() < PATIENCE);
    let after = handle.call::<_, Value>("svc", &()).unwrap_err();
    assert_eq!((after.code, after.outcome), (ErrorCode::Unavailable, Outcome::NotSent));
}

#[test]
fn progress_goes_both_ways_where_it_is_wanted() {
    let (told, seen) = mpsc::channel();
    let told = Mutex::new(told);
    let plugin = plugin().method("work", move |call: &Call, (): ()| {
        call.progress(&json!({"done": 1}));
        let told = told.lock().unwrap().clone();
        let host = call.host().on_progress(move |value: Value| told.send(value.to_string()).unwrap());
        let result: Value = host.call("svc", &())?;
        call.progress(&json!({"done": 2}));
        Ok::<_, HandlerError>(result)
    });
    let mut host = FakeHost::greeted(plugin);
    send(&mut host, 1, "work", &json!({"progress": true}));
    let progress = |frame: Value| {
        assert_eq!(
            (&frame["method"], &frame["params"]["id"]),
            (&json!("rpc.progress"), &json!(1)),
            "{frame}"
        );
        frame["params"]["value"]["done"].clone()
    };
    assert_eq!(progress(host.recv()), 1);
    let nested = host.expect("svc");
    assert_eq!(nested["progress"], true);
    for value in ["5", "{\"rows\":6}"] {
        let id = &nested["id"];
        host.send_line(&format!(
            "{{\"jsonrpc\":\"2.0\",\"method\":\"rpc.progress\",\"params\":{{\"id\":{id},\"value\":{value}}}}}"
        ));
    }
    host.answer(&nested, &json!(1));
    assert_eq!(progress(host.recv()), 2);
    assert_eq!(host.recv()["result"], 1);
    assert_eq!(seen.try_iter().collect::<Vec<_>>(), ["5", "{\"rows\":6}"]);
    send(&mut host, 2, "work", &json!({}));
    let nested = host.expect("svc");
    host.answer(&nested, &json!(2));
    assert_eq!(host.recv()["result"], 2, "nobody asked, nobody is told");
}

#[test]
fn one_thread_keeps_many_calls_under_way_and_dropping_cancels() {
    const CALLS: usize = 1000;
    let plugin = plugin().threads(1).method("many", |call: &Call, (): ()| {
        let host = call.host();
        let mut pending: Vec<_> = (0..CALLS)
            .map(|n| host.call_start::<_, usize>("svc", &json!({"n": n})))
            .collect::<Result<_, _>>()?;
        let mut dropped = host.call_start::<_, usize>("svc", &json!({"n": "dropped"}))?;
        assert!(dropped.try_wait().is_none());
        drop(dropped);
        let cancelled = host.call_start::<_, usize>("svc", &json!({"n": "cancelled"}))?;
        cancelled.cancel();
        assert_eq!(cancelled.wait().unwrap_err().code, ErrorCode::Cancelled);
        let last = pending.pop().unwrap().wait()?;
        let mut sum = last;
        for mut call in pending {
            // The host answers the last one last.
            sum += call.try_wait().expect("the answer is there")?;
        }
        Ok::<_, HandlerError>(sum)
    });
    let mut host = FakeHost::greeted(plugin);
    host.request(1, "many", &json!({}));
    let mut requests: Vec<Value> = (0..CALLS).map(|_| host.expect("svc")).collect();
    let dropped = [host.expect("svc"), host.expect("rpc.cancel")];
    assert_eq!(dropped[1]["params"]["id"], dropped[0]["id"]);
    let cancelled = [host.expect("svc"), host.expect("rpc.cancel")];
    assert_eq!(cancelled[1]["params"]["id"], cancelled[0]["id"]);
    let last = requests.pop().unwrap();
    for request in requests.iter().rev() {
        host.answer(request, &request["params"]["n"]);
    }
    host.answer(&dropped[0], &json!(1));
    host.answer(&last, &last["params"]["n"]);
    assert_eq!(host.recv()["result"], CALLS * (CALLS - 1) / 2);
}

#[test]
fn functions_can_be_called_back_while_their_call_lasts() {
    use rpc_plugin_interface::parcel::Parcel;
    use rpc_plugin_interface::{Caller, Outgoing};
    let plugin = plugin().threads(1).method("go", |call: &Call, (): ()| {
        let add = |params: Option<&serde_json::value::RawValue>, _| {
            Ok(format!("[{}]", params.map_or("none", |params| params.get())))
        };
        let parcel = Parcel { fds: Vec::new(), callbacks: vec![(5, Arc::new(add))] };
        let params = Some("{\"each\":{\"$callback\":5}}".to_owned());
        let reply = call.make(Outgoing { method: "svc".into(), params, parcel, ..Outgoing::default() })?;
        Ok::<_, HandlerError>(serde_json::from_str::<Value>(reply.result.get())?)
    });
    let mut host = FakeHost::greeted(plugin);
    host.request(1, "go", &json!({}));
    let nested = host.expect("svc");
    for n in 0..3 {
        host.request(10 + n, "rpc.callback", &json!({"id": 5, "params": {"n": n}}));
        let answer = host.recv();
        assert_eq!((&answer["id"], &answer["result"]), (&json!(10 + n), &json!([{"n": n}])));
    }
    host.request(20, "rpc.callback", &json!({"id": 6}));
    assert_eq!(code(&host.recv()), -32601);
    host.answer(&nested, &json!(1));
    assert_eq!(host.recv()["result"], 1);
    host.request(21, "rpc.callback", &json!({"id": 5}));
    assert_eq!(code(&host.recv()), -32601, "its call has ended");
}

#[test]
fn a_function_of_the_host_is_called_back() {
    let plugin = plugin().method("go", |call: &Call, (): ()| {
        let link = call.caller_link().unwrap();
        let reply = link.call_back(call, 9, Some("{\"a\":1}".to_owned()), Default::default())?;
        Ok::<_, HandlerError>(serde_json::from_str::<Value>(reply.result.get())?)
    });
    let mut host = FakeHost::greeted(plugin);
    host.request(1, "go", &json!({}));
    let back = host.expect("rpc.callback");
    assert_eq!(
        (&back["params"], &back["chain"]),
        (&json!({"id": 9, "params": {"a": 1}}), &json!(["tested/3/1"]))
    );
    host.answer(&back, &json!("called"));
    assert_eq!(host.recv()["result"], "called");
}

#[test]
fn what_the_host_would_not_take_is_not_sent() {
    let plugin = plugin().method("go", |call: &Call, params: Value| {
        let host = call.host();
        let result = match params["what"].as_str().unwrap() {
            "large" => host.call::<_, Value>("svc", &json!({"pad": "x".repeat(70_000)})),
            "name" => host.call("no name", &()),
            "array" => host.call("svc", &[1]),
            "time" => host.timeout(Duration::ZERO).call("svc", &()),
            "late" => host.timeout(PATIENCE).deadline(Instant::now()).call("svc", &()),
            deep => {
                let levels = deep.parse().unwrap();
                let nested = format!("{}{}", "[".repeat(levels), "]".repeat(levels));
                let nested = serde_json::value::RawValue::from_string(nested).unwrap();
                host.call("svc", &std::collections::BTreeMap::from([("a", nested)]))
            }
        };
        let error = result.unwrap_err();
        Ok::<_, HandlerError>(format!("{} {}", error.code.name(), error.outcome.as_str()))
    });
    let mut host = FakeHost::greeted(plugin);
    let cases = [
        ("large", "too_large"),
        ("name", "invalid_request"),
        ("array", "invalid_params"),
        ("time", "deadline_exceeded"),
        ("late", "deadline_exceeded"),
        ("127", "invalid_params"),
    ];
    for (what, expected) in cases {
        host.request(1, "go", &json!({"what": what}));
        assert_eq!(host.recv()["result"], format!("{expected} not_sent"));
    }
    host.request(1, "go", &json!({"what": "120"}));
    host.expect("svc");
}
