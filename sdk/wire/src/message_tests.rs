//! Unit tests of the message module: what is written parses to the same, and the bounds hold.

use super::*;
use crate::limits::ERROR_MESSAGE_BYTES_MAX;
use crate::limits::REQUEST_ID_MAX;

fn raw(text: &str) -> Box<RawValue> {
    RawValue::from_string(text.to_owned()).unwrap()
}

fn line(write: impl FnOnce(&mut Vec<u8>)) -> String {
    let mut out = Vec::new();
    write(&mut out);
    let text = String::from_utf8(out).unwrap();
    assert_eq!(text.find('\n'), Some(text.len() - 1), "exactly one line end, last: {text:?}");
    text.trim_end().to_owned()
}

fn kv_get(params: &RawValue) -> NewRequest<'_> {
    let (params, deadline_ms) = (Some(params.get()), Some(250));
    NewRequest { id: 7, method: "kv.get", params, deadline_ms, ..NewRequest::default() }
}

#[test]
fn a_nested_request_survives_the_wire() {
    let (params, chain) = (raw("{}"), Chain::default().and("a/1/2").unwrap());
    let text = line(|out| {
        write_request(out, &NewRequest { progress: true, fds: 2, chain: &chain, ..kv_get(&params) });
    });
    let Message::Request(request) = Message::parse(text.as_bytes()).unwrap() else { panic!() };
    assert_eq!((request.fds, request.progress, &request.chain), (2, true, &chain));
    let broken = text.replace("[\"a/1/2\"]", "[7]");
    let error = Message::parse(broken.as_bytes()).unwrap_err();
    assert!(matches!(error, MessageError::Member("chain", _)), "{error}");
}

#[test]
fn progress_survives_the_wire() {
    let text = line(|out| write_progress(out, &RequestId::Number(3), "{\"done\":\n3}"));
    let Message::Notification(progress) = Message::parse(text.as_bytes()).unwrap() else { panic!() };
    let value: crate::life::Progress = params_into(progress.params).unwrap();
    assert_eq!((value.id, value.value.get()), (RequestId::Number(3), "{\"done\": 3}"));
}

#[test]
fn a_request_survives_the_wire() {
    let params = raw("{\"a\":\n[1,2]}");
    let text = line(|out| write_request(out, &kv_get(&params)));
    let Message::Request(request) = Message::parse(text.as_bytes()).unwrap() else { panic!() };
    assert_eq!(request.id, RequestId::Number(7));
    assert_eq!(request.method, "kv.get");
    assert_eq!(request.params.unwrap().get(), "{\"a\": [1,2]}");
    assert_eq!((request.deadline_ms, request.fds, request.progress), (Some(250), 0, false));
    assert!(text.len() <= request_bytes_max("kv.get", Some(&params)));
}

#[test]
fn the_size_bound_covers_the_longest_envelope() {
    let params = raw("{}");
    let method = "m".repeat(128);
    let text = line(|out| {
        let (id, params, deadline_ms) = (REQUEST_ID_MAX, Some(params.get()), Some(u64::MAX));
        write_request(out, &NewRequest { id, method: &method, params, deadline_ms, ..NewRequest::default() });
    });
    assert!(text.len() <= request_bytes_max(&method, Some(&params)));
}

#[test]
fn a_null_result_is_a_result() {
    let text = line(|out| write_result(out, &RequestId::Text("x".into()), &raw("null"), 3, &[]));
    let Message::Response(response) = Message::parse(text.as_bytes()).unwrap() else { panic!() };
    assert_eq!(response.id, Some(RequestId::Text("x".into())));
    assert_eq!((response.result.unwrap().get(), response.fds), ("null", 3));
}

#[test]
fn an_error_survives_the_wire() {
    let error = ErrorObject::new(ErrorCode::Application(9), "no\nline").with_data(&raw("{\n}"));
    let text = line(|out| write_error(out, None, &error));
    let Message::Response(response) = Message::parse(text.as_bytes()).unwrap() else { panic!() };
    assert_eq!(response.id, None);
    let back = response.result.unwrap_err();
    assert_eq!((back.code, &*back.message), (9, "no\nline"));
}

