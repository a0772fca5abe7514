//! Unit tests of the lenient reader: it reads good frames as serde_json does, and bad ones no further than it may.

use super::*;
use crate::message::Message;
use serde_json::Value;
use serde_json::value::RawValue;

/// What the frame was meant to be, and what is wrong with it.
fn read(frame: &[u8]) -> Result<(Meant, String), String> {
    let error = Message::parse(frame).expect_err("it is no message");
    let bad = BadFrame::read(frame, error).map_err(|error| error.to_string())?;
    let text = bad.to_string();
    Ok((bad.meant, text))
}

fn answer(id: u64) -> Meant {
    Meant::Answer(RequestId::Number(id))
}

#[test]
fn what_spoils_a_value_is_named_with_its_column_and_the_id_may_stand_behind_it() {
    let spoilt = [
        ("NaN", "`NaN` at column "),
        ("Infinity", "`Infinity` at column "),
        ("-Infinity", "`-Infinity` at column "),
        ("[1,{\"a\":[NaN,Infinity]}]", "`NaN` at column "),
        ("\"a\u{1}b\"", "a control character in a string at column "),
        ("{\"a\tb\":1}", "a control character in a string at column "),
        ("{\"\\ud800\":NaN}", "`NaN` at column "),
    ];
    for (value, says) in spoilt {
        let column =
            "{\"jsonrpc\": \"2.0\", \"result\": ".len() + 1 + value.find(['N', 'I', '\t', '\u{1}']).unwrap();
        let column = column - usize::from(value.starts_with('-'));
        let before = format!("{{\"jsonrpc\": \"2.0\", \"id\": 7, \"result\": {value}}}");
        let behind = format!("{{\"jsonrpc\": \"2.0\", \"result\": {value}, \"id\": 7}}");
        assert_eq!(read(before.as_bytes()).unwrap().0, answer(7), "{before}");
        let (meant, text) = read(behind.as_bytes()).unwrap();
        assert_eq!(meant, answer(7), "{behind}");
        assert!(text.starts_with(&format!("{says}{column}: the frame does not parse: ")), "{behind}: {text}");
    }
    // The example of a plugin that divides by the number of its samples.
    let frame = br#"{"jsonrpc": "2.0", "id": 50, "result": {"mean": NaN, "n": 0}}"#;
    assert!(read(frame).unwrap().1.starts_with("`NaN` at column 49: "));
    for frame in [
        &b"{\"jsonrpc\":\"2.0\",\"result\":\"caf\xe9\",\"id\":7}"[..],
        b"{\"jsonrpc\":\"2.0\",\"result\":\"\xe2\x82\",\"id\":7}",
    ] {
        let (meant, text) = read(frame).unwrap();
        assert!(meant == answer(7) && text.contains("not UTF-8 at byte"), "{text}");
    }
    let lone = br#"{"jsonrpc":"2.0","error":{"code":1,"message":"a\ud800\u0041"},"id":7}"#;
    let (meant, text) = read(lone).unwrap();
    assert!(meant == answer(7) && text.starts_with("a lone surrogate in a string at column 48: "), "{text}");
}

#[test]
fn of_any_other_fault_only_what_stands_before_it_counts() {
    for value in
        ["nope", "01", "1.", "[1,]", "{\"a\":1,}", "'x'", "\"\\q\"", "undefined", "+1", "NULL", "NaNs", "\"x"]
    {
        let before = format!("{{\"jsonrpc\":\"2.0\",\"id\":7,\"result\":{value}}}");
        assert_eq!(read(before.as_bytes()).unwrap().0, answer(7), "{before}");
        let behind = format!("{{\"jsonrpc\":\"2.0\",\"result\":{value},\"id\":7}}");
        assert!(read(behind.as_bytes()).is_err(), "{behind}");
        let kind_behind = format!("{{\"jsonrpc\":\"2.0\",\"id\":7,\"x\":{value},\"result\":1}}");
        assert!(read(kind_behind.as_bytes()).is_err(), "{kind_behind}");
        // It may be a request, whose id stands behind the fault.
        let notification = format!("{{\"jsonrpc\":\"2.0\",\"method\":\"m\",\"params\":{{\"a\":{value}}}}}");
        assert!(read(notification.as_bytes()).is_err(), "{notification}");
    }
    let deep =
        format!("{{\"jsonrpc\":\"2.0\",\"id\":7,\"result\":{}{}}}", "[".repeat(5000), "]".repeat(5000));
    let (meant, text) = read(deep.as_bytes()).unwrap();
    assert!(meant == answer(7) && text.contains("nested deeper than 128"), "{text}");
}

