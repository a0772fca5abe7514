//! Calls through the host library: every row of the error table that a caller can reach (protocol section 5),
//! many callers at once, and that each call ends exactly once.
//!
//! What it deliberately does not do: sizes, queues and deadlines; `host_call_bounds` does.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::indexing_slicing)]

use crate::fixtures::world::{SOON, World, calm, eventually, next_event, quick, signal, up, waited};
use nix::sys::signal::Signal;
use rpc_plugin_system::host::{CallError, CallOptions, Host, HostError, PluginHandle, Policy};
use rpc_plugin_wire::event::EventKind;
use rpc_plugin_wire::life::PluginState;
use rpc_plugin_wire::{ErrorCode, Outcome};
use serde_json::value::{RawValue, to_raw_value};
use serde_json::{Value, json};
use std::sync::atomic::{AtomicU32, Ordering};
use std::thread;
use std::time::Duration;

fn call(plugin: &PluginHandle, method: &str, params: &Value) -> Result<Value, CallError> {
    plugin.call_with(method, params, CallOptions::default().timeout(SOON))
}

/// The error of a call, which has to be this one.
fn refused(result: Result<Value, CallError>, code: ErrorCode, outcome: Outcome) -> CallError {
    let error = result.expect_err("the call has to fail");
    assert_eq!((error.code, error.outcome), (code, outcome), "{error}");
    assert!(error.plugin_id.is_some(), "{error} does not name its plugin");
    error
}

fn says(error: &CallError, texts: &[&str]) {
    let said = error.to_string();
    for text in texts {
        assert!(said.contains(text), "{said:?} should say {text:?}");
    }
}

#[test]
fn params_that_the_plugin_would_not_take_are_refused_here() {
    let world = World::new();
    let host = world.host();
    let echo = up(world.echo(&host, "echo"));
    let nested = |levels: usize| {
        let text = format!("{{\"a\":{}{}}}", "[".repeat(levels - 1), "]".repeat(levels - 1));
        RawValue::from_string(text).unwrap()
    };
    let params = nested(127);
    let reply = echo.call_raw("echo", Some(params.clone()), CallOptions::default().timeout(SOON)).unwrap();
    assert_eq!(reply.result.get(), params.get());
    let error = echo.call_raw("echo", Some(nested(128)), CallOptions::default().timeout(SOON)).unwrap_err();
    assert_eq!((error.code, error.outcome), (ErrorCode::InvalidParams, Outcome::NotSent));
    says(&error, &["127 levels"]);
    assert_eq!(echo.status().unwrap().generation.unwrap().get(), 1, "nobody was harmed");
}

#[test]
fn many_threads_get_each_their_own_answer() {
    let world = World::new();
    let host = world.host();
    let echo = up(world.echo(&host, "echo"));
    thread::scope(|scope| {
        for caller in 0..16 {
            let echo = echo.clone();
            scope.spawn(move || {
                for number in 0..100 {
                    let params = json!({"caller": caller, "number": number});
                    assert_eq!(call(&echo, "echo", &params).unwrap(), params);
                }
            });
        }
    });
    let status = echo.status().unwrap();
    assert_eq!((status.calls_total, status.calls_failed, status.late_answers), (1600, 0, 0));
    assert_eq!(status.generation.unwrap().get(), 1);
}

#[test]
fn answers_overtake_each_other() {
    let world = World::new();
    let host = world.host();
    let plugin = up(world.failing(&host, "slow", &[("FAILURE_MODE", "call-slow")], calm()));
    let ended = AtomicU32::new(0);
    thread::scope(|scope| {
        let slow = scope.spawn(|| {
            let params = json!({"ms": 1500, "which": "slow"});
            assert_eq!(call(&plugin, "work", &params).unwrap(), params);
            ended.fetch_add(1, Ordering::SeqCst)
        });
        eventually("the slow call is on its way", || {
            (plugin.status().unwrap().calls_in_flight == 1).then_some(())
        });
        let quick: Vec<_> = (0..8)
            .map(|number| {
                let (plugin, ended) = (&plugin, &ended);
                scope.spawn(move || {
                    let params = json!({"ms": 0, "which": number});
                    assert_eq!(call(plugin, "work", &params).unwrap(), params);
                    ended.fetch_add(1, Ordering::SeqCst)
                })
            })
            .collect();
        for quick in quick {
            assert!(quick.join().unwrap() < 8, "one that was asked later waited for the slow one");
        }
        assert_eq!(slow.join().unwrap(), 8);
    });
}

