//! Who may call what through its host, and what becomes of the rest of a request.

use super::*;
use crate::state::plugin_config::PluginConfig;
use rpc_plugin_wire::retry_limits::RetryLimits;
use rpc_plugin_wire::{Chain, Generation, RequestId};
use serde_json::value::{RawValue, to_raw_value};
use serde_json::{Value, json};
use std::time::Duration;

/// A host with plugin `a`, which may do this.
fn host(plugins: &[&str], capabilities: &[&str]) -> (Supervisor, PluginKey) {
    let mut host = Supervisor::new(0);
    let config = PluginConfig::new("a".parse().unwrap(), "/a")
        .may_call(plugins.iter().copied())
        .may_call_capabilities(capabilities.iter().copied());
    let key = host.add(config, Some(Generation::try_from(6).unwrap())).unwrap();
    host.wish(Time::ZERO, key, crate::state::supervisor::Wish::Start).unwrap();
    (host, key)
}

fn asked(params: Option<Value>) -> Asked {
    Asked {
        id: RequestId::Number(9),
        method: "host.call".into(),
        params: params.map(|params| to_raw_value(&params).unwrap()),
        deadline: None,
        chain: Chain::default(),
        progress: false,
        fds: Vec::new(),
        streams: Vec::new(),
    }
}

fn permit(plugins: &[&str], capabilities: &[&str], params: &Value) -> Result<Target, ErrorCode> {
    let (host, key) = host(plugins, capabilities);
    let permitted = super::permit(&host, Time::ZERO, key, asked(Some(params.clone())));
    permitted.map(|forward| forward.target).map_err(|error| error.kind())
}

#[test]
fn nothing_is_permitted_that_is_not_named() {
    let by_id = json!({"plugin_id": "b", "method": "kv.get"});
    let by_capability = json!({"capability": "kv", "method": "kv.get"});
    for (plugins, capabilities, id_may, capability_may) in [
        (&[][..], &[][..], false, false),
        (&["b"], &[], true, false),
        (&["*"], &[], true, false),
        (&["c", "b"], &[], true, false),
        (&["c"], &["kv2"], false, false),
        (&["kv"], &["b"], false, false),
        (&[], &["kv"], false, true),
        (&[], &["*"], false, true),
        (&["b*", "B", ""], &["k", "kv.get", ""], false, false),
        (&["*"], &["*"], true, true),
    ] {
        let expected = id_may.then(|| Target::Plugin("b".parse().unwrap())).ok_or(ErrorCode::Denied);
        assert_eq!(permit(plugins, capabilities, &by_id), expected, "{plugins:?}");
        let expected = capability_may.then(|| Target::Capability("kv".into())).ok_or(ErrorCode::Denied);
        assert_eq!(permit(plugins, capabilities, &by_capability), expected, "{capabilities:?}");
    }
    // Itself is a plugin like any other.
    assert_eq!(permit(&["b"], &[], &json!({"plugin_id": "a", "method": "m"})), Err(ErrorCode::Denied));
    let (host, key) = host(&["*"], &["*"]);
    let stranger = PluginKey(key.0 + 1);
    let error = super::permit(&host, Time::ZERO, stranger, asked(Some(by_id))).unwrap_err();
    assert_eq!(error.kind(), ErrorCode::Denied);
}

#[test]
fn a_refusal_names_what_would_permit_it() {
    let (host, key) = host(&[], &[]);
    for (params, setting) in [
        (json!({"plugin_id": "b", "method": "m"}), "may_call"),
        (json!({"capability": "kv", "method": "m"}), "may_call_capabilities"),
    ] {
        let error = super::permit(&host, Time::ZERO, key, asked(Some(params))).unwrap_err();
        assert!(error.message.contains(setting), "{error}");
    }
}