#[test]
fn a_whole_object_that_is_no_message_has_the_id_that_stands_in_it() {
    let request = Meant::Request(RequestId::Text("c-1".into()));
    let cases = [
        (r#"{"jsonrpc":"2.0","id":7,"result":1,"error":null}"#, answer(7)),
        (r#"{"jsonrpc":"2.0","id":7,"result":1,"error":{"code":1,"message":""}}"#, answer(7)),
        (r#"{"jsonrpc":"2.0","id":7,"error":null}"#, answer(7)),
        (r#"{"jsonrpc":"2.0","id":7,"error":"no"}"#, answer(7)),
        (r#"{"jsonrpc":"2.0","id":7}"#, answer(7)),
        (r#"{"jsonrpc":"2.0","i\u0064":7,"result":1,"fds":null}"#, answer(7)),
        (r#"{"jsonrpc":"2.0","id":7,"result":1,"streams":[1,1]}"#, answer(7)),
        (r#"{"id":7,"result":1}"#, answer(7)),
        ("{\"jsonrpc\":\"2.0\",\"id\":7,\"result\":1}\r", answer(7)),
        (r#"{"jsonrpc":"2.0","id":"c-1","method":"m","params":null}"#, request.clone()),
        (r#"{"jsonrpc":"2.0","id":"c-1","method":"m","deadline_ms":1.5}"#, request.clone()),
        (r#"{"jsonrpc":"2.0","method":"a b","id":"c-1"}"#, request),
        (r#"{"jsonrpc":"2.0","method":"host.log","params":[]}"#, Meant::Notification),
        (r#"{"jsonrpc":"2.0","method":"host.log","params":{"n":NaN}}"#, Meant::Notification),
    ];
    for (frame, expected) in cases {
        assert_eq!(read(frame.as_bytes()).map(|(meant, _)| meant), Ok(expected), "{frame}");
    }
}

#[test]
fn a_frame_that_leaves_in_doubt_whose_it_is_is_nobodys() {
    for frame in [
        r#"{"jsonrpc":"2.0","id":7,"id":8,"result":1}"#,
        r#"{"jsonrpc":"2.0","id":7,"i\u0064":7,"result":NaN}"#,
        r#"{"jsonrpc":"2.0","id":7,"method":"m","result":1}"#,
        r#"{"jsonrpc":"2.0","method":"m","result":1}"#,
        r#"{"jsonrpc":"2.0","id":null,"result":NaN}"#,
        r#"{"jsonrpc":"2.0","id":NaN,"result":1}"#,
        r#"{"jsonrpc":"2.0","id":-7,"result":1}"#,
        r#"{"jsonrpc":"2.0","id":9007199254740992,"result":1}"#,
        r#"{"jsonrpc":"2.0","id":null,"method":"m"}"#,
        r#"{"jsonrpc":"2.0","id":{"id":7},"result":1}"#,
        r#"{"jsonrpc":"2.0","x":{"id":7},"result":NaN}"#,
        r#"{"jsonrpc":"2.0","result":1}"#,
        r#"{"jsonrpc":"2.0","method":"rpc.stream.data","params":[]}"#,
        r#"{"jsonrpc":"2.0","method":"rpc.str\u0065am.end","params":null}"#,
        r#"{"jsonrpc":"2.0","id":7,"result":1}{"jsonrpc":"2.0","id":8,"result":1}"#,
        r#"{"jsonrpc":"2.0","id":7,"result":1};"#,
        r#" {"jsonrpc":"2.0","id":7,"result":1}"#,
        r#"[{"jsonrpc":"2.0","id":7,"result":1}]"#,
        r#"{"jsonrpc":"2.0","id":7"#,
        "",
        "{",
        "{}",
    ] {
        assert!(read(frame.as_bytes()).is_err(), "{frame}");
    }
}

#[test]
fn a_deadline_beyond_its_range_is_told_apart() {
    for (deadline, is_deadline) in
        [("18446744073709551616", true), ("-1", true), ("1.5", true), ("NaN", false), ("null", false)]
    {
        let frame = format!("{{\"jsonrpc\":\"2.0\",\"id\":1,\"method\":\"m\",\"deadline_ms\":{deadline}}}");
        let error = Message::parse(frame.as_bytes()).unwrap_err();
        let bad = BadFrame::read(frame.as_bytes(), error).unwrap();
        assert_eq!(bad.is_deadline(), is_deadline, "{bad}");
    }
}

/// JSON of at most so many levels, written in any of the ways that there are.
fn any_json(rng: &mut fastrand::Rng, levels: usize) -> String {
    let space = |rng: &mut fastrand::Rng| ["", "", "", " ", "\t", "\r "][rng.usize(0..6)];
    let kinds = if levels == 0 { 7 } else { 9 };
    let plain = match rng.u8(0..kinds) {
        0 => ["true", "false", "null"][rng.usize(0..3)].to_owned(),
        1 => rng.i64(..).to_string(),
        2 => ["0", "-0", "0.5", "-1.25e3", "1E+2", "7e-3", "0e0", "1e999"][rng.usize(0..8)].to_owned(),
        3 => format!("{}", rng.f64() * 1e6),
        4..7 => any_string(rng),
        7 => {
            let values: Vec<String> = (0..rng.usize(0..4)).map(|_| any_json(rng, levels - 1)).collect();
            format!("[{}]", values.join(","))
        }
        _ => {
            let members = (0..rng.usize(0..4)).map(|_| {
                let name = any_string(rng);
                format!("{name}{}:{}", space(rng), any_json(rng, levels - 1))
            });
            format!("{{{}}}", members.collect::<Vec<_>>().join(","))
        }
    };
    format!("{}{plain}{}", space(rng), space(rng))
}

fn any_string(rng: &mut fastrand::Rng) -> String {
    const PIECES: [&str; 14] = [
        "a",
        "id",
        "method",
        "é",
        "😀",
        "\\n",
        "\\\"",
        "\\\\",
        "\\u0041",
        "\\ud83d\\ude00",
        "\\/",
        "{",
        "]",
        ",",
    ];
    let pieces: String = (0..rng.usize(0..4)).map(|_| PIECES[rng.usize(0..PIECES.len())]).collect();
    format!("\"{pieces}\"")
}

/// A frame's object of a few members, each once, some with escapes in their names.
fn any_frame(rng: &mut fastrand::Rng) -> String {
    let mut names =
        vec!["\"jsonrpc\"", "\"id\"", "\"method\"", "\"result\"", "\"error\"", "\"params\"", "\"x\""];
    if rng.bool() {
        names[1] = "\"\\u0069d\"";
    }
    rng.shuffle(&mut names);
    names.truncate(rng.usize(0..=names.len()));
    let members = names.iter().map(|name| {
        let value = match *name {
            "\"jsonrpc\"" => "\"2.0\"".to_owned(),
            "\"id\"" | "\"\\u0069d\"" if rng.u8(0..4) > 0 => rng.u64(0..1 << 53).to_string(),
            _ => any_json(rng, 4),
        };
        format!("{name}:{value}")
    });
    format!("{{{}}}", members.collect::<Vec<_>>().join(","))
}

fn lexed(frame: &[u8]) -> (bool, Members) {
    let mut lexer = Lexer { bytes: frame, at: 0, spoilt: None, surrogate: None };
    let mut members = Members::default();
    let is_whole = lexer.frame(&mut members).is_some();
    let is_clean = is_whole && lexer.spoilt.is_none() && frame[lexer.at..].trim_ascii().is_empty();
    (is_clean && std::str::from_utf8(frame).is_ok(), members)
}

#[test]
fn good_json_is_read_as_serde_json_reads_it() {
    let mut rng = fastrand::Rng::with_seed(11);
    for _ in 0..20_000 {
        let frame = any_frame(&mut rng);
        let (is_clean, members) = lexed(frame.as_bytes());
        assert!(is_clean, "{frame}");
        // Numbers that no double holds are JSON, and not for a `Value`.
        let Ok(value) = serde_json::from_str::<Value>(&frame) else {
            assert!(frame.contains("1e999"), "{frame}");
            continue;
        };
        let id = value.get("id").and_then(|id| serde_json::from_value::<RequestId>(id.clone()).ok());
        assert_eq!((members.ids, members.id), (usize::from(value.get("id").is_some()), id), "{frame}");
        assert_eq!(members.has_method, value.get("method").is_some(), "{frame}");
        let has_answer = value.get("result").is_some() || value.get("error").is_some();
        assert_eq!(members.has_answer, has_answer, "{frame}");
    }
}

#[test]
fn what_serde_json_refuses_is_never_clean_and_a_changed_byte_is_no_panic() {
    let mut rng = fastrand::Rng::with_seed(12);
    let mut refused = 0;
    for _ in 0..40_000 {
        let mut frame = any_frame(&mut rng).into_bytes();
        for _ in 0..rng.usize(1..3) {
            let at = rng.usize(0..frame.len());
            match rng.u8(0..3) {
                0 => frame[at] = rng.u8(..),
                1 => frame[at] = *b"{}[]\",:\\0-eNuI".get(rng.usize(0..14)).unwrap(),
                _ => drop(frame.remove(at)),
            }
            if frame.is_empty() {
                break;
            }
        }
        let strict = serde_json::from_slice::<&RawValue>(&frame).is_ok_and(|raw| raw.get().starts_with('{'));
        let strict = strict && frame.first() == Some(&b'{');
        refused += usize::from(!strict);
        assert_eq!(lexed(&frame).0, strict, "{}", String::from_utf8_lossy(&frame));
        if let Err(error) = Message::parse(&frame) {
            let _: Result<BadFrame, MessageError> = BadFrame::read(&frame, error);
        }
    }
    assert!(refused > 10_000, "{refused}");
}

#[test]
fn a_spoilt_value_changes_nothing_of_what_else_is_read() {
    let mut rng = fastrand::Rng::with_seed(13);
    let spoilt = ["NaN", "Infinity", "-Infinity", "\"\u{1f}\"", "\"\\udc00\"", "[[NaN],{\"a\":-Infinity}]"];
    for _ in 0..5000 {
        let frame = any_frame(&mut rng);
        let (_, good) = lexed(frame.as_bytes());
        let value = spoilt[rng.usize(0..spoilt.len())];
        let comma = if frame == "{}" { "" } else { "," };
        let bad = match rng.bool() {
            true => format!("{{\"y\":{value}{comma}{}", &frame[1..]),
            false => format!("{}{comma}\"y\":{value}}}", &frame[..frame.len() - 1]),
        };
        let (_, members) = lexed(bad.as_bytes());
        assert_eq!(format!("{members:?}"), format!("{good:?}"), "{bad}");
    }
}