#[test]
fn what_the_host_refuses_is_not_sent() {
    let world = World::new();
    let host = world.host();
    let echo = up(world.failing(&host, "stopped-reader", &[], calm()));
    // It takes nothing any more: whatever fails from here on was decided by the host.
    let pid = echo.status().unwrap().pid.unwrap();
    signal(pid, Signal::SIGSTOP);
    let not_sent = |method: &str, params: &Value, code, texts: &[&str]| {
        says(&refused(call(&echo, method, params), code, Outcome::NotSent), texts);
    };
    let none = json!({});
    not_sent("paint", &none, ErrorCode::MethodNotFound, &["\"paint\"", "it has sleep, work", "generation 1"]);
    not_sent("paint.blue", &none, ErrorCode::MethodNotFound, &["no capability \"paint\""]);
    for method in ["host.log", "plugin.shutdown", "admin.status", "rpc.cancel", "host"] {
        not_sent(method, &none, ErrorCode::Denied, &["belong to the protocol", "stopped-reader"]);
    }
    let long = "m".repeat(129);
    for method in ["", "a b", "work\n", "wörk", long.as_str()] {
        not_sent(method, &none, ErrorCode::InvalidRequest, &["the method name"]);
    }
    for params in [json!(5), json!("x"), json!([1])] {
        not_sent("work", &params, ErrorCode::InvalidParams, &["object"]);
    }
    let raw: Box<RawValue> = to_raw_value(&[1]).unwrap();
    let error = echo.call_raw("work", Some(raw), CallOptions::default()).unwrap_err();
    assert_eq!((error.code, error.outcome), (ErrorCode::InvalidParams, Outcome::NotSent), "{error}");
    signal(pid, Signal::SIGCONT);
    assert_eq!(call(&echo, "work", &none).unwrap(), none, "the connection is as good as before");
}

#[test]
fn a_plugin_that_takes_no_calls_says_why() {
    let world = World::new();
    let host = world.host();
    let unavailable = |plugin: &PluginHandle, texts: &[&str]| {
        says(
            &refused(call(plugin, "work", &json!({})), ErrorCode::Unavailable, Outcome::NotSent),
            &[texts, &[plugin.id().as_str()]].concat(),
        );
    };
    let add =
        |id: &str, mode: &str, policy: Policy| world.failing(&host, id, &[("FAILURE_MODE", mode)], policy);

    let stopped = add("stopped", "none", quick());
    unavailable(&stopped, &["the plugin is stopped"]);

    let starting = add("starting", "never-connect", Policy { connect_timeout: SOON * 10, ..quick() });
    starting.start().unwrap();
    unavailable(&starting, &["the plugin is starting"]);

    let backoff = Policy { backoff_initial: SOON * 10, backoff_max: SOON * 10, restarts_max: 0, ..quick() };
    let backoff = Policy { restarts_max: 1, restart_window: SOON * 100, ..backoff };
    let backing_off = add("backing-off", "exit-at-once", backoff);
    backing_off.start().unwrap();
    backing_off.wait_for(PluginState::Backoff, SOON).unwrap();
    unavailable(&backing_off, &["the plugin is in backoff", "exit status 3", "ends with exit code 3"]);

    let failed = add("failed", "exit-at-once", Policy { restarts_max: 0, ..quick() });
    failed.start().unwrap();
    failed.wait_for(PluginState::Failed, SOON).unwrap();
    unavailable(&failed, &["the plugin is failed", "exit status 3"]);

    failed.stop().unwrap();
    host.remove(failed.id()).unwrap();
    let error = refused(call(&failed, "work", &json!({})), ErrorCode::UnknownPlugin, Outcome::NotSent);
    says(&error, &["plugin failed", "there is no plugin \"failed\""]);

    host.shutdown();
    let error = refused(call(&stopped, "work", &json!({})), ErrorCode::Unavailable, Outcome::NotSent);
    says(&error, &["the host has ended"]);
    assert!(matches!(stopped.status(), Err(HostError::Ended)));
}