#[test]
fn what_is_malformed_is_told_before_what_is_denied() {
    for params in [
        json!({}),
        json!({"plugin_id": "b"}),
        json!({"method": "m"}),
        json!({"plugin_id": "b", "capability": "kv", "method": "m"}),
        json!({"plugin_id": "no/b", "method": "m"}),
        json!({"plugin_id": 1, "method": "m"}),
        json!({"plugin_id": "b", "method": "m", "params": [1]}),
        json!({"plugin_id": "b", "method": "m", "params": "x"}),
        json!({"plugin_id": "b", "method": "m", "more": 1}),
        json!({"plugin_id": "b", "method": "m", "idempotent": 1}),
        json!({"plugin_id": "b", "method": "m", "retry": {"attempts": 3}}),
        json!({"plugin_id": "b", "method": "m", "retry": [3, 10]}),
        json!({"plugin_id": "b", "method": "m", "retry": {"attempts": -3, "backoff_ms": 10}}),
    ] {
        assert_eq!(permit(&[], &[], &params), Err(ErrorCode::InvalidParams), "{params}");
    }
    let (host, key) = host(&["*"], &["*"]);
    let error = super::permit(&host, Time::ZERO, key, asked(None)).unwrap_err();
    assert_eq!(error.kind(), ErrorCode::InvalidParams);
}

#[test]
fn the_call_has_what_the_request_has() {
    let (host, key) = host(&["b"], &[]);
    let now = Time::ZERO.plus(Duration::from_secs(5));
    let params = json!({"plugin_id": "b", "method": "kv.put", "params": {"k": [1, 2]}, "idempotent": true});
    let before = Chain::default().and("a/7/3").unwrap();
    let request = Asked {
        deadline: Some(now.plus(Duration::from_millis(300))),
        chain: before,
        progress: true,
        fds: vec![crate::state::fds::any()],
        ..asked(Some(params))
    };
    let call = super::permit(&host, now, key, request).unwrap();
    assert!(call.idempotent && call.progress && !call.is_protocol && call.retry.is_none());
    assert_eq!((&*call.method, call.params.as_deref()), ("kv.put", Some("{\"k\":[1,2]}")));
    assert_eq!((call.timeout, call.fds.len()), (Some(Duration::from_millis(300)), 1));
    assert_eq!(call.chain.to_string(), "a/7/3");
    let plain = json!({"plugin_id": "b", "method": "kv.get"});
    let call = super::permit(&host, now, key, asked(Some(plain.clone()))).unwrap();
    assert_eq!((call.idempotent, call.timeout, call.params.as_deref()), (false, None, None));
    // Limits of repeats say that it may be repeated.
    let limits = json!({"plugin_id": "b", "method": "m", "retry": {"attempts": 3, "backoff_ms": 40}});
    let call = super::permit(&host, now, key, asked(Some(limits))).unwrap();
    assert_eq!((call.idempotent, call.retry), (true, Some(RetryLimits::new(3, Duration::from_millis(40)))));
    // A deadline that has passed is one.
    let late = Asked { deadline: Some(Time::ZERO), ..asked(Some(plain.clone())) };
    assert_eq!(super::permit(&host, now, key, late).unwrap().timeout, Some(Duration::ZERO));
    let mut chain = Chain::default();
    while let Ok(longer) = chain.and("b/1/1") {
        chain = longer;
    }
    let forward =
        super::permit(&host, now, key, Asked { chain: chain.clone(), ..asked(Some(plain)) }).unwrap();
    assert_eq!(forward.chain, chain, "the host serves none of it");
}

#[test]
fn params_are_handed_on_as_they_came() {
    let (host, key) = host(&["*"], &[]);
    let text =
        r#"{"plugin_id":"b","method":"m","params":{ "n": 1.50, "big": 123456789012345678901234567890 }}"#;
    let request = Asked { params: Some(RawValue::from_string(text.into()).unwrap()), ..asked(None) };
    let spec = super::permit(&host, Time::ZERO, key, request).unwrap();
    assert_eq!(spec.params.as_deref(), Some(r#"{ "n": 1.50, "big": 123456789012345678901234567890 }"#));
}

#[test]
fn a_long_name_is_refused_without_being_quoted() {
    let (host, key) = host(&[], &["*"]);
    let name = "\u{7f}".repeat(1 << 20);
    for (params, code) in [
        (json!({"capability": name, "method": "m"}), ErrorCode::InvalidParams),
        (json!({"capability": "c".repeat(65), "method": "m"}), ErrorCode::InvalidParams),
        (json!({"plugin_id": name, "method": "m"}), ErrorCode::InvalidParams),
    ] {
        let error = super::permit(&host, Time::ZERO, key, asked(Some(params))).unwrap_err();
        assert_eq!(error.kind(), code, "{error}");
        assert!(error.message.len() < 2100, "{error}");
    }
    let known = json!({"capability": "c".repeat(64), "method": "m"});
    assert!(super::permit(&host, Time::ZERO, key, asked(Some(known))).is_ok());
}