#[test]
fn escaped_member_names_and_methods_are_understood() {
    let frame = br#"{"jsonrpc":"2.0","m\u0065thod":"\u0065cho"}"#;
    let Message::Notification(n) = Message::parse(frame).unwrap() else { panic!() };
    assert_eq!(n.method, "echo");
}

#[test]
fn nesting_is_counted_where_it_counts() {
    let nested = |levels: usize| {
        let inner = format!("{}{}", "[".repeat(levels), "]".repeat(levels));
        format!("{{\"jsonrpc\":\"2.0\",\"method\":\"m\",\"x\":{inner}}}")
    };
    assert!(Message::parse(nested(127).as_bytes()).is_ok());
    assert_eq!(Message::parse(nested(128).as_bytes()).unwrap_err(), MessageError::TooDeep);
    assert_eq!(Message::parse(nested(100_000).as_bytes()).unwrap_err(), MessageError::TooDeep);
    let in_string = format!("{{\"jsonrpc\":\"2.0\",\"method\":\"m\",\"x\":\"\\\"{}\"}}", "[".repeat(500));
    assert!(Message::parse(in_string.as_bytes()).is_ok());
    let flat = format!("{{\"jsonrpc\":\"2.0\",\"method\":\"m\",\"x\":[{}[]]}}", "[],".repeat(500));
    assert!(Message::parse(flat.as_bytes()).is_ok());
}

#[test]
fn an_error_or_a_result_by_position_is_refused() {
    let frame = br#"{"jsonrpc":"2.0","id":1,"error":[5,"x"]}"#;
    let error = Message::parse(frame).unwrap_err();
    assert!(matches!(error, MessageError::Member("error", _)), "{error}");
    assert!(result_object::<ErrorObject>(&raw(r#"[5,"x"]"#)).is_err());
    assert_eq!(result_object::<ErrorObject>(&raw(r#"{"code":5,"message":"x"}"#)).unwrap().code, 5);
}

#[test]
fn an_error_names_the_member() {
    for (frame, name) in [
        (r#"{"jsonrpc":"2.0","id":1.5,"method":"m"}"#, "id"),
        (r#"{"jsonrpc":"2.0","id":1,"method":"m","fds":256}"#, "fds"),
        (r#"{"jsonrpc":"2.0","id":1,"method":"m","deadline_ms":-1}"#, "deadline_ms"),
        (r#"{"jsonrpc":"2.0","id":1,"method":"m","method":"m"}"#, "method"),
    ] {
        let error = Message::parse(frame.as_bytes()).unwrap_err();
        assert!(matches!(&error, MessageError::Member(seen, _) if *seen == name), "{error}");
        assert_eq!(error.code(), ErrorCode::InvalidRequest);
    }
}

#[test]
fn an_error_about_a_long_text_is_short() {
    let frame = format!(r#"{{"jsonrpc":"2.0","id":1,"method":"m","fds":"{}"}}"#, "é".repeat(100_000));
    let message = Message::parse(frame.as_bytes()).unwrap_err().to_string();
    assert!(message.starts_with("the frame is not a message: `fds`:"), "{message}");
    assert!(message.len() < ERROR_MESSAGE_BYTES_MAX + 64, "{}", message.len());
    let long = raw(&format!("{:?}", "x".repeat(100_000)));
    assert!(result_object::<ErrorObject>(&long).unwrap_err().len() <= ERROR_MESSAGE_BYTES_MAX);
}

#[test]
fn params_are_an_object_or_absent() {
    assert!(params_from(&()).unwrap().is_none());
    assert!(params_from(&[1]).is_err());
    assert_eq!(params_from(&serde_json::json!({"a": 1})).unwrap().unwrap().get(), r#"{"a":1}"#);
    params_into::<()>(None).unwrap();
    #[derive(Deserialize)]
    struct Empty {}
    params_into::<Empty>(None).unwrap();
    for empty in ["{}", "{ }"] {
        let empty = RawValue::from_string(empty.to_owned()).unwrap();
        params_into::<()>(Some(&empty)).unwrap();
        params_into::<Empty>(Some(&empty)).unwrap();
    }
    assert_eq!(params_into::<u8>(None).unwrap_err().kind(), ErrorCode::InvalidParams);
}