#[test]
fn errors_of_the_plugin_arrive_as_they_are() {
    let world = World::new();
    let host = world.host();
    let plugin = up(world.failing(&host, "failing", &[], calm()));
    let own = [ErrorCode::Application(42), ErrorCode::Application(-1), ErrorCode::Application(i64::MIN)];
    for code in ErrorCode::DEFINED.iter().copied().chain(own) {
        // Spaces and order of the data show whether somebody wrote it anew.
        let data = json!({"z": [1, 2.50], "a": {"outcome": "not_sent"}, "text": "é\n"});
        let params = json!({"error": {"code": code.code(), "message": "as the plugin says", "data": data}});
        let error = refused(call(&plugin, "work", &params), code, Outcome::Answered);
        assert_eq!(error.message, "as the plugin says");
        let arrived: Value = serde_json::from_str(error.data.unwrap().get()).unwrap();
        assert_eq!(arrived, data);
        assert_eq!(error.generation.unwrap().get(), 1);
    }
    let bare = json!({"error": {"code": 7, "message": ""}});
    let error = refused(call(&plugin, "work", &bare), ErrorCode::Application(7), Outcome::Answered);
    assert!(error.data.is_none() && error.message.is_empty());
    assert_eq!(plugin.status().unwrap().generation.unwrap().get(), 1);
}

#[test]
fn a_handler_that_refuses_or_panics_answers_and_the_plugin_lives_on() {
    let world = World::new();
    let host = world.host();
    let echo = up(world.echo(&host, "echo"));
    let before = echo.status().unwrap();
    let answered = |method: &str, params: &Value, code, texts: &[&str]| {
        says(&refused(call(&echo, method, params), code, Outcome::Answered), texts);
    };
    answered("crash", &json!({"how": "panic"}), ErrorCode::InternalError, &["panic"]);
    answered("sleep", &json!({"ms": "long"}), ErrorCode::InvalidParams, &["invalid params", "\"long\""]);
    answered("sleep", &json!({}), ErrorCode::InvalidParams, &["ms"]);
    answered("echo.twice", &json!({}), ErrorCode::MethodNotFound, &["echo.twice"]);
    let after = echo.status().unwrap();
    assert_eq!((before.pid, before.generation), (after.pid, after.generation));
    assert_eq!(call(&echo, "echo", &json!({"x": 1})).unwrap(), json!({"x": 1}));
}

#[test]
fn a_kill_ends_each_call_once() {
    let world = World::new();
    let host = world.host();
    let plugin = up(world.failing(&host, "killed", &[], Policy { restarts_max: 100, ..calm() }));
    for _ in 0..3 {
        let status = plugin.wait_routable(None, SOON).unwrap();
        let errors = thread::scope(|scope| {
            let calls: Vec<_> = (0..50)
                .map(|_| scope.spawn(|| call(&plugin, "sleep", &json!({"ms": 600_000})).unwrap_err()))
                .collect();
            eventually("all calls are on their way", || {
                (plugin.status().unwrap().calls_in_flight == 50).then_some(())
            });
            signal(status.pid.unwrap(), Signal::SIGKILL);
            calls.into_iter().map(|call| call.join().unwrap()).collect::<Vec<_>>()
        });
        for error in errors {
            let seen = (error.code, error.outcome);
            let lost = (ErrorCode::PluginLost, Outcome::Indeterminate);
            assert!(seen == lost || seen == (ErrorCode::Unavailable, Outcome::NotSent), "{error}");
            assert_eq!(error.generation, status.generation, "{error}");
        }
        plugin.wait_routable(status.generation, SOON).unwrap();
        assert_eq!(plugin.status().unwrap().calls_in_flight, 0);
    }
    let status = plugin.status().unwrap();
    assert_eq!((status.calls_total, status.calls_failed), (150, 150));
}

#[test]
fn a_call_that_is_never_answered_poisons_its_connection_only() {
    let world = World::new();
    let host = world.host();
    let events = host.subscribe(4096).unwrap();
    let env = [("FAILURE_MODE", "call-hang"), ("FAILURE_GENERATIONS", "1")];
    let policy = Policy { call_timeout: Duration::from_millis(1500), ..calm() };
    let plugin = up(world.failing(&host, "hanging", &env, policy));
    let patiently = |method: &str, params: Value| -> Result<Value, CallError> {
        plugin.call_with(method, &params, CallOptions::default().timeout(SOON))
    };
    let echo = up(world.echo(&host, "echo"));
    let first = plugin.status().unwrap();
    thread::scope(|scope| {
        let others: Vec<_> =
            (0..4).map(|_| scope.spawn(|| patiently("sleep", json!({"ms": 600_000})))).collect();
        eventually("the others are on their way", || {
            (plugin.status().unwrap().calls_in_flight == 4).then_some(())
        });
        let hanging = CallOptions::default().timeout(Duration::from_millis(1500));
        let error = refused(
            plugin.call_with("work", &json!({}), hanging),
            ErrorCode::DeadlineExceeded,
            Outcome::Indeterminate,
        );
        assert!(waited(&error.message) >= Duration::from_millis(1500), "{error}");
        says(&error, &["generation 1"]);
        for other in others {
            let error = refused(other.join().unwrap(), ErrorCode::PluginLost, Outcome::Indeterminate);
            says(&error, &["may have executed"]);
        }
    });
    let poisoned = next_event(&events, EventKind::ConnectionPoisoned).note;
    let why = poisoned.error.unwrap();
    assert!(why.contains("work") && why.contains("rpc.cancel"), "{why}");
    let second = plugin.wait_routable(first.generation, SOON).unwrap();
    assert!(second.pid != first.pid && second.generation > first.generation);
    assert_eq!(patiently("work", json!({"n": 2})).unwrap(), json!({"n": 2}));
    let unharmed = echo.status().unwrap();
    assert_eq!((unharmed.generation.unwrap().get(), unharmed.restarts), (1, 0));
}

#[test]
fn a_late_answer_is_dropped_and_counted_and_the_connection_lives() {
    let world = World::new();
    let host: Host = world.host();
    let events = host.subscribe(4096).unwrap();
    let policy = Policy { cancel_grace: SOON, ..calm() };
    let plugin = up(world.failing(&host, "late", &[("FAILURE_MODE", "call-late")], policy));
    let before = plugin.status().unwrap();
    for _ in 0..3 {
        let timeout = CallOptions::default().timeout(Duration::from_millis(1500));
        let result: Result<Value, CallError> = plugin.call_with("work", &json!({}), timeout);
        refused(result, ErrorCode::DeadlineExceeded, Outcome::Indeterminate);
        assert_eq!(next_event(&events, EventKind::CallTimedOut).note.method.as_deref(), Some("work"));
        assert_eq!(next_event(&events, EventKind::LateAnswer).note.method.as_deref(), Some("work"));
    }
    let after = plugin.status().unwrap();
    assert_eq!((after.late_answers, after.calls_in_flight, after.calls_failed), (3, 0, 3));
    assert_eq!((before.pid, before.generation), (after.pid, after.generation));
    assert_eq!(call(&plugin, "sleep", &json!({"ms": 0})).unwrap(), json!({}));
}
